package ram

import (
	"testing"
	"time"
)

// A time comes back to the microsecond, and a zero time as one. A time outside the range becomes
// its end, and not a time of the other end, or none.
func TestTimes(t *testing.T) {
	t.Parallel()
	year9999 := time.Date(9999, 12, 31, 23, 59, 59, 999_999_000, time.UTC)
	for _, at := range []time.Time{{}, time.UnixMicro(0), time.UnixMicro(-1), year9999, first, last} {
		if got := Time(Micros(at)); !got.Equal(at) || got.IsZero() != at.IsZero() {
			t.Errorf("%v became %v", at, got)
		}
	}
	for _, tt := range []struct {
		at   time.Time
		want int64
	}{
		{time.Time{}, Null}, {time.Time{}.Add(1), -62135596800000000}, {last.Add(time.Microsecond), 1<<63 - 1},
		{first.Add(-1), Null + 1}, {time.Date(-400_000, 1, 1, 0, 0, 0, 0, time.UTC), Null + 1},
		{time.Date(400_000, 1, 1, 0, 0, 0, 0, time.UTC), 1<<63 - 1},
	} {
		if got := Micros(tt.at); got != tt.want {
			t.Errorf("%v is %d, want %d", tt.at, got, tt.want)
		}
	}
}

// Each property of a token has a bit, and a token has a State that is not 0.
func TestStateOf(t *testing.T) {
	t.Parallel()
	for bits := range 8 {
		active, service, special := bits&1 != 0, bits&2 != 0, bits&4 != 0
		s := StateOf(active, service, special)
		if s&Exists == 0 || s&Active != 0 != active || s&Service != 0 != service || s&Special != 0 != special {
			t.Errorf("the state of %03b is %b", bits, s)
		}
	}
}
