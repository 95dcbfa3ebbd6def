package redisstore_test

import (
	"errors"
	"fmt"
	"reflect"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/httpkeytest"
	"github.com/httpkey/httpkey/internal/gcra"
	"github.com/httpkey/httpkey/memstore"
	"github.com/httpkey/httpkey/redisstore"
	"github.com/redis/go-redis/v9"
)

// limiters are both limiters of this package, alone and in calls that others share.
var limiters = map[string]func(redis.Scripter, *redisstore.Options) httpkey.Limiter{
	"Limiter": func(rdb redis.Scripter, o *redisstore.Options) httpkey.Limiter { return redisstore.NewLimiter(rdb, o) },
	"Window":  func(rdb redis.Scripter, o *redisstore.Options) httpkey.Limiter { return redisstore.NewWindow(rdb, o) },
	"Limiter in a crowd": func(rdb redis.Scripter, o *redisstore.Options) httpkey.Limiter {
		return redisstore.Crowd(redisstore.NewLimiter(rdb, o), false)
	},
	"Window in a crowd": func(rdb redis.Scripter, o *redisstore.Options) httpkey.Limiter {
		return redisstore.Crowd(redisstore.NewWindow(rdb, o), false)
	},
	"Limiter in a crowd of slots": func(rdb redis.Scripter, o *redisstore.Options) httpkey.Limiter {
		return redisstore.Crowd(redisstore.NewLimiter(rdb, o), true)
	},
}

// eachLimiter runs a test with a limiter of each sort on a server of its own, whose clock stands still.
func eachLimiter(t *testing.T, opts *redisstore.Options, test func(*testing.T, httpkey.Limiter, *miniredis.Miniredis)) {
	t.Helper()
	t.Parallel()
	for name, newLimiter := range limiters {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := newServer(t)
			server.SetTime(start)
			test(t, newLimiter(newClient(t, server), opts), server)
		})
	}
}

var start = time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)

// allow asks a limiter that must answer.
func allow(t *testing.T, limiter httpkey.Limiter, c *httpkey.Charge) httpkey.Result {
	t.Helper()
	r, err := limiter.Allow(t.Context(), c)
	if err != nil {
		t.Fatalf("%+v: %v", c, err)
	}
	return r
}

// forced returns the charge of n from a payer, which is forced.
func forced(payer string, n int, limits ...httpkey.Limit) *httpkey.Charge {
	c := of(payer, n, limits...)
	c.Forced = true
	return c
}

var (
	small = httpkey.PerMinute(3)
	large = httpkey.PerHour(100)
	quota = httpkey.PerDay(50)
)

// If one limit has no room, the others are not charged, and report their Remaining.
func TestDenialLeavesTheOthersAsTheyWere(t *testing.T) {
	eachLimiter(t, nil, func(t *testing.T, limiter httpkey.Limiter, server *miniredis.Miniredis) {
		for range 3 {
			if r := allow(t, limiter, of("payer", 1, small, large, quota)); !r.Allowed || len(r.Each) != 3 {
				t.Fatalf("%+v", r)
			}
		}
		before := server.Dump()
		r := allow(t, limiter, of("payer", 1, small, large, quota))
		if r.Allowed || r.Limit != small.Resolve() || r.RetryAfter <= 0 || len(r.Each) != 3 {
			t.Errorf("%+v", r)
		}
		for i, want := range []struct{ room, remaining int }{{0, 0}, {1, 97}, {1, 47}} {
			if each := r.Each[i]; each.Allowed != (want.room == 1) || each.Remaining != want.remaining ||
				each.Allowed != (each.RetryAfter == 0) {
				t.Errorf("limit %d: %+v, want %d left", i, each, want.remaining)
			}
		}
		if after := server.Dump(); after != before {
			t.Errorf("the denial changed\n%s\nto\n%s", before, after)
		}
	})
}

