package browser

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/console"
)

// looks are the ways in which the tests look at every state of the page.
var looks = []struct {
	name          string
	width, height int64
	scheme        string
}{
	{"wide-light", 1280, 800, "light"},
	{"wide-dark", 1280, 800, "dark"},
	{"narrow-light", 360, 740, "light"},
	{"narrow-dark", 360, 740, "dark"},
}

// state is a state of a page, and the way to it.
type state struct {
	name   string
	user   string // the person who looks at it; empty: ada
	change func(*console.Options)
	tokens []httpkey.Token
	show   func(*tab)
	status int // 0: 200
	reads  string
}

// at shows the page at a path.
func at(path string) func(*tab) { return func(b *tab) { b.visit(path) } }

// inEveryStatus returns tokens of each status, with everything that a token can have.
func inEveryStatus() []httpkey.Token {
	ago := func(d time.Duration) time.Time { return time.Now().Add(-d) }
	active := func(t httpkey.Token) httpkey.Token { t.IsActive = true; return t }
	return []httpkey.Token{
		active(httpkey.Token{ID: "active", Hint: "9dKq", Label: "Laptop", Scopes: []string{"issues:read"},
			CreatedAt: ago(12 * day), LastUsed: ago(3 * time.Minute), ExpiredAt: ago(-78 * day)}),
		active(httpkey.Token{ID: "expiring", Hint: "Vw3c", Label: "Nightly report",
			Description: "Runs at two in the morning.\nAsk Charles before you change it.", Workspace: "w1",
			Scopes:    []string{"issues:read", "members:read"},
			CreatedAt: ago(84 * day), LastUsed: ago(9 * time.Hour), ExpiredAt: ago(-6*day - time.Hour)}),
		active(httpkey.Token{ID: "old", Hint: "x07B", Label: "Deploy bot", Kind: httpkey.ServiceToken, Workspace: "w1",
			Scopes:    []string{"issues:read", "issues:write", "members:read"},
			CreatedAt: ago(97*day + time.Hour), LastUsed: ago(40 * time.Second)}),
		active(httpkey.Token{ID: "unused", Hint: "mT2e", Label: "Old phone",
			CreatedAt: ago(200 * day), LastUsed: ago(94 * day)}),
		active(httpkey.Token{ID: "successor", Hint: "a1B2", Label: "Build server", RotatedFrom: "rotating",
			CreatedAt: ago(2 * time.Hour), LastUsed: ago(time.Hour), ExpiredAt: ago(-60 * day)}),
		active(httpkey.Token{ID: "rotating", Hint: "Zr8H", Label: "Build server", RotatedTo: "successor",
			CreatedAt: ago(30 * day), LastUsed: ago(5 * time.Minute), ExpiredAt: ago(-22 * time.Hour)}),
		active(httpkey.Token{ID: "other", Hint: "kk4P", Label: "Engine tables", User: "bob", Workspace: "w2",
			CreatedAt: ago(day), ExpiredAt: ago(-29 * day)}),
		active(httpkey.Token{ID: "expired", Hint: "0oLs", Label: "Workshop",
			CreatedAt: ago(40 * day), LastUsed: ago(12 * day), ExpiredAt: ago(10 * day)}),
		{ID: "revoked", Hint: "Qe5t", Label: "Leaked in a log", Scopes: []string{"issues:write"},
			CreatedAt: ago(70 * day), LastUsed: ago(20 * day), RevokedAt: ago(19 * day)},
	}
}

// These labels break pages. The third is written from right to left, which shows only if
// the rest of its line is not.
var (
	longLabel  = strings.Repeat("x", 255)
	emojiLabel = strings.Repeat("👩🏽‍💻🏳️‍🌈", 20) + " 🔑"
	rtlLabel   = "مفتاح خادم النشر (v2) שרת הבנייה"
	htmlLabel  = `<script>alert("x")</script> & <b>bold</b>`
)

func inEveryScript() []httpkey.Token {
	var tokens []httpkey.Token
	for id, label := range []string{longLabel, emojiLabel, rtlLabel, htmlLabel, strings.Repeat("many words ", 23)} {
		tokens = append(tokens, httpkey.Token{
			ID: fmt.Sprint("label-", id), Label: label, Description: label, IsActive: true,
			User: strings.Repeat("u", 80), Workspace: "w1", Scopes: []string{strings.Repeat("s", 80), "issues:read"},
		})
	}
	return tokens
}

