package cachestore

import (
	"context"
	"errors"
	"net/http"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/httpkeytest"
	"github.com/httpkey/httpkey/internal/clock"
	"github.com/httpkey/httpkey/internal/ram"
	"github.com/httpkey/httpkey/memstore"
)

// guarded returns a Guard over a store, and a handler behind it.
func guarded(t *testing.T, store httpkey.TokenStore, opts *httpkey.Options) (*httpkey.Guard, http.Handler) {
	t.Helper()
	return guardedBy(t, store, memstore.NewLimiter(), opts)
}

func guardedBy(
	t *testing.T, store httpkey.TokenStore, limiter httpkey.Limiter, opts *httpkey.Options,
) (*httpkey.Guard, http.Handler) {
	t.Helper()
	guard := httpkey.New(store, limiter, opts)
	t.Cleanup(func() { _ = guard.Close(context.Background()) })
	return guard, guard.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
}

// A Guard over a cache sees a change that is made through it at the next request, though it
// reads tokens in memory where they are.
func TestGuardSeesChangesAtTheNextRequest(t *testing.T) {
	t.Parallel()
	update := func(change func(*httpkey.Token)) func(*Store, *httpkey.Guard, string) error {
		return func(s *Store, _ *httpkey.Guard, id string) error {
			_, err := s.Update(context.Background(), id, func(t *httpkey.Token) error { change(t); return nil })
			return err
		}
	}
	elsewhere := []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24")}
	perHour := []httpkey.Limit{httpkey.PerHour(7)}
	for name, test := range map[string]struct {
		change func(s *Store, g *httpkey.Guard, id string) error
		status int
		limit  string
	}{
		"Revoke": {func(_ *Store, g *httpkey.Guard, id string) error {
			return g.Revoke(context.Background(), id, "")
		}, 401, ""},
		"Delete": {func(s *Store, _ *httpkey.Guard, id string) error {
			return s.Delete(context.Background(), id)
		}, 401, ""},
		"Rotate": {func(_ *Store, g *httpkey.Guard, id string) error {
			_, err := g.Rotate(context.Background(), id, 0)
			return err
		}, 401, ""},
		"an Update that ends it":      {update(func(t *httpkey.Token) { t.IsActive = false }), 401, ""},
		"an Update that expires it":   {update(func(t *httpkey.Token) { t.ExpiredAt = time.Now() }), 401, ""},
		"an Update of its Kind":       {update(func(t *httpkey.Token) { t.Kind = httpkey.ServiceToken }), 200, "300"},
		"an Update of its Limits":     {update(func(t *httpkey.Token) { t.Limits = perHour }), 200, "7"},
		"an Update of its Networks":   {update(func(t *httpkey.Token) { t.Networks = elsewhere }), 401, ""},
		"an Update of nothing at all": {update(func(*httpkey.Token) {}), 200, "60"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBackend()
			s := New(b, nil)
			guard, handler := guarded(t, s, nil)
			created := httpkeytest.Issue(t, guard, httpkey.Token{})
			key := created.Secret.Reveal()
			for range 3 {
				if w := httpkeytest.Get(handler, key); w.Code != 200 {
					t.Fatalf("a good key: %d", w.Code)
				}
			}
			if n := b.Calls("Lookup"); n != 1 {
				t.Errorf("3 requests made %d Lookups in the store, want 1", n)
			}
			if err := test.change(s, guard, created.Token.ID); err != nil {
				t.Fatal(err)
			}
			w := httpkeytest.Get(handler, key)
			if limit := w.Header().Get("X-RateLimit-Limit"); w.Code != test.status || limit != test.limit {
				t.Errorf("%d with the limit %q, want %d with %q", w.Code, limit, test.status, test.limit)
			}
		})
	}
}

// No reader that begins after a Revoke has returned is admitted.
func TestNoReaderIsAdmittedAfterRevoke(t *testing.T) {
	t.Parallel()
	const readers = 64
	rounds := 1000
	if raceDetector {
		rounds /= 50 // it takes long enough
	}
	guard, handler := guarded(t, New(memstore.New(), nil), &httpkey.Options{
		Limits: map[httpkey.Kind][]httpkey.Limit{httpkey.APIKey: nil},
	})
	for range rounds {
		created := httpkeytest.Issue(t, guard, httpkey.Token{})
		var revoked atomic.Bool
		var admitted, after atomic.Int64
		var wg sync.WaitGroup
		for range readers {
			wg.Go(func() {
				for isAfter := false; !isAfter; {
					isAfter = revoked.Load()
					if httpkeytest.Get(handler, created.Secret.Reveal()).Code != 200 {
						continue
					}
					if admitted.Add(1); isAfter {
						after.Add(1)
					}
				}
			})
		}
		for admitted.Load() < readers {
			runtime.Gosched()
		}
		if err := guard.Revoke(t.Context(), created.Token.ID, ""); err != nil {
			t.Fatal(err)
		}
		revoked.Store(true)
		wg.Wait()
		if n := after.Load(); n > 0 {
			t.Fatalf("%d of %d readers were admitted after Revoke had returned", n, readers)
		}
	}
}

