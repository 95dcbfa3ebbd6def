package memstore

import (
	"testing"
	"time"

	"github.com/httpkey/httpkey/internal/gcra"
)

// A burst in one microsecond is one entry, and an empty log keeps no array.
func TestSlidingLogIsCompact(t *testing.T) {
	t.Parallel()
	var log slidingLog
	terms := gcra.Terms{Rate: 2000, Burst: 2000, Period: time.Minute.Microseconds()}
	for range 1000 {
		takeFrom(&log, terms, 5, 1)
	}
	if len(log.moments) != 1 {
		t.Errorf("%d entries for one microsecond", len(log.moments))
	}
	if takeFrom(&log, terms, 5+terms.Period, 0); log.moments != nil {
		t.Error("the array of an empty log is kept")
	}
}

func takeFrom(l *slidingLog, terms gcra.Terms, now, n int64) {
	if l.hasRoom(terms, now, n) {
		l.charge(terms, now, n)
	}
}
