package browser

import (
	"net/http"
	"testing"

	"github.com/chromedp/chromedp"
)

// Without JavaScript everything works except the buttons Copy and Download.
func TestWithoutJavaScript(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	b := open(t, s, "ada")
	b.withoutScripts()
	shown := func() string {
		t.Helper()
		b.mustRead("Select the key and copy it.")
		return run(b, chromedp.Text(`#secret`))
	}
	mustAnswer := func(key string, want int) {
		t.Helper()
		if status := s.call(t, key); status != want {
			t.Errorf("the API answers with %d, want %d", status, want)
		}
	}

	b.visit("new")
	b.fill("Name", "laptop")
	b.follow("Generate token")
	first := shown()
	mustAnswer(first, http.StatusOK)

	b.follow("I have copied it")
	b.follow("laptop")
	b.follow("Rotate")
	b.choose("Now")
	b.follow("Rotate")
	second := shown()
	mustAnswer(first, http.StatusUnauthorized)
	mustAnswer(second, http.StatusOK)

	b.visit(s.tokens(t)[0].ID + "/")
	b.fill("Name", "laptop 2")
	b.follow("Save changes")
	b.mustRead("Your changes are saved.", "laptop 2")

	b.follow("Revoke")
	b.follow("Revoke")
	b.mustRead("The token is revoked.")
	mustAnswer(second, http.StatusUnauthorized)

	b.follow("Delete")
	b.follow("Delete")
	b.mustRead("The token is deleted.")
	if left := s.tokens(t); len(left) != 1 || left[0].IsActive && left[0].ExpiredAt.IsZero() {
		t.Errorf("left are %+v", left)
	}
}
