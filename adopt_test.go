package httpkey_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/cachestore"
	"github.com/httpkey/httpkey/httpkeytest"
	"github.com/httpkey/httpkey/memstore"
)

// oldTable is the table of a program that httpkey succeeds.
type oldTable struct {
	keys  map[string]httpkey.Token
	err   error
	takes time.Duration
	calls atomic.Int64
	most  atomic.Int64
	now   atomic.Int64
}

func (o *oldTable) adopt(_ context.Context, secret string) (httpkey.Token, error) {
	o.calls.Add(1)
	if n := o.now.Add(1); n > o.most.Load() {
		o.most.Store(n)
	}
	defer o.now.Add(-1)
	time.Sleep(o.takes) // a slow hash, in the bubble's time: outside of a bubble, takes is 0
	if o.err != nil {
		return httpkey.Token{}, o.err
	}
	t, ok := o.keys[secret]
	if !ok {
		return httpkey.Token{}, fmt.Errorf("old table: %w", httpkey.ErrNotFound)
	}
	return t, nil
}

const oldKey = "1234.c2VjcmV0LXNlY3JldC1zZWNyZXQ"

func adopting(o *oldTable) *httpkey.Options {
	return &httpkey.Options{ImportedMinLength: 20, Adopt: o.adopt}
}

func TestAdopt(t *testing.T) {
	t.Parallel()
	for _, kind := range []struct {
		name string
		wrap func(httpkey.TokenStore) httpkey.TokenStore
	}{
		{"in memory", func(s httpkey.TokenStore) httpkey.TokenStore { return s }},
		{"in another store", func(s httpkey.TokenStore) httpkey.TokenStore { return httpkeytest.NewStore(s) }},
		{"behind a cache", func(s httpkey.TokenStore) httpkey.TokenStore {
			return cachestore.New(httpkeytest.NewStore(s), nil)
		}},
	} {
		for _, tt := range []struct {
			name   string
			old    *oldTable
			status int
			calls  int64 // for three requests
		}{
			{"a good key", &oldTable{keys: map[string]httpkey.Token{oldKey: {User: "ada", IsActive: true}}}, 200, 1},
			{"an unknown key", &oldTable{}, 401, 1},
			{"a revoked key", &oldTable{keys: map[string]httpkey.Token{oldKey: {User: "ada"}}}, 401, 1},
			{"an old table that is down", &oldTable{err: errors.New("10.0.0.7 is down")}, 503, 3},
			{"an invalid token", &oldTable{keys: map[string]httpkey.Token{oldKey: {IsActive: true, Kind: "robot"}}}, 503, 3},
		} {
			t.Run(kind.name+", "+tt.name, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					tt.old.calls.Store(0)
					guard := httpkey.New(kind.wrap(memstore.New()), memstore.NewLimiter(), adopting(tt.old))
					for range 3 {
						if w := httpkeytest.Get(guard.Handler(ok), oldKey); w.Code != tt.status {
							t.Errorf("status %d, want %d", w.Code, tt.status)
						}
					}
					if n := tt.old.calls.Load(); n != tt.calls {
						t.Errorf("Adopt was called %d times, want %d", n, tt.calls)
					}
				})
			})
		}
	}
}

// An adopted key works without the old table, and can be revoked and rotated.
func TestAdoptedKeysAreOurs(t *testing.T) {
	t.Parallel()
	old := &oldTable{keys: map[string]httpkey.Token{oldKey: {User: "ada", IsActive: true}}}
	guard := newGuard(adopting(old))
	if w := httpkeytest.Get(guard.Handler(ok), oldKey); w.Code != http.StatusOK {
		t.Fatalf("status %d", w.Code)
	}
	token, err := guard.Verify(t.Context(), oldKey)
	if err != nil || token.User != "ada" {
		t.Fatalf("%v, %v", token, err)
	}
	if _, err := guard.Rotate(t.Context(), token.ID, time.Hour); err != nil {
		t.Error(err)
	}
	if err := guard.Revoke(t.Context(), token.ID, "leaked"); err != nil {
		t.Error(err)
	}
	if w := httpkeytest.Get(guard.Handler(ok), oldKey); w.Code != http.StatusUnauthorized || old.calls.Load() != 1 {
		t.Errorf("after the revocation: status %d and %d calls of Adopt", w.Code, old.calls.Load())
	}
}

