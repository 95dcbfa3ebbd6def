package httpkey_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/httpkeytest"
	"github.com/httpkey/httpkey/memstore"
)

func TestFromContextIsACopy(t *testing.T) {
	t.Parallel()
	full := httpkey.Token{Scopes: []string{"read"}, Metadata: map[string]string{"plan": "pro"},
		Limits: limits(httpkey.PerMinute(5))}
	for place, in := range places {
		_, store, limiter := in()
		guard := httpkey.New(store, limiter, nil)
		key, token := issue(t, guard, full)
		w := httpkeytest.Get(guard.Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			first, found := httpkey.FromContext(r.Context())
			if !found || first.ID != token.ID {
				t.Errorf("%s: FromContext returned %+v, %v", place, first, found)
			}
			first.Scopes[0], first.Metadata["plan"], first.Limits[0].Rate = "write", "free", 500
			second, _ := httpkey.FromContext(r.Context())
			admission, _ := httpkey.AdmissionFrom(r.Context())
			for _, token := range []httpkey.Token{second, admission.Token} {
				if token.Scopes[0] != "read" || token.Metadata["plan"] != "pro" || token.Limits[0].Rate != 5 {
					t.Errorf("%s: a handler changed the token of its request: %+v", place, token)
				}
			}
		})), key)
		if w.Code != http.StatusOK {
			t.Errorf("%s: status %d", place, w.Code)
		}
		if err := guard.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

// Where no Guard was, there is no token and no admission.
func TestContextOfNoGuard(t *testing.T) {
	t.Parallel()
	if token, found := httpkey.FromContext(t.Context()); found || token.ID != "" {
		t.Errorf("FromContext found %+v", token)
	}
	if admission, found := httpkey.AdmissionFrom(t.Context()); found || admission != nil {
		t.Errorf("AdmissionFrom found %+v", admission)
	}
}

// The admission of a request has the limiter's decision, and charges the same bucket.
func TestAdmissionFrom(t *testing.T) {
	t.Parallel()
	for place, in := range places {
		_, store, limiter := in()
		guard := httpkey.New(store, limiter, nil)
		key, token := issue(t, guard, httpkey.Token{User: "ann", Limits: limits(httpkey.PerHour(60))})
		for _, want := range []int{59, 48} {
			httpkeytest.Get(guard.Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				type below struct{}
				ctx := context.WithValue(r.Context(), below{}, "a context made of the request's")
				admission, found := httpkey.AdmissionFrom(ctx)
				if !found || admission.Token.ID != token.ID || !admission.Result.Allowed || admission.Result.Remaining != want {
					t.Fatalf("%s: AdmissionFrom returned %+v, %v, want %d remaining", place, admission, found, want)
				}
				if err := admission.Charge(ctx, 10); err != nil {
					t.Error(err)
				}
			})), key)
		}
		if err := guard.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

// A handler under test finds the token of its test, as a copy.
func TestNewContext(t *testing.T) {
	t.Parallel()
	scopes := []string{"read"}
	ctx := httpkey.NewContext(t.Context(), httpkey.Token{ID: "t-1", User: "ann", Scopes: scopes})
	scopes[0] = "write"
	for range 2 {
		token, found := httpkey.FromContext(ctx)
		if !found || token.User != "ann" || token.Scopes[0] != "read" {
			t.Errorf("FromContext returned %+v, %v", token, found)
		}
		token.Scopes[0] = "write"
	}
	admission, found := httpkey.AdmissionFrom(ctx)
	if !found || admission.Token.ID != "t-1" || admission.Result.Limit != (httpkey.Limit{}) {
		t.Errorf("AdmissionFrom returned %+v, %v", admission, found)
	}
	inner := httpkey.NewContext(ctx, httpkey.Token{ID: "t-2"})
	if token, _ := httpkey.FromContext(inner); token.ID != "t-2" {
		t.Errorf("the inner context has the token %q", token.ID)
	}
	zero, found := httpkey.FromContext(httpkey.NewContext(t.Context(), httpkey.Token{}))
	if !found || zero.ID != "" {
		t.Errorf("the zero token became %+v, %v", zero, found)
	}
}

