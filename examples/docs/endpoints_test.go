package docs

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/httpkeytest"
)

func TestEndpoints(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		guard, without := httpkeytest.New(t, nil)
		key := httpkeytest.Issue(t, guard, httpkey.Token{User: "ann"}).Secret.Reveal()
		service := httpkeytest.Issue(t, guard, httpkey.Token{Scopes: []string{"introspect"}}).Secret.Reveal()
		api := withEndpoints(guard, http.HandlerFunc(hello))
		isActive := func(own string) (status int, active bool) {
			r := httptest.NewRequest(http.MethodPost, "/introspect", strings.NewReader(url.Values{"token": {key}}.Encode()))
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			r.Header.Set("X-Api-Key", own)
			w := httptest.NewRecorder()
			api.ServeHTTP(w, r)
			var answer struct{ Active bool }
			if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil {
				t.Error(err)
			}
			return w.Code, answer.Active
		}

		send(api, http.MethodGet, "/api/", key)
		for range 2 { // it costs nothing
			w := send(api, http.MethodGet, "/whoami", key)
			if !strings.Contains(w.Body.String(), `"user":"ann"`) || !strings.Contains(w.Body.String(), `"remaining":59`) {
				t.Errorf("whoami: %d %s", w.Code, w.Body)
			}
		}
		if status, active := isActive(service); status != 200 || !active {
			t.Errorf("introspect: %d %v", status, active)
		}
		if status, _ := isActive(without); status != 403 {
			t.Errorf("introspect without the scope: %d", status)
		}
		rotate := func() *httptest.ResponseRecorder {
			r := httpkeytest.Request(http.MethodPost, "/rotate", key)
			r.Body = io.NopCloser(strings.NewReader(`{"grace": 3600}`))
			r.Header.Set("Content-Type", "application/json")
			w := httptest.NewRecorder()
			api.ServeHTTP(w, r)
			return w
		}
		var created httpkey.Created
		if w := rotate(); w.Code != 201 || json.Unmarshal(w.Body.Bytes(), &created) != nil {
			t.Errorf("rotate: %d %s", w.Code, w.Body)
		}
		if w := rotate(); w.Code != 409 {
			t.Errorf("rotate again: %d %s", w.Code, w.Body)
		}
		for _, one := range []string{key, created.Secret.Reveal()} {
			if w := send(api, http.MethodGet, "/api/", one); w.Code != 200 {
				t.Errorf("after the rotation: %d", w.Code)
			}
		}
		for range 2 {
			if w := send(api, http.MethodPost, "/revoke", key); w.Code != 204 {
				t.Errorf("revoke: %d", w.Code)
			}
		}
		if w := send(api, http.MethodGet, "/api/", key); w.Code != 401 {
			t.Errorf("after the revocation: %d", w.Code)
		}
		if status, active := isActive(service); status != 200 || active {
			t.Errorf("introspect after the revocation: %d %v", status, active)
		}
	})
}
