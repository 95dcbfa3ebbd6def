package openapi

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/console"
	"github.com/httpkey/httpkey/httpkeytest"
	"github.com/httpkey/httpkey/memstore"
	"github.com/httpkey/httpkey/usage"
)

// people can log in by these names.
var people = map[string]console.Principal{
	"ada": {
		User: "ada", Workspaces: []string{"engine"}, ServiceTokens: true, Scopes: []string{"cards:read", "cards:write"},
	},
	"charles": {User: "charles", Scopes: []string{"cards:read"}},
}

// site is a console with a store that can fail, and the key of a token of Ada's.
type site struct {
	store   *httpkeytest.Store
	guard   *httpkey.Guard
	key     httpkey.Secret
	console http.Handler
}

func newSite(t *testing.T, opts console.Options) *site {
	t.Helper()
	s := &site{store: httpkeytest.NewStore(memstore.New())}
	recorder := usage.NewRecorder(usage.NewMemory(), nil)
	s.guard = httpkey.New(s.store, memstore.NewLimiter(), &httpkey.Options{Observers: []httpkey.Observer{recorder}})
	opts.Usage = recorder
	opts.Principal = func(r *http.Request) (console.Principal, error) {
		if r.Header.Get("Login") == "down" {
			return console.Principal{}, errDown
		}
		p, ok := people[r.Header.Get("Login")]
		if !ok {
			return console.Principal{}, errors.New("no session")
		}
		return p, nil
	}
	s.console = console.New(s.guard, &opts)
	s.key = httpkeytest.Issue(t, s.guard, httpkey.Token{
		ID: "laptop", Label: "Laptop", User: "ada", Scopes: []string{"cards:read"},
		Limits:   []httpkey.Limit{httpkey.PerMinute(60), httpkey.PerMonth(10_000)},
		Networks: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")},
	}).Secret
	return s
}

// request is a request of a person.
type request struct {
	login, method, path, body string
	header                    []string // "Name: value"
}

// http returns a new request of net/http.
func (r request) http() *http.Request {
	h := httptest.NewRequest(r.method, "http://app.example"+r.path, strings.NewReader(r.body))
	h.Header.Set("Login", r.login)
	if r.body != "" {
		h.Header.Set("Content-Type", "application/json")
	}
	for _, line := range r.header {
		name, value, _ := strings.Cut(line, ": ")
		h.Header.Set(name, value)
	}
	return h
}

// answer is the response to a request.
type answer struct {
	status int
	header http.Header
	body   string
}

func (s *site) send(r request) answer {
	w := httptest.NewRecorder()
	s.console.ServeHTTP(w, r.http())
	return answer{w.Code, w.Header(), w.Body.String()}
}

var errDown = fmt.Errorf("down: %w", httpkey.ErrUnavailable)
