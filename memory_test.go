package httpkey_test

import (
	"context"
	"net/http"
	"net/netip"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/httpkeytest"
	"github.com/httpkey/httpkey/internal/pack"
	"github.com/httpkey/httpkey/internal/ram"
	"github.com/httpkey/httpkey/memstore"
)

// embedding has a Lookup of its own, and all else of the store that it embeds.
type embedding struct {
	*memstore.Store
	lookups atomic.Int64
}

func (e *embedding) Lookup(ctx context.Context, d httpkey.Digest) (httpkey.Token, error) {
	e.lookups.Add(1)
	return e.Store.Lookup(ctx, d)
}

// embeddingLimiter has an Allow of its own, and all else of the limiter that it embeds.
type embeddingLimiter struct {
	*memstore.Limiter
	calls atomic.Int64
}

func (e *embeddingLimiter) Allow(ctx context.Context, c *httpkey.Charge) (httpkey.Result, error) {
	e.calls.Add(1)
	return e.Limiter.Allow(ctx, c)
}

// A store or limiter that wraps another by embedding it is asked by its own methods.
func TestWrappersAreAskedByTheirMethods(t *testing.T) {
	t.Parallel()
	for _, wrapsStore := range []bool{true, false} {
		for _, wrapsLimiter := range []bool{true, false} {
			store, limiter := &embedding{Store: memstore.New()}, &embeddingLimiter{Limiter: memstore.NewLimiter()}
			guard := func() *httpkey.Guard {
				switch {
				case wrapsStore && wrapsLimiter:
					return httpkey.New(store, limiter, nil)
				case wrapsStore:
					return httpkey.New(store, limiter.Limiter, nil)
				case wrapsLimiter:
					return httpkey.New(store.Store, limiter, nil)
				}
				return httpkey.New(store.Store, limiter.Limiter, nil)
			}()
			key, _ := issue(t, guard, httpkey.Token{Limits: limits(httpkey.PerHour(60))})
			for n := range 3 {
				w := httpkeytest.Get(guard.Handler(ok), key)
				if w.Code != http.StatusOK || w.Header().Get("X-RateLimit-Remaining") != strconv.Itoa(59-n) {
					t.Fatalf("status %d, %v", w.Code, w.Header())
				}
			}
			asked := func(wraps bool) int64 { return map[bool]int64{true: 3}[wraps] }
			if lookups, calls := store.lookups.Load(), limiter.calls.Load(); lookups != asked(wrapsStore) ||
				calls != asked(wrapsLimiter) {
				t.Errorf("wrapped store %v, limiter %v: %d lookups and %d calls of Allow", wrapsStore, wrapsLimiter, lookups, calls)
			}
			if err := guard.Close(t.Context()); err != nil {
				t.Error(err)
			}
		}
	}
}

// Guards over one store take from the bucket that is theirs, though all of them find the
// token in the same place: it is named by the limiter, the payer, and the limit's window.
func TestGuardsDoNotShareWhatIsNotShared(t *testing.T) {
	t.Parallel()
	store, limiter := memstore.New(), memstore.NewLimiter()
	with := func(l httpkey.Limiter, limit httpkey.Limit, edit edit) *httpkey.Guard {
		byKind := map[httpkey.Kind][]httpkey.Limit{httpkey.APIKey: limits(limit)}
		return httpkey.New(store, l, &httpkey.Options{Limits: byKind, Charge: edit})
	}
	guards := []*httpkey.Guard{
		with(limiter, httpkey.PerHour(10), nil),
		with(limiter, httpkey.Limit{Rate: 20, Period: 7200e9}, nil),
		with(memstore.NewLimiter(), httpkey.PerHour(10), nil),
		with(memstore.NewWindow(), httpkey.PerHour(10), nil),
		with(limiter, httpkey.PerHour(10), func(_ *http.Request, t *httpkey.Token,
			c *httpkey.Charge) {
			c.Bucket = "user:" + t.User
		}),
		with(limiter, httpkey.Limit{Name: "other", Rate: 10, Period: 3600e9}, nil),
		with(limiter, httpkey.PerDay(10), nil),
	}
	key, token := issue(t, guards[0], httpkey.Token{User: "u"})
	for n := range 10 {
		for i, guard := range guards {
			want := []int{9, 19, 9, 9, 9, 9, 9}[i] - n
			if got := httpkeytest.Get(guard.Handler(ok), key).Header().Get("X-RateLimit-Remaining"); got != strconv.Itoa(want) {
				t.Fatalf("request %d, guard %d: %s remain, want %d", n+1, i, got, want)
			}
		}
	}
	// A limiter that is asked by name finds the same bucket.
	r, err := limiter.Allow(t.Context(), &httpkey.Charge{Bucket: token.Payer(), Limits: limits(httpkey.PerHour(10))})
	if err != nil || r.Remaining != 0 {
		t.Errorf("%+v, %v", r, err)
	}
	// Another rate in the same window has the same part used.
	half := with(limiter, httpkey.PerHour(20), nil)
	if got := httpkeytest.Get(half.Handler(ok), key).Code; got != http.StatusTooManyRequests {
		t.Errorf("a limit that was raised got a full bucket: status %d", got)
	}
}

