package memstore_test

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/httpkeytest"
	"github.com/httpkey/httpkey/internal/model"
	"github.com/httpkey/httpkey/memstore"
)

// Buckets are let go only when that makes no difference: over hours, with pauses
// of every length, a limiter that forgets answers like a model that does not.
func TestForgettingMakesNoDifference(t *testing.T) {
	t.Parallel()
	limits := []httpkey.Limit{
		httpkey.PerSecond(3), httpkey.PerMinute(60), httpkey.PerMinute(41),
		{Rate: 7, Burst: 20, Period: 10 * time.Second}, {Rate: 10, Burst: 10, Period: time.Hour}, httpkey.PerDay(100),
	}
	for name, newLimiter := range newLimiters {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				limiter, want := newLimiter(), model.New(name == "Window")
				random := rand.New(rand.NewPCG(13, 14))
				for step := range 30_000 {
					limit := limits[random.IntN(len(limits))]
					c := &httpkey.Charge{
						Bucket: fmt.Sprint(random.IntN(20)), Limits: []httpkey.Limit{limit},
						Cost: random.IntN(limit.Resolve().Burst + 1), Forced: random.IntN(20) == 0, // and so overdrawn at times
					}
					got, err := limiter.Allow(t.Context(), c)
					if want := want.Allow(c, time.Now()); err != nil || !same(got, want) {
						t.Fatalf("step %d: %+v: %+v (%v), the model says %+v", step, c, got, err, want)
					}
					switch random.IntN(100) {
					case 0:
						elapse(time.Duration(random.Int64N(int64(3 * time.Hour))))
					case 1, 2, 3, 4, 5:
						elapse(time.Duration(random.Int64N(int64(time.Minute))))
					default:
						elapse(time.Duration(random.Int64N(int64(50 * time.Millisecond))))
					}
				}
			})
		})
	}
}

// elapse lets whole microseconds pass, because the model counts these.
func elapse(d time.Duration) { httpkeytest.Elapse(d.Truncate(time.Microsecond)) }

// The longest refill time counts: neither a burst above the rate nor a quicker
// limit that is used later makes a bucket be forgotten too soon.
func TestSlowBucketsAreNotForgotten(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		limiter := memstore.NewLimiter()
		slow, quick := httpkey.Limit{Rate: 1, Burst: 10, Period: time.Second}, httpkey.PerSecond(100)
		take(t, limiter, "key", slow, 10)
		take(t, limiter, "key", quick, 1)
		for range 2 { // a turn of the generations each
			httpkeytest.Elapse(2 * time.Second)
			take(t, limiter, "another", quick, 1)
		}
		if r := take(t, limiter, "key", slow, 0); r.Remaining != 4 {
			t.Errorf("4 s after 10 were taken at 1/s: %+v", r)
		}
	})
}

// A bucket that a forced charge overdrew is remembered for two windows, though others look at
// it meanwhile, by name and in place.
func TestOverdrawnBucketsAreNotForgotten(t *testing.T) {
	t.Parallel()
	limit := httpkey.Limit{Rate: 20, Burst: 20, Period: 20 * time.Second}
	store := memstore.New()
	create(t, store, httpkey.Token{ID: "id"})
	for name, look := range map[string]func(t *testing.T, l *memstore.Limiter) httpkey.Result{
		"by name": func(t *testing.T, l *memstore.Limiter) httpkey.Result { return take(t, l, "token:id", limit, 0) },
		"in place": func(_ *testing.T, l *memstore.Limiter) httpkey.Result {
			return takeIn(store, l, find(store, httpkey.Digest{}), limit, 0)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				limiter := memstore.NewLimiter()
				if _, err := limiter.Allow(t.Context(), &httpkey.Charge{
					Bucket: "token:id", Limits: []httpkey.Limit{limit}, Cost: 1000, Forced: true,
				}); err != nil {
					t.Fatal(err)
				}
				httpkeytest.Elapse(time.Second)
				look(t, limiter)
				for second := 3; second < 40; second += 2 { // others make the generations turn
					httpkeytest.Elapse(2 * time.Second)
					take(t, limiter, "another", httpkey.PerSecond(1), 1)
				}
				if r := look(t, limiter); r.ResetAfter != time.Second {
					t.Errorf("after 39 of 40 seconds, the bucket is full in %v", r.ResetAfter)
				}
			})
		})
	}
}

