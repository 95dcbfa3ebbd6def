package httpkey_test

import (
	"cmp"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

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
		{"any of two scopes", httpkey.RequireAnyScope("a", "b"), httpkey.Token{Scopes: []string{"c", "b"}}, ""},
		{"none of two scopes", httpkey.RequireAnyScope("a", "b"), httpkey.Token{Scopes: []string{"c"}}, httpkey.ReasonScope},
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
			guard := newGuard(&httpkey.Options{Observers: observers(&seen)})
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
		"any scope": func() { httpkey.RequireAnyScope() },
		"no scope":  func() { httpkey.RequireScope("a b") },
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

// The scopes that a token lacks go to the Observer and the ErrorHandler. A client sees the demanded
// ones only where bearer keys are a source (RFC 6750, section 3.1).
func TestMissingScopes(t *testing.T) {
	t.Parallel()
	const apiKey, bearer = `ApiKey realm="api"`, `Bearer realm="api"`
	for _, tt := range []struct {
		name      string
		sources   []httpkey.Source
		require   func(http.Handler) http.Handler
		missing   []string
		challenge []string
	}{
		{"all", nil, httpkey.RequireScope("a", "b", "c"), []string{"a", "c"}, nil},
		{"any", nil, httpkey.RequireAnyScope("a", "c"), []string{"a", "c"}, nil},
		{"a kind", nil, httpkey.RequireKind(httpkey.ServiceToken), nil, nil},
		{"all, by bearer", []httpkey.Source{httpkey.FromHeader("X-Api-Key"), httpkey.FromBearer()},
			httpkey.RequireScope("a", "b", "c"), []string{"a", "c"},
			[]string{`Bearer error="insufficient_scope", scope="a b c"`}},
		{"a kind, by bearer", []httpkey.Source{httpkey.FromHeader("X-Api-Key"), httpkey.FromBearer()},
			httpkey.RequireKind(httpkey.ServiceToken), nil, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var (
				seen    events
				handled []string
			)
			guard := newGuard(&httpkey.Options{Sources: tt.sources, Observers: observers(&seen),
				ErrorHandler: func(w http.ResponseWriter, r *http.Request, e httpkey.Error) {
					handled = e.MissingScopes()
					httpkey.WriteError(w, r, e)
				}})
			key, _ := issue(t, guard, httpkey.Token{Scopes: []string{"b"}})
			w := httpkeytest.Get(guard.Handler(tt.require(ok)), key)
			if w.Code != http.StatusForbidden || w.Body.String() != forbidden {
				t.Errorf("%d %s", w.Code, w.Body)
			}
			if got := w.Header()["Www-Authenticate"]; !slices.Equal(got, tt.challenge) {
				t.Errorf("WWW-Authenticate is %q, want %q", got, tt.challenge)
			}
			if e := seen.last(t); !slices.Equal(e.MissingScopes, tt.missing) || !slices.Equal(handled, tt.missing) {
				t.Errorf("the Observer got %q and the ErrorHandler %q, want %q", e.MissingScopes, handled, tt.missing)
			}
			want := []string{apiKey, bearer}
			if tt.sources == nil {
				want = []string{apiKey}
			}
			for _, bad := range []string{"", "hunter2"} {
				w := httpkeytest.Get(guard.Handler(ok), bad)
				if got := w.Header()["Www-Authenticate"]; w.Code != http.StatusUnauthorized || !slices.Equal(got, want) {
					t.Errorf("%q: %d %q, want %q", bad, w.Code, got, want)
				}
			}
		})
	}
}

func TestScopeImplies(t *testing.T) {
	t.Parallel()
	guard := newGuard(&httpkey.Options{ScopeImplies: func(have, want string) bool {
		resource, _, _ := strings.Cut(want, ":")
		return have == "*" || have == resource+":write" && want == resource+":read"
	}})
	for _, tt := range []struct {
		scopes  []string
		require func(http.Handler) http.Handler
		status  int
	}{
		{[]string{"repo:write"}, httpkey.RequireScope("repo:read"), 200},
		{[]string{"repo:read"}, httpkey.RequireScope("repo:write"), 403},
		{[]string{"user:write"}, httpkey.RequireScope("repo:read"), 403},
		{[]string{"repo:write"}, httpkey.RequireScope("repo:read", "repo:write"), 200},
		{[]string{"user:write", "*"}, httpkey.RequireScope("repo:read", "repo:write"), 200},
		{[]string{"*"}, httpkey.RequireAnyScope("repo:read", "admin"), 200},
		{nil, httpkey.RequireAnyScope("repo:read", "admin"), 403},
	} {
		key, token := issue(t, guard, httpkey.Token{Scopes: tt.scopes})
		if w := httpkeytest.Get(guard.Handler(tt.require(ok)), key); w.Code != tt.status {
			t.Errorf("%v: status %d, want %d", tt.scopes, w.Code, tt.status)
		}
		r := httpkeytest.Request(http.MethodGet, "/", "")
		w := httptest.NewRecorder()
		tt.require(ok).ServeHTTP(w, r.WithContext(guard.NewContext(r.Context(), token)))
		if w.Code != tt.status {
			t.Errorf("%v in a session: status %d, want %d", tt.scopes, w.Code, tt.status)
		}
	}
}

