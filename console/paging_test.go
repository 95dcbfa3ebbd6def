package console

import (
	"context"
	"fmt"
	"html"
	"math/rand/v2"
	"net/http"
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

// listed is a page of a list, as a program reads it.
type listed struct {
	Results         []httpkey.Token
	NextCursor      string `json:"next_cursor"`
	PrevCursor      string `json:"prev_cursor"`
	NextPageResults bool   `json:"next_page_results"`
	PrevPageResults bool   `json:"prev_page_results"`
	TotalResults    *int   `json:"total_results"`
}

func (l listed) ids() []string {
	ids := []string{}
	for _, t := range l.Results {
		ids = append(ids, t.ID)
	}
	return ids
}

func (s *site) listed(login, parameters string) (l listed) {
	s.Helper()
	decode(s, s.want(200, s.api(login, "GET", "/?"+parameters, "")), &l)
	if l.NextPageResults != (l.NextCursor != "") || l.PrevPageResults != (l.PrevCursor != "") {
		s.Errorf("%s: %+v", parameters, l)
	}
	return l
}

// A reader who turns pages, forth and back, sees each token once, and going back the same pages again.
// Every page knows how many tokens there are.
func TestPagesForthAndBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, Options{})
		populate(s, 130)
		random := rand.New(rand.NewPCG(3, 4))
		for _, order := range orders {
			for _, filter := range []string{"", "&status=works", "&search=c&kind=api_key", "&workspace=lab"} {
				size := 1 + random.IntN(30)
				parameters := fmt.Sprintf("per_page=%d&order_by=%s%s", size, order, filter)
				var forth [][]string
				page := s.listed("root", parameters)
				if page.PrevCursor != "" {
					t.Errorf("%s: the first page has a page before it", parameters)
				}
				seen := make(map[string]bool)
				for {
					forth = append(forth, page.ids())
					for _, id := range page.ids() {
						if seen[id] {
							t.Errorf("%s: %s comes twice", parameters, id)
						}
						seen[id] = true
					}
					if page.NextCursor == "" {
						break
					}
					page = s.listed("root", parameters+"&cursor="+page.NextCursor)
				}
				if page.TotalResults == nil || *page.TotalResults != len(seen) || len(seen) == 0 {
					t.Errorf("%s: %d tokens, and a total of %v", parameters, len(seen), page.TotalResults)
				}
				for i := len(forth) - 1; ; i-- {
					if !slices.Equal(page.ids(), forth[i]) {
						t.Fatalf("%s: page %d is %v going back, and %v going forth", parameters, i, page.ids(), forth[i])
					}
					if page.PrevCursor == "" {
						if i != 0 {
							t.Errorf("%s: the way back ends at page %d", parameters, i)
						}
						break
					}
					page = s.listed("root", parameters+"&cursor="+page.PrevCursor)
				}
			}
		}
	})
}

// The page before the second one is the first one, also after tokens of it are gone.
func TestTheWayBackEndsAtTheBeginning(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, Options{})
		for i := range 9 {
			s.issue(httpkey.Token{ID: fmt.Sprint(i), Label: fmt.Sprint(i), User: "ada"})
			httpkeytest.Elapse(time.Second)
		}
		second := s.listed("ada", "per_page=3&order_by=label")
		second = s.listed("ada", "per_page=3&order_by=label&cursor="+second.NextCursor)
		for _, id := range []string{"1", "2"} {
			if err := s.store.Delete(t.Context(), id); err != nil {
				t.Fatal(err)
			}
		}
		first := s.listed("ada", "per_page=3&order_by=label&cursor="+second.PrevCursor)
		if got := strings.Join(first.ids(), ""); got != "034" || first.PrevCursor != "" {
			t.Errorf("the first page is %s", got)
		}
	})
}

var (
	pageLink = regexp.MustCompile(`<a class="button" href="([^"]*)" rel="(first|prev|next)"`)
	rowLink  = regexp.MustCompile(`<th role="rowheader" scope="row"><a href="\./([^/]+)/`)
	rangeOf  = regexp.MustCompile(`<nav class="pages"[^>]*>\s*<p>([^<]*)</p>`)
)

// linksOn returns the links to other pages.
func linksOn(body string) map[string]string {
	links := make(map[string]string)
	for _, found := range pageLink.FindAllStringSubmatch(body, -1) {
		links[found[2]] = html.UnescapeString(strings.TrimPrefix(found[1], "."))
	}
	return links
}

