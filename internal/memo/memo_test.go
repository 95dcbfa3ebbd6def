package memo

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
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

// remembering is a limiter behind a Memo.
type remembering struct {
	memo    *Memo
	limiter httpkey.Limiter
	lag     func() // runs before and after each call
	calls   atomic.Int64
	running atomic.Int64
	most    atomic.Int64 // calls at once
}

func remember(limiter httpkey.Limiter, isStrict bool) *remembering {
	return &remembering{memo: New(isStrict), limiter: limiter, lag: func() {}}
}

func (r *remembering) Allow(ctx context.Context, c *httpkey.Charge) (httpkey.Result, error) {
	return r.memo.Allow(ctx, c, func() (httpkey.Result, error) {
		r.calls.Add(1)
		r.most.Store(max(r.most.Load(), r.running.Add(1)))
		defer r.running.Add(-1)
		r.lag()
		defer r.lag()
		return r.limiter.Allow(ctx, c)
	})
}

// asks reports whether a charge reaches the limiter.
func (r *remembering) asks(t *testing.T, c *httpkey.Charge) bool {
	t.Helper()
	before := r.calls.Load()
	if _, err := r.Allow(t.Context(), c); err != nil {
		t.Error(err)
	}
	return r.calls.Load() > before
}

func of(payer string, n int, limits ...httpkey.Limit) *httpkey.Charge {
	return &httpkey.Charge{Bucket: payer, Limits: limits, Cost: n}
}

func forced(payer string, n int, limits ...httpkey.Limit) *httpkey.Charge {
	return &httpkey.Charge{Bucket: payer, Limits: limits, Cost: n, Forced: true}
}

func named(name string, l httpkey.Limit) httpkey.Limit {
	l.Name = name
	return l
}

// randomCharges returns charges under one to three limits. Some share their buckets.
func randomCharges(random *rand.Rand) []*httpkey.Charge {
	charges := make([]*httpkey.Charge, 12)
	for i := range charges {
		c := of(fmt.Sprint("payer ", i%3), 1+random.IntN(3)*random.IntN(4))
		for _, name := range []string{"", "a", "b"}[:1+random.IntN(3)] {
			limit := httpkey.Limit{Rate: 5 + random.IntN(3), Period: time.Second}
			switch random.IntN(8) {
			case 0:
				limit = httpkey.Limit{Rate: 7, Burst: 3, Period: time.Minute}
			case 1:
				limit = httpkey.PerDay(500)
			case 2:
				limit = httpkey.PerMinute(0)
			}
			c.Limits = append(c.Limits, named(name, limit))
		}
		charges[i] = c
	}
	for i := range 3 {
		charges = append(charges, forced(charges[i].Bucket, i-2, charges[i].Limits...))
	}
	return charges
}

// In front of a limiter that answers at once, the Memo changes no answer, but that a wait may
// be a microsecond longer.
func TestMemoChangesNoAnswer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const steps = 50_000
		with, without := remember(memstore.NewLimiter(), false), memstore.NewLimiter()
		random := rand.New(rand.NewPCG(7, 8))
		var charges []*httpkey.Charge
		for step := range steps {
			if step%200 == 0 {
				charges = randomCharges(random)
			}
			c := charges[random.IntN(len(charges))]
			got, err := with.Allow(t.Context(), c)
			want, wantErr := without.Allow(t.Context(), c)
			if err != nil || wantErr != nil || !isAnswer(got, want) {
				t.Fatalf("step %d, %+v:\n%+v (%v), without a Memo\n%+v (%v)", step, c, got, err, want, wantErr)
			}
			httpkeytest.Elapse(time.Duration(random.IntN(40_000)) * time.Microsecond)
		}
		known := steps - with.calls.Load()
		t.Logf("%d of %d were answered from memory", known, steps)
		if known < steps/20 {
			t.Error("too few answers came from memory")
		}
	})
}