// A middleware that passes gives the request that its next handler got; one that answers
// does not, and what it has answered stays.
func TestPasses(t *testing.T) {
	t.Parallel()
	guard, key := httpkeytest.New(t, nil)
	type mark struct{}
	marks := func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("X-Mark", "set")
			next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), mark{}, "mark")))
		})
	}
	answers := func(http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) })
	}
	for _, tt := range []struct {
		name       string
		middleware func(http.Handler) http.Handler
		key        string
		status     int // 0: it passes
	}{
		{"guard", guard.Handler, key, 0},
		{"guard, no key", guard.Handler, "", http.StatusUnauthorized},
		{"another", marks, "", 0},
		{"one that answers", answers, key, http.StatusTeapot},
		{"require without a guard", httpkey.RequireScope("a"), key, http.StatusUnauthorized},
	} {
		r, w := httpkeytest.Request(http.MethodGet, "/", tt.key), httptest.NewRecorder()
		passed, ok := httpkey.Passes(tt.middleware, w, r)
		if ok != (tt.status == 0) || !ok && (w.Code != tt.status || passed != r) {
			t.Errorf("%s: Passes returned %v, %d", tt.name, ok, w.Code)
		}
		_, admitted := httpkey.FromContext(passed.Context())
		if admitted != (tt.name == "guard") || (passed.Context().Value(mark{}) != nil) != (tt.name == "another") {
			t.Errorf("%s: the request has lost its context", tt.name)
		}
	}
}

// A store that only looks keys up serves requests, and says of the rest that it has none.
func TestLookupOnly(t *testing.T) {
	t.Parallel()
	tokens := memstore.New()
	key, token := issue(t, httpkey.New(tokens, httpkey.Unlimited, nil), httpkey.Token{User: "ann"})
	store := httpkey.LookupOnly{ByDigest: tokens.Lookup}
	guard := httpkey.New(store, memstore.NewLimiter(), nil)
	w := httpkeytest.Get(guard.Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if got, _ := httpkey.FromContext(r.Context()); got.User != "ann" {
			t.Errorf("the request is of %+v", got)
		}
	})), key)
	if w.Code != http.StatusOK || w.Header().Get("X-RateLimit-Remaining") != "59" {
		t.Errorf("status %d, %v", w.Code, w.Header())
	}
	if err := guard.Close(t.Context()); err != nil {
		t.Errorf("without Used, Close returned %v", err)
	}
	store.Used = tokens.Touch
	guard = httpkey.New(store, memstore.NewLimiter(), nil)
	httpkeytest.Get(guard.Handler(ok), key)
	if err := guard.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if kept, err := tokens.Get(t.Context(), token.ID); err != nil || kept.LastUsed.IsZero() {
		t.Errorf("the use was not written: %+v (%v)", kept, err)
	}
	if w := httpkeytest.Get(guard.Handler(ok), key[:len(key)-1]); w.Code != http.StatusUnauthorized {
		t.Errorf("another key got %d", w.Code)
	}
}

func TestLookupOnlyHasNoMore(t *testing.T) {
	t.Parallel()
	store := httpkey.LookupOnly{ByDigest: memstore.New().Lookup}
	guard := httpkey.New(store, memstore.NewLimiter(), nil)
	ctx := t.Context()
	for method, call := range map[string]func() error{
		"Create": func() error { _, err := store.Create(ctx, httpkey.Token{}); return err },
		"Get":    func() error { _, err := store.Get(ctx, "t"); return err },
		"List":   func() error { _, err := store.List(ctx, httpkey.Filter{}); return err },
		"Update": func() error {
			_, err := store.Update(ctx, "t", func(*httpkey.Token) error { panic("called") })
			return err
		},
		"Delete":           func() error { return store.Delete(ctx, "t") },
		"Create by Issue":  func() error { _, err := guard.Issue(ctx, httpkey.Token{}); return err },
		"Get by Rotate":    func() error { _, err := guard.Rotate(ctx, "t", 0); return err },
		"Update by Revoke": func() error { return guard.Revoke(ctx, "t", "") },
		"List by Due": func() error {
			for _, err := range guard.Due(ctx, httpkey.Filter{}, 0) {
				return err
			}
			return nil
		},
	} {
		name, _, _ := strings.Cut(method, " ")
		if err := call(); !errors.Is(err, errors.ErrUnsupported) || !strings.Contains(err.Error(), name) {
			t.Errorf("%s returned %v", method, err)
		}
	}
}

// An open Kind and a missing token are answered as with any store.
func TestLookupOnlyOfABareToken(t *testing.T) {
	t.Parallel()
	guard := httpkey.New(httpkey.LookupOnly{ByDigest: func(_ context.Context, d httpkey.Digest) (httpkey.Token, error) {
		return httpkey.Token{ID: "t", Digest: d, IsActive: true}, nil
	}}, memstore.NewLimiter(), nil)
	_, key := httpkeytest.New(t, nil)
	if w := httpkeytest.Get(guard.Handler(ok), key); w.Code != http.StatusOK ||
		w.Header().Get("X-RateLimit-Limit") != "60" {
		t.Errorf("status %d, %v", w.Code, w.Header())
	}
	none := httpkey.New(httpkey.LookupOnly{ByDigest: func(context.Context, httpkey.Digest) (httpkey.Token, error) {
		return httpkey.Token{}, httpkey.ErrNotFound
	}}, memstore.NewLimiter(), nil)
	if w := httpkeytest.Get(none.Handler(ok), key); w.Code != http.StatusUnauthorized {
		t.Errorf("status %d", w.Code)
	}
}
