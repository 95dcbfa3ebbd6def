package memstore

import (
	"context"
	"fmt"
	"math"
	"math/big"
	"math/rand/v2"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/httpkey/httpkey"
)

// Buckets are let go only when that makes no difference: over hours, with pauses
// of every length, a limiter that forgets answers like a model that does not.
func TestForgettingMakesNoDifference(t *testing.T) {
	t.Parallel()
	limits := []httpkey.Limit{
		{Rate: 3, Burst: 3, Period: time.Second}, {Rate: 60, Burst: 60, Period: time.Minute},
		{Rate: 7, Burst: 20, Period: 10 * time.Second}, {Rate: 10, Burst: 10, Period: time.Hour},
	}
	synctest.Test(t, func(t *testing.T) {
		limiter := NewLimiter()
		random := rand.New(rand.NewPCG(13, 14))
		models := make(map[bucketName]*gcraModel)
		turned := make(map[int64]bool)
		var slots [40]httpkey.Slot // each serves one bucket after the other
		for step := range 50_000 {
			limit := limits[random.IntN(len(limits))]
			name := bucketName{fmt.Sprint(random.IntN(20)), limit}
			n := random.IntN(limit.Burst + 1)
			if models[name] == nil {
				models[name] = &gcraModel{level: new(big.Rat)}
			}
			want := models[name].allow(limit, limiter.buckets.now(), n)
			var got httpkey.Result
			var err error
			if random.IntN(2) == 0 {
				got, err = limiter.Allow(t.Context(), name.key, limit, n)
			} else {
				got, err = limiter.AllowSlot(&slots[random.IntN(len(slots))], name.key, limit, n, time.Now())
			}
			if err != nil || got != want {
				t.Fatalf("step %d: %d of %+v: %+v (%v), the model says %+v", step, n, limit, got, err, want)
			}
			turned[limiter.buckets.turnAt.Load()] = true
			switch random.IntN(100) {
			case 0:
				elapse(time.Duration(random.Int64N(int64(3 * time.Hour))))
			case 1, 2, 3, 4, 5:
				elapse(time.Duration(random.Int64N(int64(time.Minute))))
			default:
				elapse(time.Duration(random.Int64N(int64(50 * time.Millisecond))))
			}
		}
		t.Logf("generations turned %d times", len(turned))
		if len(turned) < 100 {
			t.Errorf("generations turned only %d times: nothing was forgotten", len(turned))
		}
	})
}

// The longest refill time counts: neither a burst above the rate nor a quicker
// limit that is used later makes a bucket be forgotten too soon.
func TestSlowBucketsAreNotForgotten(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		limiter := NewLimiter()
		slow, quick := httpkey.Limit{Rate: 1, Burst: 10, Period: time.Second}, httpkey.PerSecond(100)
		for _, step := range []struct {
			limit httpkey.Limit
			n     int
		}{{slow, 10}, {quick, 1}} {
			if r, err := limiter.Allow(t.Context(), "key", step.limit, step.n); err != nil || !r.Allowed {
				t.Fatalf("%+v, %v", r, err)
			}
		}
		for range 2 { // a turn of the generations each
			elapse(2 * time.Second)
			if _, err := limiter.Allow(t.Context(), "another", quick, 1); err != nil {
				t.Fatal(err)
			}
		}
		if r, err := limiter.Allow(t.Context(), "key", slow, 0); err != nil || r.Remaining != 4 {
			t.Errorf("4 s after 10 were taken at 1/s: %+v, %v", r, err)
		}
	})
}

