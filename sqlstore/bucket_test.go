package sqlstore

import (
	"testing"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/internal/charge"
)

// The row of a quota outlives its day, for processes whose clocks are late: without it they
// would find the whole quota there once more.
func TestQuotasOutliveTheirDay(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 3, 1, 23, 59, 50, 0, time.UTC)
	c := &httpkey.Charge{Bucket: "a", Limits: []httpkey.Limit{httpkey.PerDay(5)}, Cost: 5}
	q := newQuestion(c, charge.Items(c, at))
	if _, enough := q.decide(at.UnixMicro()); !enough {
		t.Fatal("a new bucket has no room")
	}
	if full := time.UnixMicro(q.buckets[0].fullAt(at.UnixMicro())); full.Sub(at) < time.Minute {
		t.Errorf("it may be removed %v later", full.Sub(at))
	}
}
