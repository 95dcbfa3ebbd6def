package charge_test

import (
	"testing"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/internal/charge"
)

// Buckets are named by Name and window, and those of quotas by their day or month. Shared
// limiters keep these names, so that they must not change.
func TestNames(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 2, 28, 23, 59, 59, 0, time.FixedZone("", -3600))
	for want, limit := range map[string]httpkey.Limit{
		":60000000":    httpkey.PerMinute(60),
		"a:60000000":   {Name: "a", Rate: 7, Period: time.Minute},
		"a:171428572":  {Name: "a", Rate: 7, Burst: 20, Period: time.Minute}, // 20/7 minutes, rounded up
		":1000001":     {Rate: 1, Period: time.Second + 1},
		":60000001":    {Period: time.Minute + time.Microsecond}, // a Rate of 0
		":2026-03-01":  httpkey.PerDay(5),
		":2026-03":     httpkey.PerMonth(5),
		"a:b:2026-03":  {Name: "a:b", Rate: 5, Calendar: "month"},
		"a:2026-03-01": {Name: "a", Calendar: "day"},
		"2026:1000000": {Name: "2026", Rate: 5, Period: time.Second},
		"a:b:1000000":  {Name: "a:b", Rate: 5, Period: time.Second},
		":86400000000": {Rate: 5, Period: 24 * time.Hour},
	} {
		if got := charge.ItemOf(limit, now).Name(); got != want {
			t.Errorf("the bucket of %+v is %q, want %q", limit, got, want)
		}
	}
}

// A quota has something left of its day until the day is over, also in its last nanosecond.
func TestQuotasLast(t *testing.T) {
	t.Parallel()
	midnight := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	for before, want := range map[time.Duration]int64{
		1: 1, time.Microsecond: 1, time.Microsecond + 1: 2, time.Second: 1e6, 24 * time.Hour: 24 * 3600 * 1e6,
	} {
		item := charge.ItemOf(httpkey.PerDay(5), midnight.Add(-before))
		if item.Terms.Left != want || !item.IsQuota() {
			t.Errorf("%v before midnight, %d µs are left, want %d", before, item.Terms.Left, want)
		}
	}
	item := charge.ItemOf(httpkey.PerMonth(5), midnight)
	if item.Term.Start != midnight.Unix() || item.Terms.Left != 31*24*3600*1e6 {
		t.Errorf("at its beginning, a month is %+v", item)
	}
}
