package redisstore

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/httpkeytest"
	"github.com/httpkey/httpkey/internal/gcra"
	"github.com/httpkey/httpkey/internal/ram"
	"github.com/redis/go-redis/v9"
)

// gcraServer is a server that runs the script in the time of a bubble.
type gcraServer struct {
	redis.Scripter
	mu      sync.Mutex
	tat     map[string]time.Time
	calls   int
	err     error
	latency func() time.Duration // one way; nil: none
}

func newGCRAServer() *gcraServer { return &gcraServer{tat: make(map[string]time.Time)} }

// moment is where a context keeps the time at which the server decided.
type moment struct{}

func (g *gcraServer) EvalSha(ctx context.Context, _ string, keys []string, args ...any) *redis.Cmd {
	g.wait()
	defer g.wait()
	g.mu.Lock()
	defer g.mu.Unlock()
	g.calls++
	cmd := redis.NewCmd(ctx)
	if g.err != nil {
		cmd.SetErr(g.err)
		return cmd
	}
	now := time.Now()
	if at, ok := ctx.Value(moment{}).(*time.Time); ok {
		*at = now
	}
	if len(args) == 0 { // resetScript
		for _, key := range keys {
			delete(g.tat, key)
		}
		cmd.SetVal(int64(len(keys)))
		return cmd
	}
	if len(args) == 9 { // takeScript, which makes forced charges
		g.force(cmd, keys[0], now, args)
		return cmd
	}
	burst, rate, n := args[0].(int), args[1].(int), args[3].(int)
	slot := time.Duration(args[2].(float64)*1e6+0.5) * time.Microsecond / time.Duration(rate)
	tat := g.tat[keys[0]]
	if tat.Before(now) {
		tat = now
	}
	after := tat.Add(time.Duration(n) * slot)
	text := func(d time.Duration) string { return strconv.FormatFloat(d.Seconds(), 'g', 14, 64) }
	if retry := after.Add(-time.Duration(burst) * slot).Sub(now); retry > 0 {
		cmd.SetVal([]any{int64(0), int64(0), text(retry), text(tat.Sub(now))})
		return cmd
	}
	g.tat[keys[0]] = after
	cmd.SetVal([]any{int64(n), int64(0), "-1", text(after.Sub(now))})
	return cmd
}

// force is takeScript for one bucket.
func (g *gcraServer) force(cmd *redis.Cmd, key string, now time.Time, args []any) {
	n, held, rate, burst := args[2].(int), args[5].(float64), args[6].(int), args[7].(int)
	slot := time.Duration(args[8].(float64)*1e6+0.5) * time.Microsecond / time.Duration(rate)
	tat := g.tat[key]
	if tat.Before(now) {
		tat = now
	}
	if tat = tat.Add(-time.Duration(held * float64(time.Second))); tat.Before(now) {
		tat = now
	}
	after := tat.Add(time.Duration(n) * slot)
	if most := now.Add(2 * time.Duration(burst) * slot); after.After(most) {
		after = most
	}
	if after.Before(now) {
		after = now
	}
	g.tat[key] = after
	cmd.SetVal([]any{[]any{int64(1), int64(0), int64(after.Sub(now)), int64(0)}})
}

func (g *gcraServer) wait() {
	if g.latency != nil {
		httpkeytest.Elapse(g.latency())
	}
}

// admitted records the admissions and their times.
type admitted struct {
	at time.Time
	n  int
}

// ask asks for n, and notes when it was decided that it passes: by the server, or here.
func ask(t *testing.T, l *Limiter, limit httpkey.Limit, n int) (httpkey.Result, admitted) {
	at := time.Now()
	r, err := l.Allow(context.WithValue(t.Context(), moment{}, &at), of("key", n, limit))
	if err != nil {
		t.Error(err)
	}
	if r.Remaining < 0 || r.Remaining > limit.Burst || r.ResetAfter < 0 || r.Allowed != (r.RetryAfter == 0) ||
		!r.Allowed && r.Remaining >= n {
		t.Errorf("asking for %d returned %+v", n, r)
	}
	return r, admitted{at, n}
}