func states() []state {
	one := []httpkey.Token{{ID: "id", Label: "Laptop", IsActive: true, CreatedAt: time.Now().Add(-3 * day),
		LastUsed: time.Now().Add(-time.Hour)}}
	submit := func(button string, fill ...string) func(*tab) {
		return func(b *tab) {
			for i := 0; i < len(fill); i += 2 {
				b.fill(fill[i], fill[i+1])
			}
			b.follow(button)
		}
	}
	then := func(steps ...func(*tab)) func(*tab) {
		return func(b *tab) {
			for _, step := range steps {
				step(b)
			}
		}
	}
	choose := func(label string) func(*tab) { return func(b *tab) { b.choose(label) } }

	return []state{
		{name: "list-empty", show: at(""), reads: "You have no tokens yet."},
		{name: "list", tokens: inEveryStatus(), show: at(""), reads: "Rotating until"},
		{name: "list-labels", tokens: inEveryScript(), show: at(""), reads: "<script>"},
		{name: "list-nothing-found", tokens: one, show: at("?search=nothing"), reads: "No token is like that."},
		{name: "list-page", tokens: inEveryStatus(), show: then(at("?per_page=2"), submit("Next page")), reads: "First page"},
		{name: "list-plain", user: "bob", tokens: []httpkey.Token{{User: "bob", Label: "Laptop", IsActive: true}},
			show: at(""), reads: "Active"},

		{name: "new", show: at("new"), reads: "Workspace"},
		{name: "new-plain", user: "bob", show: at("new"), reads: "Never"},
		{name: "new-policy", user: "bob", change: func(o *console.Options) { o.MaxLifetime = 45 * day }, show: at("new"),
			reads: "the longest allowed"},
		{name: "new-errors", show: then(
			at("new"), choose("On a day"),
			submit("Generate token", "Name", " ", "Description", strings.Repeat("long ", 1000)),
		), status: http.StatusBadRequest, reads: "may not be blank"},
		{name: "new-throttled", change: func(o *console.Options) { o.Limit = httpkey.PerHour(1) }, show: then(
			at("new"), submit("Generate token", "Name", "one"), at("new"), submit("Generate token", "Name", "two"),
		), status: http.StatusTooManyRequests, reads: "Request was throttled."},

		{name: "secret", show: then(at("new"), choose("issues:read"), submit("Generate token", "Name", "Laptop")),
			status: http.StatusCreated, reads: "Copy it now"},
		{name: "secret-copied", show: then(
			at("new"), submit("Generate token", "Name", "Laptop"), func(b *tab) { b.copied() },
		), status: http.StatusCreated, reads: "Copied"},
		{name: "secret-rotated", tokens: inEveryStatus(), show: then(at("old/rotate/"), submit("Rotate")),
			status: http.StatusCreated, reads: "works until"},
		{name: "secret-long-label", show: then(at("new"), submit("Generate token", "Name", longLabel)),
			status: http.StatusCreated, reads: longLabel},

		{name: "token", tokens: inEveryStatus(), show: at("old/"), reads: "Deploy bot"},
		{name: "token-rotating", tokens: inEveryStatus(), show: at("rotating/"), reads: "Rotated into"},
		{name: "token-successor", tokens: inEveryStatus(), show: at("successor/"), reads: "In place of"},
		{name: "token-ended", tokens: inEveryStatus(), show: at("revoked/"), reads: "Revoked"},
		{name: "token-saved", tokens: inEveryStatus(), show: then(
			at("expiring/"), submit("Save changes", "Description", "Ask Ada before you change it."),
		), reads: "Your changes are saved."},
		{name: "token-errors", tokens: one, show: then(at("id/"), submit("Save changes", "Name", longLabel+"x")),
			status: http.StatusBadRequest, reads: "no more than 255"},
		{name: "token-long-label", tokens: inEveryScript(), show: at("label-0/"), reads: longLabel},
		{name: "token-emoji-label", tokens: inEveryScript(), show: at("label-1/"), reads: "🔑"},
		{name: "token-rtl-label", tokens: inEveryScript(), show: at("label-2/"), reads: rtlLabel},

		{name: "rotate", tokens: inEveryStatus(), show: at("active/rotate/"), reads: "The old key ends"},
		{name: "rotate-twice", tokens: inEveryStatus(), show: at("rotating/rotate/"), status: http.StatusConflict,
			reads: "was rotated already"},
		{name: "rotate-forbidden", tokens: inEveryScript(), show: at("label-2/rotate/"), status: http.StatusForbidden,
			reads: "You may not rotate"},

		{name: "revoke", tokens: inEveryStatus(), show: at("old/revoke/"), reads: "Type its name"},
		{name: "revoke-errors", tokens: inEveryStatus(), show: then(
			at("rotating/revoke/"), submit("Revoke", "Type its name", "Bild server"),
		), status: http.StatusBadRequest, reads: "This is not the name"},
		{name: "revoke-long-label", tokens: inEveryScript(), show: at("label-0/revoke/"), reads: longLabel},
		{name: "revoked", tokens: one, show: then(at("id/revoke/"), submit("Revoke", "Type its name", "Laptop")),
			reads: "The token is revoked."},
		{name: "delete", tokens: inEveryStatus(), show: at("active/delete/"), reads: "Type its name"},
		{name: "delete-ended", tokens: inEveryStatus(), show: at("expired/delete/"), reads: "Type its name"},
		{name: "delete-rtl-label", tokens: inEveryScript(), show: at("label-2/delete/"), reads: rtlLabel},
		{name: "deleted", tokens: inEveryStatus(), show: then(
			at("expired/delete/"), submit("Delete", "Type its name", "Workshop"),
		), reads: "The token is deleted."},

		{name: "no-login", user: "nobody", show: at(""), status: http.StatusUnauthorized, reads: "Sign in first"},
		{name: "not-found", show: at("nothing/"), status: http.StatusNotFound, reads: "No such token"},
		{name: "unavailable", show: func(b *tab) {
			b.site.store.down.Store(true)
			b.visit("")
		}, status: http.StatusServiceUnavailable, reads: "Not available right now"},
		{name: "bad-query", show: at("?status=fine"), status: http.StatusBadRequest, reads: "not a valid choice"},
	}
}

