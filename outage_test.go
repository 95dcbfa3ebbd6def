package httpkey_test

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/httpkeytest"
	"github.com/httpkey/httpkey/memstore"
)

// An answer takes exactly the Timeout while it is not known that the limiter is down, and
// no time from then on, however the limiter fails.
func TestTimeOfAnAnswerInAnOutageOfTheLimiter(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		fault httpkeytest.Fault
		wait  time.Duration // of the first answers
	}{
		"refuses":                {refused, 0},
		"refuses after a while":  {slowly(60*time.Millisecond, refused), 60 * time.Millisecond},
		"stalls":                 {hang, 80 * time.Millisecond},
		"is late":                {httpkeytest.Lag(time.Second), 80 * time.Millisecond},
		"is late by a little":    {httpkeytest.Lag(80*time.Millisecond + 1), 80 * time.Millisecond},
		"loses its answers late": {slowly(time.Second, refused), 80 * time.Millisecond},
	} {
		for where, fallback := range map[string]httpkey.Limiter{"own fallback": nil, "unlimited": httpkey.Unlimited,
			"closed": httpkey.FailClosed} {
			t.Run(name+", "+where, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					limiter := newRemoteLimiter()
					guard := httpkey.New(memstore.New(), limiter, &httpkey.Options{Fallback: fallback, Timeout: 80 * time.Millisecond})
					key, _ := issue(t, guard, httpkey.Token{})
					asks := []func() int{
						func() int { return httpkeytest.Get(guard.Handler(ok), key).Code },
						func() int {
							_, err := guard.Admit(t.Context(), key, 1)
							var refusal httpkey.Error
							if errors.As(err, &refusal) {
								return refusal.Status()
							}
							return http.StatusOK
						},
					}
					want := http.StatusOK
					if fallback == httpkey.FailClosed {
						want = http.StatusServiceUnavailable
					}
					limiter.Before(tt.fault)
					for n := range 20 {
						wait := tt.wait
						if n >= 3 {
							wait = 0
						}
						start := time.Now()
						status := asks[n%2]()
						if took := time.Since(start); took != wait || status != want {
							t.Errorf("answer %d was %d after %v, want %d after %v", n, status, took, want, wait)
						}
						synctest.Wait() // for a look at the limiter, which no answer waits for
					}
				})
			})
		}
	}
}

// slowly is a fault that comes late, unless the context of the call ends before.
func slowly(d time.Duration, fault httpkeytest.Fault) httpkeytest.Fault {
	lag := httpkeytest.Lag(d)
	return func(ctx context.Context, method string) error {
		return errors.Join(lag(ctx, method), fault(ctx, method))
	}
}

// An answer takes exactly the Timeout while the store stalls, wherever the limiter is, and
// nobody is let in or told that a key is invalid.
func TestTimeOfAnAnswerInAnOutageOfTheStore(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		fault httpkeytest.Fault
		wait  time.Duration
	}{
		"refuses": {refused, 0},
		"stalls":  {hang, 80 * time.Millisecond},
		"is late": {httpkeytest.Lag(time.Second), 80 * time.Millisecond},
	} {
		for where, limiter := range map[string]httpkey.Limiter{
			"limiter in memory": memstore.NewLimiter(), "limiter elsewhere": newRemoteLimiter(), "unlimited": httpkey.Unlimited,
		} {
			t.Run(name+", "+where, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					var seen events
					store := httpkeytest.NewStore(memstore.New())
					guard := httpkey.New(store, limiter, &httpkey.Options{Timeout: 80 * time.Millisecond, Observers: observers(&seen)})
					key, _ := issue(t, guard, httpkey.Token{})
					store.Before(tt.fault)
					for range 10 {
						start := time.Now()
						w := httpkeytest.Get(guard.Handler(ok), key)
						if took := time.Since(start); took != tt.wait || w.Code != http.StatusServiceUnavailable ||
							w.Body.String() != unavailable {
							t.Errorf("%d %s after %v, want 503 after %v", w.Code, w.Body, took, tt.wait)
						}
						if e := seen.last(t); e.Reason != httpkey.ReasonStore || e.Err == nil {
							t.Errorf("observed %+v", e)
						}
						start = time.Now()
						if _, err := guard.Verify(t.Context(), key); !errors.Is(err, httpkey.ErrUnavailable) ||
							time.Since(start) != tt.wait {
							t.Errorf("Verify returned %v after %v", err, time.Since(start))
						}
					}
					if got := seen.changes(); len(got) > 0 {
						t.Errorf("the store's outage is told as the limiter's: %v", got)
					}
				})
			})
		}
	}
}

// Store and limiter have one Timeout together.
func TestTimeOfAnAnswerOfASlowStoreAndLimiter(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ store, limiter, want time.Duration }{
		{50 * time.Millisecond, 20 * time.Millisecond, 70 * time.Millisecond},
		{50 * time.Millisecond, time.Second, 80 * time.Millisecond},
		{79 * time.Millisecond, time.Second, 80 * time.Millisecond},
		{time.Second, time.Second, 80 * time.Millisecond},
	} {
		synctest.Test(t, func(t *testing.T) {
			store, limiter := httpkeytest.NewStore(memstore.New()), newRemoteLimiter()
			guard := httpkey.New(store, limiter, &httpkey.Options{Timeout: 80 * time.Millisecond})
			key, _ := issue(t, guard, httpkey.Token{})
			store.Before(httpkeytest.Lag(tt.store, "Lookup"))
			limiter.Before(httpkeytest.Lag(tt.limiter))
			start := time.Now()
			httpkeytest.Get(guard.Handler(ok), key)
			if took := time.Since(start); took != tt.want {
				t.Errorf("a store of %v and a limiter of %v: %v, want %v", tt.store, tt.limiter, took, tt.want)
			}
			if err := guard.Close(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}