func rowsOn(body string) []string {
	var ids []string
	for _, found := range rowLink.FindAllStringSubmatch(body, -1) {
		ids = append(ids, found[1])
	}
	return ids
}

// A page says which of how many tokens it shows, and links to its neighbors with the same query.
func TestPagesSayWhereTheyAre(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, Options{})
		for i := range 7 {
			s.issue(httpkey.Token{ID: fmt.Sprint(i), Label: "a", User: "ada"})
			httpkeytest.Elapse(time.Second)
		}
		path := "/?per_page=3&search=a&order_by=created_at"
		for _, want := range []struct{ ids, shows, links, then string }{
			{"012", "1–3 of 7", "next", "next"},
			{"345", "4–6 of 7", "first next prev", "next"},
			{"6", "7 of 7", "first prev", "prev"},
			{"345", "4–6 of 7", "first next prev", "prev"},
			{"012", "1–3 of 7", "next", "next"},
			{"345", "4–6 of 7", "first next prev", "first"},
			{"012", "1–3 of 7", "next", "next"},
		} {
			body := s.want(200, s.page("ada", path)).Body.String()
			links := linksOn(body)
			var rels []string
			for rel := range links {
				rels = append(rels, rel)
			}
			slices.Sort(rels)
			shows := rangeOf.FindStringSubmatch(body)
			if got := strings.Join(rowsOn(body), ""); got != want.ids || shows == nil || shows[1] != want.shows ||
				strings.Join(rels, " ") != want.links {
				t.Errorf("%s shows %s as %v with %v, want %+v", path, got, shows, rels, want)
			}
			path = links[want.then]
		}
	})
}

// Lists that say how many there are need a bounded scan, so they say if there are more than that.
// Newest first, their cursors lead on beyond it.
func TestListsBeyondTheBound(t *testing.T) {
	t.Parallel()
	s := newSite(t, Options{})
	fill(s, maxScan+130, "")
	first := s.listed("ada", "per_page=100")
	if first.TotalResults != nil || first.Results[0].ID != "10129" {
		t.Errorf("the first page: %v", first.ids())
	}
	body := s.page("ada", "/").Body.String()
	if shows := rangeOf.FindStringSubmatch(body); shows == nil || shows[1] != "1–50 of more than 10,000" {
		t.Errorf("the page shows %v", shows)
	}
	within := s.get("00330") // from here the pages cross the bound
	var rest []string
	for cursor := placeAfter(&within, newestFirst).String(); cursor != ""; {
		page := s.listed("ada", "per_page=100&cursor="+cursor)
		rest, cursor = append(rest, page.ids()...), page.NextCursor
	}
	for i, id := range rest {
		if id != fmt.Sprintf("%05d", 329-i) {
			t.Fatalf("after %d tokens comes %s", i, id)
		}
	}
	if len(rest) != 330 {
		t.Errorf("the pages to the end have %d tokens", len(rest))
	}
	// A cursor of before that is beyond the bound now is good, too.
	at := s.get("00120")
	beyond := s.listed("ada", "per_page=10&cursor="+placeAfter(&at, newestFirst).String())
	if beyond.Results[0].ID != "00119" || beyond.PrevCursor != "" || beyond.TotalResults != nil ||
		beyond.NextCursor == "" {
		t.Errorf("beyond: %+v", beyond)
	}
	body = s.page("ada", "/?per_page=10&cursor="+beyond.NextCursor).Body.String()
	links := linksOn(body)
	if rowsOn(body)[0] != "00109" || links["first"] == "" || links["prev"] != "" || links["next"] == "" ||
		rangeOf.MatchString(body) || !strings.Contains(body, "These are older ones.") {
		t.Errorf("the page beyond has %v: %v", links, rowsOn(body))
	}
	other := place{ID: "x", Order: "label", IsFar: true}.String()
	if w := s.api("ada", "GET", "/?order_by=label&cursor="+other, ""); w.Code != 400 {
		t.Errorf("a far cursor of another order: %d", w.Code)
	}
}