// Made-up keys occupy a bounded number of calls of Adopt, and clients that use a good key at
// once cause one call.
func TestAdoptIsBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		old := &oldTable{keys: map[string]httpkey.Token{oldKey: {IsActive: true}}, takes: 80 * time.Millisecond}
		opts := adopting(old)
		opts.Limits = map[httpkey.Kind][]httpkey.Limit{httpkey.APIKey: {}}
		guard := httpkey.New(memstore.New(), memstore.NewLimiter(), opts)
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				if w := httpkeytest.Get(guard.Handler(ok), oldKey); w.Code != http.StatusOK {
					t.Errorf("status %d", w.Code)
				}
			})
		}
		wg.Wait()
		if n := old.calls.Load(); n != 1 {
			t.Errorf("Adopt was called %d times for one key", n)
		}
		for range 50 {
			wg.Go(func() { httpkeytest.Get(guard.Handler(ok), "made-up-key-many-times-at-once") })
		}
		wg.Wait()
		if n := old.calls.Load(); n != 2 {
			t.Errorf("Adopt was called %d times for a bad key", n-1)
		}
		for i := range 200 {
			wg.Go(func() { httpkeytest.Get(guard.Handler(ok), fmt.Sprintf("made-up-key-number-%d", i)) })
		}
		wg.Wait()
		if n := old.most.Load(); n > 8 {
			t.Errorf("Adopt ran for %d keys at once", n)
		}
	})
}

// A client that waits for a slow hash still has a whole budget for the limiter.
func TestAdoptLeavesABudget(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		old := &oldTable{keys: map[string]httpkey.Token{oldKey: {IsActive: true}}, takes: 300 * time.Millisecond}
		opts := adopting(old)
		opts.Fallback = httpkey.FailClosed
		limiter := httpkeytest.NewLimiter(memstore.NewLimiter())
		limiter.Before(httpkeytest.Lag(50 * time.Millisecond))
		guard := httpkey.New(memstore.New(), limiter, opts)
		if w := httpkeytest.Get(guard.Handler(ok), oldKey); w.Code != http.StatusOK {
			t.Errorf("status %d", w.Code)
		}
	})
}

// A key whose token cannot be imported is no unknown key: the program learns why.
func TestAdoptOfATakenID(t *testing.T) {
	t.Parallel()
	var seen events
	opts := adopting(&oldTable{keys: map[string]httpkey.Token{
		oldKey: {ID: "7", IsActive: true}, oldKey + "2": {ID: "7", IsActive: true},
	}})
	opts.Observers = observers(&seen)
	guard := newGuard(opts)
	if w := httpkeytest.Get(guard.Handler(ok), oldKey); w.Code != 200 {
		t.Errorf("the first key of the ID: %d", w.Code)
	}
	w := httpkeytest.Get(guard.Handler(ok), oldKey+"2")
	if e := seen.last(t); w.Code != 503 || !errors.Is(e.Err, httpkey.ErrConflict) {
		t.Errorf("the second key of the ID: %d because of %v", w.Code, e.Err)
	}
}

func TestAdoptIsAskedAgainLater(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		old := &oldTable{keys: map[string]httpkey.Token{}}
		guard := newGuard(adopting(old))
		httpkeytest.Get(guard.Handler(ok), oldKey)
		old.keys[oldKey] = httpkey.Token{IsActive: true} // the old program still issues keys
		httpkeytest.Elapse(31 * time.Second)
		if w := httpkeytest.Get(guard.Handler(ok), oldKey); w.Code != http.StatusOK {
			t.Errorf("status %d", w.Code)
		}
	})
}