// isAnswer reports whether got is want, but for waits that are a microsecond longer.
func isAnswer(got, want httpkey.Result) bool {
	if got.RetryAfter == want.RetryAfter+time.Microsecond {
		got.RetryAfter = want.RetryAfter
	}
	if len(got.Each) != len(want.Each) {
		return false
	}
	for i := range got.Each {
		if !isAnswer(got.Each[i], want.Each[i]) {
			return false
		}
	}
	got.Each = want.Each
	return reflect.DeepEqual(got, want)
}

// Whatever the latency, the Memo denies no charge for which there is room.
func TestMemoDeniesOnlyWithoutRoom(t *testing.T) {
	t.Parallel()
	for name, limiter := range map[string]func() httpkey.Limiter{
		"GCRA":   func() httpkey.Limiter { return memstore.NewLimiter() },
		"strict": func() httpkey.Limiter { return memstore.NewWindow() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				const steps = 20_000
				random := rand.New(rand.NewPCG(5, 6))
				m := remember(limiter(), name == "strict")
				m.lag = func() { httpkeytest.Elapse(time.Duration(random.IntN(2000)) * time.Microsecond) }
				var charges []*httpkey.Charge
				for step := range steps {
					if step%200 == 0 {
						charges = randomCharges(random)
					}
					c := charges[random.IntN(len(charges))]
					before := m.calls.Load()
					r, err := m.Allow(t.Context(), c)
					if err != nil {
						t.Fatal(err)
					}
					if m.calls.Load() == before {
						look := *c
						look.Cost = 0
						now, err := m.limiter.Allow(t.Context(), &look) // it takes nothing
						lacks := func(r httpkey.Result) bool { return r.Remaining < c.Cost }
						room := len(now.Each) == 0 && !lacks(now) || len(now.Each) > 0 && !slices.ContainsFunc(now.Each, lacks)
						if err != nil || r.Allowed || room {
							t.Fatalf("%+v is denied from memory with\n%+v, but there is\n%+v", c, r, now)
						}
					}
					httpkeytest.Elapse(time.Duration(random.IntN(60)) * time.Millisecond)
				}
				t.Logf("%d of %d were answered from memory", steps-m.calls.Load(), steps)
				if steps-m.calls.Load() < steps/40 {
					t.Error("too few answers came from memory")
				}
			})
		})
	}
}

// A denial answers the same charge until more may be left, for a second at most.
func TestHowLongADenialHolds(t *testing.T) {
	t.Parallel()
	minute, hour := httpkey.PerMinute(6), httpkey.PerHour(6)
	for _, tt := range []struct {
		name     string
		taken    *httpkey.Charge // from a full bucket
		charge   *httpkey.Charge
		isStrict bool
		holds    time.Duration // 0: it is not remembered
	}{
		{"until a request comes back", of("p", 6, httpkey.PerSecond(6)), of("p", 1, httpkey.PerSecond(6)), false,
			166_666 * time.Microsecond},
		{"of more than one", of("p", 4, httpkey.PerSecond(6)), of("p", 5, httpkey.PerSecond(6)), false,
			166_667 * time.Microsecond},
		{"a second at most", of("p", 6, minute), of("p", 1, minute), false, time.Second},
		{"a quota", of("p", 6, httpkey.PerDay(6)), of("p", 1, httpkey.PerDay(6)), false, time.Second},
		{"of several, the first that changes", of("p", 5, httpkey.PerSecond(6), hour),
			of("p", 2, httpkey.PerSecond(6), hour), false, 166_667 * time.Microsecond},
		{"of several, none changes soon", of("p", 6, named("a", hour), httpkey.PerDay(6)),
			of("p", 1, named("a", hour), httpkey.PerDay(6)), false, time.Second},
		{"never", of("p", 1, httpkey.PerDay(6)), of("p", 7, httpkey.PerDay(6)), false, time.Second},
		{"a strict window", of("p", 6, httpkey.PerSecond(6)), of("p", 1, httpkey.PerSecond(6)), true, time.Second},
		{"a look", of("p", 6, hour), of("p", 0, hour), false, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var limiter httpkey.Limiter = memstore.NewLimiter()
				if tt.isStrict {
					limiter = memstore.NewWindow()
				}
				m := remember(limiter, tt.isStrict)
				for _, c := range []*httpkey.Charge{tt.taken, tt.charge} {
					if !m.asks(t, c) {
						t.Fatalf("%+v was answered from memory", c)
					}
				}
				if tt.holds > 0 {
					httpkeytest.Elapse(tt.holds - time.Microsecond)
					if m.asks(t, tt.charge) {
						t.Errorf("a microsecond before %v, the limiter was called", tt.holds)
					}
					httpkeytest.Elapse(time.Microsecond)
				}
				if !m.asks(t, tt.charge) {
					t.Errorf("after %v, the limiter was not called", tt.holds)
				}
			})
		})
	}
}