// checkStretches checks that no period admits more than Burst plus the refill of that period.
func checkStretches(t *testing.T, limit httpkey.Limit, all []admitted) {
	t.Helper()
	slices.SortFunc(all, func(a, b admitted) int { return a.at.Compare(b.at) })
	for first := range all {
		total := 0
		for _, last := range all[first:] {
			total += last.n
			stretch := last.at.Sub(all[first].at)
			if int64(total-limit.Burst)*int64(limit.Period) > int64(limit.Rate)*int64(stretch) {
				t.Fatalf("%+v let in %d within %v", limit, total, stretch)
			}
		}
	}
}

// However many processes take ahead, and however much, no stretch of time admits more than without leases.
func TestLeasesStayWithinTheLimit(t *testing.T) {
	t.Parallel()
	for seed := range uint64(16) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				random := rand.New(rand.NewPCG(seed, 1))
				slot := time.Duration(1+random.IntN(50)) * time.Millisecond
				limit := httpkey.Limit{Rate: 1, Burst: 8 + random.IntN(120), Period: slot}
				server := newGCRAServer()
				var mu sync.Mutex
				latency := rand.New(rand.NewPCG(seed, 2))
				server.latency = func() time.Duration {
					mu.Lock()
					defer mu.Unlock()
					return time.Duration(latency.Int64N(8 * int64(slot) >> (seed % 8)))
				}
				var all []admitted
				requests := 0
				var wg sync.WaitGroup
				for process := range 4 {
					opts := &Options{Lease: time.Duration(random.IntN(40)) * slot, AskAlways: process == 1}
					limiter := NewLimiter(server, opts)
					for worker := range 3 {
						random := rand.New(rand.NewPCG(seed, uint64(10+10*process+worker)))
						wg.Go(func() {
							for range 40 { // spells of asking, and pauses in which slots begin
								pace := 1 + 8*int64(slot)>>random.IntN(12)
								for range random.IntN(1 << random.IntN(8)) {
									n := 1
									if random.IntN(8) == 0 {
										n = random.IntN(4)
									}
									r, a := ask(t, limiter, limit, n)
									mu.Lock()
									if requests++; r.Allowed {
										all = append(all, a)
									}
									mu.Unlock()
									httpkeytest.Elapse(time.Duration(random.Int64N(pace)))
								}
								httpkeytest.Elapse(time.Duration(random.Int64N(int64(slot) << random.IntN(9))))
							}
						})
					}
				}
				wg.Wait()
				t.Logf("%+v: %d of %d let in, Redis asked %d times", limit, len(all), requests, server.calls)
				checkStretches(t, limit, all)
			})
		})
	}
}

// Clients that stay below the limit lose nothing, in however many processes they ask, and Redis is asked less.
func TestLeasesLeaveTheRateToTheFleet(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		limit     httpkey.Limit
		processes int
		load      float64 // the demand as a share of the limit
		lease     time.Duration
		calls     float64 // at most, for each request
	}{
		{httpkey.PerMinute(60), 8, 0.9, 50 * time.Millisecond, 1},
		{httpkey.PerMinute(60), 8, 0.9, 5 * time.Second, 1},
		{httpkey.PerSecond(1000), 1, 0.1, 50 * time.Millisecond, 0.25},
		{httpkey.PerSecond(1000), 1, 1, 50 * time.Millisecond, 0.05},
		{httpkey.PerSecond(1000), 8, 0.1, 50 * time.Millisecond, 1},
		{httpkey.PerSecond(1000), 8, 0.5, 50 * time.Millisecond, 0.1},
		{httpkey.PerSecond(1000), 8, 0.9, 50 * time.Millisecond, 0.15},
		{httpkey.PerSecond(5000), 8, 0.9, 50 * time.Millisecond, 0.05},
	} {
		t.Run(fmt.Sprint(tt), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				server := newGCRAServer()
				server.latency = func() time.Duration { return 250 * time.Microsecond }
				const requests = 8000
				limit := tt.limit.Resolve()
				gap := float64(limit.Period) / float64(limit.Rate) / tt.load * float64(tt.processes)
				var wg sync.WaitGroup
				for process := range tt.processes {
					limiter := NewLimiter(server, &Options{Lease: tt.lease})
					random := rand.New(rand.NewPCG(1, uint64(process)))
					wg.Go(func() {
						for range requests / tt.processes {
							httpkeytest.Elapse(time.Duration(random.ExpFloat64() * gap))
							wg.Go(func() {
								if r, _ := ask(t, limiter, limit, 1); !r.Allowed {
									t.Errorf("denied: %+v", r)
								}
							})
						}
					})
				}
				wg.Wait()
				calls := float64(server.calls) / requests
				t.Logf("Redis was asked %.3f times for each request", calls)
				if calls > tt.calls {
					t.Errorf("want %v", tt.calls)
				}
			})
		})
	}
}

