package openapi

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/console"
	"github.com/httpkey/httpkey/httpkeytest"
)

// operations has a request for each operation that the document describes. It succeeds.
var operations = map[string]request{
	"GET /":              {"ada", http.MethodGet, "/", "", nil},
	"POST /":             {"ada", http.MethodPost, "/", `{"label":"Website"}`, nil},
	"GET /{id}/":         {"ada", http.MethodGet, "/laptop/", "", nil},
	"PATCH /{id}/":       {"ada", http.MethodPatch, "/laptop/", `{"label":"New laptop"}`, nil},
	"DELETE /{id}/":      {"ada", http.MethodDelete, "/laptop/", "", nil},
	"POST /{id}/rotate/": {"ada", http.MethodPost, "/laptop/rotate/", `{"grace":3600}`, nil},
	"GET /openapi.json":  {"ada", http.MethodGet, "/openapi.json", "", nil},
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
			s.send(operations["POST /{id}/rotate/"])
			s.send(request{"ada", http.MethodPatch, "/laptop/", `{"is_active":false}`, nil})
		},
		options: console.Options{MaxTokens: 1},
		request: func(r request) request {
			if strings.Contains(r.body, "laptop") {
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
			s.send(operations["GET /"])
			s.send(operations["PATCH /{id}/"])
		},
		request: with(),
	},
	"503": {
		prepare: func(s *site) { s.store.Before(httpkeytest.Fail(errDown)) },
		request: with(),
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
		r, ok := operations[operation]
		if !ok {
			t.Errorf("this test has no request for %s", operation)
			continue
		}
		s := newSite(t, console.Options{})
		response, body := s.send(r)
		if response.StatusCode >= 300 {
			t.Errorf("%s: %d %s", operation, response.StatusCode, body)
		}
		d.compare(t, operation, r, response)
		for _, status := range d.statuses(operation) {
			if refusal, ok := refusals[status]; ok {
				s := newSite(t, refusal.options)
				if refusal.prepare != nil {
					refusal.prepare(s)
				}
				for _, accept := range []string{"application/json", "application/problem+json"} {
					r := with("Accept: " + accept)(refusal.request(r))
					response, body := s.send(r)
					if response.Header.Get("Content-Type") != accept {
						t.Errorf("%s %s: %s, want %s", operation, status, response.Header.Get("Content-Type"), accept)
					}
					d.compare(t, operation, r, response)
					if !d.met[operation+" "+status] {
						t.Errorf("%s: %d %s, want %s", operation, response.StatusCode, body, status)
					}
				}
			}
			if !d.met[operation+" "+status] {
				t.Errorf("%s never answered %s", operation, status)
			}
		}
	}
}
