package openapi

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/console"
	"github.com/httpkey/httpkey/httpkeytest"
)

// operations returns a request for each operation that the document may describe. It succeeds.
func (s *site) operations() map[string]request {
	return map[string]request{
		"GET /":              {"ada", http.MethodGet, "/", "", nil},
		"POST /":             {"ada", http.MethodPost, "/", `{"label":"Website"}`, nil},
		"POST /find":         {"ada", http.MethodPost, "/find", `{"key":"` + s.key.Reveal() + `"}`, nil},
		"POST /revoke":       {"ada", http.MethodPost, "/revoke", `{"ids":["laptop","none"],"reason":"lost"}`, nil},
		"GET /{id}/":         {"ada", http.MethodGet, "/laptop/", "", nil},
		"GET /{id}/usage/":   {"ada", http.MethodGet, "/laptop/usage/", "", nil},
		"PATCH /{id}/":       {"ada", http.MethodPatch, "/laptop/", `{"label":"New laptop"}`, nil},
		"DELETE /{id}/":      {"ada", http.MethodDelete, "/laptop/", "", nil},
		"POST /{id}/rotate/": {"ada", http.MethodPost, "/laptop/rotate/", `{"grace":3600}`, nil},
		"GET /openapi.json":  {"ada", http.MethodGet, "/openapi.json", "", nil},
	}
}

// refusals say how to make any operation answer with a status.
var refusals = map[string]struct {
	options console.Options
	prepare func(*site) // nil: nothing
	request func(request) request
}{
	"400": {request: func(r request) request { r.path += "?no=such"; return r }},
	"401": {request: func(r request) request { r.login = "nobody"; return r }},
	"403": {request: with("Sec-Fetch-Site: cross-site")},
	"404": {request: func(r request) request { r.login = "charles"; return r }},
	"409": {
		prepare: func(s *site) {
			s.send(s.operations()["POST /{id}/rotate/"])
			s.send(request{"ada", http.MethodPatch, "/laptop/", `{"is_active":false}`, nil})
		},
		options: console.Options{MaxTokens: 1},
		request: func(r request) request {
			if r.method == http.MethodPatch {
				r.body = `{"is_active":true}`
			}
			return r
		},
	},
	"412": {request: with(`If-Match: "another"`)},
	"413": {request: func(r request) request { r.body = `"` + strings.Repeat(" ", 1<<17) + `"`; return r }},
	"415": {request: with("Content-Type: text/plain")},
	"429": {
		options: console.Options{Limit: once("changes"), ReadLimit: once("reads")},
		prepare: func(s *site) {
			s.send(s.operations()["GET /"])
			s.send(s.operations()["PATCH /{id}/"])
		},
		request: with(),
	},
	"503": {
		prepare: func(s *site) { s.store.Before(httpkeytest.Fail(errDown)) },
		request: func(r request) request {
			switch r.path {
			case "/openapi.json", "/revoke": // the one asks no store, the other says it of each token
				r.login = "down"
			}
			return r
		},
	},
}

// with adds lines to the header of a request.
func with(lines ...string) func(request) request {
	return func(r request) request {
		r.header = append(slices.Clone(r.header), lines...)
		return r
	}
}

func once(name string) httpkey.Limit {
	l := httpkey.PerHour(1)
	l.Name = name
	return l
}

func TestDocument(t *testing.T) {
	t.Parallel()
	d := describe(t, newSite(t, console.Options{}).console)
	if !strings.HasPrefix(d.document.Version, "3.1.") {
		t.Errorf("the version is %s", d.document.Version)
	}
	if ok, problems := d.ValidateDocument(); !ok {
		t.Error(text(problems))
	}
}

// Each operation answers with each of its statuses as the document says, and with no other.
func TestOperations(t *testing.T) {
	t.Parallel()
	d := describe(t, newSite(t, console.Options{}).console)
	for _, operation := range d.operations() {
		s := newSite(t, console.Options{})
		r, ok := s.operations()[operation]
		if !ok {
			t.Errorf("this test has no request for %s", operation)
			continue
		}
		a := s.send(r)
		if a.status >= 300 {
			t.Errorf("%s: %d %s", operation, a.status, a.body)
		}
		d.compare(t, operation, r, a)
		for _, status := range d.statuses(operation) {
			d.refuse(t, operation, status)
			if !d.met[operation+" "+status] {
				t.Errorf("%s never answered %s", operation, status)
			}
		}
	}
}

// refuse makes an operation answer with a status, in both forms of an error.
func (d *description) refuse(t *testing.T, operation, status string) {
	t.Helper()
	refusal, ok := refusals[status]
	if !ok {
		return // a success
	}
	for _, accept := range []string{"application/json", "application/problem+json"} {
		s := newSite(t, refusal.options)
		if refusal.prepare != nil {
			refusal.prepare(s)
		}
		r := with("Accept: " + accept)(refusal.request(s.operations()[operation]))
		a := s.send(r)
		if got := a.header.Get("Content-Type"); strconv.Itoa(a.status) != status || got != accept {
			t.Errorf("%s: %d %s %s, want %s %s", operation, a.status, got, a.body, status, accept)
		}
		d.compare(t, operation, r, a)
	}
}
