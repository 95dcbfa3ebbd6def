package console

import (
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/memstore"
)

const plainPolicy = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; " +
	"font-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"

// programPolicy answers a page of a console behind a middleware that has set a policy.
func programPolicy(t *testing.T, opts Options, middleware, accept string) *httptest.ResponseRecorder {
	t.Helper()
	opts.Principal = func(*http.Request) (Principal, error) { return people["ada"], nil }
	handler := New(httpkey.New(memstore.New(), httpkey.Unlimited, nil), &opts)
	w := httptest.NewRecorder()
	if middleware != "" {
		w.Header().Set("Content-Security-Policy", middleware)
	}
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
	r.Header.Set("Accept", accept)
	handler.ServeHTTP(w, r)
	return w
}

// A middleware's policy is for the program's own frame. Where that is not on the page, the console
// needs nothing of it.
func TestPolicyOfAMiddleware(t *testing.T) {
	t.Parallel()
	layout := func(w http.ResponseWriter, _ *http.Request, p Page) { _, _ = w.Write([]byte(p.Head + p.Body)) }
	csp := func(*http.Request) string { return "font-src https://fonts.example" }
	const middleware = "script-src 'nonce-abc' 'strict-dynamic'"
	for name, tt := range map[string]struct {
		opts   Options
		accept string
		want   []string
		not    []string
	}{
		"replaced": {Options{}, browserAccept, []string{plainPolicy}, []string{"nonce"}},
		"merged": {
			Options{Layout: layout}, browserAccept, []string{"script-src 'self' 'nonce-abc' 'strict-dynamic'"}, nil,
		},
		"with the option's": {
			Options{Layout: layout, CSP: csp}, browserAccept,
			[]string{"'nonce-abc'", "font-src 'self' https://fonts.example"}, nil,
		},
		"the option's": {
			Options{CSP: csp}, browserAccept, []string{"font-src 'self' https://fonts.example"}, []string{"nonce"},
		},
		"to a program": {
			Options{Layout: layout, CSP: csp}, "application/json", []string{plainPolicy}, []string{"nonce"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := programPolicy(t, tt.opts, middleware, tt.accept)
			policies := w.Header().Values("Content-Security-Policy")
			if len(policies) != 1 {
				t.Fatalf("the answer has the policies %q", policies)
			}
			for _, text := range tt.want {
				if !strings.Contains(policies[0], text) {
					t.Errorf("the policy has no %s: %s", text, policies[0])
				}
			}
			for _, text := range tt.not {
				if strings.Contains(policies[0], text) {
					t.Errorf("the policy has %s: %s", text, policies[0])
				}
			}
		})
	}
}

// With 'strict-dynamic' a browser heeds nonces, and no 'self'.
func TestNoncesAreOnTheElements(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		policy        string
		script, style string // their nonces
	}{
		"none":          {"script-src 'self'", "", ""},
		"of scripts":    {"script-src 'nonce-abc' 'strict-dynamic'", "abc", ""},
		"of both":       {"script-src 'nonce-abc+/=='; style-src 'Nonce-d_-'", "abc&#43;/==", "d_-"},
		"of all":        {"default-src 'nonce-abc'", "abc", "abc"},
		"of elements":   {"script-src 'nonce-no'; script-src-elem 'nonce-abc'", "abc", ""},
		"of attributes": {"script-src-attr 'nonce-abc'", "", ""},
		"not a nonce":   {`script-src 'nonce-"><b>' nonce-abc 'nonce-'`, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			csp := func(*http.Request) string { return tt.policy }
			body := programPolicy(t, Options{CSP: csp}, "", browserAccept).Body.String()
			for element, want := range map[string]string{
				`<script [^>]*>`: tt.script, `<link rel="stylesheet"[^>]*>`: tt.style,
			} {
				tag := regexp.MustCompile(element).FindString(body)
				got := regexp.MustCompile(` nonce="([^"]*)"`).FindStringSubmatch(tag)
				if tag == "" || (got == nil) != (want == "") || got != nil && got[1] != want {
					t.Errorf("%s has the nonce %q, want %q", tag, got, want)
				}
			}
		})
	}
}

// A form without a session may be redirected to the login, which the policy must allow.
func TestFormsMayLeadToTheLogin(t *testing.T) {
	t.Parallel()
	for location, want := range map[string]string{
		"":                               "form-action 'self';",
		"/login?next=%2F":                "form-action 'self';",
		"https://login.example/in?x=1":   "form-action 'self' https://login.example;",
		"https://login.example:8443/in":  "form-action 'self' https://login.example:8443;",
		"//login.example/in":             "form-action 'self' login.example;",
		"https://a;script-src/in":        "form-action 'self';",
		"https://a,script-src/in":        "form-action 'self';",
		"https://user:word@a.example/in": "form-action 'self' https://a.example;",
		"mailto:ada@example.com":         "form-action 'self';",
		"https://bad host/":              "form-action 'self';",
	} {
		w := programPolicy(t, Options{SignIn: func(*http.Request) string { return location }}, "", browserAccept)
		if got := w.Header().Get("Content-Security-Policy"); !strings.Contains(got, want) {
			t.Errorf("a login at %q makes %s", location, got)
		}
	}
}