// A charge that can never pass is denied without a RetryAfter, and reports Remaining.
func TestWhatCanNeverPass(t *testing.T) {
	eachLimiter(t, nil, func(t *testing.T, limiter httpkey.Limiter, server *miniredis.Miniredis) {
		allow(t, limiter, of("payer", 1, small, large, quota))
		for name, tt := range map[string]struct {
			charge    *httpkey.Charge
			binds     httpkey.Limit
			remaining int
			others    []int
		}{
			"a Rate of 0":           {of("payer", 1, httpkey.PerSecond(0)), httpkey.PerSecond(0), 0, nil},
			"a look at a Rate of 0": {of("payer", 0, httpkey.PerSecond(0)), httpkey.PerSecond(0), 0, nil},
			"a quota of 0":          {of("payer", 1, httpkey.PerMonth(0)), httpkey.PerMonth(0), 0, nil},
			"a cost above Burst":    {of("payer", 4, small), small, 2, nil},
			"a cost above a quota":  {of("payer", 51, quota), quota, 49, nil},
			"a Rate of 0 of several": {of("payer", 1, small, httpkey.PerSecond(0), large), httpkey.PerSecond(0), 0,
				[]int{2, 0, 99}},
			"a cost above one Burst":  {of("payer", 4, large, small, quota), small, 2, []int{99, 2, 49}},
			"a cost above all Bursts": {of("payer", 101, small, quota), small, 2, []int{2, 49}},
		} {
			r := allow(t, limiter, tt.charge)
			if r.Allowed || r.RetryAfter != 0 || r.Limit != tt.binds.Resolve() || r.Remaining != tt.remaining {
				t.Errorf("%s: %+v", name, r)
			}
			for i, want := range tt.others {
				if r.Each[i].Remaining != want || r.Each[i].RetryAfter != 0 {
					t.Errorf("%s, limit %d: %+v, want %d left", name, i, r.Each[i], want)
				}
			}
		}
		for range 4 { // the last is denied, which is remembered
			allow(t, limiter, of("another", 1, small))
		}
		if r := allow(t, limiter, of("another", 4, small)); r.Allowed || r.RetryAfter != 0 {
			t.Errorf("a cost above Burst, after a denial: %+v", r)
		}
		if r := allow(t, limiter, of("payer", 0, small, large, quota)); r.Each[0].Remaining != 2 ||
			r.Each[1].Remaining != 99 || r.Each[2].Remaining != 49 {
			t.Errorf("after all that: %+v", r)
		}
	})
}

// A charge that Validate refuses is refused with its error, without asking Redis.
func TestInvalidChargesAreRefused(t *testing.T) {
	eachLimiter(t, nil, func(t *testing.T, limiter httpkey.Limiter, server *miniredis.Miniredis) {
		server.Close()
		for _, c := range []*httpkey.Charge{
			of("payer", 1, httpkey.Limit{}), of("payer", -1, small), of("payer", 1, small, small),
			of("payer", 1, httpkey.Limit{Rate: 1, Burst: -1, Period: time.Second}),
		} {
			if r, err := limiter.Allow(t.Context(), c); !errors.Is(err, httpkey.ErrInvalidLimit) || r.Allowed {
				t.Errorf("%+v: %+v, %v", c, r, err)
			}
		}
		if r := allow(t, limiter, of("payer", 1)); !r.Allowed {
			t.Errorf("without a limit: %+v", r)
		}
	})
}

// Of callers at once, as many pass as the limit with the smallest room has.
func TestCallersAtOnceGetTheSmallestRoom(t *testing.T) {
	eachLimiter(t, nil, func(t *testing.T, limiter httpkey.Limiter, server *miniredis.Miniredis) {
		middle := httpkey.PerHour(40)
		quota := httpkey.PerDay(41)
		var admitted atomic.Int64
		var group sync.WaitGroup
		for range 64 {
			group.Go(func() {
				for range 2 {
					r, err := limiter.Allow(t.Context(), of("payer", 1, large, httpkey.PerMinute(50), quota, named("middle", middle)))
					if err != nil {
						t.Error(err)
					}
					if r.Allowed {
						admitted.Add(1)
					}
				}
			})
		}
		group.Wait()
		if admitted.Load() != 40 {
			t.Errorf("%d passed, want 40", admitted.Load())
		}
		if r := allow(t, limiter, of("payer", 0, large, quota)); r.Each[0].Remaining != 60 || r.Each[1].Remaining != 1 {
			t.Errorf("of the others are left %+v", r.Each)
		}
	})
}

func named(name string, l httpkey.Limit) httpkey.Limit {
	l.Name = name
	return l
}

