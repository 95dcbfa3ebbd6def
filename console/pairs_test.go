package console

import (
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/httpkeytest"
)

var tableRow = regexp.MustCompile(`(?s)<tr role="row"( class="[a-z]*")?>\s*<td class="select".*?</tr>`)

// rowsOfTable returns the IDs of a list's rows in order, a nested one after a dash.
func rowsOfTable(body string) string {
	var ids []string
	for _, row := range tableRow.FindAllStringSubmatch(body, -1) {
		id := rowsOn(row[0])[0]
		if strings.Contains(row[1], "nested") {
			id = "-" + id
		}
		ids = append(ids, id)
	}
	return strings.Join(ids, " ")
}

// A list shows the old token of a rotation under the new one while it works, and by itself if a
// search finds it alone. For programs it is a token like others.
func TestRotationsAreOneEntry(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, Options{})
		s.issue(httpkey.Token{ID: "first", Label: "bot", User: "ada"})
		httpkeytest.Elapse(time.Minute)
		s.issue(httpkey.Token{ID: "other", Label: "laptop", User: "ada"})
		httpkeytest.Elapse(time.Minute)
		_, second := s.created(s.api("ada", "POST", "/first/rotate/", `{"grace":7200}`))
		rename := func(t *httpkey.Token) error { t.Label = "robot"; return nil }
		if _, err := s.store.Update(t.Context(), second.ID, rename); err != nil {
			t.Fatal(err)
		}
		shows := func(path, rows, shown string) {
			t.Helper()
			body := s.want(200, s.page("ada", path)).Body.String()
			rows = strings.ReplaceAll(rows, "second", second.ID)
			if got := rowsOfTable(body); got != rows {
				t.Errorf("%s has the rows %s, want %s", path, got, rows)
			}
			if found := rangeOf.FindStringSubmatch(body); found == nil || found[1] != shown {
				t.Errorf("%s shows %v, want %s", path, found, shown)
			}
		}
		shows("/", "second -first other", "1–2 of 2")
		shows("/?order_by=created_at", "other second -first", "1–2 of 2")
		shows("/?per_page=1", "second -first", "1 of 2")
		shows("/?search=bot", "second -first", "1 of 1")
		shows("/?search=robot", "second -first", "1 of 1")
		shows("/?search="+s.get("first").Hint, "first", "1 of 1")
		body := s.page("ada", "/").Body.String()
		for _, text := range []string{"Replaces hk_k_…" + s.get("first").Hint, "Rotated, ends", `value="first"`} {
			if !strings.Contains(body, text) {
				t.Errorf("the list has no %s: %s", text, body)
			}
		}
		if got := s.listed("ada", ""); len(got.Results) != 3 || *got.TotalResults != 3 {
			t.Errorf("a program sees %v", got.ids())
		}

		// Of a chain, each old token stands somewhere.
		httpkeytest.Elapse(time.Minute)
		_, third := s.created(s.api("ada", "POST", "/"+second.ID+"/rotate/", `{"grace":3600}`))
		shows("/", third.ID+" -second other first", "1–3 of 3")

		// An ended token has a row of its own.
		httpkeytest.Elapse(90 * time.Minute)
		shows("/", third.ID+" second -first other", "1–3 of 3")
		httpkeytest.Elapse(90 * time.Minute)
		shows("/", third.ID+" second other first", "1–4 of 4")
	})
}

// An old token whose successor somebody may not see, or that is gone, stands for itself.
func TestPairsOfOthersAreApart(t *testing.T) {
	t.Parallel()
	s := newSite(t, Options{})
	s.issue(httpkey.Token{ID: "old", Label: "bot", User: "ada"})
	_, successor := s.created(s.api("ada", "POST", "/old/rotate/", `{"grace":3600}`))
	give := func(t *httpkey.Token) error { t.User = "eve"; return nil }
	if _, err := s.store.Update(t.Context(), successor.ID, give); err != nil {
		t.Fatal(err)
	}
	for login, want := range map[string]string{"ada": "old", "eve": successor.ID, "boss": successor.ID + " -old"} {
		if got := rowsOfTable(s.page(login, "/").Body.String()); got != want {
			t.Errorf("%s sees %s, want %s", login, got, want)
		}
	}
	if err := s.store.Delete(t.Context(), successor.ID); err != nil {
		t.Fatal(err)
	}
	if got := rowsOfTable(s.page("boss", "/").Body.String()); got != "old" {
		t.Errorf("without its successor: %s", got)
	}
}