// closed embeds a Store and has a Lookup of its own.
type closed struct {
	*Store
	isClosed bool
	lookups  int
}

func (c *closed) Lookup(ctx context.Context, d httpkey.Digest) (httpkey.Token, error) {
	c.lookups++
	if c.isClosed {
		return httpkey.Token{}, httpkey.ErrNotFound
	}
	return c.Store.Lookup(ctx, d)
}

// A Guard asks a type that embeds a Store by the Lookup of that type.
func TestTypeThatEmbedsAStoreIsAskedByItsLookup(t *testing.T) {
	t.Parallel()
	store := &closed{Store: New(memstore.New(), nil)}
	guard, handler := guarded(t, store, nil)
	key := httpkeytest.Issue(t, guard, httpkey.Token{}).Secret.Reveal()
	for range 3 {
		if w := httpkeytest.Get(handler, key); w.Code != 200 {
			t.Errorf("open: %d", w.Code)
		}
	}
	store.isClosed = true
	if w := httpkeytest.Get(handler, key); w.Code != 401 {
		t.Errorf("closed: %d", w.Code)
	}
	if store.lookups != 4 {
		t.Errorf("4 requests made %d Lookups", store.lookups)
	}
}

// lax finds the one token that it has under every digest, as a store does that folds case
// or compares prefixes.
type lax struct {
	httpkey.TokenStore
	token httpkey.Token
	err   error // that Lookup returns
}

func (l *lax) Lookup(context.Context, httpkey.Digest) (httpkey.Token, error) { return l.token, l.err }

// A key is not admitted by the token of another, neither by a load nor from memory. A Lookup
// returns the token that the store returned, under its own digest.
func TestTokenOfAnotherDigestIsNotAdmitted(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := &lax{TokenStore: memstore.New()}
		s := New(store, nil)
		guard, handler := guarded(t, s, nil)
		right, wrong := httpkeytest.Issue(t, guard, httpkey.Token{}), httpkeytest.Issue(t, guard, httpkey.Token{})
		returns := func(id string, err error) {
			t.Helper()
			token, errGet := store.Get(t.Context(), id)
			if errGet != nil {
				t.Fatal(errGet)
			}
			store.token, store.err = token, err
		}
		status := func(key httpkey.Created, want int) {
			t.Helper()
			if w := httpkeytest.Get(handler, key.Secret.Reveal()); w.Code != want {
				t.Errorf("status %d, want %d", w.Code, want)
			}
		}
		returns(right.Token.ID, nil)
		for range 3 {
			status(wrong, 401)
			status(right, 200)
			for _, d := range []httpkey.Digest{wrong.Token.Digest, right.Token.Digest} {
				if got, err := s.Lookup(t.Context(), d); err != nil || got.Digest != right.Token.Digest {
					t.Errorf("Lookup: %v and %v", got, err)
				}
			}
		}
		// A token that the store no longer returns does not come back when the store fails.
		httpkeytest.Elapse(s.options.TTL)
		returns(wrong.Token.ID, nil)
		status(right, 401)
		returns(wrong.Token.ID, errDown)
		status(right, 503)
	})
}

// A Guard finds the tokens in memory that are good, and the absences. Of all else only a
// Lookup can tell.
func TestGuardFindsTokensAndAbsences(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := New(memstore.New(), nil)
		create(t, s, token(1))
		memory := ram.SourceOf[httpkey.Token](s)
		finds := func(n int, exists, known bool) {
			t.Helper()
			v, isKnown := memory.Find(digest(n), clock.Elapsed())
			if v.Exists() != exists || isKnown != known {
				t.Errorf("token %d: found %t and known %t, want %t and %t", n, v.Exists(), isKnown, exists, known)
			}
			if v.Exists() && (memory.Token(v).ID != token(n).ID || v.Digest != digest(n)) {
				t.Errorf("token %d: found %+v", n, memory.Token(v))
			}
		}
		for n := 1; n <= 2; n++ {
			finds(n, false, false)
			_, _ = s.Lookup(t.Context(), digest(n))
		}
		finds(1, true, true)
		finds(2, false, true)
		httpkeytest.Elapse(absentTTL)
		finds(1, true, true)
		finds(2, false, false)
		httpkeytest.Elapse(s.options.TTL)
		finds(1, false, false)
	})
}

