package endpoint_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/endpoint"
	"github.com/httpkey/httpkey/httpkeytest"
	"github.com/httpkey/httpkey/memstore"
)

// from sends a request of a client with this address.
func from(handler http.Handler, address, key string) *httptest.ResponseRecorder {
	r := httpkeytest.Request(http.MethodPost, "/", key)
	r.RemoteAddr = address
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, r)
	return w
}

func TestRevokeSelfLeavesATrail(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		got := from(endpoint.RevokeSelf(w.guard), "192.0.2.1:1", w.keys["good"])
		if got.Code != http.StatusNoContent || got.Body.Len() > 0 || got.Header().Get("Content-Type") != "" {
			t.Errorf("%s", dump(t, got))
		}
		token, err := w.store.Get(t.Context(), w.tokens["good"].ID)
		if err != nil || token.IsActive || token.RevokedFor != "by its holder" || !token.RevokedAt.Equal(time.Now()) {
			t.Errorf("the store has %+v (%v)", token, err)
		}
		got = httpkeytest.Get(w.guard.Handler(http.NotFoundHandler()), w.keys["good"])
		if got.Code != http.StatusUnauthorized {
			t.Errorf("the key gets %d", got.Code)
		}
	})
}

// The successor of a key in its grace period stays valid, and so does a predecessor.
func TestRevokeSelfEndsOneKeyOfARotation(t *testing.T) {
	t.Parallel()
	for _, ends := range []string{"old", "new"} {
		guard, old := httpkeytest.New(t, nil)
		token, err := guard.Verify(t.Context(), old)
		if err != nil {
			t.Fatal(err)
		}
		created, err := guard.Rotate(t.Context(), token.ID, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		keys := map[string]string{"old": old, "new": created.Secret.Reveal()}
		from(endpoint.RevokeSelf(guard), "192.0.2.1:1", keys[ends])
		for name, key := range keys {
			if _, err := guard.Verify(t.Context(), key); (err != nil) != (name == ends) {
				t.Errorf("after the end of the %s key, the %s one: %v", ends, name, err)
			}
		}
	}
}

// An address has ten requests a minute, whatever key it sends. Above that, the store hears of none.
func TestRevokeSelfIsMetered(t *testing.T) {
	t.Parallel()
	for _, state := range []string{"unknown", "malformed", "revoked", "missing", "service"} {
		synctest.Test(t, func(t *testing.T) {
			store := httpkeytest.NewStore(memstore.New())
			w := newWorldOver(t, store, memstore.NewLimiter(), nil)
			revoke := endpoint.RevokeSelf(w.guard)
			for n := range 10 {
				got := from(revoke, "203.0.113.7:"+strconv.Itoa(1+n), w.keys[state])
				if got.Code == http.StatusTooManyRequests {
					t.Fatalf("state %s: request %d is throttled", state, n)
				}
			}
			calls := store.Calls("Lookup") + store.Calls("Update")
			for range 20 {
				got := from(revoke, "203.0.113.7:99", w.keys["good"])
				if got.Code != http.StatusTooManyRequests || got.Header().Get("Retry-After") != "6" ||
					got.Body.String() != `{"detail":"Request was throttled. Expected available in 6 seconds."}` ||
					got.Header().Get("Cache-Control") != "no-store" {
					t.Fatalf("%s", dump(t, got))
				}
			}
			if got := store.Calls("Lookup") + store.Calls("Update"); got != calls {
				t.Errorf("state %s: throttled requests made %d calls of the store", state, got-calls)
			}
			if token, err := store.Get(t.Context(), w.tokens["good"].ID); err != nil || !token.IsActive {
				t.Errorf("a throttled request ended the key: %+v (%v)", token, err)
			}
			if got := from(revoke, "203.0.113.8:1", w.keys["good"]); got.Code != http.StatusNoContent {
				t.Errorf("another address gets %d", got.Code)
			}
			httpkeytest.Elapse(6 * time.Second)
			if got := from(revoke, "203.0.113.7:99", w.keys["good"]); got.Code != http.StatusNoContent {
				t.Errorf("after Retry-After, the address gets %d", got.Code)
			}
		})
	}
}

// The limit of RevokeSelf is a bucket of its own beside other limits of the address.
func TestRevokeSelfSharesNoBucket(t *testing.T) {
	t.Parallel()
	guard, key := httpkeytest.New(t, nil)
	login := guard.LimitBy(func(_ *http.Request, c *httpkey.Charge) { c.Limits = []httpkey.Limit{httpkey.PerMinute(10)} })
	for range 10 {
		from(login(http.NotFoundHandler()), "192.0.2.1:1", "")
	}
	if got := from(endpoint.RevokeSelf(guard), "192.0.2.1:1", key); got.Code != http.StatusNoContent {
		t.Errorf("%s", dump(t, got))
	}
}

// A client may hang up as soon as it has sent its request.
func TestRevokeSelfOutlivesItsClient(t *testing.T) {
	t.Parallel()
	store := httpkeytest.NewStore(memstore.New())
	guard := httpkey.New(store, memstore.NewLimiter(), nil)
	created := httpkeytest.Issue(t, guard, httpkey.Token{})
	store.Before(func(ctx context.Context, _ string) error { return ctx.Err() })
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r := httpkeytest.Request(http.MethodPost, "/", created.Secret.Reveal()).WithContext(ctx)
	w := httptest.NewRecorder()
	endpoint.RevokeSelf(guard).ServeHTTP(w, r)
	if _, err := guard.Verify(t.Context(), created.Secret.Reveal()); w.Code != http.StatusNoContent || err == nil {
		t.Errorf("%d, and the key: %v", w.Code, err)
	}
}

// A store that does not change tokens cannot end a key, and the response must not say so.
func TestRevokeSelfWithATableThatOnlyLooksUp(t *testing.T) {
	t.Parallel()
	_, key := httpkeytest.New(t, nil)
	guard := httpkey.New(httpkey.LookupOnly{ByDigest: func(_ context.Context, d httpkey.Digest) (httpkey.Token, error) {
		return httpkey.Token{ID: "1", Digest: d, IsActive: true}, nil
	}}, memstore.NewLimiter(), nil)
	if got := from(endpoint.RevokeSelf(guard), "192.0.2.1:1", key); got.Code != http.StatusServiceUnavailable {
		t.Errorf("%s", dump(t, got))
	}
}