// A client that asks just as often as the limit gives is always let in. A client that comes
// once in a Lease takes nothing ahead.
func TestLeasesTakeNothingFromTheSteady(t *testing.T) {
	t.Parallel()
	for _, reach := range []time.Duration{50 * time.Millisecond, 99 * time.Millisecond, time.Second, time.Hour} {
		t.Run(reach.String(), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				server, limit := newGCRAServer(), httpkey.Limit{Rate: 10, Burst: 10, Period: time.Second}
				server.latency = func() time.Duration { return time.Millisecond }
				limiter := NewLimiter(server, &Options{Lease: reach})
				start := time.Now()
				for i := range 1000 {
					httpkeytest.Elapse(time.Until(start.Add(time.Duration(i) * 100 * time.Millisecond)))
					if r, _ := ask(t, limiter, limit, 1); !r.Allowed {
						t.Fatalf("request %d: %+v", i, r)
					}
				}
				t.Logf("Redis was asked %d times", server.calls)
				if asks := server.calls == 1000; asks != (reach < 100*time.Millisecond) {
					t.Error("that is not what a Lease is for")
				}
			})
		})
	}
}

// A process reports its permits, and spends them without Redis, also in an outage, but not past their slots.
func TestLeasesAreSpent(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server, limit := newGCRAServer(), httpkey.Limit{Rate: 1, Burst: 60, Period: time.Second}
		limiter := NewLimiter(server, &Options{Lease: 30 * time.Second})
		for i, calls := range []int{1, 2, 2, 3, 3, 3, 3, 4} { // 0, 1, 3 and 7 are taken ahead
			r, _ := ask(t, limiter, limit, 1)
			want := httpkey.Result{Allowed: true, Limit: limit, Remaining: 59 - i, ResetAfter: time.Duration(i+1) * time.Second}
			if late := r.ResetAfter - want.ResetAfter; late < 0 || late > time.Microsecond {
				t.Errorf("request %d: ResetAfter is %v", i+1, r.ResetAfter)
			}
			if r.ResetAfter = want.ResetAfter; !equal(r, want) || server.calls != calls {
				t.Fatalf("request %d: %+v after %d calls, want\n%+v after %d", i+1, r, server.calls, want, calls)
			}
		}
		server.err = errors.New("down")
		if r, err := limiter.Allow(t.Context(), of("key", 8, limit)); err == nil {
			t.Errorf("more than is held, in an outage: %+v", r)
		}
		if r, err := limiter.Allow(t.Context(), of("key", 2, limit)); err != nil || !r.Allowed || r.Remaining != 50 {
			t.Errorf("what is held, in an outage: %+v, %v", r, err)
		}
		httpkeytest.Elapse(15*time.Second - time.Millisecond) // 15 are owed, and of the 5 the last slot is still to begin
		if _, err := limiter.Allow(t.Context(), of("key", 1, limit)); err == nil {
			t.Error("a slot that had begun was spent")
		}
		server.err = nil
		if r, _ := ask(t, limiter, limit, 0); r.Remaining != 60 && r.Remaining != 59 {
			t.Errorf("after all that: %+v", r)
		}
	})
}

// A process does not hold the slots that begin while the answer is on its way.
func TestLeasesCountFromTheQuestion(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server, limit := newGCRAServer(), httpkey.Limit{Rate: 1, Burst: 60, Period: time.Second}
		server.latency = func() time.Duration { return 3 * time.Second }
		limiter := NewLimiter(server, &Options{Lease: 30 * time.Second})
		for i, taken := range []int{1, 1 + 1, 1 + 3} { // in all, the debt is gone with the answer before
			before := time.Now()
			_, _ = ask(t, limiter, limit, 1)
			owed := time.Duration(0)
			for _, tat := range server.tat {
				owed = tat.Sub(before.Add(3 * time.Second))
			}
			if server.calls != i+1 || owed != time.Duration(taken)*time.Second {
				t.Errorf("request %d: %d calls, %v owed, want %d taken", i+1, server.calls, owed, taken)
			}
		}
	})
}

