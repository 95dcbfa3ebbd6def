package browser

import (
	"net/http"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// Without JavaScript and without a mouse, everything works except the buttons Copy and Download.
func TestWithoutJavaScript(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	b := open(t, s, "ada")
	b.withoutScripts()
	enter := func(name string) {
		t.Helper()
		b.tabTo(name)
		b.arrive(chromedp.KeyEvent(kb.Enter))
	}
	write := func(name, text string) {
		t.Helper()
		b.tabTo(name)
		b.keys(text)
	}
	key := func() string {
		t.Helper()
		b.mustRead("Select the key and copy it.")
		for _, button := range []string{"Copy", "Download"} {
			if evaluate[bool](b, `[...document.querySelectorAll("button")].some(
				e => e.textContent.trim() === "`+button+`" && e.checkVisibility())`) {
				t.Errorf("%s is shown, and does nothing", button)
			}
		}
		return run(b, chromedp.Text(`#secret`))
	}
	mustAnswer := func(key string, want int) {
		t.Helper()
		if status := s.call(t, key); status != want {
			t.Errorf("the API answers with %d, want %d", status, want)
		}
	}

	b.visit("")
	enter("Generate new token")
	write("Name", "laptop")
	enter("Generate token")
	first := key()
	b.mustRead("UTC")
	mustAnswer(first, http.StatusOK)

	enter("I have copied it")
	enter("laptop")
	enter("Rotate")
	b.tabTo("In ")
	b.keys(kb.ArrowUp + kb.ArrowUp) // to Now
	enter("Rotate")
	second := key()
	mustAnswer(first, http.StatusUnauthorized)
	mustAnswer(second, http.StatusOK)

	enter("API tokens")
	write("Search", "lap")
	b.arrive(chromedp.KeyEvent(kb.Enter))
	b.mustRead("laptop")
	b.visit(s.tokens(t)[0].ID + "/")
	write("Name", kb.End+" 2")
	tomorrow := time.Now().UTC().AddDate(0, 0, 1)
	b.tabTo("No change", "In ")
	for !evaluate[bool](b, `document.activeElement.id === "expiry-custom"`) {
		b.keys(kb.ArrowDown)
	}
	b.keys(kb.Tab + tomorrow.Format("01022006"))
	enter("Save changes")
	b.mustRead("Your changes are saved.", "laptop 2")
	if got := s.tokens(t)[0].ExpiredAt; !got.Equal(tomorrow.Truncate(day).Add(day)) {
		t.Errorf("it ends at %v, not at the end of %v", got, tomorrow)
	}

	enter("Revoke")
	write("Reason", "lost")
	enter("Revoke")
	b.mustRead("Revoked", "lost")
	mustAnswer(second, http.StatusUnauthorized)

	b.visit("")
	enter("Whose key is this?")
	write("Key", second)
	enter("Find token")
	b.mustRead("laptop 2", "Revoked")

	enter("Delete")
	enter("Delete")
	b.mustRead("The token is deleted.")

	third, fourth := s.issue(t, "one"), s.issue(t, "two")
	b.visit("")
	b.tabTo("Select one")
	b.keys(" ")
	b.arrive(chromedp.KeyEvent(kb.Enter)) // which presses Revoke selected
	b.mustRead("one")
	write("Reason", "tidied up")
	enter("Revoke 1 token")
	b.mustRead("1 token revoked.")
	mustAnswer(third, http.StatusUnauthorized)
	mustAnswer(fourth, http.StatusOK)

	enter("two")
	enter("Delete")
	write("Type its name", "two")
	enter("Delete")
	b.mustRead("The token is deleted.")
	mustAnswer(fourth, http.StatusUnauthorized)
	b.mustBeCalm()
}