// A key that no token has costs one Lookup in the store, and none while that is remembered.
func TestGuardKnowsAbsences(t *testing.T) {
	t.Parallel()
	b := newBackend()
	_, handler := guarded(t, New(b, nil), nil)
	elsewhere, _ := guarded(t, memstore.New(), nil)
	key := httpkeytest.Issue(t, elsewhere, httpkey.Token{}).Secret.Reveal()
	for range 3 {
		if w := httpkeytest.Get(handler, key); w.Code != 401 {
			t.Errorf("an unknown key: %d", w.Code)
		}
	}
	if n := b.Calls("Lookup"); n != 1 {
		t.Errorf("3 requests made %d Lookups in the store, want 1", n)
	}
}

// A key that is in memory under a previous pepper does not wait for a Lookup of its current digest,
// which no token has. This holds for fresh and for outdated tokens.
func TestKeyOfAPreviousPepperDoesNotWait(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBackend()
		s := New(b, &Options{MaxUnknown: 1, Timeout: time.Hour})
		before, _ := guarded(t, s, nil)
		created := httpkeytest.Issue(t, before, httpkey.Token{})
		_, handler := guarded(t, s, &httpkey.Options{
			Pepper:          httpkey.Secret(strings.Repeat("p", 32)),
			PreviousPeppers: []httpkey.Secret{""},
		})
		get := func(lookups int) {
			t.Helper()
			start, before := time.Now(), b.Calls("Lookup")
			if w := httpkeytest.Get(handler, created.Secret.Reveal()); w.Code != 200 || time.Since(start) != 0 {
				t.Errorf("status %d after %v", w.Code, time.Since(start))
			}
			if n := b.Calls("Lookup") - before; n != lookups {
				t.Errorf("%d Lookups in the store, want %d", n, lookups)
			}
		}
		get(2)
		ctx, cancel := context.WithCancel(t.Context())
		b.Before(httpkeytest.Stall())
		unknown := call(ctx, s, 1)
		b.Before(nil)
		httpkeytest.Elapse(absentTTL)
		get(0)
		httpkeytest.Elapse(s.options.TTL)
		get(1)
		b.Before(httpkeytest.Fail(errDown))
		httpkeytest.Elapse(s.options.TTL)
		get(1) // it is used while it is stale
		b.Before(nil)
		cancel()
		if err := <-unknown; err == nil {
			t.Error("a made-up key was found")
		}
		httpkeytest.Elapse(time.Hour) // the load ends
	})
}

// A use of a token in memory is written by Touch. Get shows it then, and Lookup when the TTL
// is over. A bucket in memory notes the use beside it, so that Lookup shows it before.
func TestUsesAreWritten(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		limiter httpkey.Limiter
		noted   bool
	}{
		"a limiter in memory": {memstore.NewLimiter(), true},
		"another limiter":     {httpkey.Unlimited, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := newBackend()
				s := New(b, nil)
				guard, handler := guardedBy(t, s, test.limiter, nil)
				created := httpkeytest.Issue(t, guard, httpkey.Token{})
				var used time.Time
				for second := range 2 {
					used = time.Now()
					for range 3 {
						httpkeytest.Get(handler, created.Secret.Reveal())
					}
					httpkeytest.Elapse(time.Second)
					synctest.Wait()
					if n := b.Calls("Touch"); n != second+1 {
						t.Errorf("%d Touches after second %d", n, second+1)
					}
				}
				if got, err := s.Get(t.Context(), created.Token.ID); err != nil || !got.LastUsed.Equal(used) {
					t.Errorf("Get: %v and %v, want %v", got.LastUsed, err, used)
				}
				var noted time.Time
				if test.noted {
					noted = used
				}
				if got, err := s.Lookup(t.Context(), created.Token.Digest); err != nil || !got.LastUsed.Equal(noted) {
					t.Errorf("Lookup in the TTL: %v and %v, want %v", got.LastUsed, err, noted)
				}
				httpkeytest.Elapse(28 * time.Second)
				if got, err := s.Lookup(t.Context(), created.Token.Digest); err != nil || !got.LastUsed.Equal(used) {
					t.Errorf("Lookup after the TTL: %v and %v, want %v", got.LastUsed, err, used)
				}
			})
		})
	}
}

