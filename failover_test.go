package httpkey_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/httpkeytest"
	"github.com/httpkey/httpkey/memstore"
)

// remoteLimiter is a limiter that can be down, and brings its stand-in.
type remoteLimiter struct{ *httpkeytest.Limiter }

func newRemoteLimiter() remoteLimiter {
	return remoteLimiter{httpkeytest.NewLimiter(memstore.NewLimiter())}
}

func (remoteLimiter) Fallback() httpkey.Limiter { return memstore.NewLimiter() }

func (l remoteLimiter) calls() int { return l.Calls("Allow") }

var (
	errDown = errors.New("connection refused")
	refused = httpkeytest.Fail(errDown)
	hang    = httpkeytest.Stall()
)

// outage is a Guard over a limiter that can be down, within a bubble.
type outage struct {
	*testing.T
	limiter remoteLimiter
	handler http.Handler
	key     string
	seen    *events
}

func inOutage(t *testing.T, opts httpkey.Options, test func(o outage)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		o := outage{T: t, limiter: newRemoteLimiter(), seen: new(events)}
		opts.Observers = observers(o.seen)
		guard := httpkey.New(memstore.New(), o.limiter, &opts)
		o.key, _ = issue(t, guard, httpkey.Token{})
		o.handler = guard.Handler(ok)
		test(o)
	})
}

// changes are the events of the limiter's state.
func (e *events) changes() []httpkey.EventType {
	return e.types(httpkey.EventLimiterDown, httpkey.EventLimiterUp)
}

// get sends a request and checks how long it took.
func (o outage) get(want time.Duration) *httptest.ResponseRecorder {
	o.Helper()
	start := time.Now()
	w := httpkeytest.Get(o.handler, o.key)
	if took := time.Since(start); took != want {
		o.Errorf("the request took %v, want %v", took, want)
	}
	return w
}

// Requests are limited in memory while the limiter is down, wait for it three
// times at most, and are limited by it again when it is back. Both are told once.
func TestFallback(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		down httpkeytest.Fault
		wait time.Duration // of a request that asks the limiter
	}{
		"refused": {refused, 0},
		"hangs":   {hang, 100 * time.Millisecond},
		"slow":    {httpkeytest.Lag(200 * time.Millisecond), 100 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inOutage(t, httpkey.Options{}, func(o outage) {
				o.get(0)
				o.limiter.Before(tt.down)
				for n := range 60 {
					wait := tt.wait
					if n >= 3 {
						wait = 0
					}
					if w := o.get(wait); w.Code != http.StatusOK || n == 0 && w.Header().Get("X-RateLimit-Remaining") != "59" {
						t.Fatalf("request %d: status %d, %v", n, w.Code, w.Header())
					}
				}
				if w := o.get(0); w.Code != http.StatusTooManyRequests {
					t.Errorf("over the limit, the fallback answers %d", w.Code)
				}
				if calls := o.limiter.calls(); calls != 4 {
					t.Errorf("a limiter that is down was asked %d times, want 3", calls-1)
				}
				for range 10 { // it stays down: a look at it each half second, and no request waits
					httpkeytest.Elapse(time.Second)
					o.get(0)
					synctest.Wait()
				}
				httpkeytest.Elapse(time.Second)
				if calls := o.limiter.calls(); calls > 14 {
					t.Errorf("it was asked %d times in 11 s", calls-4)
				}
				o.limiter.Before(nil)
				o.get(0) // the one that has it asked
				synctest.Wait()
				calls := o.limiter.calls()
				if w := o.get(0); w.Header().Get("X-RateLimit-Remaining") != "59" {
					t.Errorf("to ask whether it is back took from the key's bucket: %v", w.Header())
				}
				if o.limiter.calls() != calls+1 {
					t.Error("a limiter that is back is not asked")
				}
				want := []httpkey.EventType{httpkey.EventLimiterDown, httpkey.EventLimiterUp}
				if got := o.seen.changes(); !slices.Equal(got, want) {
					t.Errorf("observed %v, want %v", got, want)
				}
			})
		})
	}
}

// Single failures between successes do not make a limiter be down.
func TestSingleFailuresAreNoOutage(t *testing.T) {
	t.Parallel()
	inOutage(t, httpkey.Options{}, func(o outage) {
		for n := range 30 {
			if o.limiter.Before(nil); n%3 < 2 {
				o.limiter.Before(refused)
			}
			if w := o.get(0); w.Code != http.StatusOK {
				t.Errorf("status %d", w.Code)
			}
		}
		if got := o.seen.changes(); len(got) > 0 {
			t.Errorf("observed %v", got)
		}
	})
}