// fill stores so many tokens of ada, one a second, with IDs in order.
func fill(s *site, n int, description string) {
	s.Helper()
	base := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for i := range n {
		token := httpkey.Token{
			ID: fmt.Sprintf("%05d", i), Label: "x", User: "ada", Kind: httpkey.APIKey, IsActive: true, Description: description,
			CreatedAt: base.Add(time.Duration(i) * time.Second),
		}
		token.Digest[0], token.Digest[1], token.Digest[2] = byte(i), byte(i>>8), byte(i>>16)
		if _, err := s.store.Create(s.Context(), token); err != nil {
			s.Fatal(err)
		}
	}
}

// One request reads no more than maxText of texts, and a page of them. Its cursor leads on.
func TestScanIsBoundedInBytes(t *testing.T) {
	t.Parallel()
	store := &measured{Store: memstore.New()}
	s := newSiteOn(t, store, Options{})
	const all = 2*maxText/maxDescription + 100
	fill(s, all, strings.Repeat("x", maxDescription))
	store.bytes = 0
	page := s.listed("ada", "search=needle")
	if page.NextCursor == "" || page.TotalResults != nil {
		t.Errorf("it looked at all: %+v", page)
	}
	if most := maxText + scanPage*maxDescription; store.bytes > most || store.bytes < maxText/2 {
		t.Errorf("a search read %d bytes, want %d at most", store.bytes, most)
	}
	got := s.pages("ada", "search=xx&per_page=100", nil)
	if len(got) != all {
		t.Errorf("found %d of %d tokens", len(got), all)
	}
}

// A search that takes long answers with what it has found, and its cursor leads on.
func TestScanIsBoundedInTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := httpkeytest.NewStore(memstore.New())
		s := newSiteOn(t, store, Options{})
		const all = 5 * scanPage
		fill(s, all, "")
		store.Before(func(context.Context, string) error {
			time.Sleep(maxTime * 2 / 3) // of the bubble's clock
			return nil
		})
		start := time.Now()
		page := s.listed("ada", "search=needle")
		if page.NextCursor == "" || page.TotalResults != nil {
			t.Errorf("it looked at all: %+v", page)
		}
		if took := time.Since(start); took > 2*maxTime {
			t.Errorf("a search took %v", took)
		}
		store.Before(nil)
		if got := s.listed("ada", "search=x&per_page=100&cursor="+page.NextCursor).ids(); len(got) != 100 {
			t.Errorf("the cursor leads to %v", got)
		}
	})
}

// Of many lists with long texts, each is read far enough to go on.
func TestScansOfManyListsGoOn(t *testing.T) {
	t.Parallel()
	const n = 12
	store := &measured{Store: memstore.New()}
	p := Principal{User: "u"}
	c := New(httpkey.New(store, httpkey.Unlimited, nil), &Options{
		Principal: func(*http.Request) (Principal, error) { return p, nil },
	}).(*console)
	want := 0
	for w := range n {
		p.Workspaces = append(p.Workspaces, fmt.Sprint(w))
		for i := range 300 {
			created := time.Date(2026, 1, 1, 0, 0, i*n+w, 0, time.UTC)
			token := httpkey.Token{
				ID: fmt.Sprint(w, "-", i), Label: "x", Workspace: fmt.Sprint(w), Kind: httpkey.APIKey, CreatedAt: created,
				Description: strings.Repeat("x", maxDescription), Digest: httpkey.Digest{byte(w), byte(i), byte(i >> 8)},
			}
			if _, err := store.Create(t.Context(), token); err != nil {
				t.Fatal(err)
			}
			want++
		}
	}
	q := query{Order: newestFirst, PerPage: maxPage}
	for found, requests := 0, 0; ; requests++ {
		store.bytes = 0
		l, err := c.list(t.Context(), p, q)
		if err != nil || requests > want {
			t.Fatal(err, requests)
		}
		if most := maxText + 2*scanPage*maxDescription; store.bytes > most {
			t.Errorf("a request read %d bytes, want %d at most", store.bytes, most)
		}
		if found += len(l.tokens); l.next == "" {
			if found != want {
				t.Errorf("found %d of %d tokens", found, want)
			}
			return
		}
		q = q.at(l.next)
	}
}

// measured is a store that counts the bytes of texts that its lists return.
type measured struct {
	*memstore.Store
	bytes int
}

func (m *measured) List(ctx context.Context, f httpkey.Filter) ([]httpkey.Token, error) {
	tokens, err := m.Store.List(ctx, f)
	for i := range tokens {
		m.bytes += textSize(&tokens[i])
	}
	return tokens, err
}
