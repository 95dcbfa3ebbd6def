package gather

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/httpkeytest"
	"github.com/httpkey/httpkey/internal/failover"
	"github.com/httpkey/httpkey/memstore"
)

const latency = 10 * time.Millisecond

// remote is a limiter in memory whose calls take time. It counts them, and those of a payer
// that run at once.
type remote struct {
	*memstore.Limiter
	calls, running, most atomic.Int64
}

func newRemote() *remote { return &remote{Limiter: memstore.NewLimiter()} }

func (r *remote) ask(ctx context.Context, c *httpkey.Charge) (httpkey.Result, error) {
	r.calls.Add(1)
	r.most.Store(max(r.most.Load(), r.running.Add(1)))
	defer r.running.Add(-1)
	select {
	case <-time.After(latency):
	case <-ctx.Done():
		return httpkey.Result{}, ctx.Err()
	}
	return r.Allow(context.WithoutCancel(ctx), c)
}

func of(payer string, cost int, limits ...httpkey.Limit) *httpkey.Charge {
	return &httpkey.Charge{Bucket: payer, Limits: limits, Cost: cost}
}

// Many callers at once get no more than the limit, in a few calls, and the denied ones hear
// what they would hear alone.
func TestManyAtOnce(t *testing.T) {
	t.Parallel()
	for name, limits := range map[string][]httpkey.Limit{
		"one limit": {httpkey.PerHour(60)},
		"several":   {httpkey.PerMinute(1000), httpkey.PerHour(60), httpkey.PerDay(500)},
		"a quota":   {httpkey.PerDay(60)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var g Gatherer
				limiter := newRemote()
				var admitted, denied atomic.Int64
				var callers sync.WaitGroup
				for range 300 {
					callers.Go(func() {
						start := time.Now()
						r, err := g.Allow(t.Context(), of("ada", 1, limits...), limiter.ask)
						switch {
						case err != nil:
							t.Error(err)
						case r.Allowed:
							admitted.Add(1)
						default:
							denied.Add(1)
							alone, _ := limiter.Allow(t.Context(), of("ada", 1, limits...))
							if late := r.RetryAfter - alone.RetryAfter; late < 0 || late > time.Microsecond {
								t.Errorf("RetryAfter is %v, alone %v", r.RetryAfter, alone.RetryAfter)
							}
							if r.Remaining != 0 || r.ResetAfter != alone.ResetAfter || r.Limit != alone.Limit {
								t.Errorf("denied with %+v, alone with %+v", r, alone)
							}
						}
						if took := time.Since(start); took > 3*latency {
							t.Errorf("an answer took %v", took)
						}
					})
				}
				callers.Wait()
				if admitted.Load() != 60 || denied.Load() != 240 || limiter.calls.Load() != 3 {
					t.Errorf("%d admitted, %d denied, %d calls, want 60, 240 and 3",
						admitted.Load(), denied.Load(), limiter.calls.Load())
				}
				if len(g.payers) > 0 {
					t.Error("a payer is kept")
				}
			})
		})
	}
}

// Calls of one payer do not overlap, and those of others do not wait for them.
func TestPayersDoNotWaitForEachOther(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var g Gatherer
		hot, calm := newRemote(), newRemote()
		var callers sync.WaitGroup
		for range 100 {
			callers.Go(func() { _, _ = g.Allow(t.Context(), of("hot", 1, httpkey.PerHour(1000)), hot.ask) })
		}
		synctest.Wait()
		for _, payer := range []string{"a", "b", "c"} {
			callers.Go(func() {
				start := time.Now()
				_, _ = g.Allow(t.Context(), of(payer, 1, httpkey.PerHour(1000)), calm.ask)
				if took := time.Since(start); took != latency {
					t.Errorf("%s waited for %v", payer, took)
				}
			})
		}
		callers.Wait()
		if hot.most.Load() != 1 || calm.most.Load() != 3 {
			t.Errorf("%d calls of one payer at once, and %d of three others", hot.most.Load(), calm.most.Load())
		}
	})
}

// Whatever callers ask, and whoever leaves: what the buckets hold is what was admitted, no
// limit is exceeded, and nobody is left.
func TestRandomCallers(t *testing.T) {
	t.Parallel()
	for seed := range uint64(50) {
		synctest.Test(t, func(t *testing.T) {
			var g Gatherer
			limiter := newRemote()
			random := rand.New(rand.NewPCG(seed, 1))
			limits := [][]httpkey.Limit{
				{httpkey.PerHour(100)}, {httpkey.PerHour(100), httpkey.PerDay(150)},
				{{Name: "other", Rate: 30, Period: time.Hour}},
			}
			var hourly, other, unsure atomic.Int64
			var callers sync.WaitGroup
			for range 200 {
				which, cost := random.IntN(len(limits)), random.IntN(5)
				patience := time.Duration(1+random.IntN(100)) * time.Millisecond
				httpkeytest.Elapse(time.Duration(random.IntN(3)) * time.Millisecond)
				callers.Go(func() {
					ctx, cancel := context.WithTimeout(t.Context(), patience)
					defer cancel()
					c := of("ada", cost, slices.Clone(limits[which])...)
					r, err := g.Allow(ctx, c, limiter.ask)
					clear(c.Limits) // it is the caller's again
					*c = httpkey.Charge{}
					switch {
					case errors.Is(err, failover.ErrNotAsked), errors.Is(err, context.DeadlineExceeded):
						unsure.Add(int64(cost))
					case err != nil:
						t.Error(err)
					case r.Allowed && which < 2:
						hourly.Add(int64(cost))
					case r.Allowed:
						other.Add(int64(cost))
					case cost == 0:
						t.Error("a cost of 0 was denied")
					}
				})
			}
			callers.Wait()
			synctest.Wait()
			left := func(l httpkey.Limit) int64 {
				r, err := limiter.Allow(t.Context(), of("ada", 0, l))
				if err != nil {
					t.Fatal(err)
				}
				return int64(r.Remaining)
			}
			if n := hourly.Load(); n > 101 || 100-left(limits[0][0]) > n+unsure.Load() || 100-left(limits[0][0])+1 < n {
				t.Errorf("seed %d: %d were admitted and %d are unsure, but %d are left of 100",
					seed, n, unsure.Load(), left(limits[0][0]))
			}
			if n := other.Load(); n > 30 || 30-left(limits[2][0]) > n+unsure.Load() || 30-left(limits[2][0])+1 < n {
				t.Errorf("seed %d: %d were admitted and %d are unsure, but %d are left of 30",
					seed, n, unsure.Load(), left(limits[2][0]))
			}
			if len(g.payers) > 0 {
				t.Errorf("seed %d: a payer is kept", seed)
			}
		})
	}
}