// A denial by a quota ends with its day.
func TestDenialsEndAtMidnight(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		httpkeytest.Elapse(24*time.Hour - 300*time.Millisecond) // the bubble begins at midnight
		m, c := remember(memstore.NewLimiter(), false), of("payer", 6, httpkey.PerDay(6))
		m.asks(t, c)
		m.asks(t, c)
		httpkeytest.Elapse(300*time.Millisecond - time.Microsecond)
		if m.asks(t, c) {
			t.Error("the denial ended before the day")
		}
		httpkeytest.Elapse(time.Microsecond)
		if r, err := m.Allow(t.Context(), c); err != nil || !r.Allowed {
			t.Errorf("on the next day: %+v, %v", r, err)
		}
	})
}

// A denial answers only charges of its own payer, limits and cost.
func TestDenialsAreOfOneCharge(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m, limit := remember(memstore.NewLimiter(), false), httpkey.PerHour(6)
		m.asks(t, of("payer", 5, limit))
		m.asks(t, of("payer", 3, limit))
		for _, c := range []*httpkey.Charge{
			of("Payer", 3, limit), of("payer", 2, limit), of("payer", 3, named("a", limit)), of("payer", 3, httpkey.PerHour(7)),
			of("payer", 3, limit, httpkey.PerDay(6)),
		} {
			if !m.asks(t, c) {
				t.Errorf("the denial answered %+v", c)
			}
		}
	})
}

// An admission, a forced charge and a refund of a payer end its denials.
func TestChargesEndDenials(t *testing.T) {
	t.Parallel()
	hour, other := httpkey.PerHour(6), named("other", httpkey.PerHour(6))
	for name, tt := range map[string]struct {
		charge *httpkey.Charge
		ends   bool
	}{
		"an admission":            {of("payer", 1, hour), true},
		"of another limit":        {of("payer", 1, other), true},
		"a forced charge":         {forced("payer", 1, hour), true},
		"a refund":                {forced("payer", -1, hour), true},
		"a denial":                {of("payer", 4, hour), false},
		"a look":                  {of("payer", 0, hour), false},
		"a refund of other payer": {forced("another", -1, hour), false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				m, denied := remember(memstore.NewLimiter(), false), of("payer", 3, hour)
				m.asks(t, of("payer", 4, hour))
				if m.asks(t, denied); m.asks(t, denied) {
					t.Fatal("the denial is not remembered")
				}
				m.asks(t, tt.charge)
				httpkeytest.Elapse(1)
				if got := m.asks(t, denied); got != tt.ends {
					t.Errorf("the limiter was called: %v, want %v", got, tt.ends)
				}
			})
		})
	}
}

// The Memo does not keep a denial that a refund has overtaken, even if the answer to the refund is lost.
func TestRefundsOvertakeDenials(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m, hour := remember(memstore.NewLimiter(), false), httpkey.PerHour(6)
		m.asks(t, of("payer", 6, hour))
		m.lag = func() { httpkeytest.Elapse(10 * time.Millisecond) }
		go func() {
			httpkeytest.Elapse(15 * time.Millisecond) // the denial is on its way back
			_, _ = m.memo.Allow(t.Context(), forced("payer", -1, hour), func() (httpkey.Result, error) {
				_, _ = m.limiter.Allow(t.Context(), forced("payer", -1, hour))
				return httpkey.Result{}, errors.New("the answer was lost")
			})
		}()
		if r, err := m.Allow(t.Context(), of("payer", 1, hour)); err != nil || r.Allowed {
			t.Fatalf("%+v, %v", r, err)
		}
		if r, err := m.Allow(t.Context(), of("payer", 1, hour)); err != nil || !r.Allowed {
			t.Errorf("after the refund: %+v, %v", r, err)
		}
	})
}

