package openapi

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/console"
	"github.com/httpkey/httpkey/httpkeytest"
)

// A walk through the API, with what tokens and parameters can have.
func TestWalk(t *testing.T) {
	t.Parallel()
	s := newSite(t, console.Options{})
	d := describe(t, s.console)
	httpkeytest.Issue(t, s.guard, httpkey.Token{ID: "a:b", Label: "odd ID", User: "ada"})
	ask := func(operation, path, body string, want int, header ...string) (object map[string]any, etag string) {
		t.Helper()
		method, _, _ := strings.Cut(operation, " ")
		r := request{"ada", method, path, body, header}
		a := s.send(r)
		if a.status != want {
			t.Fatalf("%s %s: %d %s, want %d", method, path, a.status, a.body, want)
		}
		d.compare(t, operation, r, a)
		if a.body != "" {
			if err := json.Unmarshal([]byte(a.body), &object); err != nil {
				t.Fatal(err)
			}
		}
		return object, a.header.Get("ETag")
	}
	const (
		list, create       = "GET /", "POST /"
		get, change, erase = "GET /{id}/", "PATCH /{id}/", "DELETE /{id}/"
		rotate             = "POST /{id}/rotate/"
	)
	in := func(d time.Duration) string { return time.Now().Add(d).UTC().Format(time.RFC3339) }

	created, _ := ask(create, "/", `{"label":"Website","description":"Ours","kind":"service_token","workspace":"engine",`+
		`"scopes":["cards:read"],"expired_at":"`+in(24*time.Hour)+`"}`, 201, "Idempotency-Key: \"one\"")
	again, _ := ask(create, "/", `{"label":"Website"}`, 409, "Idempotency-Key: \"one\"")
	if again["id"] != created["id"] || again["token"] != nil {
		t.Errorf("the second request was answered %v", again)
	}
	ask(create, "/", `{"label":"For ever","workspace":null,"expired_at":null}`, 201)
	ask(create, "/", `{"label":"Theirs","scopes":["cards:punch"]}`, 403)
	ask(create, "/", `{"label":"\u200b","kind":"key","expired_at":"1843-01-01T00:00:00Z","hint":"a"}`, 400)
	ask(create, "/", `{`, 400)

	page, _ := ask(list, "/?per_page=1&status=works&kind=api_key&order_by=label", "", 200)
	cursor, _ := page["next_cursor"].(string)
	if cursor == "" {
		t.Fatalf("there is one page: %v", page)
	}
	ask(list, "/?per_page=1&status=works&kind=api_key&order_by=label&cursor="+cursor, "", 200)
	ask(list, "/?search=no+such&user=ada&workspace=engine&status=unused", "", 200)
	ask(list, "/?status=dead&per_page=0&order_by=hint&cursor=1&kind=key", "", 400)

	id, _ := created["id"].(string)
	path := "/" + id + "/"
	ask(get, "/~YTpi/", "", 200)
	ask(get, "/none/", "", 404)
	_, first := ask(get, path, "", 200)
	_, second := ask(change, path, `{"label":"Shop","description":"","expired_at":"`+in(time.Hour)+`"}`, 200,
		"Content-Type: application/merge-patch+json", "If-Match: "+first)
	ask(change, path, `{"label":"Shop"}`, 412, "If-Match: "+first)
	ask(erase, path, "", 412, "If-Match: "+first)
	ask(change, path, `{"label":null,"scopes":[]}`, 400)
	successor, _ := ask(rotate, path+"rotate/", `{"grace":60,"expired_at":"`+in(2*time.Hour)+`"}`, 201,
		"If-Match: "+second)
	ask(rotate, path+"rotate/", `{"grace":0}`, 409)
	ask(rotate, path+"rotate/", `{"grace":604801}`, 400)
	next, _ := successor["id"].(string)
	ask(change, "/"+next+"/", `{"is_active":false,"revoked_for":"lost"}`, 200)
	ask(change, "/"+next+"/", `{"label":"found"}`, 200)
	ask(change, "/"+next+"/", `{"is_active":true}`, 409)
	ask(erase, path, "", 204)
	ask(erase, path, "", 404)

	key, _ := successor["token"].(string)
	ask("POST /find", "/find", `{"key":"`+key+`"}`, 200)
	_, _ = s.guard.Admit(t.Context(), key, 1) // refused, as it is revoked
	_, _ = s.guard.Admit(t.Context(), s.key.Reveal(), 1)
	ask("GET /{id}/usage/", "/"+next+"/usage/", "", 200)
	ask("GET /{id}/usage/", "/laptop/usage/", "", 200)
	ask("POST /find", "/find", `{"key":"none"}`, 404)
	ask("POST /revoke", "/revoke", `{"user":"ada","reason":"She has left."}`, 200)
	ask("POST /revoke", "/revoke", `{"user":"charles","ids":["laptop"]}`, 400)
	ask(list, "/?status=ended", "", 200)
}

// A document that says something else is noticed.
func TestDifferencesAreFound(t *testing.T) {
	t.Parallel()
	s := newSite(t, console.Options{})
	d := describe(t, s.console)
	r := s.operations()["GET /{id}/"]
	replace := func(old, new string) func(*answer) {
		return func(a *answer) { a.body = strings.Replace(a.body, old, new, 1) }
	}
	for name, change := range map[string]func(*answer){
		"a missing field":    replace(`"hint"`, `"tip"`),
		"another type":       replace(`"is_active":true`, `"is_active":1`),
		"a field too much":   replace(`{`, `{"secret":"a",`),
		"no date":            replace(`"created_at":"20`, `"created_at":"`),
		"another status":     func(a *answer) { a.status = http.StatusTeapot },
		"another media type": func(a *answer) { a.header.Set("Content-Type", "text/plain") },
		"no ETag":            func(a *answer) { a.header.Del("ETag") },
	} {
		a := s.send(r)
		if problems := d.differences(r, a); problems != "" {
			t.Fatal(problems)
		}
		if change(&a); d.differences(r, a) == "" {
			t.Errorf("%s is not found: %v", name, a)
		}
	}
}