// When generations turn, and that they do so once, whoever thinks that it is time.
func TestTurning(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBuckets[gcra]()
		use := func(limit httpkey.Limit) *gcra {
			used := b.lock("key", limit, b.now(), nil)
			used.mu.Unlock()
			return &used.state
		}
		next := func(want time.Duration) {
			t.Helper()
			if got := micros(b.turnAt.Load() - b.now()); got != want {
				t.Errorf("the next turn is in %v, want %v", got, want)
			}
		}
		odd := httpkey.Limit{Rate: 7, Burst: 8, Period: 10 * time.Second}
		used := use(odd)
		next(minGeneration) // nothing was in use before
		elapse(minGeneration)
		stale := b.now()
		elapse(time.Millisecond) // who turns them takes its time
		b.turnWhenDue(stale)
		next(11_428_572 * time.Microsecond) // 80/7 s, rounded up
		b.turnWhenDue(stale)                // as another would for the same reason
		if use(odd) != used {
			t.Error("what is in use was let go")
		}
		elapse(time.Minute)
		b.turn.Lock() // somebody is turning them
		at := b.turnAt.Load()
		if use(odd); b.turnAt.Load() != at {
			t.Error("two turn at once")
		}
		b.turn.Unlock()
		for range 3 {
			elapse(time.Minute)
			use(httpkey.PerSecond(1))
		}
		next(minGeneration) // nothing longer is in use any more
	})
}

// A bucket that is used while the generations turn, when its shard has not, is
// not taken for one of the generation that begins.
func TestUseWhileTurning(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b, limit := newBuckets[gcra](), httpkey.Limit{Rate: 1, Burst: 1, Period: time.Hour}
		var slot httpkey.Slot
		use := func() *bucket[gcra] {
			used := b.lockIn(&slot, "key", limit, 0)
			used.mu.Unlock()
			return used
		}
		used := use()
		next := b.newGeneration()
		b.young.Store(next)
		use()
		for i := range b.shards {
			b.shards[i].begin(next)
		}
		use()
		b.turnGenerations()
		if again := b.lock("key", limit, 0, nil); again != used {
			t.Error("the bucket is gone, though it was used in the generation before")
		}
	})
}

// The largest debt that Validate lets through neither overflows nor admits too much.
func TestLargestDebt(t *testing.T) {
	t.Parallel()
	limit := httpkey.Limit{Rate: 1 << 20, Burst: 1 << 20, Period: 1 << 42 * time.Microsecond}
	var bucket gcra
	for i, want := range []bool{true, false} {
		if r := bucket.take(limit, 0, limit.Burst); r.Allowed != want {
			t.Errorf("%d: %+v", i, r)
		}
	}
}

// A burst in one microsecond is one entry, and an empty log keeps no array.
func TestSlidingLogIsCompact(t *testing.T) {
	t.Parallel()
	var log slidingLog
	limit := httpkey.Limit{Rate: 2000, Burst: 2000, Period: time.Minute}
	for range 1000 {
		log.take(limit, 5, 1)
	}
	if len(log.moments) != 1 {
		t.Errorf("%d entries for one microsecond", len(log.moments))
	}
	if log.take(limit, 5+time.Minute.Microseconds(), 0); log.moments != nil {
		t.Error("the array of an empty log is kept")
	}
}

// A million keys, and what is left of them when they have been idle for two
// periods and somebody comes again. The numbers are those of the doc comments.
func TestMemoryIsBoundedAndGivenBack(t *testing.T) {
	// Not parallel: it looks at the heap.
	const keys = 1_000_000
	names := make([]string, keys)
	for i := range names {
		names[i] = fmt.Sprintf("%036d", i)
	}
	for _, tt := range []struct {
		name   string
		new    func() httpkey.Limiter
		bucket int // bytes, at most
	}{
		{"GCRA", func() httpkey.Limiter { return NewLimiter() }, 110},
		{"Window", func() httpkey.Limiter { return NewWindow() }, 145},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				limiter := tt.new()
				limit := httpkey.PerMinute(60)
				use := func(keys []string) {
					for _, key := range keys {
						if _, err := limiter.Allow(context.Background(), key, limit, 1); err != nil {
							t.Fatal(err)
						}
					}
				}
				empty := heap()
				use(names)
				live := heap() - empty
				elapse(time.Minute)
				use(names) // all of them are in both generations now
				busy := heap() - empty
				for range 2 {
					elapse(time.Minute)
					use(names[:1])
				}
				idle := heap() - empty
				t.Logf("%d bytes a live bucket, %d one that is busy all the time; %d KB when all but one are idle", live/keys, busy/keys, idle>>10)
				if live/keys > tt.bucket || busy/keys > tt.bucket+90 {
					t.Errorf("a bucket takes %d bytes, and %d if it is busy, want %d and 90 more at most", live/keys, busy/keys, tt.bucket)
				}
				if idle > 1<<20 {
					t.Errorf("idle buckets still take %d KB", idle>>10)
				}
				runtime.KeepAlive(limiter)
			})
		})
	}
	runtime.KeepAlive(names)
}

