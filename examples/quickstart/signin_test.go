package main

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

const tokensPage = "/settings/api-tokens/"

func TestLogin(t *testing.T) {
	t.Parallel()
	demo, _ := start(t, onAnyPort)
	v := visit(t, demo.url)
	v.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	for _, tt := range []struct {
		name, method, path string
		header, value      string
		want               int
	}{
		{"a program without a session", http.MethodGet, tokensPage, "Accept", "application/json", http.StatusUnauthorized},
		{"a person without a session", http.MethodGet, tokensPage, "Accept", "text/html", http.StatusUnauthorized},
		{"a change without a session", http.MethodPost, tokensPage, "Accept", "text/html", http.StatusUnauthorized},
		{"a session that is made up", http.MethodGet, tokensPage, "Cookie", "demo_session=ada", http.StatusUnauthorized},
		{"a login from another site", http.MethodPost, "/sign-in", "Sec-Fetch-Site", "cross-site", http.StatusForbidden},
		{"a login of nobody", http.MethodPost, "/sign-in", "Accept", "text/html", http.StatusBadRequest},
		{"a sign-out from another site", http.MethodPost, "/sign-out", "Sec-Fetch-Site", "cross-site", http.StatusForbidden},
	} {
		response := v.send(tt.method, tt.path, "", http.Header{tt.header: {tt.value}})
		if response.status != tt.want || len(response.cookies) > 0 {
			t.Errorf("%s: %d %s, cookies %v", tt.name, response.status, response.text, response.cookies)
		}
	}
	cookies := v.submit("/sign-in", url.Values{"user": {ada.ID}}).cookies
	if len(cookies) != 1 || !cookies[0].HttpOnly || cookies[0].SameSite != http.SameSiteLaxMode {
		t.Fatalf("the login set %v", cookies)
	}
	if session := cookies[0].Value; len(session) < 26 {
		t.Errorf("the session is %q", session)
	}
}

// The sign-in leads back to the page that a person asked for.
func TestSignInLeadsBack(t *testing.T) {
	t.Parallel()
	demo, _ := start(t, onAnyPort)
	for _, path := range []string{tokensPage, tokensPage + "demo-laptop/", tokensPage + "?status=works&search=a%26b"} {
		v := visit(t, demo.url)
		if page := v.signIn(v.get(path), ada); page.path != path || page.status != http.StatusOK {
			t.Errorf("from %s one comes to %s: %d", path, page.path, page.status)
		}
	}
}

// A form that was sent without a session is given back, and can be sent again.
func TestExpiredSessionLosesNothing(t *testing.T) {
	t.Parallel()
	demo, _ := start(t, onAnyPort)
	v := visitAs(t, demo.url, ada)
	form := v.get(tokensPage + "new").hidden()
	form.Set("label", `Typed "before"`)
	form.Set("expiry", "30")
	v.submit(signOutPath, nil)
	page := v.submit(tokensPage, form)
	if page.status != http.StatusUnauthorized || page.hidden().Get("label") != `Typed "before"` {
		t.Fatalf("the form is gone: %d %s", page.status, page.text)
	}
	v.signIn(page, ada)
	page = v.submit(tokensPage, page.hidden())
	tries := strings.Contains(page.text, demo.url+"/api/v1/users/me/")
	if page.status != http.StatusCreated || !strings.Contains(page.text, "hk_k_") || !tries {
		t.Errorf("sent again: %d %s", page.status, page.text)
	}
}

// The link of an attacker to the sign-in page leads to no other site.
func TestWayBack(t *testing.T) {
	t.Parallel()
	for next, want := range map[string]string{
		"":                                             "/settings/api-tokens/",
		"/settings/api-tokens/":                        "/settings/api-tokens/",
		"/settings/api-tokens/a/?done=b":               "/settings/api-tokens/a/?done=b",
		"/settings/api-tokens/%2F/":                    "/settings/api-tokens/%2F/",
		"/settings/api-tokens/a%20b/":                  "/settings/api-tokens/a%20b/",
		"//evil.example/settings":                      "/settings/api-tokens/",
		"https://evil.example":                         "/settings/api-tokens/",
		"//settings/api-tokens/":                       "/settings/api-tokens/",
		"javascript:alert(1)":                          "/settings/api-tokens/",
		"/settings/api-tokens/../../evil":              "/settings/api-tokens/",
		`/settings/api-tokens/../../\evil.example/`:    "/settings/api-tokens/",
		"/settings/api-tokens/../..//evil.example/":    "/settings/api-tokens/",
		"/settings/api-tokens/%2e%2e/%2e%2e//evil/":    "/settings/api-tokens/",
		"/settings/api-tokens/..%2f..%2f/evil.example": "/settings/api-tokens/",
		"/settings/api-tokensevil":                     "/settings/api-tokens/",
		"/sign-out":                                    "/settings/api-tokens/",
		"\n":                                           "/settings/api-tokens/",
	} {
		if got := wayBack(next); got != want {
			t.Errorf("%q leads to %q, want %q", next, got, want)
		}
	}
}

// A session ends after its time, and when its person signs out, alone.
func TestSessionsEnd(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var s sessions
		begin := func(p person) *http.Request {
			w := httptest.NewRecorder()
			s.begin(w, p)
			r := httptest.NewRequest(http.MethodGet, "/", nil)
			r.AddCookie(w.Result().Cookies()[0])
			return r
		}
		is := func(r *http.Request, want string) {
			t.Helper()
			if p, ok := s.person(r); ok != (want != "") || p.FirstName != want {
				t.Errorf("the session is %v's, want %q's", p, want)
			}
		}
		first, second := begin(people[0]), begin(people[1])
		is(first, "Ada")
		is(second, "Charles")
		s.end(httptest.NewRecorder(), first)
		is(first, "")
		is(second, "Charles")
		time.Sleep(sessionLength) // in the time of the bubble
		is(second, "")
		begin(people[0])
		if len(s.of) != 1 {
			t.Errorf("%d sessions are left", len(s.of))
		}
	})
}
