package console

import (
	"cmp"
	"fmt"
	"html"
	"math/rand/v2"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/httpkeytest"
	"github.com/httpkey/httpkey/memstore"
)

// pages walks through a list by its cursors and returns the IDs; between is called
// after each page.
func (s *site) pages(login, parameters string, between func(page []resource)) (ids []string) {
	s.Helper()
	cursor := ""
	for range 1000 {
		var page tokenList
		decode(s, s.want(200, s.api(login, "GET", "/?"+parameters+"&cursor="+cursor, "")), &page)
		for _, t := range page.Results {
			ids = append(ids, t.ID)
		}
		if page.NextPageResults != (page.NextCursor != "") {
			s.Fatalf("next_page_results is %v, next_cursor %q", page.NextPageResults, page.NextCursor)
		}
		if between != nil {
			between(page.Results)
		}
		if cursor = page.NextCursor; cursor == "" {
			return ids
		}
	}
	s.Fatal("the list does not end")
	return nil
}

// populate makes tokens of several people and workspaces, many of them in one instant.
func populate(s *site, n int) {
	random := rand.New(rand.NewPCG(1, 2))
	pick := func(choices ...string) string { return choices[random.IntN(len(choices))] }
	for i := range n {
		t := httpkey.Token{
			ID:        fmt.Sprintf("%03d", random.IntN(1000)*1000+i),
			Label:     pick("laptop", "Laptop", "server", "CI", "ci"),
			User:      pick("ada", "mary", "eve", ""),
			Workspace: pick("", "acme", "lab", "evil"),
			Kind:      httpkey.Kind(pick("api_key", "service_token")),
		}
		if random.IntN(2) == 0 {
			t.ExpiredAt = time.Now().Add(time.Duration(1+random.IntN(5)) * day)
		}
		secret, _ := s.issue(t)
		if random.IntN(2) == 0 {
			if _, err := s.guard.Verify(s.Context(), secret); err != nil {
				s.Fatal(err)
			}
		}
		if random.IntN(3) == 0 {
			httpkeytest.Elapse(time.Hour)
		}
	}
}

// Every list has exactly the tokens that its reader manages, each once, in order, for any
// size of a page.
func TestListsAreMergedAndPaged(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, Options{})
		populate(s, 150)
		all, err := s.store.List(t.Context(), httpkey.Filter{Limit: 1000})
		if err != nil || len(all) != 150 {
			t.Fatal(len(all), err)
		}
		for _, login := range []string{"ada", "manager", "root", "rival"} {
			for _, order := range orders {
				for _, size := range []int{1, 7, 100} {
					got := s.pages(login, fmt.Sprintf("per_page=%d&order_by=%s", size, order), nil)
					var want []httpkey.Token
					for _, token := range all {
						if people[login].manages(token) {
							want = append(want, token)
						}
					}
					compare := comparison(order)
					slices.SortStableFunc(want, func(a, b httpkey.Token) int {
						x, y := orderedBy(order, &a), orderedBy(order, &b)
						return compare(&x, &y)
					})
					var ids []string
					for _, token := range want {
						ids = append(ids, token.ID)
					}
					if len(ids) < 10 || !slices.Equal(got, ids) {
						t.Errorf("%s by %s in pages of %d:\n%v, want\n%v", login, order, size, got, ids)
					}
				}
			}
		}
	})
}

// A list stays whole while tokens before the cursor come and go, and the one at it goes.
func TestPagingIsStable(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		for _, order := range orders {
			s := newSite(t, Options{})
			populate(s, 120)
			want := s.pages("root", "order_by="+order+"&per_page=100", nil)
			got := s.pages("root", "order_by="+order+"&per_page=10", func(page []resource) {
				if len(page) > 0 {
					if err := s.store.Delete(t.Context(), page[len(page)-1].ID); err != nil {
						t.Fatal(err)
					}
				}
				if order == newestFirst {
					s.issue(httpkey.Token{Label: "new", User: "ada"})
				}
			})
			if !slices.Equal(got, want) {
				t.Errorf("by %s:\n%v, want\n%v", order, got, want)
			}
		}
	})
}

