package console

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/httpkeytest"
	"github.com/httpkey/httpkey/memstore"
)

// A list that finds little reads many tokens at a time, even if its pages are small.
func TestSearchesReadManyAtATime(t *testing.T) {
	t.Parallel()
	store := httpkeytest.NewStore(memstore.New())
	s := newSiteOn(t, store, Options{})
	for range scanPage - 1 {
		s.issue(httpkey.Token{Label: "x", User: "ada"})
	}
	for _, parameters := range []string{"search=needle", "status=ended", "kind=service_token"} {
		before := store.Calls("List")
		s.want(200, s.api("ada", "GET", "/?per_page=1&"+parameters, ""))
		if calls := store.Calls("List") - before; calls > 1 {
			t.Errorf("%s: %d calls of List", parameters, calls)
		}
	}
}

// A list asks the store for the kind that is wanted alone. Of all workspaces together it
// asks for no more tokens than one request looks at.
func TestListsAskForNoMoreThanIsLookedAt(t *testing.T) {
	t.Parallel()
	p := Principal{User: "u", ServiceTokens: true}
	for n := range 200 {
		p.Workspaces = append(p.Workspaces, fmt.Sprint(n))
	}
	store := &asked{Store: memstore.New()}
	c := New(httpkey.New(store, httpkey.Unlimited, nil), &Options{
		Principal: func(*http.Request) (Principal, error) { return p, nil },
	}).(*console)
	if _, err := c.list(t.Context(), p, query{Order: "label", Kind: httpkey.ServiceToken, PerPage: 10}); err != nil {
		t.Fatal(err)
	}
	sum := 0
	for _, f := range store.filters {
		if sum += f.Limit; f.Kind != httpkey.ServiceToken {
			t.Errorf("asked for %+v", f)
		}
	}
	if sum == 0 || sum > maxScan {
		t.Errorf("asked for %d tokens", sum)
	}
}

func TestSearchesAreBounded(t *testing.T) {
	t.Parallel()
	s := newSite(t, Options{})
	for search, want := range map[string]int{strings.Repeat("ä", maxSearch): 200, strings.Repeat("a", maxSearch+1): 400} {
		w := s.api("ada", "GET", "/?search="+url.QueryEscape(search), "")
		if w.Code != want || want == 400 && !strings.Contains(w.Body.String(), `"search"`) {
			t.Errorf("%d characters: %d %s", len([]rune(search)), w.Code, w.Body)
		}
	}
}

// People search for the names that a page shows.
func TestNamesAreFound(t *testing.T) {
	t.Parallel()
	p := Principal{User: "u-1", Names: map[string]string{"u-2": "Grace Hopper", "w-1": "Harvard", "s-1": "Read issues"}}
	token := httpkey.Token{User: "u-2", Workspace: "w-1", Scopes: []string{"s-1", "s-2"}, IsActive: true}
	c := New(httpkey.New(memstore.New(), httpkey.Unlimited, nil), &Options{
		Principal: func(*http.Request) (Principal, error) { return p, nil },
	}).(*console)
	for search, want := range map[string]bool{
		"grace": true, "harvard": true, "w-1": true, "read issues": true, "s-1": true, "s-2": true, "ada": false,
	} {
		if got := c.selection(p, query{Search: search}).has(&token); got != want {
			t.Errorf("%s is found: %v", search, got)
		}
	}
}

// A made-up link does not make a page say that an active token is revoked.
func TestPagesSayWhatIsTrue(t *testing.T) {
	t.Parallel()
	s := newSite(t, Options{})
	_, token := s.issue(httpkey.Token{Label: "x", User: "ada"})
	const sentence = `role="status"`
	for _, path := range []string{"/?done=revoked", "/?done=updated", "/" + token.ID + "/?done=deleted"} {
		if body := s.page("ada", path).Body.String(); strings.Contains(body, sentence) {
			t.Errorf("%s says that something was done", path)
		}
	}
	if body := s.page("ada", "/"+token.ID+"/?done=revoked").Body.String(); strings.Contains(body, sentence) {
		t.Error("an active token is said to be revoked")
	}
	if err := s.guard.Revoke(t.Context(), token.ID, ""); err != nil {
		t.Fatal(err)
	}
	if body := s.page("ada", "/"+token.ID+"/?done=revoked").Body.String(); !strings.Contains(body, sentence) {
		t.Error("a revoked token is not said to be revoked")
	}
}

