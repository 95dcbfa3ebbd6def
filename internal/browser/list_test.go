package browser

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// A key that somebody types into the search does not get into a URL, with scripts and without.
func TestKeyInSearch(t *testing.T) {
	t.Parallel()
	for _, scripts := range []bool{true, false} {
		t.Run(fmt.Sprintf("scripts %v", scripts), func(t *testing.T) {
			t.Parallel()
			s := newSite(t, nil)
			key := s.issue(t, "laptop")
			b := open(t, s, "ada")
			if !scripts {
				b.withoutScripts()
			}
			b.visit("")
			was := run(b, chromedp.Location())
			b.fill("Search", key)
			if scripts {
				b.arrive(chromedp.KeyEvent(kb.Enter))
				b.mustRead("laptop", "Revoke") // its page
			} else {
				b.keys(kb.Enter) // the browser refuses, and says why
				b.mustRead("Whose key is this?")
				if now := run(b, chromedp.Location()); now != was {
					t.Errorf("the form was sent, to %s", now)
				}
			}
			b.mustBeCalm()
		})
	}
}

// Filters and order lead to a token and back.
func TestFiltersStay(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	s.add(t, inEveryStatus()...)
	b := open(t, s, "ada")
	b.visit("")
	b.fill("Search", "e")
	b.follow("Show")
	b.follow("Name")
	names := b.names()
	if len(names) < 3 || !slices.IsSortedFunc(names, func(a, b string) int {
		return strings.Compare(strings.ToLower(a), strings.ToLower(b))
	}) {
		t.Errorf("the names are %q", names)
	}
	b.follow("Nightly report")
	b.fill("Description", "New")
	b.follow("Save changes")
	b.follow("API tokens")
	if got := b.names(); !slices.Equal(got, names) || b.value("Search") != "e" {
		t.Errorf("back are %q, searched for %q", got, b.value("Search"))
	}
	b.mustBeCalm()
}

// names returns those of the list, from top to bottom.
func (b *tab) names() []string {
	b.t.Helper()
	return evaluate[[]string](b, `[...document.querySelectorAll("tbody th a")].map(a => a.textContent.trim())`)
}

// Several tokens are revoked at once, after one question that names them.
func TestRevokeSelected(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	keys := []string{s.issue(t, "one"), s.issue(t, "two"), s.issue(t, "three")}
	b := open(t, s, "ada")
	b.visit("")
	b.check("Select all")
	b.check("Select two")
	if status := b.follow("Revoke selected 2"); status != http.StatusOK {
		t.Fatalf("the question: %d", status)
	}
	b.mustRead("one", "three", "Anything using these keys stops working at once.")
	b.mustNotRead("two")
	b.fill("Reason", "a laptop was stolen")
	b.follow("Revoke 2 tokens")
	b.mustRead("2 tokens revoked.")
	for i, want := range []int{http.StatusUnauthorized, http.StatusOK, http.StatusUnauthorized} {
		if status := s.call(t, keys[i]); status != want {
			t.Errorf("the API answers key %d with %d, want %d", i, status, want)
		}
	}
	for _, token := range s.tokens(t) {
		if !token.IsActive && (token.RevokedBy != "ada" || token.RevokedFor != "a laptop was stolen") {
			t.Errorf("it is %+v", token)
		}
	}
	b.mustBeCalm()
}

// The list nests the two tokens of a rotation, the old one under the new one.
func TestRotationInList(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	s.add(t, inEveryStatus()...)
	b := open(t, s, "ada")
	b.visit("")
	rows := evaluate[[]string](b, `[...document.querySelectorAll("tbody tr")].map(tr => tr.innerText)`)
	i := slices.IndexFunc(rows, func(row string) bool { return strings.Contains(row, "a1B2") })
	if i < 0 || i+1 == len(rows) || !strings.Contains(rows[i], "Replaces") || !strings.Contains(rows[i], "Zr8H") ||
		!strings.Contains(rows[i+1], "Rotated, ends") {
		t.Errorf("the rows are %q", rows)
	}
}