func TestOrders(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, Options{})
		for _, token := range []struct {
			id, label       string
			expires, usedAt time.Duration
		}{{"1", "b", 3 * day, 0}, {"2", "A", 0, 2 * time.Hour}, {"3", "c", day, time.Hour}} {
			issued := httpkey.Token{ID: token.id, Label: token.label, User: "ada"}
			if token.expires > 0 {
				issued.ExpiredAt = time.Now().Add(token.expires)
			}
			s.issue(issued)
			if token.usedAt > 0 {
				if err := s.store.Touch(t.Context(), map[string]time.Time{token.id: time.Now().Add(token.usedAt)}); err != nil {
					t.Fatal(err)
				}
			}
			httpkeytest.Elapse(time.Minute)
		}
		for order, want := range map[string]string{
			"":            "321",
			"-created_at": "321",
			"created_at":  "123",
			"label":       "213",
			"-last_used":  "231",
			"last_used":   "132",
			"expired_at":  "312",
			"-label":      "312",
			"-expired_at": "213",
		} {
			if got := strings.Join(s.pages("ada", "order_by="+order, nil), ""); got != want {
				t.Errorf("order_by=%s is %s, want %s", order, got, want)
			}
		}
	})
}

func TestFilters(t *testing.T) {
	t.Parallel()
	s := newSite(t, Options{})
	s.issue(httpkey.Token{ID: "a", Label: "Laptop", User: "ada", Description: "at home"})
	s.issue(httpkey.Token{ID: "b", Label: "server", User: "ada", Kind: httpkey.ServiceToken, Scopes: []string{"export"}})
	s.issue(httpkey.Token{ID: "c", Label: "phone", User: "eve", Workspace: "lab"})
	s.issue(httpkey.Token{ID: "d", Label: "ÄRGER", User: "ada", ExpiredAt: time.Now().Add(day)})
	if err := s.guard.Revoke(t.Context(), "c", ""); err != nil {
		t.Fatal(err)
	}
	for parameters, want := range map[string]string{
		"":                               "dcba",
		"kind=service_token":             "b",
		"kind=api_key":                   "dca",
		"status=works":                   "dba",
		"status=ended":                   "c",
		"status=care":                    "d",
		"search=laptop":                  "a",
		"search=HOME":                    "a",
		"search=lab":                     "c",
		"search=export":                  "b",
		"search=eve":                     "c",
		"search=%C3%A4rger":              "d",
		"search=+server+":                "b",
		"search=nothing":                 "",
		"search=ada&status=works":        "dba",
		"kind=api_key&order_by=label":    "acd",
		"status=works&order_by=label":    "abd",
		"order_by=":                      "dcba",
		"per_page=1&status=works":        "dba",
		"per_page=2&order_by=created_at": "abcd",
	} {
		if got := strings.Join(s.pages("root", parameters, nil), ""); got != want {
			t.Errorf("%s: %s, want %s", parameters, got, want)
		}
		if parameters == "" || strings.Contains(parameters, "per_page") {
			continue
		}
		body := s.page("root", "/?"+parameters).Body.String()
		for _, id := range []string{"a", "b", "c", "d"} {
			if regexp.MustCompile(`href="./`+id+`/["?]`).MatchString(body) != strings.Contains(want, id) {
				t.Errorf("the page with %s is wrong about %s", parameters, id)
			}
		}
	}
	if body := s.page("root", "/?search=nothing").Body.String(); !strings.Contains(body, "No tokens match.") {
		t.Errorf("nothing found: %s", body)
	}
	if body := s.page("manager", "/").Body.String(); !strings.Contains(body, "You have no tokens yet.") {
		t.Errorf("no tokens: %s", body)
	}
	if w := s.page("root", "/?order_by=hint"); w.Code != 400 {
		t.Errorf("an unknown order: %d", w.Code)
	}
	body := s.page("root", "/?per_page=2&status=works&done=revoked").Body.String()
	if !strings.Contains(body, `href="./?cursor=`) || !strings.Contains(body, "per_page=2&amp;status=works") {
		t.Errorf("the next page is not linked with the filter: %s", body)
	}
}

// One request looks at maxScan tokens at most, and its cursor leads on.
func TestScanIsBounded(t *testing.T) {
	t.Parallel()
	s := newSite(t, Options{})
	base := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for i := range maxScan + 10 {
		token := httpkey.Token{
			ID: fmt.Sprintf("%05d", i), Label: "x", User: "ada", Kind: httpkey.APIKey, IsActive: true,
			CreatedAt: base.Add(time.Duration(i) * time.Second),
		}
		if i == 5 {
			token.Label = "needle"
		}
		token.Digest[0], token.Digest[1], token.Digest[2] = byte(i), byte(i>>8), byte(i>>16)
		if _, err := s.store.Create(t.Context(), token); err != nil {
			t.Fatal(err)
		}
	}
	var page tokenList
	decode(t, s.api("ada", "GET", "/?search=needle", ""), &page)
	if len(page.Results) != 0 || !page.NextPageResults {
		t.Errorf("the first page: %+v", page)
	}
	if got := s.pages("ada", "search=needle", nil); !slices.Equal(got, []string{"00005"}) {
		t.Errorf("found %v", got)
	}
	page = tokenList{}
	decode(t, s.api("ada", "GET", "/?order_by=created_at", ""), &page)
	if page.Results[0].ID != "00010" {
		t.Errorf("the oldest of the newest is %s", page.Results[0].ID)
	}
	if body := s.page("ada", "/?order_by=label").Body.String(); !strings.Contains(body, "Only the newest 10,000") {
		t.Error("the page does not say that it left some out")
	}
}

