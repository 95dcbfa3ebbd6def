// Package httpkeytest helps to test handlers behind a Guard, and programs whose store or
// limiter fails.
//
// All of it works in a bubble of testing/synctest.
package httpkeytest

import (
	"context"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/memstore"
)

// New returns a Guard over a store and a limiter in memory, and the key of a token in it.
// Nil options are the defaults. The Guard is closed when the test ends.
func New(t testing.TB, opts *httpkey.Options) (guard *httpkey.Guard, key string) {
	t.Helper()
	guard = httpkey.New(memstore.New(), memstore.NewLimiter(), opts)
	t.Cleanup(func() { _ = guard.Close(context.Background()) })
	return guard, Issue(t, guard, httpkey.Token{Label: t.Name()}).Secret.Reveal()
}

// Issue is [httpkey.Guard.Issue] that ends the test if it fails.
func Issue(t testing.TB, guard *httpkey.Guard, token httpkey.Token) httpkey.Created {
	t.Helper()
	created, err := guard.Issue(context.Background(), token)
	if err != nil {
		t.Fatal(err)
	}
	return created
}

// Request returns a request for a handler, with a key in X-Api-Key unless that is empty.
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

// Elapse lets time go by in a bubble of testing/synctest, and what waits for it happen.
func Elapse(d time.Duration) { time.Sleep(d) }

// Fault is what happens to a call of a method, "Lookup" say: its error is that of the call.
type Fault func(ctx context.Context, method string) error

// Fail returns a Fault that fails each call of the methods, or of all if there are none.
func Fail(err error, methods ...string) Fault {
	return on(methods, func(context.Context) error { return err })
}

// Stall returns a Fault that does not answer until the context of the call ends.
func Stall(methods ...string) Fault {
	return on(methods, func(ctx context.Context) error {
		<-ctx.Done()
		return ctx.Err()
	})
}

// Lag returns a Fault that makes each call take longer. It ends with the context of the call.
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

// Before sets what happens to calls before they are done: with an error, they are not. Nil
// is nothing.
func (f *faults) Before(fault Fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.before = fault
}

// After sets what happens to calls once they are done, also with an error: with one of its
// own, their answer is lost. Nil is nothing.
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

// do makes a call with the faults that are set when it begins.
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

// NewStore returns a Store that does what store does until it is told otherwise.
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

// NewLimiter returns a Limiter that does what limiter does until it is told otherwise.
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