// A form that is saved again changes nothing, and is no event.
func TestLineBreaksOfFormsAreThoseOfPrograms(t *testing.T) {
	t.Parallel()
	s := newSite(t, Options{})
	_, token := s.issue(httpkey.Token{Label: "x", Description: "a\nb", User: "ada"})
	form := url.Values{"label": {"x"}, "description": {"a\r\nb"}, "expiry": {"keep"}}
	s.want(303, s.submit("ada", "/"+token.ID+"/", form.Encode()))
	if got := s.get(token.ID).Description; got != "a\nb" || len(s.told()) != 0 {
		t.Errorf("%q, %v", got, s.told())
	}
}

// A header that a handler around the console has set stays. An asset can only be read. A
// long header is not parsed.
func TestHeadersAroundTheConsole(t *testing.T) {
	t.Parallel()
	s := newSite(t, Options{})
	within := s.handler
	s.handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Vary", "Accept-Encoding")
		within.ServeHTTP(w, r)
	})
	if w := s.page("ada", "/"); strings.Join(w.Header()["Vary"], ",") != "Accept-Encoding,Accept" {
		t.Errorf("Vary: %v", w.Header()["Vary"])
	}
	for path := range within.(*console).look.assets {
		if w := s.send("ada", http.MethodDelete, path, ""); w.Code != 405 || w.Header().Get("Allow") != "GET, HEAD" {
			t.Errorf("DELETE %s: %d", path, w.Code)
		}
		s.want(200, s.send("", http.MethodHead, path, ""))
	}
	long := strings.Repeat("text/html,", 1000)
	if w := s.send("ada", http.MethodGet, "/", "", "Accept", long); w.Header().Get("Content-Type") != "application/json" {
		t.Errorf("a long Accept: %d %s", w.Code, w.Header().Get("Content-Type"))
	}
}

// asked is a store that notes the filters of its lists.
type asked struct {
	*memstore.Store
	filters []httpkey.Filter
}

func (a *asked) List(ctx context.Context, f httpkey.Filter) ([]httpkey.Token, error) {
	a.filters = append(a.filters, f)
	return a.Store.List(ctx, f)
}

// A page offers no rotation that the console would refuse.
func TestRotationIsOfferedIfAllowed(t *testing.T) {
	t.Parallel()
	s := newSite(t, Options{})
	for name, tt := range map[string]struct {
		token httpkey.Token
		want  bool
	}{
		"one's own":           {httpkey.Token{Label: "x", User: "mary"}, true},
		"beyond one's rights": {httpkey.Token{Label: "x", User: "mary", Scopes: []string{"admin"}}, false},
		"a colleague's":       {httpkey.Token{Label: "x", User: "ada", Workspace: "acme"}, false},
		"a service's":         {httpkey.Token{Label: "x", Workspace: "acme", Kind: httpkey.ServiceToken}, true},
		"an old service's":    {httpkey.Token{Label: "x", User: "ada", Workspace: "acme", Kind: httpkey.ServiceToken}, false},
	} {
		_, token := s.issue(tt.token)
		body := s.want(200, s.page("manager", "/"+token.ID+"/")).Body.String()
		if got := strings.Contains(body, `href="rotate/"`); got != tt.want {
			t.Errorf("%s: offered: %v", name, got)
		}
		if status := s.page("manager", "/"+token.ID+"/rotate/").Code; (status == 200) != tt.want {
			t.Errorf("%s: status %d", name, status)
		}
	}
}