func TestEnsure(t *testing.T) {
	t.Parallel()
	guard := newGuard(&httpkey.Options{ImportedMinLength: 20})
	secret := httpkey.Secret("ci-key-0123456789abcdef")
	first, err := guard.Ensure(t.Context(), secret, httpkey.Token{Label: "ci"})
	if err != nil || !first.IsActive {
		t.Fatalf("%v, %v", first, err)
	}
	again, err := guard.Ensure(t.Context(), secret, httpkey.Token{Label: "other"})
	if err != nil || again.ID != first.ID || again.Label != "ci" {
		t.Errorf("the second time: %v, %v", again, err)
	}
	if _, err := guard.Ensure(t.Context(), secret+"-2", httpkey.Token{ID: first.ID}); !errors.Is(err,
		httpkey.ErrConflict) {
		t.Errorf("another key of the same ID: %v", err)
	}
	if _, err := guard.Ensure(t.Context(), "short", httpkey.Token{}); !errors.Is(err, httpkey.ErrInvalidToken) {
		t.Errorf("a short key: %v", err)
	}
	if err := guard.Revoke(t.Context(), first.ID, ""); err != nil {
		t.Fatal(err)
	}
	if _, err := guard.Ensure(t.Context(), secret, httpkey.Token{}); !errors.Is(err, httpkey.ErrInactive) {
		t.Errorf("a revoked key: %v", err)
	}
}

// Ensure is called by each process of a fleet when it starts.
func TestEnsureAtOnce(t *testing.T) {
	t.Parallel()
	guard := newGuard(&httpkey.Options{ImportedMinLength: 20})
	var (
		wg  sync.WaitGroup
		ids sync.Map
	)
	for range 16 {
		wg.Go(func() {
			token, err := guard.Ensure(t.Context(), "ci-key-0123456789abcdef", httpkey.Token{})
			if err != nil {
				t.Error(err)
			}
			ids.Store(token.ID, true)
		})
	}
	wg.Wait()
	n := 0
	ids.Range(func(any, any) bool { n++; return true })
	if n != 1 {
		t.Errorf("there are %d tokens", n)
	}
}

func TestRevokeKey(t *testing.T) {
	t.Parallel()
	old := &oldTable{keys: map[string]httpkey.Token{oldKey: {IsActive: true}}}
	guard := newGuard(adopting(old))
	own, token := issue(t, guard, httpkey.Token{})
	for _, tt := range []struct {
		name string
		key  string
		err  error
	}{
		{"a key of ours", own, nil},
		{"again", own, nil},
		{"a key of the old table", oldKey, nil},
		{"an unknown key", "made-up-key-0123456789", httpkey.ErrNotFound},
		{"no key", "", httpkey.ErrNotFound},
	} {
		if err := guard.RevokeKey(t.Context(), httpkey.Secret(tt.key), "leaked"); !errors.Is(err, tt.err) {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.err)
		}
		if w := httpkeytest.Get(guard.Handler(ok), tt.key); w.Code != http.StatusUnauthorized {
			t.Errorf("%s: status %d after the revocation", tt.name, w.Code)
		}
	}
	if stored, err := guard.Store().Get(t.Context(), token.ID); err != nil || stored.RevokedFor != "leaked" {
		t.Errorf("%v, %v", stored, err)
	}
}

// Keys of a previous prefix are accepted, and those of another are not.
func TestPreviousPrefixes(t *testing.T) {
	t.Parallel()
	store := memstore.New()
	before := httpkey.New(store, memstore.NewLimiter(), &httpkey.Options{Prefix: "acme"})
	other := httpkey.New(store, memstore.NewLimiter(), &httpkey.Options{Prefix: "other"})
	after := httpkey.New(store, memstore.NewLimiter(), &httpkey.Options{
		Prefix: "nova", PreviousPrefixes: []string{"acme"},
	})
	for _, tt := range []struct {
		guard  *httpkey.Guard
		status int
	}{{before, 200}, {other, 401}, {after, 200}} {
		key, token := issue(t, tt.guard, httpkey.Token{})
		if w := httpkeytest.Get(after.Handler(ok), key); w.Code != tt.status {
			t.Errorf("%s: status %d, want %d", key[:5], w.Code, tt.status)
		}
		if got := after.Masked(token); got != "…"+token.Hint {
			t.Errorf("Masked returned %q", got)
		}
	}
}
