package httpkey_test

import (
	"cmp"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/httpkeytest"
)

func TestRequire(t *testing.T) {
	t.Parallel()
	workspace := httpkey.RequireWorkspace(func(r *http.Request) string { return r.Header.Get("X-Workspace") })
	none := httpkey.RequireWorkspace(func(*http.Request) string { return "" })
	w1 := httpkey.RequireWorkspace(func(*http.Request) string { return "w-1" })
	for _, tt := range []struct {
		name    string
		require func(http.Handler) http.Handler
		token   httpkey.Token
		reason  httpkey.Reason // empty: passes
	}{
		{"the scope", httpkey.RequireScope("a"), httpkey.Token{Scopes: []string{"b", "a"}}, ""},
		{"all scopes", httpkey.RequireScope("a", "b"), httpkey.Token{Scopes: []string{"b", "a"}}, ""},
		{"one of two scopes", httpkey.RequireScope("a", "b"), httpkey.Token{Scopes: []string{"a"}}, httpkey.ReasonScope},
		{"no scope", httpkey.RequireScope("a"), httpkey.Token{}, httpkey.ReasonScope},
		{"a scope in another case", httpkey.RequireScope("a"), httpkey.Token{Scopes: []string{"A"}}, httpkey.ReasonScope},
		{"the kind", httpkey.RequireKind(httpkey.ServiceToken, httpkey.APIKey), httpkey.Token{}, ""},
		{"another kind", httpkey.RequireKind(httpkey.ServiceToken), httpkey.Token{}, httpkey.ReasonKind},
		{"the workspace", w1, httpkey.Token{Workspace: "w-1"}, ""},
		{"another workspace", w1, httpkey.Token{Workspace: "w-2"}, httpkey.ReasonWorkspace},
		{"a token without workspace", w1, httpkey.Token{}, httpkey.ReasonWorkspace},
		{"a request about none", none, httpkey.Token{Workspace: "w-1"}, httpkey.ReasonWorkspace},
		{"none and none", workspace, httpkey.Token{}, httpkey.ReasonWorkspace},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var seen events
			guard := newGuard(&httpkey.Options{Observer: &seen})
			key, token := issue(t, guard, tt.token)
			w := httpkeytest.Get(guard.Handler(tt.require(ok)), key)
			if tt.reason == "" {
				if w.Code != http.StatusOK {
					t.Errorf("status %d", w.Code)
				}
				return
			}
			if w.Code != http.StatusForbidden || w.Body.String() != forbidden ||
				w.Header().Get("X-RateLimit-Remaining") != "59" {
				t.Errorf("%d %s %v", w.Code, w.Body, w.Header())
			}
			if e := seen.last(t); e.Type != httpkey.EventRefused || e.Reason != tt.reason || e.Token.ID != token.ID {
				t.Errorf("observed %+v", e)
			}
		})
		t.Run(tt.name+", without a guard", func(t *testing.T) {
			t.Parallel()
			token := tt.token
			token.Kind = cmp.Or(token.Kind, httpkey.APIKey)
			r := httpkeytest.Request(http.MethodGet, "/", "")
			w := httptest.NewRecorder()
			tt.require(ok).ServeHTTP(w, r.WithContext(httpkey.NewContext(r.Context(), token)))
			want := map[bool]int{true: http.StatusOK, false: http.StatusForbidden}[tt.reason == ""]
			if w.Code != want || want == http.StatusForbidden &&
				(w.Body.String() != forbidden || w.Header().Get("Cache-Control") != "no-store") {
				t.Errorf("%d %s %v", w.Code, w.Body, w.Header())
			}
		})
	}
}

// A middleware keeps its demands when the caller changes its slice.
func TestRequireCopiesItsDemands(t *testing.T) {
	t.Parallel()
	scopes, kinds := []string{"write"}, []httpkey.Kind{httpkey.ServiceToken}
	require := []func(http.Handler) http.Handler{httpkey.RequireScope(scopes...), httpkey.RequireKind(kinds...)}
	scopes[0], kinds[0] = "read", httpkey.APIKey
	guard := newGuard(nil)
	key, _ := issue(t, guard, httpkey.Token{Scopes: []string{"read"}})
	for _, require := range require {
		if w := httpkeytest.Get(guard.Handler(require(ok)), key); w.Code != http.StatusForbidden {
			t.Errorf("status %d", w.Code)
		}
	}
}

// Without a Guard before it, a demand is not met, whoever asks.
func TestRequireWithoutGuardRefuses(t *testing.T) {
	t.Parallel()
	if w := httpkeytest.Get(httpkey.RequireScope("a")(ok), ""); w.Code != http.StatusUnauthorized ||
		w.Body.String() != missing {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestRequireUsesTheErrorHandler(t *testing.T) {
	t.Parallel()
	guard := newGuard(&httpkey.Options{ErrorHandler: func(w http.ResponseWriter, _ *http.Request, e httpkey.Error) {
		w.WriteHeader(http.StatusTeapot)
	}})
	key, _ := issue(t, guard, httpkey.Token{})
	if w := httpkeytest.Get(guard.Handler(httpkey.RequireScope("a")(ok)), key); w.Code != http.StatusTeapot {
		t.Errorf("status %d", w.Code)
	}
}

func TestRequireOfNothingPanics(t *testing.T) {
	t.Parallel()
	for name, require := range map[string]func(){
		"scope":     func() { httpkey.RequireScope() },
		"kind":      func() { httpkey.RequireKind() },
		"workspace": func() { httpkey.RequireWorkspace(nil) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", name)
				}
			}()
			require()
		}()
	}
}