// A limit that moves at every request admits no more than the highest would.
func TestMovingLimitsAdmitNoMoreThanTheHighest(t *testing.T) {
	eachLimiter(t, nil, func(t *testing.T, limiter httpkey.Limiter, server *miniredis.Miniredis) {
		var admitted []time.Duration
		step := 83 * time.Millisecond
		for i := range 3 * int(time.Minute/step) {
			at := time.Duration(i) * step
			server.SetTime(start.Add(at))
			r := allow(t, limiter, of(fmt.Sprint("payer ", i/1e9), 1, httpkey.PerMinute(41+i%20)))
			if r.Allowed {
				admitted = append(admitted, at)
			}
		}
		// The bound is the full bucket at the beginning, and 60 for each minute since.
		most := func(stretch time.Duration) int { return 60 + int(60*stretch/time.Minute) }
		if _, strict := limiter.(*redisstore.Window); strict {
			most = func(stretch time.Duration) int { return 60 * (1 + int(stretch/time.Minute)) }
		}
		for first := range admitted {
			for last := first; last < len(admitted); last++ {
				if n, stretch := last-first+1, admitted[last]-admitted[first]; n > most(stretch) {
					t.Fatalf("%d passed within %v, want %d at most", n, stretch, most(stretch))
				}
			}
		}
		t.Logf("%d passed in three minutes", len(admitted))
		if len(admitted) < 3*41 {
			t.Errorf("%d passed in three minutes, fewer than the lowest limit gives", len(admitted))
		}
	})
}

// A limit that is raised or lowered keeps what is owed: a part of the window under GCRA, and
// the requests themselves in a strict window and a quota.
func TestChangedLimitsKeepWhatIsOwed(t *testing.T) {
	eachLimiter(t, nil, func(t *testing.T, limiter httpkey.Limiter, server *miniredis.Miniredis) {
		_, isStrict := limiter.(*redisstore.Window)
		for i, tt := range []struct {
			from, to     httpkey.Limit
			used         int
			left, strict int
		}{
			{httpkey.PerMinute(60), httpkey.PerMinute(600), 30, 300, 570},
			{httpkey.PerMinute(60), httpkey.PerMinute(10), 30, 5, 0},
			{httpkey.PerMinute(60), httpkey.PerMinute(40), 60, 0, 0},
			{httpkey.PerMinute(60), httpkey.PerHour(60), 60, 60, 60},
			{httpkey.PerDay(60), httpkey.PerDay(600), 30, 570, 570},
			{httpkey.PerDay(60), httpkey.PerDay(10), 30, 0, 0},
			{httpkey.PerDay(60), httpkey.PerMonth(60), 60, 60, 60},
		} {
			payer := fmt.Sprint("payer ", i)
			if r := allow(t, limiter, of(payer, tt.used, tt.from)); !r.Allowed {
				t.Fatalf("%+v", r)
			}
			want := tt.left
			if isStrict {
				want = tt.strict
			}
			if r := allow(t, limiter, of(payer, 0, tt.to)); !r.Allowed || r.Remaining != want {
				t.Errorf("from %+v to %+v: %+v, want %d left", tt.from, tt.to, r, want)
			}
			// Nobody is locked out for longer than the new window.
			if r := allow(t, limiter, of(payer, 1, tt.to)); r.RetryAfter > tt.to.Window() || r.Allowed != (want > 0) {
				t.Errorf("from %+v to %+v: %+v", tt.from, tt.to, r)
			}
		}
	})
}

// A forced charge takes down to a capacity below empty, and a refund gives back up to full.
func TestForcedChargesAndRefunds(t *testing.T) {
	eachLimiter(t, nil, func(t *testing.T, limiter httpkey.Limiter, server *miniredis.Miniredis) {
		limits := []httpkey.Limit{httpkey.PerMinute(6), httpkey.PerDay(6)}
		for _, l := range limits {
			for i, step := range []struct {
				charge    *httpkey.Charge
				remaining int
			}{
				{forced("payer", 4, l), 2}, {forced("payer", 4, l), 0}, {forced("payer", -3, l), 1}, {forced("payer", -100, l), 6},
				{forced("payer", 100, l), 0}, {forced("payer", -5, l), 0}, {forced("payer", -1, l), 0},
				{forced("payer", -1, l), 1}, {of("payer", 1, l), 0},
			} {
				if r := allow(t, limiter, step.charge); !r.Allowed || r.Remaining != step.remaining || r.RetryAfter != 0 {
					t.Errorf("%+v, step %d: %+v, want %d left", l, i, r, step.remaining)
				}
			}
			if r := allow(t, limiter, of("payer", 1, l)); r.Allowed {
				t.Errorf("an empty bucket has let in: %+v", r)
			}
			if r := allow(t, limiter, of("payer", 0, l)); !r.Allowed {
				t.Errorf("a look at an empty bucket was denied: %+v", r)
			}
			allow(t, limiter, forced("payer", -100, l))
			if r := allow(t, limiter, of("payer", 6, l)); !r.Allowed || r.Remaining != 0 {
				t.Errorf("after a refund of all, a denial was told from memory: %+v", r)
			}
		}
		allow(t, limiter, forced("another", 4, limits...))
		if r := allow(t, limiter, forced("another", -1, limits...)); !r.Allowed || r.Each[0].Remaining != 3 ||
			r.Each[1].Remaining != 3 {
			t.Errorf("under both: %+v", r)
		}
	})
}

