package clock

import (
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"
)

func TestCeilUnix(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(21, 22))
	for range 100_000 {
		now := time.Unix(random.Int64N(1<<33), random.Int64N(3)*(random.Int64N(1e9)/2))
		d := time.Duration(random.Int64N(1 << (1 + random.Int64N(62))))
		want := now.Add(d).Unix()
		if now.Add(d).Nanosecond() > 0 {
			want++
		}
		if got := (Instant{UnixNano: now.UnixNano()}).CeilUnix(d); got != want {
			t.Fatalf("%v in %v is %d, want %d", now, d, got, want)
		}
	}
}

// The clock is exact, and when the wall clock is set it follows within a millisecond.
func TestClock(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var c Clock
		for n := range 1000 {
			got, now := c.Now(), time.Now()
			if got.UnixNano != now.UnixNano() || got.Elapsed != Elapsed() || got.UnixMicro() != now.UnixMicro() {
				t.Fatalf("it says %+v at %v", got, time.Now())
			}
			time.Sleep(time.Duration(n) * 777 * time.Nanosecond) // in the bubble's time
		}
		c.Now()
		c.offset.Add(int64(time.Hour)) // as if the wall clock had been set back
		time.Sleep(time.Millisecond)   // in the bubble's time
		if got := c.Now().UnixNano; got != time.Now().UnixNano() {
			t.Errorf("a millisecond after the wall clock was set, it is off by %v", time.Duration(got-time.Now().UnixNano()))
		}
	})
}