// A bucket beside a token in memory belongs to its payer. It outlives the TTL of the token,
// and the token itself. Another token under the same key does not inherit it.
func TestBucketOutlivesItsTokenInMemory(t *testing.T) {
	t.Parallel()
	const ttl = time.Second
	for name, test := range map[string]struct {
		happens   func(t *testing.T, s *Store, now httpkey.Token)
		isInPlace bool // the token keeps its record and its last use, which the store has not got yet
		remaining string
	}{
		"nothing": {func(*testing.T, *Store, httpkey.Token) {}, true, "57"},
		"the TTL ends": {func(*testing.T, *Store, httpkey.Token) {
			httpkeytest.Elapse(ttl)
		}, true, "57"},
		"the token changes": {func(t *testing.T, s *Store, now httpkey.Token) {
			if _, err := s.Update(t.Context(), now.ID, func(t *httpkey.Token) error {
				t.Label = strings.Repeat("label", 10)
				return nil
			}); err != nil {
				t.Fatal(err)
			}
		}, true, "57"},
		"the token is evicted": {func(t *testing.T, s *Store, _ httpkey.Token) {
			create(t, s, token(1))
			if _, err := s.Lookup(t.Context(), digest(1)); err != nil {
				t.Fatal(err)
			}
		}, false, "57"},
		"the token goes and comes back": {func(t *testing.T, s *Store, now httpkey.Token) {
			if err := s.Delete(t.Context(), now.ID); err != nil {
				t.Fatal(err)
			}
			if _, err := s.Lookup(t.Context(), now.Digest); !errors.Is(err, httpkey.ErrNotFound) {
				t.Fatal(err)
			}
			create(t, s, now)
		}, false, "57"},
		"another token comes": {func(t *testing.T, s *Store, now httpkey.Token) {
			if err := s.Delete(t.Context(), now.ID); err != nil {
				t.Fatal(err)
			}
			other := token(1)
			other.Digest = now.Digest
			create(t, s, other)
		}, false, "59"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := New(newBackend(), &Options{Size: 1, TTL: ttl})
				guard, handler := guarded(t, s, &httpkey.Options{
					Limits: map[httpkey.Kind][]httpkey.Limit{httpkey.APIKey: {httpkey.PerHour(60)}},
				})
				created := httpkeytest.Issue(t, guard, httpkey.Token{})
				get := func(want string) {
					t.Helper()
					w := httpkeytest.Get(handler, created.Secret.Reveal())
					if got := w.Header().Get("X-RateLimit-Remaining"); got != want {
						t.Errorf("%d with %q remaining, want %q", w.Code, got, want)
					}
				}
				get("59")
				get("58")
				before := s.find(created.Token.Digest)
				test.happens(t, s, created.Token)
				if _, err := s.Lookup(t.Context(), created.Token.Digest); err != nil {
					t.Fatal(err)
				}
				after := s.find(created.Token.Digest)
				isSame := after.Number == before.Number && after.LastUsed == before.LastUsed
				if test.isInPlace && !isSame || s.tokens.Len() != 1 {
					t.Errorf("%d tokens are in memory: %+v was %+v", s.tokens.Len(), after, before)
				}
				get(test.remaining)
			})
		})
	}
}

// The last use of a token is not that of another that had its key before.
func TestLastUseIsOfTheToken(t *testing.T) {
	t.Parallel()
	b := newBackend()
	s := New(b, nil)
	used := token(1)
	used.LastUsed = time.Unix(1e9, 0)
	create(t, s, used)
	expect(t, s, b, digest(1), "", nil, 1)
	if err := s.Delete(t.Context(), used.ID); err != nil {
		t.Fatal(err)
	}
	unused := token(2)
	unused.Digest = digest(1)
	create(t, s, unused)
	for range 2 { // from the store, and from memory
		if got, err := s.Lookup(t.Context(), digest(1)); err != nil || got.ID != unused.ID || !got.LastUsed.IsZero() {
			t.Errorf("%v used at %v, and %v", got, got.LastUsed, err)
		}
	}
}

// A Guard admits a token that is stale while the store fails, and answers 503 for a key
// that is not in memory.
func TestGuardInAnOutage(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBackend()
		guard, handler := guarded(t, New(b, nil), nil)
		known, unknown := httpkeytest.Issue(t, guard, httpkey.Token{}), httpkeytest.Issue(t, guard, httpkey.Token{})
		httpkeytest.Get(handler, known.Secret.Reveal())
		b.Before(httpkeytest.Stall("Lookup"))
		httpkeytest.Elapse(30 * time.Second)
		for _, want := range []time.Duration{100 * time.Millisecond, 0, 0} {
			start := time.Now()
			w := httpkeytest.Get(handler, known.Secret.Reveal())
			if took := time.Since(start); w.Code != 200 || took != want {
				t.Errorf("the known key: %d after %v, want 200 after %v", w.Code, took, want)
			}
		}
		start := time.Now()
		w := httpkeytest.Get(handler, unknown.Secret.Reveal())
		if took := time.Since(start); w.Code != 503 || took != 100*time.Millisecond {
			t.Errorf("the unknown key: %d after %v, want 503 after 100 ms", w.Code, took)
		}
		if err := guard.Revoke(t.Context(), known.Token.ID, ""); err != nil {
			t.Fatal(err)
		}
		if w := httpkeytest.Get(handler, known.Secret.Reveal()); w.Code != 503 {
			t.Errorf("the known key once revoked: %d, want 503", w.Code)
		}
		httpkeytest.Elapse(time.Second) // loads end
	})
}