// Many payers, and what is left of them when they have been idle for two
// windows and a request comes again. The numbers are those of the doc comments.
func TestMemoryIsBoundedAndGivenBack(t *testing.T) {
	// Not parallel: it looks at the heap.
	const payers = 150_000
	names := make([]string, payers)
	for i := range names {
		names[i] = fmt.Sprintf("%036d", i)
	}
	for name, most := range map[string]int{"GCRA": 100, "Window": 115} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				limiter := newLimiters[name]()
				c := &httpkey.Charge{Limits: []httpkey.Limit{httpkey.PerMinute(60)}, Cost: 1}
				use := func(payers []string) {
					for _, c.Bucket = range payers {
						if _, err := limiter.Allow(context.Background(), c); err != nil {
							t.Fatal(err)
						}
					}
				}
				empty := heap()
				use(names)
				live := heap() - empty
				httpkeytest.Elapse(time.Minute)
				use(names) // all of them are in both generations now
				busy := heap() - empty
				for range 2 {
					httpkeytest.Elapse(time.Minute)
					use(names[:1])
				}
				idle := heap() - empty
				t.Logf("%d bytes a live bucket, %d one that is busy all the time; %d KB when all but one are idle",
					live/payers, busy/payers, idle>>10)
				if live/payers > most || busy/payers > 2*most {
					t.Errorf("a bucket takes %d bytes, and %d if it is busy, want %d and twice that at most",
						live/payers, busy/payers, most)
				}
				if idle > 1<<19 {
					t.Errorf("idle buckets still take %d KB", idle>>10)
				}
				runtime.KeepAlive(limiter)
			})
		})
	}
	runtime.KeepAlive(names)
}

// The size of a token beside its strings, with and without the bucket that lies beside it in
// use. The numbers are those of the doc comments.
func TestMemoryOfATokenInUse(t *testing.T) {
	// Not parallel: it looks at the heap.
	const tokens = 50_000
	strings36 := func(n int) string { return fmt.Sprintf("%036d", n) }
	store, limiter := memstore.New(), memstore.NewLimiter()
	empty := heap()
	for n := range tokens {
		token := httpkey.Token{
			ID: strings36(n), Hint: "a1B2", Kind: httpkey.APIKey, Label: "laptop", User: "user-1234", IsActive: true,
			Digest: digestOf(n), CreatedAt: time.UnixMicro(int64(n)),
		}
		if _, err := store.Create(t.Context(), token); err != nil {
			t.Fatal(err)
		}
	}
	text := len(strings36(0)) + len("a1B2api_keylaptopuser-1234")
	idle := (heap()-empty)/tokens - text
	for n := range tokens {
		takeIn(store, limiter, find(store, digestOf(n)), httpkey.PerMinute(60), 1)
	}
	used := (heap()-empty)/tokens - text
	t.Logf("%d bytes a token beside %d of strings, %d with its bucket in use", idle, text, used)
	if idle > 215 || used > 256 {
		t.Errorf("a token takes %d bytes, and %d with its bucket, want 215 and 256 at most", idle, used)
	}
	runtime.KeepAlive(store)
	runtime.KeepAlive(limiter)
}

func digestOf(n int) (d httpkey.Digest) {
	random := rand.New(rand.NewPCG(uint64(n), 1)) // spread, as digests are
	for i := range d {
		d[i] = byte(random.Uint32())
	}
	return d
}

// heap returns the bytes of live objects.
func heap() int {
	runtime.GC()
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return int(stats.HeapAlloc)
}