// An invalid charge is no failure of the limiter.
func TestInvalidChargesAreNoOutage(t *testing.T) {
	t.Parallel()
	inOutage(t, httpkey.Options{Charge: func(_ *http.Request, _ *httpkey.Token, c *httpkey.Charge) {
		c.Cost = -1
	}}, func(o outage) {
		for range 5 {
			if w := o.get(0); w.Code != http.StatusServiceUnavailable {
				t.Errorf("an invalid charge is answered %d", w.Code)
			}
		}
		if got := o.seen.changes(); len(got) > 0 {
			t.Errorf("observed %v", got)
		}
	})
}

// The policies other than the default.
func TestFallbackPolicies(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		fallback httpkey.Limiter
		status   int
		headers  int
	}{
		"open":   {httpkey.Unlimited, http.StatusOK, 0},
		"closed": {httpkey.FailClosed, http.StatusServiceUnavailable, 0},
		"other":  {memstore.NewWindow(), http.StatusOK, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inOutage(t, httpkey.Options{Fallback: tt.fallback}, func(o outage) {
				o.limiter.Before(refused)
				for range 10 {
					w := o.get(0)
					if w.Code != tt.status || len(w.Header()["X-Ratelimit-Limit"]) != tt.headers {
						t.Errorf("status %d, %v", w.Code, w.Header())
					}
				}
			})
		})
	}
	t.Run("none of its own", func(t *testing.T) {
		t.Parallel()
		var seen events
		limiter := limiterFunc(func(_ context.Context, c *httpkey.Charge) (httpkey.Result, error) {
			return httpkey.Result{},
				errDown
		})
		guard := httpkey.New(memstore.New(), limiter, &httpkey.Options{Observers: observers(&seen)})
		key, _ := issue(t, guard, httpkey.Token{})
		for n := range 5 {
			if w := httpkeytest.Get(guard.Handler(ok), key); w.Code != http.StatusServiceUnavailable {
				t.Errorf("status %d", w.Code)
			}
			if err := seen.last(t).Err; n == 0 && !errors.Is(err, errDown) {
				t.Errorf("observed %v", err)
			}
		}
	})
}

// In the first period of an outage, each process admits the limit from its own memory, after
// what the limiter has admitted: (processes + 1) × limit in all, and no more.
func TestOutageAdmitsOneLimitMoreThanThereAreProcesses(t *testing.T) {
	t.Parallel()
	const processes, limit = 3, 10
	synctest.Test(t, func(t *testing.T) {
		store, limiter := memstore.New(), newRemoteLimiter()
		var guards []*httpkey.Guard
		for range processes {
			guards = append(guards, httpkey.New(store, limiter, nil))
		}
		key, _ := issue(t, guards[0], httpkey.Token{Limits: limits(httpkey.PerHour(limit))})
		admitted := func() (n int) {
			for range 2 * limit {
				for _, guard := range guards {
					if w := httpkeytest.Get(guard.Handler(ok), key); w.Code == http.StatusOK {
						n++
					}
				}
			}
			return n
		}
		if n := admitted(); n != limit {
			t.Errorf("together they admit %d, want %d", n, limit)
		}
		limiter.Before(refused)
		if n := admitted(); n != processes*limit {
			t.Errorf("in the outage, %d processes admit %d more, want %d", processes, n, processes*limit)
		}
	})
}

// The timeout is for the store and the limiter together, and what the store took
// is not held against the limiter: neither if nothing is left, nor if little is.
func TestTimeoutIsShared(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var seen events
		store := httpkeytest.NewStore(memstore.New())
		limiter := newRemoteLimiter()
		guard := httpkey.New(store, limiter, &httpkey.Options{Observers: observers(&seen), Timeout: 30 * time.Millisecond})
		key, _ := issue(t, guard, httpkey.Token{})
		limiter.Before(httpkeytest.Lag(5 * time.Millisecond))
		for pause, want := range map[time.Duration]int{
			20 * time.Millisecond: 5, 29 * time.Millisecond: 5, 31 * time.Millisecond: 0,
		} {
			before := limiter.calls()
			store.Before(func(context.Context, string) error { // which heeds no context
				httpkeytest.Elapse(pause)
				return nil
			})
			for range 5 {
				if w := httpkeytest.Get(guard.Handler(ok), key); w.Code != http.StatusOK {
					t.Errorf("status %d", w.Code)
				}
			}
			if got := limiter.calls() - before; got != want {
				t.Errorf("after a lookup of %v, the limiter was asked %d times, want %d", pause, got, want)
			}
		}
		if got := seen.changes(); len(got) > 0 {
			t.Errorf("observed %v", got)
		}
	})
}

