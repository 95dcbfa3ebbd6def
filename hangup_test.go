package httpkey_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/httpkeytest"
	"github.com/httpkey/httpkey/memstore"
)

// impatient are contexts whose owner does not wait for an answer.
var impatient = map[string]func(context.Context) (context.Context, context.CancelFunc){
	"gone before": func(ctx context.Context) (context.Context, context.CancelFunc) {
		ctx, cancel := context.WithCancel(ctx)
		cancel()
		return ctx, cancel
	},
	"hangs up": func(ctx context.Context) (context.Context, context.CancelFunc) {
		ctx, cancel := context.WithCancel(ctx)
		time.AfterFunc(2*time.Millisecond, cancel)
		return ctx, cancel
	},
	"has a deadline": func(ctx context.Context) (context.Context, context.CancelFunc) {
		return context.WithTimeout(ctx, 2*time.Millisecond)
	},
}

// questions are the ways to ask a Guard, in a context.
var questions = map[string]func(context.Context, *httpkey.Guard, string) error{
	"Handler": func(ctx context.Context, g *httpkey.Guard, key string) error {
		w, r := httptest.NewRecorder(), httpkeytest.Request(http.MethodGet, "/", key).WithContext(ctx)
		g.Handler(ok).ServeHTTP(w, r)
		if w.Code != http.StatusOK {
			return errors.New(w.Body.String())
		}
		return nil
	},
	"Admit": func(ctx context.Context, g *httpkey.Guard, key string) error {
		_, err := g.Admit(ctx, key, 1)
		return err
	},
	"Verify": func(ctx context.Context, g *httpkey.Guard, key string) error {
		_, err := g.Verify(ctx, key)
		return err
	},
}

// A caller that hangs up cancels no call to the store or the limiter, because a canceled call
// costs a connection. The Guard decides on its request and charges it, and reports no outage.
func TestHangUpsEndNoCall(t *testing.T) {
	t.Parallel()
	for how, leave := range impatient {
		for what, ask := range questions {
			t.Run(what+", "+how, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					store, limiter := httpkeytest.NewStore(memstore.New()), newRemoteLimiter()
					var seen events
					guard := httpkey.New(store, limiter, &httpkey.Options{Observers: observers(&seen)})
					key, _ := issue(t, guard, httpkey.Token{})
					store.Before(httpkeytest.Lag(20*time.Millisecond, "Lookup"))
					limiter.Before(httpkeytest.Lag(20 * time.Millisecond))
					for range 5 {
						ctx, cancel := leave(t.Context())
						if err := ask(ctx, guard, key); err != nil {
							t.Error(err)
						}
						if e := seen.last(t); e.Type != httpkey.EventAdmitted {
							t.Errorf("observed %+v", e)
						}
						cancel()
					}
					if what != "Verify" {
						if a, err := guard.Admit(t.Context(), key, 1); err != nil || a.Result.Remaining != 54 {
							t.Errorf("after five requests, one more: %+v, %v", a, err)
						}
					}
					if got := seen.changes(); len(got) > 0 {
						t.Errorf("observed %v", got)
					}
					if err := guard.Close(t.Context()); err != nil {
						t.Error(err)
					}
				})
			})
		}
	}
}

// If a store or a limiter stalls, the Guard reports an outage, whether its callers wait or not.
// They get an answer at the Timeout.
func TestHangUpsHideNoOutage(t *testing.T) {
	t.Parallel()
	for how, leave := range impatient {
		for what, ask := range questions {
			t.Run(what+", "+how, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					store, limiter := httpkeytest.NewStore(memstore.New()), newRemoteLimiter()
					var seen events
					guard := httpkey.New(store, limiter, &httpkey.Options{Observers: observers(&seen), Timeout: 80 * time.Millisecond})
					key, _ := issue(t, guard, httpkey.Token{})
					timed := func() error {
						t.Helper()
						ctx, cancel := leave(t.Context())
						defer cancel()
						start := time.Now()
						err := ask(ctx, guard, key)
						if took := time.Since(start); took != 80*time.Millisecond {
							t.Errorf("it took %v", took)
						}
						return err
					}
					store.Before(hang)
					if err := timed(); err == nil {
						t.Error("a key was admitted without its token")
					}
					if e := seen.last(t); e.Reason != httpkey.ReasonStore || e.Err == nil {
						t.Errorf("observed %+v", e)
					}
					if store.Before(nil); what == "Verify" { // it asks no limiter
						return
					}
					limiter.Before(hang)
					for range 3 {
						if err := timed(); err != nil {
							t.Errorf("with a fallback: %v", err)
						}
					}
					if got := seen.changes(); len(got) != 1 || got[0] != httpkey.EventLimiterDown {
						t.Errorf("observed %v", got)
					}
				})
			})
		}
	}
}

// Admission.Charge charges even if the client has hung up.
func TestHangUpsArePaidFor(t *testing.T) {
	t.Parallel()
	for how, leave := range impatient {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				limiter := newRemoteLimiter()
				guard := httpkey.New(memstore.New(), limiter, nil)
				key, _ := issue(t, guard, httpkey.Token{})
				admission, err := guard.Admit(t.Context(), key, 1)
				if err != nil {
					t.Fatal(err)
				}
				limiter.Before(httpkeytest.Lag(20 * time.Millisecond))
				ctx, cancel := leave(t.Context())
				defer cancel()
				if err := admission.Charge(ctx, 9); err != nil {
					t.Error(err)
				}
				if a, err := guard.Admit(t.Context(), key, 0); err != nil || a.Result.Remaining != 50 {
					t.Errorf("afterwards: %+v, %v", a, err)
				}
			})
		})
	}
}

// A handler sees that its client has hung up.
func TestHandlersSeeHangUps(t *testing.T) {
	t.Parallel()
	type key struct{}
	guard, secret := httpkeytest.New(t, nil)
	ctx, cancel := context.WithCancel(context.WithValue(t.Context(), key{}, "value"))
	cancel()
	called := false
	guard.Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		called = true
		if ctx := r.Context(); !errors.Is(ctx.Err(), context.Canceled) || ctx.Value(key{}) != "value" {
			t.Errorf("the handler's context is %v", ctx)
		}
	})).ServeHTTP(httptest.NewRecorder(), httpkeytest.Request(http.MethodGet, "/", secret).WithContext(ctx))
	if !called {
		t.Error("the handler was not called")
	}
}
