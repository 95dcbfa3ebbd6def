package docs

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/httpkeytest"
	"github.com/httpkey/httpkey/memstore"
)

func TestKeysBesideSessions(t *testing.T) {
	t.Parallel()
	store := memstore.New()
	guard := httpkey.New(store, httpkey.Unlimited, nil)
	none := httpkeytest.Issue(t, guard, httpkey.Token{}).Secret.Reveal()
	key := httpkeytest.Issue(t, guard, httpkey.Token{User: "ann", Scopes: []string{"pages:read"}}).Secret.Reveal()
	api := pages(store, memstore.NewLimiter(), func(r *http.Request) string {
		if cookie, err := r.Cookie("session"); err == nil && cookie.Value == "good" {
			return "eve"
		}
		return ""
	})
	for _, tt := range []struct {
		name, method, key, session, origin string
		status                             int
		body, limit                        string
	}{
		{"a key", "GET", key, "", "", 200, "hello ann", "60"},
		{"a key without the scope of the route", "POST", key, "", "", 403, forbidden, "60"},
		{"a key without scopes", "GET", none, "", "", 403, forbidden, "60"},
		{"a session", "GET", "", "good", "", 200, "hello eve", "120"},
		{"a session that writes", "POST", "", "good", "", 200, "hello eve", "120"},
		{"a session, from another site", "POST", "", "good", "https://evil.example", 403, "", "120"},
		{"a key, from another site", "POST", key, "", "https://evil.example", 403, forbidden, "60"},
		{"a key beside a session", "GET", key, "good", "", 200, "hello ann", "60"},
		{"a bad key beside a session", "GET", "hk_k_made_up", "good", "", 401, notValid, ""},
		{"an old session", "GET", "", "old", "", 401, missing, ""},
	} {
		r := httpkeytest.Request(tt.method, "https://api.example/pages/", tt.key)
		r.AddCookie(&http.Cookie{Name: "session", Value: tt.session})
		if tt.origin != "" {
			r.Header.Set("Origin", tt.origin)
		}
		w := httptest.NewRecorder()
		api.ServeHTTP(w, r)
		if w.Code != tt.status || tt.body != "" && w.Body.String() != tt.body {
			t.Errorf("%s: %d %s, want %d %s", tt.name, w.Code, w.Body, tt.status, tt.body)
		}
		if got := w.Header().Get("X-RateLimit-Limit"); got != tt.limit {
			t.Errorf("%s: X-RateLimit-Limit %q, want %q", tt.name, got, tt.limit)
		}
	}
}

const (
	missing   = `{"detail":"Authentication credentials were not provided."}`
	notValid  = `{"detail":"Given API token is not valid"}`
	forbidden = `{"detail":"You do not have permission to perform this action."}`
)