// A reset ends the denials of its payer, also of those that are on the way, and even if its answer
// is lost.
func TestResetsEndDenials(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m, hour, lost := remember(memstore.NewLimiter(), false), httpkey.PerHour(6), errors.New("the answer was lost")
		reset := func(payer string) error {
			return m.memo.Reset(payer, func() error {
				if err := m.limiter.(httpkey.Resetter).Reset(t.Context(), of(payer, 0, hour)); err != nil {
					t.Error(err)
				}
				return lost
			})
		}
		denied := func(payer string) bool {
			r, err := m.Allow(t.Context(), of(payer, 1, hour))
			if err != nil {
				t.Error(err)
			}
			return !r.Allowed
		}
		for _, payer := range []string{"payer", "another"} {
			m.asks(t, of(payer, 6, hour))
			if !denied(payer) || m.asks(t, of(payer, 1, hour)) {
				t.Fatal("the denial is not remembered")
			}
		}
		if err := reset("payer"); !errors.Is(err, lost) {
			t.Errorf("the reset returned %v", err)
		}
		if denied("payer") || !denied("another") {
			t.Error("the reset did not end the denials of its payer alone")
		}
		m.asks(t, of("payer", 5, hour))
		m.lag = func() { httpkeytest.Elapse(10 * time.Millisecond) }
		go func() {
			httpkeytest.Elapse(15 * time.Millisecond) // the denial is on its way back
			_ = reset("payer")
		}()
		if !denied("payer") || denied("payer") {
			t.Error("the reset did not overtake a denial")
		}
	})
}

// A refund by another process takes effect within a second.
func TestRefundsElsewhereShowWithinASecond(t *testing.T) {
	t.Parallel()
	for name, limits := range map[string][]httpkey.Limit{
		"one": {httpkey.PerHour(6)}, "a quota": {httpkey.PerMonth(6)}, "several": {httpkey.PerHour(6), httpkey.PerMonth(6)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				m := remember(memstore.NewLimiter(), false)
				m.asks(t, of("payer", 6, limits...))
				m.asks(t, of("payer", 1, limits...))
				_, _ = m.limiter.Allow(t.Context(), forced("payer", -6, limits...))
				httpkeytest.Elapse(time.Second)
				if r, err := m.Allow(t.Context(), of("payer", 1, limits...)); err != nil || !r.Allowed {
					t.Errorf("%+v, %v", r, err)
				}
			})
		})
	}
}

// If a payer is over its limit, one caller asks at a time, and one asks for each request that
// is admitted.
func TestOneCallerAsksAtATime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m, limit := remember(memstore.NewLimiter(), false), httpkey.PerMinute(60)
		m.asks(t, of("payer", 60, limit))
		m.asks(t, of("payer", 1, limit))
		m.lag = func() { httpkeytest.Elapse(10 * time.Millisecond) }
		var admitted atomic.Int64
		var callers sync.WaitGroup
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		before := m.calls.Load()
		for range 100 {
			callers.Go(func() {
				for ctx.Err() == nil {
					if r, _ := m.Allow(ctx, of("payer", 1, limit)); r.Allowed {
						admitted.Add(1)
					}
					httpkeytest.Elapse(7 * time.Millisecond)
				}
			})
		}
		callers.Wait()
		calls := m.calls.Load() - before
		t.Logf("%d calls, %d at once, admitted %d", calls, m.most.Load(), admitted.Load())
		if m.most.Load() != 1 || admitted.Load() < 9 || calls > admitted.Load()+2 {
			t.Errorf("%d calls, %d at once, for %d admissions, want one for each, one at once",
				calls, m.most.Load(), admitted.Load())
		}
	})
}