// The log of a busy payer is as large as the doc comment says.
func TestWindowMemoryOfABusyPayer(t *testing.T) {
	// Not parallel: it looks at the heap.
	const rate = 100_000
	synctest.Test(t, func(t *testing.T) {
		window := memstore.NewWindow()
		before := heap()
		for range 3 * rate {
			take(t, window, "key", httpkey.PerHour(rate), 1)
			httpkeytest.Elapse(time.Hour / rate)
		}
		grown := heap() - before
		t.Logf("%d bytes for each of %d requests an hour", grown/rate, rate)
		if grown > rate*40 {
			t.Errorf("a log of %d requests takes %d bytes", rate, grown)
		}
		runtime.KeepAlive(window)
	})
}

// A token that is updated while its key is in use keeps no memory of what it was, however often
// that happens.
func TestUpdatesOfATokenInUseKeepNoMemory(t *testing.T) {
	// Not parallel: it looks at the heap.
	store, limiter := memstore.New(), memstore.NewLimiter()
	create(t, store, httpkey.Token{ID: "token", Kind: httpkey.APIKey, Description: strings.Repeat("a", 4096)})
	before := heap()
	for n := range 2000 {
		takeIn(store, limiter, find(store, httpkey.Digest{}), httpkey.PerHour(1), 0)
		if _, err := store.Update(t.Context(), "token", func(t *httpkey.Token) error {
			t.Description = fmt.Sprintf("%04096d", n)
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	if grown := heap() - before; grown > 100<<10 {
		t.Errorf("%d KB are kept of what a token was", grown>>10)
	}
	runtime.KeepAlive(store)
	runtime.KeepAlive(limiter)
}

func FuzzLimiters(f *testing.F) {
	f.Add(60, 0, int64(time.Minute), 1, int64(time.Second), 1)
	f.Add(7, 3, int64(time.Second), 2, int64(1), 3)
	f.Add(-1, 1, int64(1000), 0, int64(0), -1)
	f.Add(math.MaxInt, math.MaxInt, int64(1<<62), math.MaxInt, int64(1<<62), math.MaxInt)
	f.Add(1, 1, int64(1<<63-1)/1000*1000, 1, int64(1<<62), 1)
	f.Add(math.MaxInt, 1, int64(1000), 1, int64(999), 1)
	f.Add(2, 3, int64(6148914691236517000), 3, int64(0), 1)
	f.Add(1<<20, 1<<20, int64(1<<41*time.Microsecond), 1<<20, int64(1), math.MaxInt32)
	f.Fuzz(func(t *testing.T, rate, burst int, period int64, n int, pause int64, m int) {
		limit := httpkey.Limit{Rate: rate, Burst: burst, Period: time.Duration(period)}
		for name, newLimiter := range newLimiters {
			synctest.Test(t, func(t *testing.T) {
				limiter, want := newLimiter(), model.New(name == "Window")
				for i, n := range []int{n, m, n, 1, -m, n} {
					c := &httpkey.Charge{Bucket: "key", Limits: []httpkey.Limit{limit}, Cost: n, Forced: i%3 == 1}
					r, err := limiter.Allow(t.Context(), c)
					if err != nil && !same(r, httpkey.Result{}) {
						t.Errorf("%s: an error came with %+v", name, r)
					}
					isLarge := name == "Window" && (rate > 1000 || n > 1000) // the model looks at each request
					if err == nil && !isLarge && !same(r, want.Allow(c, time.Now())) {
						t.Fatalf("%s: %+v: %+v, which is not the model's answer", name, c, r)
					}
					if err == nil {
						check(t, c, r)
					}
					if pause >= 0 && pause < int64(100*365*24*time.Hour) {
						elapse(time.Duration(pause))
					}
				}
			})
		}
	})
}

func check(t *testing.T, c *httpkey.Charge, r httpkey.Result) {
	t.Helper()
	couldPass := r.Limit.Rate > 0 && c.Cost <= r.Limit.Burst
	if r.Remaining < 0 || r.Remaining > r.Limit.Burst || r.ResetAfter < 0 || r.RetryAfter < 0 ||
		!r.Allowed && couldPass != (r.RetryAfter > 0) || r.Allowed && r.RetryAfter != 0 ||
		!r.Allowed && couldPass && r.Remaining >= c.Cost {
		t.Errorf("%+v: %+v", c, r)
	}
}