// An update counts for the next request at once.
func TestUpdatesCountAtOnce(t *testing.T) {
	t.Parallel()
	for place, in := range places {
		_, store, limiter := in()
		guard := httpkey.New(store, limiter, nil)
		key, token := issue(t, guard, httpkey.Token{Label: "before", Scopes: []string{"a"}})
		var label string
		handler := guard.Handler(httpkey.RequireScope("a")(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			in, _ := httpkey.FromContext(r.Context())
			label = in.Label
		})))
		if code := httpkeytest.Get(handler, key).Code; code != http.StatusOK || label != "before" {
			t.Errorf("%s: status %d, label %q", place, code, label)
		}
		update(t, store, token.ID, func(token *httpkey.Token) { token.Label = "after" })
		if code := httpkeytest.Get(handler, key).Code; code != http.StatusOK || label != "after" {
			t.Errorf("%s: status %d, label %q", place, code, label)
		}
		update(t, store, token.ID, func(token *httpkey.Token) { token.Limits = limits(httpkey.PerHour(7)) })
		if w := httpkeytest.Get(handler, key); w.Header().Get("X-RateLimit-Limit") != "7" {
			t.Errorf("%s: %v", place, w.Header())
		}
		update(t, store, token.ID, func(token *httpkey.Token) { token.Scopes = nil })
		if code := httpkeytest.Get(handler, key).Code; code != http.StatusForbidden {
			t.Errorf("%s: status %d", place, code)
		}
		if err := guard.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

// tableStore is a store whose tokens in memory tests change in place.
type tableStore struct {
	httpkey.TokenStore
	ram.Holder[httpkey.Token]
	table ram.Table[httpkey.Token]
}

func (s *tableStore) Find(d [32]byte, _ int64) (pack.View, bool) {
	v, _ := s.table.View(&d)
	return v, true
}

func (*tableStore) Holds([32]byte) bool                { return true }
func (*tableStore) Token(v pack.View) httpkey.Token    { return pack.Token(v) }
func (s *tableStore) Table() *ram.Table[httpkey.Token] { return &s.table }
func (*tableStore) IsCopy() bool                       { return false }

// A token that is revoked and loses its networks and limits in one update was at no time valid
// without them: a request sees it as it was, or as it is.
func TestUpdatesAreSeenAsAWhole(t *testing.T) {
	t.Parallel()
	key, bound := issue(t, newGuard(nil), httpkey.Token{Networks: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}})
	revoked, shut := bound, bound
	revoked.Networks, revoked.IsActive = nil, false
	shut.Networks, shut.Limits = nil, limits(httpkey.PerHour(0))
	var versions []*ram.Fields[httpkey.Token]
	for _, token := range []httpkey.Token{bound, revoked, shut, revoked} { // which no store would revive
		versions = append(versions, pack.Fields(token))
	}
	store := new(tableStore)
	digest := [32]byte(bound.Digest)
	n := store.table.Add(&digest, ram.Null, versions[0], ram.Stamp{})
	store.Holder = ram.Hold[httpkey.Token](store, store)
	handler := httpkey.New(store, memstore.NewLimiter(), nil).Handler(ok)

	var updates sync.WaitGroup
	done := make(chan struct{})
	updates.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-done:
				return
			default:
				store.table.Replace(n, ram.Null, versions[i%len(versions)], ram.Stamp{})
			}
		}
	})
	for range 20_000 {
		got := httpkeytest.Get(handler, key).Code
		if got != http.StatusUnauthorized && got != http.StatusForbidden {
			t.Errorf("status %d", got)
			break
		}
	}
	close(done)
	updates.Wait()
}