// Below empty, a bucket takes its time to have room again.
func TestBelowEmptyTakesLonger(t *testing.T) {
	t.Parallel()
	server := newServer(t)
	server.SetTime(start)
	limiter := redisstore.NewLimiter(newClient(t, server), &redisstore.Options{AskAlways: true})
	allow(t, limiter, forced("payer", 90, httpkey.PerMinute(60)))
	for at, want := range map[time.Duration]bool{
		0: false, 30 * time.Second: false, 30*time.Second + 990*time.Millisecond: false, 31 * time.Second: true,
	} {
		server.SetTime(start.Add(at))
		r := allow(t, limiter, of("payer", 1, httpkey.PerMinute(60)))
		if wait := 31*time.Second - at - r.RetryAfter; r.Allowed != want || !want && wait.Abs() > 2*time.Microsecond {
			t.Errorf("after %v: %+v", at, r)
		}
		if want {
			allow(t, limiter, forced("payer", -1, httpkey.PerMinute(60)))
		}
	}
}

// A bucket that holds what no limiter put there is damaged, and it alone. Time heals what
// lies too far ahead.
func TestDamageConcernsOneBucket(t *testing.T) {
	for name, damage := range map[string]func(*miniredis.Miniredis, string){
		"text":      func(s *miniredis.Miniredis, key string) { s.Del(key); _ = s.Set(key, "garbage") },
		"not a key": func(s *miniredis.Miniredis, key string) { s.Del(key); s.HSet(key, "field", "value") },
		"nothing":   func(s *miniredis.Miniredis, key string) { s.Del(key); _ = s.Set(key, "") },
		"no number": func(s *miniredis.Miniredis, key string) { s.Del(key); _ = s.Set(key, "nan") },
		"infinity":  func(s *miniredis.Miniredis, key string) { s.Del(key); _ = s.Set(key, "inf") },
		"a list":    func(s *miniredis.Miniredis, key string) { s.Del(key); _, _ = s.Push(key, "0", "x", "1") },
		"two":       func(s *miniredis.Miniredis, key string) { s.Del(key); _, _ = s.Push(key, "0", "1") },
	} {
		t.Run(name, func(t *testing.T) {
			eachLimiter(t, nil, func(t *testing.T, limiter httpkey.Limiter, server *miniredis.Miniredis) {
				allow(t, limiter, of("payer", 1, small, large, quota))
				for _, key := range server.Keys() {
					server.FlushAll()
					allow(t, limiter, of("payer", 1, small, large, quota))
					damage(server, key)
					found := 0
					for _, c := range []*httpkey.Charge{
						of("payer", 1, small), of("payer", 1, large), of("payer", 1, quota), of("payer", 1, small, large, quota),
						forced("payer", 1, small), forced("payer", -1, large), forced("payer", 1, quota),
					} {
						switch r, err := limiter.Allow(t.Context(), c); {
						case errors.Is(err, gcra.ErrDamaged):
							found++
						case err != nil || !r.Allowed:
							t.Errorf("with %s damaged, %+v: %+v, %v", key, c, r, err)
						}
					}
					if found != 3 { // it is in three of the charges
						t.Errorf("with %s damaged, %d charges were refused, want 3", key, found)
					}
					if r := allow(t, limiter, of("another", 1, small, large, quota)); !r.Allowed {
						t.Errorf("another payer: %+v", r)
					}
					all := of("payer", 1, small, large, quota)
					if err := limiter.(httpkey.Resetter).Reset(t.Context(), all); err != nil || !allow(t, limiter, all).Allowed {
						t.Errorf("with %s damaged, a Reset returned %v, or mended nothing", key, err)
					}
				}
			})
		})
	}
}

