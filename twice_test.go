package httpkey_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/httpkeytest"
	"github.com/httpkey/httpkey/memstore"
)

// A Guard that is twice around a handler decides on a request once. It decides again on a request
// that only looks the same.
func TestTwiceInAChain(t *testing.T) {
	t.Parallel()
	var seen events
	guard := newGuard(&httpkey.Options{Observers: observers(&seen)})
	second := httpkey.New(guard.Store(), memstore.NewLimiter(), &httpkey.Options{Observers: observers(&seen)})
	other := newGuard(nil)
	ada, _ := issue(t, guard, httpkey.Token{User: "ada"})
	bob, _ := issue(t, guard, httpkey.Token{User: "bob"})
	foreign, _ := issue(t, other, httpkey.Token{User: "eve"})
	withKey := func(key string, clone bool) func(http.Handler) http.Handler {
		return func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if clone {
					r = r.Clone(r.Context())
				}
				r.Header.Set("X-Api-Key", key)
				next.ServeHTTP(w, r)
			})
		}
	}
	stripped := func(next http.Handler) http.Handler { return http.StripPrefix("/", next) }
	none := func(next http.Handler) http.Handler { return next }
	part := func(next http.Handler) http.Handler { // of a batch
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			of := httptest.NewRequestWithContext(r.Context(), http.MethodGet, "/part", nil)
			of.Header = r.Header
			next.ServeHTTP(w, of)
		})
	}
	for _, tt := range []struct {
		name    string
		between func(http.Handler) http.Handler
		inner   *httpkey.Guard
		status  int
		user    string // in the handler
		charges int
	}{
		{"the same request", none, guard, 200, "ada", 1},
		{"a stripped prefix", stripped, guard, 200, "ada", 1},
		{"behind its own demand", httpkey.RequireKind(httpkey.APIKey), guard, 200, "ada", 1},
		{"a part of a batch, with the same header", part, guard, 200, "ada", 1},
		{"a request of its own with the same key", withKey(ada, true), guard, 200, "ada", 2},
		{"a request of its own with another key", withKey(bob, true), guard, 200, "bob", 2},
		{"another key in the same request", withKey(bob, false), guard, 200, "bob", 2},
		{"a bad key in the same request", withKey("hunter2", false), guard, 401, "", 1},
		{"another Guard", withKey(foreign, false), other, 200, "eve", 1},
		{"a Guard of the same store", none, second, 200, "ada", 2},
	} {
		seen.all = nil
		var user string
		handler := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			token, _ := httpkey.FromContext(r.Context())
			user = token.User
		})
		w := httpkeytest.Get(guard.Handler(tt.between(tt.inner.Handler(handler))), ada)
		admitted := 0
		for _, of := range seen.types() {
			if of == httpkey.EventAdmitted {
				admitted++
			}
		}
		if w.Code != tt.status || user != tt.user || admitted != tt.charges {
			t.Errorf("%s: %d for %q and %d admissions, want %d, %q and %d",
				tt.name, w.Code, user, admitted, tt.status, tt.user, tt.charges)
		}
	}
}

// The inner Guard of a chain charges nothing, and its headers are those of the outer one.
func TestTwiceInAChainChargesOnce(t *testing.T) {
	t.Parallel()
	guard := newGuard(nil)
	key, _ := issue(t, guard, httpkey.Token{Limits: limits(httpkey.PerMinute(2))})
	chain := guard.Handler(guard.Handler(ok))
	for i, want := range []string{"1", "0"} {
		w := httpkeytest.Get(chain, key)
		if got := w.Header().Get("X-RateLimit-Remaining"); w.Code != http.StatusOK || got != want {
			t.Errorf("request %d: %d with Remaining %s, want 200 with %s", i+1, w.Code, got, want)
		}
	}
	if w := httpkeytest.Get(chain, key); w.Code != http.StatusTooManyRequests {
		t.Errorf("request 3: %d, want 429", w.Code)
	}
}

// A handler, such as a batch endpoint, may make requests in the context of its own request. The
// Guard authenticates and charges each of them.
func TestRequestsInsideARequestArePaid(t *testing.T) {
	t.Parallel()
	guard := newGuard(nil)
	key, _ := issue(t, guard, httpkey.Token{Limits: limits(httpkey.PerMinute(5))})
	for _, tt := range []struct {
		name   string
		header http.Header
		status int
	}{
		{"with the key", http.Header{"X-Api-Key": {key}}, http.StatusOK},
		{"without a key", http.Header{}, http.StatusUnauthorized},
		{"with an empty line", http.Header{"X-Api-Key": {}}, http.StatusUnauthorized},
		{"over the limit", http.Header{"X-Api-Key": {key}}, http.StatusTooManyRequests},
	} {
		var status int
		httpkeytest.Get(guard.Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			inner := httpkeytest.Request(http.MethodGet, "/", "").WithContext(r.Context())
			inner.Header = tt.header
			recorder := httptest.NewRecorder()
			guard.Handler(ok).ServeHTTP(recorder, inner)
			status = recorder.Code
		})), key)
		if status != tt.status {
			t.Errorf("%s: status %d, want %d", tt.name, status, tt.status)
		}
	}
}