// After a Reset a process holds no permits that it took before, whether it held them already or
// had them on the way. So the processes together find one full bucket.
func TestResetsDropPermits(t *testing.T) {
	t.Parallel()
	for name, between := range map[string]time.Duration{
		"held": 0, "on the way to Redis": 5 * time.Millisecond, "on the way back": 15 * time.Millisecond,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				server, limit := newGCRAServer(), httpkey.Limit{Rate: 1, Burst: 60, Period: time.Hour}
				leasing, other := NewLimiter(server, &Options{Lease: 100 * time.Hour}), NewLimiter(server, nil)
				for range 5 {
					_, _ = ask(t, leasing, limit, 1)
					httpkeytest.Elapse(time.Second)
				}
				var wg sync.WaitGroup
				if between > 0 {
					server.latency = func() time.Duration { return 10 * time.Millisecond }
					for range 20 { // some find no permits any more
						wg.Go(func() { _, _ = ask(t, leasing, limit, 1) })
					}
					httpkeytest.Elapse(between)
				}
				if err := leasing.Reset(t.Context(), of("key", 0, limit)); err != nil {
					t.Fatal(err)
				}
				wg.Wait()
				server.latency = nil
				// Redis has the whole state again, so a charge that came after the Reset counts.
				left, _ := ask(t, other, limit, 0)
				if between == 0 && left.Remaining != 60 {
					t.Errorf("after the Reset, %d remain", left.Remaining)
				}
				admitted := 0
				for range 100 {
					for _, l := range []*Limiter{leasing, other} {
						if r, _ := ask(t, l, limit, 1); r.Allowed {
							admitted++
						}
					}
				}
				if admitted > left.Remaining || between == 0 && admitted < 40 {
					t.Errorf("%d were admitted of %d that were left", admitted, left.Remaining)
				}
			})
		})
	}
}

// A request passes even if it passes only without permits ahead.
func TestLeasesDenyNobody(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server, limit := newGCRAServer(), httpkey.Limit{Rate: 1, Burst: 40, Period: time.Hour}
		leasing := NewLimiter(server, &Options{Lease: 100 * time.Hour})
		_, _ = ask(t, leasing, limit, 1)
		_, _ = ask(t, NewLimiter(server, nil), limit, 38)
		if r, _ := ask(t, leasing, limit, 1); !r.Allowed || r.Remaining != 0 {
			t.Errorf("the last: %+v", r)
		}
		r, _ := ask(t, leasing, limit, 2)
		if late := r.RetryAfter - 2*time.Hour; r.Allowed || late < 0 || late > 2*time.Microsecond {
			t.Errorf("after the last: %+v", r)
		}
	})
}

// With forced charges and refunds between, a process that takes ahead admits nothing that the
// limit has no room for. It denies one request only for the slot that has begun, and several
// at once also for what it holds.
func TestLeasesHeedForcedCharges(t *testing.T) {
	t.Parallel()
	for seed := range uint64(8) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				random := rand.New(rand.NewPCG(seed, 3))
				server, limit := newGCRAServer(), httpkey.Limit{Rate: 1, Burst: 10 + random.IntN(90), Period: time.Second}
				limiter := NewLimiter(server, &Options{Lease: 30 * time.Second})
				terms := gcra.Terms{Rate: 1, Burst: int64(limit.Burst), Period: 1e6}
				var model gcra.Bucket
				spent, denied := 0, 0
				for step := range 5000 {
					c, now, calls := of("payer", 1, limit), time.Now().UnixMicro(), server.calls
					switch random.IntN(40) {
					case 0:
						c = &httpkey.Charge{Bucket: "payer", Limits: c.Limits, Cost: random.IntN(2 * limit.Burst), Forced: true}
					case 1, 2, 3:
						c = &httpkey.Charge{Bucket: "payer", Limits: c.Limits, Cost: -random.IntN(limit.Burst), Forced: true}
					case 4:
						c.Cost = random.IntN(limit.Burst)
					}
					got, err := limiter.Allow(t.Context(), c)
					if err != nil {
						t.Fatal(err)
					}
					room := terms.HasRoom(model.Owed(terms, now), int64(c.Cost))
					taken := int64(c.Cost)
					if !got.Allowed {
						taken = 0
					}
					want := model.Take(terms, now, taken, true)
					switch {
					case got.Allowed && !c.Forced && !room:
						t.Fatalf("step %d: %d passed, with room for %d: %+v", step, c.Cost, want.Remaining, got)
					case !got.Allowed && c.Cost == 1 && want.Remaining > 1:
						t.Fatalf("step %d: one was denied, with room for %d: %+v", step, want.Remaining, got)
					case !got.Allowed && server.calls == calls: // from memory, as it was at the denial
					case got.Remaining > int(want.Remaining):
						t.Fatalf("step %d, %+v: %+v, want at most %d left", step, c, got, want.Remaining)
					}
					if got.Allowed && server.calls == calls {
						spent++
					}
					if !got.Allowed {
						denied++
					}
					pause := time.Duration(random.Int64N(2 * int64(time.Second) >> random.IntN(6)))
					httpkeytest.Elapse(pause.Truncate(time.Microsecond))
				}
				t.Logf("%d were spent from leases, %d denied", spent, denied)
				if spent < 500 || denied < 100 {
					t.Error("that shows little")
				}
			})
		})
	}
}

