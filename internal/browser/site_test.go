package browser

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/console"
	"github.com/httpkey/httpkey/memstore"
)

const (
	mount    = "/settings/api-tokens/"
	apiURL   = "/api/v1/users/me/"
	loginURL = "/login"
	cookie   = "login"
	day      = 24 * time.Hour
)

// people are those of a made-up login, whose cookie names one of them. ada may do
// everything, bob nothing special.
var people = map[string]console.Principal{
	"ada": {
		User:          "ada",
		Workspaces:    []string{"w1", "w2"},
		ServiceTokens: true,
		Scopes:        []string{"issues:read", "issues:write", "members:read"},
		Names:         map[string]string{"ada": "Ada Lovelace", "bob": "Bob", "w1": "Acme", "w2": "Analytical Engines"},
	},
	"bob": {User: "bob", Names: map[string]string{"bob": "Bob"}},
	"grace": {
		User:  "grace",
		Admin: true,
		Names: map[string]string{"ada": "Ada Lovelace", "bob": "Bob", "grace": "Grace Hopper", "w1": "Acme"},
	},
	"lena": {
		User:          "lena",
		Workspaces:    []string{"w1"},
		ServiceTokens: true,
		Scopes:        []string{"issues:read", "issues:write"},
		Names:         map[string]string{"lena": "Lena", "w1": "Acme"},
		Language:      "de",
	},
	"amal": {User: "amal", Scopes: []string{"issues:read", "issues:write"}, Language: "ar"},
	"wide": {
		User:          wideUser,
		Workspaces:    []string{"w1", strings.Repeat("workspace", 20)},
		ServiceTokens: true,
		Scopes:        manyScopes,
	},
}

// wideUser and manyScopes break pages.
var (
	wideUser   = strings.Repeat("u", 80)
	manyScopes = func() []string {
		scopes := []string{strings.Repeat("s", 80)}
		for i := range 99 {
			scopes = append(scopes, fmt.Sprintf("resource-%d:write", i))
		}
		return scopes
	}()
)

// site is a program that embeds the console, with an API behind keys.
type site struct {
	*httptest.Server
	store *store
	guard *httpkey.Guard
}

// store is a store that can go down.
type store struct {
	httpkey.TokenStore
	down atomic.Bool
}

func (s *store) List(ctx context.Context, f httpkey.Filter) ([]httpkey.Token, error) {
	if s.down.Load() {
		return nil, errors.New("down")
	}
	return s.TokenStore.List(ctx, f)
}

func newSite(t testing.TB, change func(*console.Options)) *site {
	t.Helper()
	s := &site{store: &store{TokenStore: memstore.New()}}
	s.guard = httpkey.New(s.store, memstore.NewLimiter(), &httpkey.Options{LastUsedInterval: time.Millisecond})
	t.Cleanup(func() {
		if err := s.guard.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	mux := http.NewServeMux()
	s.Server = httptest.NewUnstartedServer(withNonce(mux))
	options := &console.Options{
		Principal: func(r *http.Request) (console.Principal, error) {
			login, err := r.Cookie(cookie)
			if err != nil {
				return console.Principal{}, err
			}
			return people[login.Value], nil
		},
		SignIn: func(*http.Request) string { return loginURL },
		TryURL: "http://" + s.Listener.Addr().String() + apiURL,
	}
	if change != nil {
		change(options)
	}
	mux.Handle(mount, http.StripPrefix(strings.TrimSuffix(mount, "/"), console.New(s.guard, options)))
	mux.Handle(apiURL, s.guard.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token, _ := httpkey.FromContext(r.Context())
		fmt.Fprintf(w, "%s", token.User)
	})))
	mux.HandleFunc(loginURL, func(w http.ResponseWriter, _ *http.Request) {
		http.SetCookie(w, &http.Cookie{Name: cookie, Value: "ada", Path: "/", HttpOnly: true})
		_, _ = fmt.Fprint(w, "Welcome back, Ada")
	})
	mux.HandleFunc(frameCSSURL, serveFrameCSS)
	s.Start()
	t.Cleanup(s.Close)
	return s
}

// issue issues a token of Ada's, and returns its key.
func (s *site) issue(t testing.TB, label string) string {
	t.Helper()
	created, err := s.guard.Issue(t.Context(), httpkey.Token{Label: label, User: "ada", Kind: httpkey.APIKey})
	if err != nil {
		t.Fatal(err)
	}
	return created.Secret.Reveal()
}

// call calls the API with a key and returns the status.
func (s *site) call(t testing.TB, key string) int {
	t.Helper()
	return s.send(t, http.MethodGet, apiURL, "", http.Header{"X-Api-Key": {key}})
}

// patch changes a token of Ada's through the JSON API of the console.
func (s *site) patch(t testing.TB, id, body string) int {
	t.Helper()
	return s.send(t, http.MethodPatch, mount+id+"/", body,
		http.Header{"Cookie": {cookie + "=ada"}, "Content-Type": {"application/json"}})
}

func (s *site) send(t testing.TB, method, path, body string, header http.Header) int {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, s.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header = header
	response, err := s.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	_, _ = io.Copy(io.Discard, response.Body)
	return response.StatusCode
}

// tokens returns all tokens there are, newest first.
func (s *site) tokens(t testing.TB) []httpkey.Token {
	t.Helper()
	tokens, err := s.store.List(t.Context(), httpkey.Filter{})
	if err != nil {
		t.Fatal(err)
	}
	return tokens
}

// add stores tokens as they are, Ada's unless they are another's or a service's. A token without
// CreatedAt is a minute older than the one before it.
func (s *site) add(t testing.TB, tokens ...httpkey.Token) {
	t.Helper()
	for i, token := range tokens {
		if token.ID == "" {
			token.ID = fmt.Sprintf("id-%d", i)
		}
		if token.CreatedAt.IsZero() {
			token.CreatedAt = time.Now().Add(-time.Duration(i+1) * time.Minute)
		}
		if token.Kind == "" {
			token.Kind = httpkey.APIKey
		}
		if token.Hint == "" {
			token.Hint = fmt.Sprintf("%04d", i)
		}
		if token.User == "" && token.Kind != httpkey.ServiceToken {
			token.User = "ada"
		}
		copy(token.Digest[:], token.ID)
		if _, err := s.store.Create(t.Context(), token); err != nil {
			t.Fatal(err)
		}
	}
}
