package console

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/httpkeytest"
	"github.com/httpkey/httpkey/memstore"
	"github.com/httpkey/httpkey/usage"
)

// people can log in to a site by these names.
var people = map[string]Principal{
	"ada":     {User: "ada", Scopes: []string{"read", "write"}},
	"eve":     {User: "eve", Scopes: []string{"read", "write"}},
	"manager": {User: "mary", Workspaces: []string{"acme"}, ServiceTokens: true, Scopes: []string{"read", "write"}},
	"rival":   {User: "rick", Workspaces: []string{"evil", ""}, ServiceTokens: true, Scopes: []string{"read", "write"}},
	"root": {
		User: "ada", Workspaces: []string{"acme", "lab", "acme"}, ServiceTokens: true, Scopes: []string{"read", "write"},
	},
	"odd":    {User: "odo", Scopes: []string{"no scope"}},
	"nobody": {},
}

// site is a console with its Guard and its store, and the events that it has told.
type site struct {
	testing.TB
	guard   *httpkey.Guard
	store   httpkey.TokenStore
	handler http.Handler

	mu     sync.Mutex
	events []Event
}

func newSite(t testing.TB, opts Options) *site {
	return newSiteOn(t, memstore.New(), opts)
}

func newSiteOn(t testing.TB, store httpkey.TokenStore, opts Options) *site {
	return newSiteOf(t, httpkey.New(store, httpkey.Unlimited, nil), opts)
}

func newSiteOf(t testing.TB, guard *httpkey.Guard, opts Options) *site {
	s := &site{TB: t, store: guard.Store(), guard: guard}
	opts.Principal = func(r *http.Request) (Principal, error) {
		if r.Header.Get("Login") == "down" {
			return people["ada"], fmt.Errorf("sessions: %w", httpkey.ErrUnavailable)
		}
		p, ok := people[r.Header.Get("Login")]
		if !ok {
			return Principal{User: "should not matter"}, errors.New("no session")
		}
		return p, nil
	}
	opts.Audit = func(_ context.Context, e Event) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.events = append(s.events, e)
	}
	if opts.Limit == (httpkey.Limit{}) {
		opts.Limit = httpkey.PerSecond(100_000)
	}
	if opts.ReadLimit == (httpkey.Limit{}) {
		opts.ReadLimit = httpkey.PerSecond(100_000)
	}
	if opts.MaxTokens == 0 {
		opts.MaxTokens = 1_000_000
	}
	if opts.Usage == nil {
		opts.Usage = usage.NewMemory()
	}
	s.handler = New(s.guard, &opts)
	return s
}

func (s *site) issue(t httpkey.Token) (string, httpkey.Token) {
	s.Helper()
	created := httpkeytest.Issue(s, s.guard, t)
	return created.Secret.Reveal(), created.Token
}

func (s *site) get(id string) httpkey.Token {
	s.Helper()
	t, err := s.store.Get(s.Context(), id)
	if err != nil {
		s.Fatal(err)
	}
	return t
}

// send sends one request; headers are pairs of name and value.
func (s *site) send(login, method, path, body string, headers ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequestWithContext(s.Context(), method, path, strings.NewReader(body))
	r.Header.Set("Login", login)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := s.serve(r)
	s.checkDescription(r, body, w)
	return w
}

func (s *site) serve(r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	s.handler.ServeHTTP(w, r)
	return w
}

// Browsers send these headers.
const (
	browserAccept = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"
	formType      = "application/x-www-form-urlencoded"
)

func (s *site) api(login, method, path, body string) *httptest.ResponseRecorder {
	return s.send(login, method, path, body, "Content-Type", "application/json")
}

func (s *site) page(login, path string) *httptest.ResponseRecorder {
	return s.send(login, http.MethodGet, path, "", "Accept", browserAccept)
}

func (s *site) submit(login, path, form string) *httptest.ResponseRecorder {
	return s.send(login, http.MethodPost, path, form, "Accept", browserAccept, "Content-Type", formType)
}

// want fails the test unless w has the status.
func (s *site) want(status int, w *httptest.ResponseRecorder) *httptest.ResponseRecorder {
	s.Helper()
	if w.Code != status {
		s.Fatalf("status %d, want %d: %s", w.Code, status, w.Body)
	}
	return w
}

// created reads the answer to the request that made a token.
func (s *site) created(w *httptest.ResponseRecorder) (string, httpkey.Token) {
	s.Helper()
	var created httpkey.Created
	decode(s, s.want(http.StatusCreated, w), &created)
	return created.Secret.Reveal(), created.Token
}

func (s *site) told() []Event {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Event(nil), s.events...)
}

var (
	tag    = regexp.MustCompile(`<[^>]*>`)
	inline = regexp.MustCompile(`</?(?:a|bdi|code|span|strong|time)\b[^>]*>`)
	blanks = regexp.MustCompile(`\s+`)
)

// textOf returns what a person reads on a page, in one line.
func textOf(body string) string {
	apart := tag.ReplaceAllString(inline.ReplaceAllString(body, ""), " ")
	return strings.TrimSpace(blanks.ReplaceAllString(html.UnescapeString(apart), " "))
}

func decode(t testing.TB, w *httptest.ResponseRecorder, into any) {
	t.Helper()
	if err := json.Unmarshal(w.Body.Bytes(), into); err != nil {
		t.Fatalf("%v in %s", err, w.Body)
	}
}

const nonce = "a-nonce-of-some-length"

// newForm returns a form for a new token; pairs are further names and values.
func newForm(pairs ...string) string {
	form := url.Values{"nonce": {nonce}, "label": {"laptop"}, "kind": {"api_key"}, "expiry": {"90"}}
	for i := 0; i < len(pairs); i += 2 {
		form.Set(pairs[i], pairs[i+1])
	}
	return form.Encode()
}