// No caller waits for longer than three calls to the limiter take, also if requests come back as
// fast as that. A Guard would ask its fallback for the others, which counts by itself.
func TestCallersOfABriskLimitGetAnAnswer(t *testing.T) {
	t.Parallel()
	const way = 5 * time.Millisecond
	for _, isStrict := range []bool{false, true} {
		for _, rate := range []int{20, 50, 80, 100, 120, 200, 1000} {
			t.Run(fmt.Sprintf("%d a second, strict: %v", rate, isStrict), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					var limiter httpkey.Limiter = memstore.NewLimiter()
					if isStrict {
						limiter = memstore.NewWindow()
					}
					m, limit := remember(limiter, isStrict), httpkey.PerSecond(rate)
					m.asks(t, of("payer", rate, limit))
					m.asks(t, of("payer", 1, limit))
					m.lag = func() { httpkeytest.Elapse(way) }
					var admitted, denied atomic.Int64
					var longest time.Duration
					var mu sync.Mutex // of longest
					var callers sync.WaitGroup
					begun := time.Now()
					for i := range 200 {
						random := rand.New(rand.NewPCG(9, uint64(i)))
						callers.Go(func() {
							for time.Since(begun) < 3*time.Second {
								httpkeytest.Elapse(time.Duration(1+random.IntN(100_000)) * time.Microsecond)
								came := time.Now()
								r, err := m.Allow(t.Context(), of("payer", 1, limit))
								switch {
								case err != nil || !r.Allowed && r.RetryAfter <= 0:
									t.Errorf("%+v, %v", r, err)
								case r.Allowed:
									admitted.Add(1)
								default:
									denied.Add(1)
								}
								mu.Lock()
								longest = max(longest, time.Since(came))
								mu.Unlock()
							}
						})
					}
					callers.Wait()
					t.Logf("admitted %d, denied %d, %d calls, the longest wait was %v",
						admitted.Load(), denied.Load(), m.calls.Load(), longest)
					if longest > 3*2*way || admitted.Load() < 2*int64(min(rate, 900)) {
						t.Errorf("of %d a second, %d were admitted in three, and a caller waited for %v",
							rate, admitted.Load(), longest)
					}
					if all := admitted.Load() + denied.Load(); m.calls.Load() > all*3/4 {
						t.Errorf("%d of %d callers asked", m.calls.Load(), all)
					}
				})
			})
		}
	}
}

// The callers of a payer that has been within its limit for a second wait for no other.
func TestCallersWithinTheLimitDoNotWait(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m, limit := remember(memstore.NewLimiter(), false), httpkey.PerMinute(600)
		m.asks(t, of("payer", 600, limit))
		m.asks(t, of("payer", 1, limit))
		httpkeytest.Elapse(10 * time.Second)
		m.asks(t, of("payer", 1, limit))
		m.lag = func() { httpkeytest.Elapse(5 * time.Millisecond) }
		for range 50 {
			go func() {
				begun := time.Now()
				r, err := m.Allow(t.Context(), of("payer", 1, limit))
				if took := time.Since(begun); err != nil || !r.Allowed || took != 10*time.Millisecond {
					t.Errorf("%+v, %v after %v", r, err, took)
				}
			}()
		}
		httpkeytest.Elapse(time.Second)
	})
}

// A remembered wait never ends at 0, which would mean that the charge can never pass.
func TestWaitsStayPositive(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		result := httpkey.Result{RetryAfter: time.Millisecond, ResetAfter: time.Second}
		d := denial{result: result, answered: time.Now()}
		d.result.Each = []httpkey.Result{result, {ResetAfter: time.Second}}
		httpkeytest.Elapse(time.Minute)
		r := d.again(time.Now())
		if r.RetryAfter != time.Microsecond || r.Each[0].RetryAfter != time.Microsecond || r.Each[1].RetryAfter != 0 {
			t.Errorf("a minute after %+v: %+v", result, r)
		}
	})
}

