package memstore

import (
	"runtime"
	"testing"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/internal/charge"
	"github.com/httpkey/httpkey/internal/clock"
	"github.com/httpkey/httpkey/internal/gcra"
	"github.com/httpkey/httpkey/internal/ram"
)

// A burst in one microsecond is one entry, and an empty log keeps no array.
func TestSlidingLogIsCompact(t *testing.T) {
	t.Parallel()
	var log slidingLog
	terms := gcra.Terms{Rate: 2000, Burst: 2000, Period: time.Minute.Microseconds()}
	for range 1000 {
		log.take(terms, 5, 1)
	}
	if len(log.moments) != 1 {
		t.Errorf("%d entries for one microsecond", len(log.moments))
	}
	if log.take(terms, 5+terms.Period, 0); log.moments != nil {
		t.Error("the array of an empty log is kept")
	}
}

// The bucket of a token does not keep an unreferenced limiter in memory.
func TestTokensKeepNoLimiter(t *testing.T) {
	t.Parallel()
	store := New()
	if _, err := store.Create(t.Context(), httpkey.Token{ID: "token"}); err != nil {
		t.Fatal(err)
	}
	e, _ := ram.SourceOf[httpkey.Token](store).Find([32]byte{})
	gone := make(chan struct{})
	func() {
		limiter := NewLimiter()
		runtime.AddCleanup(limiter.steady, func(struct{}) { close(gone) }, struct{}{})
		item := charge.ItemOf(httpkey.PerHour(1), time.Now())
		inPlace{limiter}.TakeIn(e.Slot(), e.Payer(), ram.Limit{Term: item.Term, Terms: item.Terms}, 1, clock.Elapsed())
		if e.Slot().Load().State.Debt == 0 {
			t.Error("the bucket beside the token is not used")
		}
	}()
	for range 100 {
		runtime.GC()
		select {
		case <-gone:
			return
		case <-time.After(10 * time.Millisecond):
		}
	}
	t.Error("the limiter is still in memory")
	runtime.KeepAlive(store)
}