// A Guard lets the fallback decide about a damaged bucket, and goes on asking Redis about others.
func TestDamageIsNoOutage(t *testing.T) {
	t.Parallel()
	server := newServer(t)
	guard := httpkey.New(memstore.New(), redisstore.NewLimiter(newClient(t, server), nil), nil)
	t.Cleanup(func() { _ = guard.Close(t.Context()) })
	broken, whole := httpkeytest.Issue(t, guard, httpkey.Token{}), httpkeytest.Issue(t, guard, httpkey.Token{})
	_ = server.Set("rate:httpkey:{token:"+broken.Token.ID+"}::60000000", "garbage")
	for i := range 5 {
		for _, created := range []httpkey.Created{broken, whole} {
			admission, err := guard.Admit(t.Context(), created.Secret.Reveal(), 1)
			if err != nil || admission.Result.Remaining != 59-i {
				t.Errorf("request %d of %s: %+v, %v", i, created.Token.ID, admission, err)
			}
		}
	}
	if !server.Exists("rate:httpkey:{token:" + whole.Token.ID + "}::60000000") {
		t.Error("Redis was not asked about the other bucket")
	}
}

// State that lies ahead by more than two windows is empty as of now: a client waits for one
// window at most, whatever the charge.
func TestStateFarAheadIsEmptyAsOfNow(t *testing.T) {
	t.Parallel()
	minute := httpkey.PerMinute(60)
	for name, c := range map[string]*httpkey.Charge{
		"alone": of("payer", 1, minute), "a look": of("payer", 0, minute), "forced": forced("payer", 0, minute),
		"together": of("payer", 1, minute, large), "a lease": of("payer", 1, minute),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := newServer(t)
			server.SetTime(start)
			opts := &redisstore.Options{AskAlways: true}
			if name == "a lease" {
				opts.Lease = time.Second
			}
			limiter := redisstore.NewLimiter(newClient(t, server), opts)
			_ = server.Set("rate:httpkey:{payer}::60000000", "9999999999")
			r := allow(t, limiter, c)
			if c.Limits[0] != minute || r.Remaining != 0 || r.ResetAfter != time.Minute || r.Allowed != (c.Cost == 0) {
				t.Errorf("%+v", r)
			}
			if late := r.RetryAfter - time.Second; c.Cost > 0 && (late < 0 || late > 2*time.Microsecond) {
				t.Errorf("it can be tried again after %v", r.RetryAfter)
			}
			server.SetTime(start.Add(time.Second))
			if r := allow(t, limiter, of("payer", 1, minute)); !r.Allowed {
				t.Errorf("a second later: %+v", r)
			}
			if r := allow(t, limiter, of("another", 1, minute)); r.Remaining != 59 {
				t.Errorf("another payer: %+v", r)
			}
		})
	}
}

// A server whose clock is set back delays a caller by one window at most. The limiter admits a
// denied client after its RetryAfter, and after a window the bucket is full.
func TestClockSetBackDelaysByAWindowAtMost(t *testing.T) {
	minute, hour := httpkey.PerMinute(60), httpkey.PerHour(3600)
	for _, back := range []time.Duration{time.Second, 30 * time.Second, 90 * time.Second, time.Hour, 99 * time.Hour} {
		for name, charge := range map[string]func(n int) *httpkey.Charge{
			"one limit":   func(n int) *httpkey.Charge { return of("key", n, minute) },
			"with quota":  func(n int) *httpkey.Charge { return of("key", n, minute, httpkey.PerDay(1000)) },
			"two windows": func(n int) *httpkey.Charge { return of("key", n, minute, hour) },
		} {
			t.Run(fmt.Sprintf("%s, %v", name, back), func(t *testing.T) {
				eachLimiter(t, &redisstore.Options{AskAlways: true}, func(t *testing.T, limiter httpkey.Limiter,
					server *miniredis.Miniredis) {
					at := start
					ask := func(n int, later time.Duration) httpkey.Result {
						t.Helper()
						at = at.Add(later)
						server.SetTime(at)
						return allow(t, limiter, charge(n))
					}
					if r := ask(60, 0); !r.Allowed {
						t.Fatalf("a full bucket: %+v", r)
					}
					before := ask(1, 0)
					denied := ask(1, -back)
					if denied.Allowed || denied.RetryAfter-before.RetryAfter > time.Minute+2*time.Microsecond {
						t.Fatalf("%+v, and %v back: %+v", before, back, denied)
					}
					if r := ask(1, denied.RetryAfter-4*time.Microsecond); r.Allowed {
						t.Errorf("before RetryAfter (%v): %+v", denied.RetryAfter, r)
					}
					if r := ask(1, 4*time.Microsecond); !r.Allowed {
						t.Errorf("after RetryAfter (%v): %+v", denied.RetryAfter, r)
					}
					if r := ask(60, time.Minute+2*time.Microsecond); !r.Allowed {
						t.Errorf("after a window: %+v", r)
					}
				})
			})
		}
	}
}