// In every state and every look, axe-core finds nothing wrong, and nothing scrolls
// sideways. The test leaves a picture of each.
func TestStates(t *testing.T) {
	t.Parallel()
	source, in := axe(t), start(t)
	for _, state := range states() {
		t.Run(state.name, func(t *testing.T) {
			s := newSite(t, state.change)
			s.add(t, state.tokens...)
			b := open(t, in, s, cmp.Or(state.user, "ada"))
			state.show(b)
			b.mustRead(state.reads)
			if got, want := b.status(), cmp.Or(state.status, http.StatusOK); got != want {
				t.Errorf("it has status %d, want %d", got, want)
			}
			run(b, chromedp.Evaluate[chromedp.Void](source))
			for _, look := range looks {
				t.Run(look.name, func(t *testing.T) {
					b.look(look.width, look.height, look.scheme)
					b.picture(t, state.name+"-"+look.name)
					b.mustFit(t)
					b.mustPassAxe(t)
				})
			}
		})
	}
}

// status returns the status of the page.
func (b *tab) status() int {
	b.t.Helper()
	return evaluate[int](b, `performance.getEntriesByType("navigation")[0].responseStatus`)
}

func (b *tab) look(width, height int64, scheme string) {
	b.t.Helper()
	command(b, emulation.SetDeviceMetricsOverride,
		emulation.SetDeviceMetricsOverrideParams{Width: width, Height: height, DeviceScaleFactor: 1})
	b.inScheme(scheme)
}

func (b *tab) inScheme(scheme string) {
	b.t.Helper()
	command(b, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
	})
}

// mustFit fails the test if the page or a part of it scrolls sideways, or if an element
// sticks out beyond the reach of scrolling.
func (b *tab) mustFit(t *testing.T) {
	t.Helper()
	for _, wide := range evaluate[[]string](b, `
		[document.scrollingElement, ...document.body.querySelectorAll("*")]
			.filter(e => !e.closest("thead, .unseen, input, select, td .scope")) // which are cut off on purpose
			.filter(e => e.scrollWidth > e.clientWidth && getComputedStyle(e).overflowX !== "visible" ||
				e.getBoundingClientRect().right > innerWidth)
			.map(e => e.outerHTML.slice(0, 120) + " ends at " + e.getBoundingClientRect().right)
			.slice(0, 5)
			.concat(document.scrollingElement.scrollWidth > innerWidth ? ["The page scrolls sideways."] : [])`) {
		t.Error(wide)
	}
}

// mustPassAxe fails the test with the violations that axe-core finds.
func (b *tab) mustPassAxe(t *testing.T) {
	t.Helper()
	type violation struct {
		ID, Impact, Help string
		Nodes            []struct {
			HTML           string
			FailureSummary string
		}
	}
	var violations []violation
	text := evaluate[string](b,
		`axe.run({rules: {"target-size": {enabled: true}}}).then(r => JSON.stringify(r.violations))`)
	if err := json.Unmarshal([]byte(text), &violations); err != nil {
		t.Fatal(err)
	}
	for _, v := range violations {
		t.Errorf("%s (%s): %s\n%+v", v.ID, v.Impact, v.Help, v.Nodes)
	}
}

// picture keeps a picture of the whole page.
func (b *tab) picture(t *testing.T, name string) {
	t.Helper()
	dir := cmp.Or(os.Getenv("SCREENSHOTS"), "screenshots")
	if err := os.MkdirAll(dir, 0o750); err != nil {
		t.Fatal(err)
	}
	size := command(b, page.GetLayoutMetrics, cdp.Empty{}).CSSContentSize
	shot := command(b, page.CaptureScreenshot, page.CaptureScreenshotParams{
		CaptureBeyondViewport: new(true),
		Clip:                  &page.Viewport{Width: math.Ceil(size.Width), Height: math.Ceil(size.Height), Scale: 1},
	})
	if err := os.WriteFile(filepath.Join(dir, name+".png"), shot.Data, 0o600); err != nil {
		t.Fatal(err)
	}
}