// Permits that come ahead while a refund is under way are lost: the refund did not know of them.
func TestLeasesOnTheWayAreLostToARefund(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server, limit := newGCRAServer(), httpkey.Limit{Rate: 1, Burst: 60, Period: time.Hour}
		limiter := NewLimiter(server, &Options{Lease: 100 * time.Hour})
		_, _ = ask(t, limiter, limit, 1)
		server.latency = func() time.Duration { return time.Second }
		var group sync.WaitGroup
		group.Go(func() { _, _ = ask(t, limiter, limit, 1) }) // which takes ahead
		httpkeytest.Elapse(1500 * time.Millisecond)
		group.Go(func() {
			refund := of("key", -60, limit)
			refund.Forced = true
			if _, err := limiter.Allow(t.Context(), refund); err != nil {
				t.Error(err)
			}
		})
		group.Wait()
		if r, _ := ask(t, limiter, limit, 60); !r.Allowed {
			t.Errorf("after a refund of all: %+v", r)
		}
		if r, _ := ask(t, limiter, limit, 1); r.Allowed {
			t.Errorf("more than all: %+v", r)
		}
	})
}

// Under another limit of the same window nothing is held.
func TestLeasesAreOfOneLimit(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server, low, high := newGCRAServer(), httpkey.PerMinute(30).Resolve(), httpkey.PerMinute(60).Resolve()
		limiter := NewLimiter(server, &Options{Lease: 30 * time.Second})
		for i := range 5 {
			_, _ = ask(t, limiter, low, 1)
			httpkeytest.Elapse(time.Duration(i+1) * time.Millisecond)
		}
		held := limiter.leases.young[bucket{"key", ram.Term{Window: 60e6}}].n
		calls := server.calls
		if r, _ := ask(t, limiter, high, 1); held == 0 || server.calls != calls+1 || !r.Allowed || r.Limit != high.Resolve() {
			t.Errorf("with %d held and %d calls: %+v", held, server.calls-calls, r)
		}
	})
}

func TestLeasesAreJoinedToTheEarlier(t *testing.T) {
	t.Parallel()
	limit, now := httpkey.Limit{Rate: 1, Burst: 60, Period: time.Second}, time.Now()
	at := func(slot int) time.Time { return now.Add(time.Duration(slot) * time.Second) }
	for _, tt := range []struct{ held, end, n, nEnd, want int }{
		{0, 9, 3, 20, 20}, {0, 9, 0, 20, 9}, {2, 9, 0, 20, 9}, {2, 9, 3, 12, 12}, {2, 9, 3, 20, 12}, {2, 20, 3, 9, 9},
	} {
		l := &lease{limit: limit, n: tt.held, end: at(tt.end)}
		l.add(tt.n, at(tt.nEnd))
		if early := at(tt.want).Sub(l.end); l.n != tt.held+tt.n || early < 0 || early > time.Microsecond {
			t.Errorf("%+v: %d before %v", tt, l.n, l.end.Sub(now))
		}
	}
}

func TestLeasesAreBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		limiter := NewLimiter(newGCRAServer(), &Options{Lease: time.Second})
		for i := range 3*leasesSize + 1 {
			if _, err := limiter.Allow(t.Context(), of(fmt.Sprint(i), 1, perMinute)); err != nil {
				t.Fatal(err)
			}
			if size := len(limiter.leases.young) + len(limiter.leases.old); size > 2*leasesSize {
				t.Fatalf("%d leases are kept", size)
			}
		}
	})
}
