package browser

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
)

var (
	// widths are those of windows. Every state of every page fits into each.
	widths = []int64{320, 360, 737, 768, 900, 1024, 1280, 1440}

	// looks are the ways in which axe-core looks at every state: in each layout and in each scheme.
	looks = []look{{1280, "light"}, {360, "dark"}}

	// pictured are the ways in which a picture of every state is taken.
	pictured = []look{
		{360, "light"}, {360, "dark"}, {768, "light"}, {768, "dark"}, {1280, "light"}, {1280, "dark"},
	}
)

// look is a window of some width, in a color scheme.
type look struct {
	width  int64
	scheme string
}

// In every state, nothing scrolls sideways in any window, axe-core finds nothing wrong, and the browser has
// nothing to complain of. If $SCREENSHOTS names a directory, the test leaves pictures of each state there.
func TestStates(t *testing.T) {
	t.Parallel()
	source := axe(t)
	for _, state := range states() {
		t.Run(state.name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, state.change)
			s.add(t, state.tokens...)
			b := open(t, s, cmp.Or(state.user, "ada"))
			state.show(b)
			b.mustRead(state.reads)
			if got, want := b.status(), cmp.Or(state.status, http.StatusOK); got != want {
				t.Errorf("it has status %d, want %d", got, want)
			}
			for _, width := range widths {
				b.resize(width)
				b.mustFit(width)
			}
			run(b, chromedp.Evaluate[chromedp.Void](source))
			for _, look := range looks {
				look.width += state.aside
				b.look(look)
				b.mustPassAxe(look)
			}
			if dir := os.Getenv("SCREENSHOTS"); dir != "" {
				for _, look := range pictured {
					b.look(look)
					b.picture(filepath.Join(dir, fmt.Sprintf("%s-%s-%d.png", state.name, look.scheme, look.width)))
				}
			}
			b.mustBeCalm()
		})
	}
}

// status returns the status of the page.
func (b *tab) status() int {
	b.t.Helper()
	return evaluate[int](b, `performance.getEntriesByType("navigation")[0].responseStatus`)
}

func (b *tab) look(l look) {
	b.t.Helper()
	b.resize(l.width)
	b.inScheme(l.scheme)
}

func (b *tab) resize(width int64) {
	b.t.Helper()
	command(b, emulation.SetDeviceMetricsOverride,
		emulation.SetDeviceMetricsOverrideParams{Width: width, Height: 800, DeviceScaleFactor: 1})
}

func (b *tab) inScheme(scheme string) {
	b.t.Helper()
	command(b, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
	})
}

// fits is what is too wide on a page. A program that embeds the console leaves main a place, which may be
// narrower than the window; the console promises to fit into 320 pixels.
const fits = `(() => {
	const page = document.scrollingElement, main = document.querySelector("main");
	const place = (main.closest("[data-place]") ?? page).getBoundingClientRect();
	const wrong = page.scrollWidth > page.clientWidth && place.width >= 320 ? ["The page scrolls sideways."] : [];
	const cutOff = e => e && (["hidden", "clip"].includes(getComputedStyle(e).overflowX) || cutOff(e.parentElement));
	const describe = (e, what) => e.cloneNode().outerHTML.slice(0, 160) + " " + what;
	for (const e of place.width < 320 ? [] : main.parentElement.querySelectorAll("*")) {
		const box = e.getBoundingClientRect();
		if (!box.width || cutOff(e.parentElement)) {
			continue;
		}
		if (box.right > place.right + .5 || box.left < place.left - .5) {
			wrong.push(describe(e, "goes from " + box.left + " to " + box.right));
		} else if (e.scrollWidth > e.clientWidth + 1 && e.clientWidth && !cutOff(e) &&
			!e.matches("input, select, textarea")) {
			wrong.push(describe(e, "is " + e.clientWidth + " wide, and its content " + e.scrollWidth));
		}
	}
	return wrong.slice(0, 5);
})()`

// mustFit fails the test if the page or a part of it scrolls sideways, or if an element is wider than
// its place.
func (b *tab) mustFit(width int64) {
	b.t.Helper()
	for _, wide := range evaluate[[]string](b, fits) {
		b.t.Errorf("at %d: %s", width, wide)
	}
}

// mustPassAxe fails the test with the violations that axe-core finds.
func (b *tab) mustPassAxe(l look) {
	b.t.Helper()
	type violation struct {
		ID, Impact, Help string
		Nodes            []struct {
			HTML           string
			FailureSummary string
		}
	}
	var violations []violation
	text := evaluate[string](b, `axe.run({resultTypes: ["violations"], rules: {"target-size": {enabled: true}}})
		.then(result => JSON.stringify(result.violations))`)
	if err := json.Unmarshal([]byte(text), &violations); err != nil {
		b.t.Fatal(err)
	}
	for _, v := range violations {
		b.t.Errorf("%d pixels, %s: %s (%s): %s\n%+v", l.width, l.scheme, v.ID, v.Impact, v.Help, v.Nodes)
	}
}

// picture keeps a picture of the whole page in a file.
func (b *tab) picture(file string) {
	b.t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o750); err != nil {
		b.t.Fatal(err)
	}
	size := command(b, page.GetLayoutMetrics, cdp.Empty{}).CSSContentSize
	shot := command(b, page.CaptureScreenshot, page.CaptureScreenshotParams{
		CaptureBeyondViewport: new(true),
		Clip:                  &page.Viewport{Width: math.Ceil(size.Width), Height: math.Ceil(size.Height), Scale: 1},
	})
	if err := os.WriteFile(file, shot.Data, 0o600); err != nil {
		b.t.Fatal(err)
	}
}