// Throttle answers as the Guard in front does, or as the contract says without one.
func TestThrottle(t *testing.T) {
	t.Parallel()
	const body = `{"detail":"Request was throttled. Expected available in 2 seconds."}`
	busy := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		httpkey.Throttle(w, r, 1500*time.Millisecond)
	})
	var seen events
	guard := newGuard(&httpkey.Options{Observers: observers(&seen)})
	key, token := issue(t, guard, httpkey.Token{})
	for name, w := range map[string]*httptest.ResponseRecorder{
		"behind a Guard": httpkeytest.Get(guard.Handler(busy), key), "alone": httpkeytest.Get(busy, key),
	} {
		if w.Code != http.StatusTooManyRequests || w.Body.String() != body || w.Header().Get("Retry-After") != "2" ||
			w.Header().Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %d %s %v", name, w.Code, w.Body, w.Header())
		}
	}
	if e := seen.last(t); e.Reason != httpkey.ReasonThrottled || e.Token.ID != token.ID {
		t.Errorf("observed %+v", e)
	}
	own := newGuard(&httpkey.Options{ErrorHandler: func(w http.ResponseWriter, _ *http.Request, e httpkey.Error) {
		w.WriteHeader(http.StatusTeapot)
	}})
	key, _ = issue(t, own, httpkey.Token{})
	if w := httpkeytest.Get(own.Handler(busy), key); w.Code != http.StatusTeapot {
		t.Errorf("the ErrorHandler was not called: %d", w.Code)
	}
}

func TestGrants(t *testing.T) {
	t.Parallel()
	guard := newGuard(&httpkey.Options{ScopeImplies: func(have, want string) bool { return have == "*" }})
	for _, tt := range []struct {
		scopes []string
		want   bool
	}{{[]string{"read"}, true}, {[]string{"*"}, true}, {[]string{"write"}, false}, {nil, false}} {
		key, _ := issue(t, guard, httpkey.Token{Scopes: tt.scopes})
		admission, err := guard.Admit(t.Context(), key, 1)
		if err != nil || admission.Grants("read") != tt.want {
			t.Errorf("%v: %v, %v", tt.scopes, admission, err)
		}
	}
}

// The limit that an anonymous request has paid can be charged after a session is found.
func TestSessionsKeepTheirAdmission(t *testing.T) {
	t.Parallel()
	guard := newGuard(&httpkey.Options{Anonymous: func(_ *http.Request, c *httpkey.Charge) bool {
		c.Limits = limits(httpkey.PerHour(10))
		return true
	}})
	handler := guard.Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		ctx := guard.NewContext(r.Context(), httpkey.Token{User: "ada"})
		admission, found := httpkey.AdmissionFrom(ctx)
		if !found || admission.Token.User != "ada" {
			t.Fatalf("%v, %v", admission, found)
		}
		if err := admission.Charge(ctx, 4); err != nil {
			t.Error(err)
		}
	}))
	httpkeytest.Get(handler, "")
	if w := httpkeytest.Get(handler, ""); w.Header().Get("X-RateLimit-Remaining") != "4" {
		t.Errorf("%s remain, want 4", w.Header().Get("X-RateLimit-Remaining"))
	}
}

// A session that a handler finds behind a key pays nothing: the key's bucket does.
func TestSessionsBehindAKeyKeepItsPayer(t *testing.T) {
	t.Parallel()
	guard := newGuard(nil)
	key, _ := issue(t, guard, httpkey.Token{})
	for _, session := range []httpkey.Token{{User: "ada"}, {}} {
		httpkeytest.Get(guard.Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			ctx := guard.NewContext(r.Context(), session)
			admission, _ := httpkey.AdmissionFrom(ctx)
			if err := admission.Charge(ctx, 10); err != nil {
				t.Error(err)
			}
		})), key)
	}
	admission, err := guard.Admit(t.Context(), key, 0)
	if err != nil || admission.Result.Remaining != 60-2-20 {
		t.Errorf("%+v, %v", admission, err)
	}
}

// A route may serve keys and sessions. Its demands hold for both, and one ErrorHandler answers.
func TestSessionsBesideKeys(t *testing.T) {
	t.Parallel()
	var seen events
	guard := newGuard(&httpkey.Options{Observers: observers(&seen),
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, e httpkey.Error) {
			w.WriteHeader(e.Status())
			_, _ = w.Write([]byte("own: " + string(e.Reason())))
		}})
	whose := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token, found := httpkey.FromContext(r.Context())
		_, _ = fmt.Fprint(w, token.User, found)
	})
	var session *httpkey.Token
	route := func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if session == nil {
				guard.Handler(next).ServeHTTP(w, r)
				return
			}
			next.ServeHTTP(w, r.WithContext(guard.NewContext(r.Context(), *session)))
		})
	}
	key, _ := issue(t, guard, httpkey.Token{User: "ada", Scopes: []string{"read"}})
	for _, tt := range []struct {
		name    string
		session *httpkey.Token
		key     string
		status  int
		body    string
	}{
		{"a key", nil, key, 200, "adatrue"},
		{"no key", nil, "", 401, "own: missing"},
		{"a session", &httpkey.Token{User: "bob", Scopes: []string{"read"}}, "", 200, "bobtrue"},
		{"a session without the scope", &httpkey.Token{User: "bob"}, "", 403, "own: scope"},
		{"a session of nobody", &httpkey.Token{Scopes: []string{"read"}}, "", 401, "own: missing"},
	} {
		session = tt.session
		if w := httpkeytest.Get(route(httpkey.RequireScope("read")(whose)), tt.key); w.Code != tt.status ||
			w.Body.String() != tt.body {
			t.Errorf("%s: %d %q, want %d %q", tt.name, w.Code, w.Body, tt.status, tt.body)
		}
	}
	if e := seen.last(t); e.Reason != httpkey.ReasonMissing || e.Token.User != "" {
		t.Errorf("observed %+v", e)
	}
}
