package browser

import (
	"fmt"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// A person creates and copies a token by keys alone, and always sees the focus.
func TestKeyboard(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	b := open(t, s, "ada")
	enter := func() { b.arrive(chromedp.KeyEvent(kb.Enter)) }

	b.visit("")
	b.tabTo("Generate new token")
	enter()
	b.tabTo("Name")
	b.keys("  ") // nothing: it must be told, and be put right
	b.tabTo("Service token", "API key")
	b.tabTo("issues:read")
	b.keys(" ")
	b.tabTo("In 90 days")
	b.keys(kb.ArrowUp)
	b.tabTo("Generate token")
	enter()

	b.mustRead("Enter a name.")
	b.tabTo("Name: Enter a name.")
	b.keys(kb.Enter) // which leads to the field
	b.keys(kb.Delete + kb.Delete + "laptop")
	enter()

	b.tabTo("Copy")
	key := b.copiedBy(func() { b.keys(kb.Enter) })
	if status := s.call(t, key); status != 200 {
		t.Errorf("the API answers the copied key %q with %d", key, status)
	}
	b.tabTo("I have copied it")
	enter()
	token := s.tokens(t)[0]
	if got := strings.Join(token.Scopes, " "); token.Label != "laptop" || got != "issues:read" ||
		token.ExpiredAt.Sub(token.CreatedAt).Round(day) != 30*day {
		t.Errorf("it is %+v", token)
	}
	b.tabTo("laptop")
}

// keys presses keys.
func (b *tab) keys(keys string) {
	b.t.Helper()
	run(b, chromedp.KeyEvent(keys))
}

// tabTo presses Tab until an element of one of these names has the focus. It fails the test
// if the focus cannot be seen on its way.
func (b *tab) tabTo(names ...string) {
	b.t.Helper()
	var way []string
	for range 80 { // more than there are on any page
		b.keys(kb.Tab)
		at := b.focus()
		eventually(b.t, func() error {
			if at.Name != "" && (!at.Visible || !at.InView) {
				was := at
				at = b.focus() // a page may still be scrolling
				return fmt.Errorf("the focus is not to be seen: %+v, after %q", was, way)
			}
			return nil
		})
		if at.Name == "" {
			break // behind the end of the page
		}
		for _, name := range names {
			if strings.HasPrefix(at.Name, name) {
				return
			}
		}
		way = append(way, at.Name)
	}
	b.t.Fatalf("Tab leads to %q, not to %q", way, names)
}

// focus is the element that has the focus; its Name is empty behind the end of the page.
type focus struct {
	Name, Box       string
	Visible, InView bool
}

func (b *tab) focus() focus {
	b.t.Helper()
	return evaluate[focus](b, `(() => {
		const e = document.activeElement, style = getComputedStyle(e), box = e.getBoundingClientRect();
		return {
			Name: e === document.body ? "" : (e.labels?.[0] ?? e).innerText || e.ariaLabel,
			// The button of a date has a ring of the browser's own, which no script sees.
			Visible: style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2 || e.type === "date",
			Box: [box.left, box.top, box.right, box.bottom, "of", innerWidth, innerHeight].join(" "),
			// The browser is content with the line of a textarea that is written on.
			InView: box.top >= 0 && (e.matches("textarea") ? box.top + 24 : box.bottom) <= innerHeight &&
				box.left >= 0 && box.right <= innerWidth,
		};
	})()`)
}
