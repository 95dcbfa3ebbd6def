package console

import (
	"net/http"
	"strings"
	"testing"

	"github.com/httpkey/httpkey"
)

// A refusal is a problem of RFC 9457 where the request prefers that.
func TestProblemDetails(t *testing.T) {
	t.Parallel()
	s := newSite(t, Options{})
	s.issue(httpkey.Token{ID: "id", Label: "x", User: "ada"})
	s.want(201, s.api("ada", "POST", "/id/rotate/", `{"grace":60}`))
	successor := s.get("id").RotatedTo
	for _, tt := range []struct {
		login, method, path, body string
		status                    int
		want                      string
	}{
		{"", "GET", "/", ``, 401, `{"type":"about:blank","title":"Unauthorized","status":401,` +
			`"detail":"Authentication credentials were not provided.","code":"not_authenticated"}`},
		{"ada", "GET", "/no/", ``, 404, `{"type":"about:blank","title":"Not Found","status":404,` +
			`"detail":"Not found.","code":"not_found"}`},
		{"ada", "PATCH", "/id/", `{"label":""}`, 400, `{"type":"about:blank","title":"Bad Request","status":400,` +
			`"detail":"The request has fields that cannot be used.","code":"invalid",` +
			`"errors":{"label":[{"code":"blank","detail":"This field may not be blank."}]}}`},
		{"ada", "POST", "/id/rotate/", `{"grace":60}`, 409, `{"type":"about:blank","title":"Conflict","status":409,` +
			`"detail":"This token was rotated already. Rotate its successor.","code":"rotated","id":"` + successor + `"}`},
	} {
		for accept, problem := range map[string]bool{
			"application/problem+json":                            true,
			"application/problem+json, application/json;q=0.9":    true,
			"application/json;q=0.5, application/problem+json":    true,
			"APPLICATION/Problem+JSON":                            true,
			"application/*;q=0.2, application/problem+json;q=0.3": true,
			"":                   false,
			"*/*":                false,
			"application/*":      false,
			"application/json":   false,
			"text/html;q=0, */*": false,
			"application/problem+xml, application/json;q=0.1":            false,
			"application/json, application/problem+json":                 false,
			"application/problem+json;q=0, application/json":             false,
			"application/problem+json," + strings.Repeat(" ", maxAccept): false,
		} {
			w := s.send(tt.login, tt.method, tt.path, tt.body, "Content-Type", "application/json", "Accept", accept)
			want, contentType := tt.want, "application/problem+json"
			if !problem {
				_, rest, _ := strings.Cut(tt.want, `"detail"`)
				want, contentType = `{"detail"`+rest, "application/json"
			}
			if w.Code != tt.status || w.Body.String() != want || w.Header().Get("Content-Type") != contentType {
				t.Errorf("Accept %.60q: %d %s %s, want %s", accept, w.Code, w.Header().Get("Content-Type"), w.Body, want)
			}
		}
	}
	w := s.want(200, s.send("ada", "GET", "/id/", "", "Accept", "application/problem+json"))
	if got := w.Header().Get("Content-Type"); got != "application/json" {
		t.Errorf("an answer is %s", got)
	}
}

// A conflict names the token that is in the way, if there is one.
func TestConflictsNameTheToken(t *testing.T) {
	t.Parallel()
	s := newSite(t, Options{})
	s.issue(httpkey.Token{ID: "id", Label: "x", User: "ada"})
	s.issue(httpkey.Token{ID: "revoked", Label: "x", User: "ada"})
	if err := s.guard.Revoke(t.Context(), "revoked", ""); err != nil {
		t.Fatal(err)
	}
	_, successor := s.created(s.api("ada", "POST", "/id/rotate/", `{"grace":60}`))
	for _, tt := range []struct{ method, path, body, code, id string }{
		{http.MethodPost, "/id/rotate/", `{"grace":60}`, "rotated", successor.ID},
		{http.MethodPatch, "/id/", `{"expired_at":null}`, "rotated", successor.ID},
		{http.MethodPost, "/revoked/rotate/", `{"grace":60}`, "ended", ""},
		{http.MethodPatch, "/revoked/", `{"expired_at":"2099-01-01T00:00:00Z"}`, "ended", ""},
		{http.MethodPatch, "/revoked/", `{"is_active":true}`, "ended", ""},
	} {
		var got refusal
		w := s.want(409, s.api("ada", tt.method, tt.path, tt.body))
		if decode(t, w, &got); got.Code != tt.code || got.ID != tt.id || w.Header().Get("Location") != "" {
			t.Errorf("%s %s %s: %s", tt.method, tt.path, tt.body, w.Body)
		}
	}
}

// A refusal of a media type names those that there are.
func TestMediaTypesOfBodies(t *testing.T) {
	t.Parallel()
	const patch = "application/merge-patch+json"
	for _, tt := range []struct {
		method, path, body, contentType string
		status                          int
	}{
		{"PATCH", "/id/", `{"label":"y"}`, patch, 200},
		{"PATCH", "/id/", `{"label":"y"}`, patch + "; charset=utf-8", 200},
		{"PATCH", "/id/", `{"label":"y"}`, "application/json", 200},
		{"PATCH", "/id/", `{"expired_at":null}`, patch, 200},
		{"PATCH", "/id/", `{"label":null}`, patch, 400},
		{"PATCH", "/id/", `[]`, patch, 400},
		{"PATCH", "/id/", `[{"op":"replace"}]`, "application/json-patch+json", 415},
		{"PATCH", "/id/", `{"label":"y"}`, "", 415},
		{"POST", "/", `{"label":"y"}`, patch, 415},
		{"POST", "/id/rotate/", `{"grace":60}`, patch, 415},
	} {
		s := newSite(t, Options{})
		s.issue(httpkey.Token{ID: "id", Label: "x", User: "ada"})
		w := s.want(tt.status, s.send("ada", tt.method, tt.path, tt.body, "Content-Type", tt.contentType))
		want := ""
		if tt.status == 415 {
			want = "application/json"
		}
		if tt.status == 415 && tt.method == "PATCH" {
			want = "application/json, " + patch
		}
		if got := w.Header().Get("Accept"); got != want {
			t.Errorf("%s of %q: the answer accepts %q", tt.method, tt.contentType, got)
		}
	}
}