// A list that needs no sorting reads one page of the store.
func TestListReadsNoMoreThanItMust(t *testing.T) {
	t.Parallel()
	store := httpkeytest.NewStore(memstore.New())
	s := newSiteOn(t, store, Options{})
	for range 300 {
		s.issue(httpkey.Token{Label: "x", User: "ada", Workspace: "acme", ExpiredAt: time.Now().Add(90 * day)})
	}
	// root has one list for the user, and one for each of two workspaces.
	for login, want := range map[string]int{"ada": 1, "root": 3} {
		before := store.Calls("List")
		s.want(200, s.page(login, "/"))
		if calls := store.Calls("List") - before; calls != want {
			t.Errorf("%s: %d calls of List, want %d", login, calls, want)
		}
	}
}

// No list asks the store for everybody's tokens.
func TestListNeverAsksForAll(t *testing.T) {
	t.Parallel()
	for _, p := range []Principal{
		{}, {User: "u"}, {Workspaces: []string{"", "w", ""}}, {User: "u", Workspaces: []string{""}, ServiceTokens: true},
	} {
		for _, kind := range kinds {
			for _, filter := range p.filters(kind) {
				if filter.User == "" && filter.Workspace == "" || filter.Kind == "" && !p.ServiceTokens {
					t.Errorf("%+v selects %+v", p, filter)
				}
			}
		}
	}
}

// The heads of the columns order the list, and say how it is ordered.
func TestHeadsOrderTheList(t *testing.T) {
	t.Parallel()
	s := newSite(t, Options{})
	s.issue(httpkey.Token{Label: "x", User: "ada"})
	head := regexp.MustCompile(`<th role="columnheader" scope="col"(?: aria-sort="([a-z]+)")?>` +
		`<a href="\./(\?[^"]*)">([^<]*)</a>`)
	for path, want := range map[string]string{
		"/":                         "Name label, Created descending created_at, Last used -last_used, Expires expired_at",
		"/?order_by=created_at":     "Name label, Created ascending -created_at, Last used -last_used, Expires expired_at",
		"/?order_by=label&search=x": "Name ascending -label, Created -created_at, Last used -last_used, Expires expired_at",
		"/?order_by=-label":         "Name descending label, Created -created_at, Last used -last_used, Expires expired_at",
		"/?order_by=-last_used":     "Name label, Created -created_at, Last used descending last_used, Expires expired_at",
		"/?order_by=expired_at":     "Name label, Created -created_at, Last used -last_used, Expires ascending -expired_at",
	} {
		var got []string
		for _, found := range head.FindAllStringSubmatch(s.page("ada", path).Body.String(), -1) {
			link, err := url.ParseQuery(html.UnescapeString(found[2][1:]))
			if err != nil || strings.Contains(path, "search=x") != (link.Get("search") == "x") {
				t.Errorf("%s links to %s: %v", path, found[2], err)
			}
			by := cmp.Or(link.Get("order_by"), newestFirst)
			got = append(got, strings.Join(strings.Fields(found[3]+" "+found[1]+" "+by), " "))
		}
		if strings.Join(got, ", ") != want {
			t.Errorf("%s: %s, want %s", path, strings.Join(got, ", "), want)
		}
	}
}

func FuzzCursor(f *testing.F) {
	f.Add("", "label")
	f.Add(placeAfter(&httpkey.Token{ID: "id", Label: "l", CreatedAt: time.Now()}, "label").String(), "label")
	f.Fuzz(func(t *testing.T, text, order string) {
		after, err := parsePlace(text, order)
		if err != nil {
			return
		}
		again, err := parsePlace(after.String(), order)
		if err != nil && !after.isStart() || again != after {
			t.Errorf("%q becomes %+v, %v", text, again, err)
		}
	})
}