// The timeout bounds all that is waited for the store, under the previous peppers too,
// wherever the limiter is.
func TestTimeoutOfTheStoreAlone(t *testing.T) {
	t.Parallel()
	for name, limiter := range map[string]httpkey.Limiter{
		"in memory": memstore.NewLimiter(), "unlimited": httpkey.Unlimited, "remote": newRemoteLimiter(),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				store := httpkeytest.NewStore(memstore.New())
				guard := httpkey.New(store, limiter, &httpkey.Options{
					Pepper:          httpkey.Secret(strings.Repeat("p", 32)),
					PreviousPeppers: []httpkey.Secret{""},
				})
				key, _ := issue(t, httpkey.New(store, httpkey.Unlimited, nil), httpkey.Token{})
				store.Before(httpkeytest.Lag(60*time.Millisecond, "Lookup"))
				for what, ask := range map[string]func(){
					"a request": func() { httpkeytest.Get(guard.Handler(ok), key) },
					"Verify":    func() { _, _ = guard.Verify(t.Context(), key) },
					"Admit":     func() { _, _ = guard.Admit(t.Context(), key, 1) },
				} {
					start := time.Now()
					if ask(); time.Since(start) != 100*time.Millisecond {
						t.Errorf("%s took %v, want 100ms", what, time.Since(start))
					}
				}
				if err := guard.Close(t.Context()); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// A limiter that hangs, and heeds no context, holds one goroutine at most beside
// the requests that asked it before it was down.
func TestProbesDoNotPileUp(t *testing.T) {
	t.Parallel()
	inOutage(t, httpkey.Options{}, func(o outage) {
		o.limiter.Before(refused)
		for range 3 {
			o.get(0)
		}
		release := make(chan struct{})
		o.limiter.Before(func(context.Context, string) error {
			<-release
			return errDown
		})
		before := runtime.NumGoroutine()
		var requests sync.WaitGroup
		for range 100 {
			httpkeytest.Elapse(time.Second)
			for range 10 {
				requests.Go(func() { o.get(0) })
			}
		}
		requests.Wait()
		if calls := o.limiter.calls(); calls != 4 {
			t.Errorf("%d probes hang (%d goroutines more)", calls-3, runtime.NumGoroutine()-before)
		}
		close(release)
	})
}

// A limiter is back if it can tell that a limit is invalid, and has its three
// failures again when it is.
func TestLimiterThatIsBack(t *testing.T) {
	t.Parallel()
	inOutage(t, httpkey.Options{}, func(o outage) {
		o.limiter.Before(refused)
		for range 3 {
			o.get(0)
		}
		o.limiter.Before(httpkeytest.Fail(httpkey.ErrInvalidLimit))
		httpkeytest.Elapse(time.Second)
		o.get(0)
		synctest.Wait()
		o.limiter.Before(refused)
		for range 2 {
			o.get(0)
		}
		want := []httpkey.EventType{httpkey.EventLimiterDown, httpkey.EventLimiterUp}
		if got := o.seen.changes(); !slices.Equal(got, want) {
			t.Errorf("observed %v, want %v", got, want)
		}
	})
}

// unwritable is a limiter that can be read and not written, as one in a replica: to take
// nothing, and to see that a bucket is empty, takes no write.
type unwritable struct{ *httpkeytest.Limiter }

func (l unwritable) Allow(ctx context.Context, c *httpkey.Charge) (httpkey.Result, error) {
	look := *c
	look.Cost = 0
	left, err := l.Limiter.Allow(context.WithValue(ctx, reading{}, true), &look)
	if err != nil || 0 < c.Cost && c.Cost <= left.Remaining {
		return l.Limiter.Allow(ctx, c)
	}
	return l.Limiter.Allow(context.WithValue(ctx, reading{}, true), c)
}

type reading struct{}

// writing is a Fault of the charges that change a bucket.
func writing(fault httpkeytest.Fault) httpkeytest.Fault {
	return func(ctx context.Context, method string) error {
		if ctx.Value(reading{}) != nil {
			return nil
		}
		return fault(ctx, method)
	}
}

// A limiter that can be read and not written is told to be down once, however many are
// denied or pay nothing, and to be back within a second.
func TestLimiterThatCannotBeWritten(t *testing.T) {
	t.Parallel()
	for name, write := range map[string]httpkeytest.Fault{"refused": refused, "hangs": hang} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var seen events
				limiter := unwritable{httpkeytest.NewLimiter(memstore.NewLimiter())}
				guard := httpkey.New(memstore.New(), limiter, &httpkey.Options{
					Observers: observers(&seen),
					Fallback:  httpkey.Unlimited,
					Charge:    func(_ *http.Request, token *httpkey.Token, c *httpkey.Charge) { c.Cost = len(token.Label) },
				})
				handler := guard.Handler(ok)
				free, _ := issue(t, guard, httpkey.Token{})
				paying, _ := issue(t, guard, httpkey.Token{Label: "1", Limits: limits(httpkey.PerSecond(1000))})
				denied, _ := issue(t, guard, httpkey.Token{Label: "1",
					Limits: limits(httpkey.Limit{Rate: 1, Period: 24 * time.Hour})})
				httpkeytest.Get(handler, denied)

				limiter.Before(writing(write))
				waited := 0
				for range 1000 { // 20 s
					httpkeytest.Elapse(20 * time.Millisecond)
					for _, key := range []string{free, denied, paying} {
						start := time.Now()
						if httpkeytest.Get(handler, key); time.Since(start) > 0 {
							waited++
						}
					}
					synctest.Wait()
				}
				if got, want := seen.changes(), []httpkey.EventType{httpkey.EventLimiterDown}; !slices.Equal(got, want) ||
					waited > 3 {
					t.Errorf("observed %v, want %v; %d requests waited, want 3 at most", got, want, waited)
				}
				limiter.Before(nil)
				for range 50 {
					httpkeytest.Elapse(20 * time.Millisecond)
					httpkeytest.Get(handler, paying)
					synctest.Wait()
				}
				if got, want := seen.changes(), []httpkey.EventType{httpkey.EventLimiterDown,
					httpkey.EventLimiterUp}; !slices.Equal(got, want) {
					t.Errorf("observed %v, want %v", got, want)
				}
			})
		})
	}
}

