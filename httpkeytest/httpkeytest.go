// Package httpkeytest supports tests of handlers behind a Guard, and tests of programs whose
// store or limiter fails.
//
// All functions work in a bubble of testing/synctest.
package httpkeytest

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/memstore"
)

// New returns a Guard over a store and a limiter in memory, and the key of a token in it.
// Nil options mean the defaults. New closes the Guard when the test ends.
func New(t testing.TB, opts *httpkey.Options) (guard *httpkey.Guard, key string) {
	t.Helper()
	guard = httpkey.New(memstore.New(), memstore.NewLimiter(), opts)
	t.Cleanup(func() { _ = guard.Close(context.Background()) })
	return guard, Issue(t, guard, httpkey.Token{Label: t.Name()}).Secret.Reveal()
}

// Issue calls [httpkey.Guard.Issue], and ends the test if that fails.
func Issue(t testing.TB, guard *httpkey.Guard, token httpkey.Token) httpkey.Created {
	t.Helper()
	created, err := guard.Issue(context.Background(), token)
	if err != nil {
		t.Fatal(err)
	}
	return created
}

// Request returns a request for a handler, with a key in X-Api-Key unless the key is empty.
func Request(method, target, key string) *http.Request {
	r := httptest.NewRequest(method, target, http.NoBody)
	if key != "" {
		r.Header.Set("X-Api-Key", key)
	}
	return r
}

// Get sends a GET request with a key to a handler and returns the response.
func Get(handler http.Handler, key string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, Request(http.MethodGet, "/", key))
	return w
}

// Elapse advances the time in a bubble of testing/synctest. Timers that are due by then fire.
func Elapse(d time.Duration) { time.Sleep(d) } // only a sleep advances the time of a bubble

// Fault runs in a call of a method, "Lookup" say. Its error becomes the error of the call.
type Fault func(ctx context.Context, method string) error

// Fail returns a Fault that fails each call of the methods, or of all if there are none.
func Fail(err error, methods ...string) Fault {
	return on(methods, func(context.Context) error { return err })
}

// Stall returns a Fault that blocks until the context of the call ends.
func Stall(methods ...string) Fault {
	return on(methods, func(ctx context.Context) error {
		<-ctx.Done()
		return ctx.Err()
	})
}

// Lag returns a Fault that delays each call. The delay ends early if the context of the call
// ends.
func Lag(d time.Duration, methods ...string) Fault {
	return on(methods, func(ctx context.Context) error {
		select {
		case <-time.After(d):
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	})
}

func on(methods []string, fault func(context.Context) error) Fault {
	return func(ctx context.Context, method string) error {
		if len(methods) == 0 {
			return fault(ctx)
		}
		for _, m := range methods {
			if m == method {
				return fault(ctx)
			}
		}
		return nil
	}
}

// faults counts calls and applies faults to them.
type faults struct {
	mu            sync.Mutex
	calls         map[string]int
	before, after Fault
}

// Before sets the Fault that runs before each call. If it returns an error, the call does
// not run. Nil means none.
func (f *faults) Before(fault Fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.before = fault
}

// After sets the Fault that runs after each call, even a failed one. If it returns an error,
// the answer of the call is lost. Nil means none.
func (f *faults) After(fault Fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.after = fault
}

// Calls returns how often a method was called.
func (f *faults) Calls(method string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls[method]
}

// do makes a call with the faults that are set when the call begins.
func (f *faults) do(ctx context.Context, method string, call func() error) error {
	f.mu.Lock()
	if f.calls == nil {
		f.calls = make(map[string]int)
	}
	f.calls[method]++
	before, after := f.before, f.after
	f.mu.Unlock()
	if before != nil {
		if err := before(ctx, method); err != nil {
			return err
		}
	}
	err := call()
	if after != nil {
		if lost := after(ctx, method); lost != nil {
			return lost
		}
	}
	return err
}

// Store is a store that fails, stalls or lags on demand. It is safe for concurrent use.
type Store struct {
	faults
	store httpkey.TokenStore
}

// NewStore returns a Store that behaves as store until a Fault is set.
func NewStore(store httpkey.TokenStore) *Store { return &Store{store: store} }

// Create implements [httpkey.TokenStore].
func (s *Store) Create(ctx context.Context, t httpkey.Token) (httpkey.Token, error) {
	return answer(ctx, s, "Create", func() (httpkey.Token, error) { return s.store.Create(ctx, t) })
}

// Lookup implements [httpkey.TokenStore].
func (s *Store) Lookup(ctx context.Context, d httpkey.Digest) (httpkey.Token, error) {
	return answer(ctx, s, "Lookup", func() (httpkey.Token, error) { return s.store.Lookup(ctx, d) })
}

// Get implements [httpkey.TokenStore].
func (s *Store) Get(ctx context.Context, id string) (httpkey.Token, error) {
	return answer(ctx, s, "Get", func() (httpkey.Token, error) { return s.store.Get(ctx, id) })
}

// List implements [httpkey.TokenStore].
func (s *Store) List(ctx context.Context, f httpkey.Filter) ([]httpkey.Token, error) {
	return answer(ctx, s, "List", func() ([]httpkey.Token, error) { return s.store.List(ctx, f) })
}

// Update implements [httpkey.TokenStore].
func (s *Store) Update(ctx context.Context, id string, change func(*httpkey.Token) error) (httpkey.Token, error) {
	return answer(ctx, s, "Update", func() (httpkey.Token, error) { return s.store.Update(ctx, id, change) })
}

// Delete implements [httpkey.TokenStore].
func (s *Store) Delete(ctx context.Context, id string) error {
	return s.do(ctx, "Delete", func() error { return s.store.Delete(ctx, id) })
}

// Touch implements [httpkey.TokenStore].
func (s *Store) Touch(ctx context.Context, used map[string]time.Time) error {
	return s.do(ctx, "Touch", func() error { return s.store.Touch(ctx, used) })
}

func answer[T any](ctx context.Context, s *Store, method string, call func() (T, error)) (T, error) {
	var value T
	err := s.do(ctx, method, func() (err error) {
		value, err = call()
		return err
	})
	if err != nil {
		return *new(T), err
	}
	return value, nil
}

// Limiter is a limiter that fails, stalls or lags on demand. It is safe for concurrent use.
type Limiter struct {
	faults
	limiter httpkey.Limiter
}

// NewLimiter returns a Limiter that behaves as limiter until a Fault is set.
func NewLimiter(limiter httpkey.Limiter) *Limiter { return &Limiter{limiter: limiter} }

// Allow implements [httpkey.Limiter].
func (l *Limiter) Allow(ctx context.Context, c *httpkey.Charge) (result httpkey.Result, err error) {
	err = l.do(ctx, "Allow", func() error {
		result, err = l.limiter.Allow(ctx, c)
		return err
	})
	if err != nil {
		return httpkey.Result{}, err
	}
	return result, nil
}

// Reset implements [httpkey.Resetter]. The error wraps [errors.ErrUnsupported] if the limiter
// does not implement it.
func (l *Limiter) Reset(ctx context.Context, c *httpkey.Charge) error {
	return l.do(ctx, "Reset", func() error {
		resetter, ok := l.limiter.(httpkey.Resetter)
		if !ok {
			return fmt.Errorf("httpkeytest: %T has no Reset: %w", l.limiter, errors.ErrUnsupported)
		}
		return resetter.Reset(ctx, c)
	})
}