// heap returns the bytes of live objects.
func heap() int {
	runtime.GC()
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return int(stats.HeapAlloc)
}

// A busy client in its window: what the doc comment says of the log.
func TestWindowMemoryOfABusyKey(t *testing.T) {
	const rate = 100_000
	synctest.Test(t, func(t *testing.T) {
		window := NewWindow()
		before := heap()
		for range 3 * rate {
			if _, err := window.Allow(context.Background(), "key", httpkey.PerHour(rate), 1); err != nil {
				t.Fatal(err)
			}
			elapse(time.Hour / rate)
		}
		grown := heap() - before
		t.Logf("%d bytes for each of %d requests an hour", grown/rate, rate)
		if grown > rate*40 {
			t.Errorf("a log of %d requests takes %d bytes", rate, grown)
		}
		runtime.KeepAlive(window)
	})
}

func FuzzLimiters(f *testing.F) {
	f.Add(60, 0, int64(time.Minute), 1, int64(time.Second), 1)
	f.Add(7, 3, int64(time.Second), 2, int64(1), 3)
	f.Add(-1, 1, int64(1000), 0, int64(0), -1)
	f.Add(math.MaxInt, math.MaxInt, int64(1<<62), math.MaxInt, int64(1<<62), math.MaxInt)
	f.Add(1, 1, int64(1<<63-1)/1000*1000, 1, int64(1<<62), 1)
	f.Add(math.MaxInt, 1, int64(1000), 1, int64(999), 1)
	f.Add(2, 3, int64(6148914691236517000), 3, int64(0), 1)
	f.Fuzz(func(t *testing.T, rate, burst int, period int64, n int, pause int64, m int) {
		limit := httpkey.Limit{Rate: rate, Burst: burst, Period: time.Duration(period)}
		for name, newLimiter := range newLimiters {
			limiter := newLimiter()
			for _, n := range []int{n, m, n, 1} {
				r, err := limiter.Allow(t.Context(), "key", limit, n)
				if (err != nil) && (r != httpkey.Result{}) {
					t.Errorf("%s: an error came with %+v", name, r)
				}
				if err == nil {
					check(t, name, limit, n, r)
				}
			}
		}
		resolved, err := limit.Resolve(max(0, n))
		if err != nil || pause < 0 {
			return
		}
		var g gcra
		now := int64(0)
		for _, n := range []int{max(0, n), max(0, n), 1} {
			if n > resolved.Burst {
				continue
			}
			r := g.take(resolved, now, n)
			check(t, "take", limit, n, r)
			if now > 1<<62 {
				continue // centuries on, the clock itself runs out
			}
			if again := g.take(resolved, now+r.RetryAfter.Microseconds(), 0); !r.Allowed && again.Remaining < n {
				t.Errorf("%+v after RetryAfter: %+v", r, again)
			}
			now += pause
		}
	})
}

func check(t *testing.T, name string, limit httpkey.Limit, n int, r httpkey.Result) {
	t.Helper()
	if n < 0 || n > r.Limit.Burst || r.Limit.Burst <= 0 || r.Remaining < 0 || r.Remaining > r.Limit.Burst ||
		r.ResetAfter < 0 || r.RetryAfter < 0 || r.Allowed == (r.RetryAfter > 0) || !r.Allowed && r.Remaining >= n {
		t.Errorf("%s: %d of %+v: %+v", name, n, limit, r)
	}
}