type observerFunc func(context.Context, *httpkey.Event)

func (f observerFunc) Observe(ctx context.Context, e *httpkey.Event) { f(ctx, e) }

// An observer hears that the limiter is up before it can be down again.
func TestChangesAreToldInTheirOrder(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var (
			seen    events
			handler http.Handler
			key     string
			limiter = newRemoteLimiter()
		)
		guard := httpkey.New(memstore.New(), limiter, &httpkey.Options{Observers: observers(observerFunc(func(
			ctx context.Context, e *httpkey.Event) {
			if e.Type == httpkey.EventLimiterUp {
				limiter.Before(refused)
				for range 3 {
					httpkeytest.Get(handler, key)
				}
			}
			seen.Observe(ctx, e)
		}))})
		handler = guard.Handler(ok)
		key, _ = issue(t, guard, httpkey.Token{})
		limiter.Before(refused)
		for range 3 {
			httpkeytest.Get(handler, key)
		}
		limiter.Before(nil)
		httpkeytest.Elapse(time.Second)
		httpkeytest.Get(handler, key)
		synctest.Wait()
		if got, want := seen.changes(), []httpkey.EventType{httpkey.EventLimiterDown,
			httpkey.EventLimiterUp}; !slices.Equal(got, want) {
			t.Errorf("observed %v, want %v", got, want)
		}
	})
}

// A limiter that is down is asked twice a second, as Options.Fallback says.
func TestHowOftenALimiterIsAskedWhetherItIsBack(t *testing.T) {
	t.Parallel()
	inOutage(t, httpkey.Options{}, func(o outage) {
		o.limiter.Before(refused)
		for range 3 {
			o.get(0)
		}
		before := o.limiter.calls()
		for range 1000 {
			httpkeytest.Elapse(10 * time.Millisecond)
			o.get(0)
			synctest.Wait()
		}
		if calls := o.limiter.calls() - before; calls != 20 {
			t.Errorf("asked %d times in 10 s, want 20", calls)
		}
	})
}

// 200 callers at once whose limiter hangs are all answered in time, and none asks again.
func TestHerdInAnOutage(t *testing.T) {
	t.Parallel()
	inOutage(t, httpkey.Options{}, func(o outage) {
		o.limiter.Before(hang)
		var callers sync.WaitGroup
		for range 200 {
			callers.Go(func() { o.get(100 * time.Millisecond) })
		}
		callers.Wait()
		o.get(0)
		if got := o.seen.changes(); !slices.Equal(got, []httpkey.EventType{httpkey.EventLimiterDown}) {
			t.Errorf("observed %v", got)
		}
	})
}

func ExampleOptions_fallback() {
	limiter := limiterFunc(func(_ context.Context, c *httpkey.Charge) (httpkey.Result, error) {
		return httpkey.Result{}, errors.New("connection refused")
	})
	guard := httpkey.New(memstore.New(), limiter, &httpkey.Options{Fallback: memstore.NewLimiter()})
	created, _ := guard.Issue(context.Background(), httpkey.Token{Limits: limits(httpkey.PerMinute(2))})
	for range 3 {
		fmt.Println(httpkeytest.Get(guard.Handler(ok), created.Secret.Reveal()).Code)
	}
	// Output:
	// 200
	// 200
	// 429
}