// The script of redis_rate and our own read the same from a bucket, whichever wrote it.
func TestBothScriptsServeOneBucket(t *testing.T) {
	t.Parallel()
	server := newServer(t)
	server.SetTime(start)
	limiter := redisstore.NewLimiter(newClient(t, server), &redisstore.Options{AskAlways: true})
	hour := httpkey.PerHour(61)
	for i := range 30 {
		server.SetTime(start.Add(time.Duration(i) * time.Millisecond))
		charge := of("payer", 1, hour)
		if i%2 == 1 {
			charge = of("payer", 1, hour, quota)
		}
		r := allow(t, limiter, charge)
		if len(r.Each) > 0 {
			r = r.Each[0]
		}
		if r.Remaining != 60-i {
			t.Fatalf("request %d: %+v", i+1, r)
		}
		if expiry := server.TTL("rate:httpkey:{payer}::3600000000"); (expiry - r.ResetAfter).Abs() > time.Second {
			t.Errorf("request %d: the bucket goes after %v, and is full after %v", i+1, expiry, r.ResetAfter)
		}
	}
}

// The counter of a quota goes some time after its day or month.
func TestQuotasExpire(t *testing.T) {
	eachLimiter(t, nil, func(t *testing.T, limiter httpkey.Limiter, server *miniredis.Miniredis) {
		allow(t, limiter, of("payer", 1, quota, httpkey.PerMonth(9)))
		for _, key := range server.Keys() {
			ends := time.Now().UTC().Truncate(24*time.Hour).AddDate(0, 0, 1)
			if len(key) > 0 && key[len(key)-3] != '-' || key[len(key)-6] != '-' { // a month
				year, month, _ := time.Now().UTC().Date()
				ends = time.Date(year, month+1, 1, 0, 0, 0, 0, time.UTC)
			}
			if late := server.TTL(key) - time.Until(ends); late < 0 || late > 25*time.Hour {
				t.Errorf("%s goes %v after its end", key, late)
			}
		}
	})
}

// A token that was rotated pays from the bucket of the first.
func TestSuccessorsPayFromTheSameBucket(t *testing.T) {
	eachLimiter(t, nil, func(t *testing.T, limiter httpkey.Limiter, server *miniredis.Miniredis) {
		patient := &httpkey.Options{Timeout: time.Minute} // the fallback would count by itself
		guard := httpkey.New(redisstore.New(newClient(t, server), nil), limiter, patient)
		t.Cleanup(func() { _ = guard.Close(t.Context()) })
		created := httpkeytest.Issue(t, guard, httpkey.Token{})
		admitted := 0
		for range 31 {
			for {
				admission, err := guard.Admit(t.Context(), created.Secret.Reveal(), 1)
				if err != nil || !admission.Result.Allowed {
					break
				}
				if admitted++; admitted%3 == 0 {
					break
				}
			}
			next, err := guard.Rotate(t.Context(), created.Token.ID, time.Hour)
			if err != nil {
				t.Fatal(err)
			}
			created = next
		}
		if admitted != 60 {
			t.Errorf("%d passed with 31 keys of one after the other, want 60", admitted)
		}
	})
}

// The fallback is a limiter in memory of the same sort.
func TestFallbacksAreInMemory(t *testing.T) {
	t.Parallel()
	client := newClient(t, newServer(t))
	for _, tt := range []struct{ got, want httpkey.Limiter }{
		{redisstore.NewLimiter(client, nil).Fallback(), memstore.NewLimiter()},
		{redisstore.NewWindow(client, nil).Fallback(), memstore.NewWindow()},
	} {
		if reflect.TypeOf(tt.got) != reflect.TypeOf(tt.want) {
			t.Errorf("%T, want a %T", tt.got, tt.want)
		}
	}
}