// An admission that is late says nothing of a bucket that the limiter has been asked for since.
func TestLateAdmissions(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m, c := New(false), of("payer", 1, httpkey.PerHour(6))
		answer := func(allowed bool, after time.Duration) func() (httpkey.Result, error) {
			return func() (httpkey.Result, error) {
				httpkeytest.Elapse(after)
				r := httpkey.Result{Allowed: allowed, Limit: httpkey.PerHour(6).Resolve(), ResetAfter: time.Hour}
				if !allowed {
					r.RetryAfter = 10 * time.Minute
				}
				return r, nil
			}
		}
		go func() { _, _ = m.Allow(t.Context(), c, answer(true, 20*time.Millisecond)) }()
		synctest.Wait()
		_, _ = m.Allow(t.Context(), c, answer(false, 10*time.Millisecond))
		httpkeytest.Elapse(10 * time.Millisecond)
		synctest.Wait()
		asked := false
		_, _ = m.Allow(t.Context(), c, func() (httpkey.Result, error) {
			asked = true
			return answer(false, 0)()
		})
		if !asked {
			t.Error("the limiter was not asked")
		}
	})
}

// Other callers wait no longer than a call that fails, panics or hangs.
func TestCallersAreReleased(t *testing.T) {
	t.Parallel()
	errDown := errors.New("down")
	for name, ask := range map[string]func() (httpkey.Result, error){
		"an error": func() (httpkey.Result, error) { return httpkey.Result{}, errDown },
		"a panic":  func() (httpkey.Result, error) { panic(errDown) },
		"a hang": func() (httpkey.Result, error) {
			httpkeytest.Elapse(time.Hour)
			return httpkey.Result{}, errDown
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				m, c := remember(memstore.NewLimiter(), false), of("payer", 6, httpkey.PerHour(6))
				m.asks(t, c)
				m.asks(t, c)
				httpkeytest.Elapse(time.Minute)
				go func() {
					defer func() { _ = recover() }()
					_, _ = m.memo.Allow(t.Context(), c, func() (httpkey.Result, error) {
						httpkeytest.Elapse(time.Millisecond)
						return ask()
					})
				}()
				synctest.Wait()
				ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
				defer cancel()
				start := time.Now()
				r, err := m.Allow(ctx, c)
				want := map[bool]time.Duration{true: 50 * time.Millisecond, false: time.Millisecond}[name == "a hang"]
				if r.Allowed || errors.Is(err, context.DeadlineExceeded) != (name == "a hang") ||
					errors.Is(err, failover.ErrNotAsked) != (name == "a hang") || time.Since(start) != want {
					t.Errorf("%+v, %v after %v", r, err, time.Since(start))
				}
				httpkeytest.Elapse(2 * time.Hour)
			})
		})
	}
}

// If a caller changes the result of several limits, later answers stay the same.
func TestResultsAreTheCallersOwn(t *testing.T) {
	t.Parallel()
	m, c := remember(memstore.NewLimiter(), false), of("payer", 6, httpkey.PerHour(6), httpkey.PerDay(60))
	m.asks(t, c)
	for range 3 {
		r, err := m.Allow(t.Context(), c)
		if err != nil || r.Each[1].Limit.Rate != 60 {
			t.Errorf("%+v, %v", r, err)
		}
		clear(r.Each)
		c.Limits = append([]httpkey.Limit(nil), c.Limits...)
	}
}

func TestMemoIsBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m, hour := remember(memstore.NewLimiter(), false), httpkey.PerHour(1)
		charge := func(i int) *httpkey.Charge { return of(fmt.Sprint("payer ", i), 2, hour) }
		for i := range 3*size + 1 {
			m.asks(t, charge(i))
			for n := range i % 9 {
				m.asks(t, of(charge(i).Bucket, 3+n, hour))
			}
			if n := len(m.memo.find(charge(i).Bucket).denials); n != min(i%9+1, perPayer) {
				t.Fatalf("%d denials are kept of a payer", n)
			}
			if n := len(m.memo.young) + len(m.memo.old); n > 2*size {
				t.Fatalf("%d payers are kept", n)
			}
		}
		if m.asks(t, charge(3*size)) || m.asks(t, charge(2*size+1)) {
			t.Error("the latest denials were forgotten")
		}
	})
}

// A nil Memo always asks.
func TestNoMemo(t *testing.T) {
	t.Parallel()
	m := &remembering{limiter: memstore.NewLimiter(), lag: func() {}}
	for range 3 {
		if !m.asks(t, of("payer", 2, httpkey.PerHour(1))) {
			t.Error("the limiter was not called")
		}
	}
}