// A failed call is one failure, however many callers it had.
func TestOneFailure(t *testing.T) {
	t.Parallel()
	down := errors.New("the server is down")
	for name, fail := range map[string]func(){"an error": nil, "a panic": func() { panic(down) }} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var g Gatherer
				var failures, others, panics atomic.Int64
				var callers sync.WaitGroup
				ask := func(context.Context, *httpkey.Charge) (httpkey.Result, error) {
					httpkeytest.Elapse(latency)
					if fail != nil {
						fail()
					}
					return httpkey.Result{}, down
				}
				for range 50 {
					callers.Go(func() {
						defer func() {
							if recover() != nil {
								panics.Add(1)
							}
						}()
						switch _, err := g.Allow(t.Context(), of("ada", 1, httpkey.PerHour(60)), ask); {
						case errors.Is(err, failover.ErrNotAsked):
							others.Add(1)
						case errors.Is(err, down):
							failures.Add(1)
						default:
							t.Error(err)
						}
					})
				}
				callers.Wait()
				// The first caller went alone.
				if failures.Load()+panics.Load() != 2 || others.Load() != 48 || len(g.payers) > 0 {
					t.Errorf("%d failures, %d panics, %d others, %d payers",
						failures.Load(), panics.Load(), others.Load(), len(g.payers))
				}
			})
		})
	}
}

// If another process charges between two calls, the callers get what it has left.
func TestAnotherProcessComesFirst(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var g Gatherer
		limiter, limit := newRemote(), httpkey.PerHour(60)
		ask := func(ctx context.Context, c *httpkey.Charge) (httpkey.Result, error) {
			if limiter.calls.Load() == 2 { // the call of those for which there was room
				if r, err := limiter.Allow(ctx, of("ada", 30, limit)); err != nil || !r.Allowed {
					t.Errorf("the other process: %+v, %v", r, err)
				}
			}
			return limiter.ask(ctx, c)
		}
		var admitted atomic.Int64
		var callers sync.WaitGroup
		for range 300 {
			callers.Go(func() {
				if r, err := g.Allow(t.Context(), of("ada", 1, limit), ask); err != nil {
					t.Error(err)
				} else if r.Allowed {
					admitted.Add(1)
				}
			})
		}
		callers.Wait()
		if admitted.Load() != 30 {
			t.Errorf("%d were admitted, want 30", admitted.Load())
		}
	})
}

// The caller with the most time makes the call. One that asks for more than the limit can ever
// admit goes alone, and spoils no other's answer.
func TestImpatientAndImpossibleCallers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var g Gatherer
		limiter, limit := newRemote(), httpkey.PerHour(60)
		var callers sync.WaitGroup
		for i, patience := range []time.Duration{time.Second, latency + latency/2, time.Second} {
			callers.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), patience)
				defer cancel()
				r, err := g.Allow(ctx, of("ada", 1, limit), limiter.ask)
				if isPatient := patience == time.Second; isPatient != (err == nil) || isPatient && !r.Allowed {
					t.Errorf("caller %d: %+v, %v", i, r, err)
				}
			})
			synctest.Wait()
		}
		callers.Go(func() {
			if r, err := g.Allow(t.Context(), of("ada", 61, limit), limiter.ask); err != nil || r.Allowed || r.RetryAfter != 0 {
				t.Errorf("what can never pass: %+v, %v", r, err)
			}
		})
		callers.Wait()
		if limiter.calls.Load() != 3 {
			t.Errorf("%d calls, want 3", limiter.calls.Load())
		}
	})
}

// A caller whose time is over while it waits is not charged.
func TestWaitersLeave(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var g Gatherer
		limiter := newRemote()
		var callers sync.WaitGroup
		callers.Go(func() { _, _ = g.Allow(t.Context(), of("ada", 1, httpkey.PerHour(60)), limiter.ask) })
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), latency/2)
		defer cancel()
		for range 5 {
			callers.Go(func() {
				if _, err := g.Allow(ctx, of("ada", 1, httpkey.PerHour(60)), limiter.ask); !errors.Is(err, failover.ErrNotAsked) {
					t.Error(err)
				}
			})
		}
		callers.Wait()
		if limiter.calls.Load() != 1 || len(g.payers) > 0 {
			t.Errorf("%d calls, %d payers are kept", limiter.calls.Load(), len(g.payers))
		}
	})
}
