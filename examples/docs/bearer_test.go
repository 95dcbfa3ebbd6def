package docs

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/httpkeytest"
	"github.com/httpkey/httpkey/memstore"
)

// get sends a GET request with header lines, each "Name: value".
func get(handler http.Handler, target string, lines ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodGet, target, http.NoBody)
	for _, line := range lines {
		name, value, _ := strings.Cut(line, ": ")
		r.Header.Add(name, value)
	}
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, r)
	return w
}

func TestBearerKeys(t *testing.T) {
	t.Parallel()
	guard := bearerKeys(memstore.New(), memstore.NewLimiter())
	key := httpkeytest.Issue(t, guard, httpkey.Token{User: "ann"}).Secret.Reveal()
	other := httpkeytest.Issue(t, guard, httpkey.Token{User: "bob"}).Secret.Reveal()
	api := guard.Handler(http.HandlerFunc(hello))
	for _, tt := range []struct {
		name   string
		lines  []string
		status int
	}{
		{"in Authorization", []string{"Authorization: Bearer " + key}, 200},
		{"the scheme in small letters", []string{"Authorization: bearer " + key}, 200},
		{"in X-Api-Key", []string{"X-Api-Key: " + key}, 200},
		{"the same key in both", []string{"Authorization: Bearer " + key, "X-Api-Key: " + key}, 200},
		{"two keys", []string{"Authorization: Bearer " + key, "X-Api-Key: " + other}, 401},
		{"none", nil, 401},
		{"another scheme", []string{"Authorization: Basic YTpi"}, 401},
	} {
		w := get(api, "/", tt.lines...)
		if w.Code != tt.status {
			t.Errorf("%s: status %d, want %d", tt.name, w.Code, tt.status)
		}
		if challenges := strings.Join(w.Header().Values("WWW-Authenticate"), ", "); tt.status == http.StatusUnauthorized &&
			(!strings.Contains(challenges, "Bearer realm=") || !strings.Contains(challenges, "ApiKey realm=")) {
			t.Errorf("%s: WWW-Authenticate: %s", tt.name, challenges)
		}
	}
}

func TestKeysBesideJWTs(t *testing.T) {
	t.Parallel()
	store := memstore.New()
	key := func(scopes ...string) string {
		token := httpkey.Token{User: "ann", Scopes: scopes}
		return httpkeytest.Issue(t, httpkey.New(store, httpkey.Unlimited, nil), token).Secret.Reveal()
	}
	api := keysOrJWTs(store, memstore.NewLimiter(), func(r *http.Request) string {
		if r.Header.Get("Authorization") == "Bearer eyJhbGciOiJIUzI1NiJ9.good" {
			return "eve"
		}
		return ""
	})
	for _, tt := range []struct {
		name, credential string
		status           int
		body             string
	}{
		{"a key", key("pages:read"), 200, "hello ann"},
		{"a key without the scope", key(), 403, forbidden},
		{"a JSON Web Token", "eyJhbGciOiJIUzI1NiJ9.good", 200, "hello eve"},
		{"a bad JSON Web Token", "eyJhbGciOiJIUzI1NiJ9.bad", 401, missing},
		{"a bad key", "hk_k_made_up", 401, notValid},
	} {
		w := get(api, "/", "Authorization: Bearer "+tt.credential)
		if w.Code != tt.status || w.Body.String() != tt.body {
			t.Errorf("%s: %d %s, want %d %s", tt.name, w.Code, w.Body, tt.status, tt.body)
		}
	}
}
