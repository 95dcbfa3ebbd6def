package tally

import (
	"reflect"
	"testing"
	"testing/quick"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/usage"
)

// Counts come back from their numbers, and a name of a later version changes nothing.
func TestRoundTrip(t *testing.T) {
	t.Parallel()
	back := func(passed, throttled, dry, cost, scope, expired int32) bool {
		want := usage.Counts{Passed: int64(passed), Throttled: int64(throttled), DryRun: int64(dry), Cost: int64(cost)}
		for reason, n := range map[httpkey.Reason]int32{httpkey.ReasonScope: scope, httpkey.ReasonExpired: expired} {
			if n != 0 {
				want.Add(usage.Counts{Refused: int64(n), Reasons: map[httpkey.Reason]int64{reason: int64(n)}})
			}
		}
		var got usage.Counts
		for name, n := range Of(want) {
			if n == 0 || len(name) > 64 {
				t.Errorf("%q is %d", name, n)
			}
			Add(&got, name, n)
		}
		Add(&got, "of a later version", 5)
		return reflect.DeepEqual(got, want)
	}
	if err := quick.Check(back, nil); err != nil {
		t.Error(err)
	}
	if !back(1, 0, 0, 1, 0, 0) || !back(0, 0, 0, 0, 0, 0) {
		t.Error("plain counts do not come back")
	}
	numbers := 0
	for range Of(usage.Counts{Passed: 9, Cost: 9}) {
		numbers++
	}
	if numbers != 1 {
		t.Errorf("requests of the usual cost have %d numbers, want one", numbers)
	}
}
