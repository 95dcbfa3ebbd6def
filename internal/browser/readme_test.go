package browser

import (
	"flag"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/console"
	"github.com/httpkey/httpkey/httpkeytest"
	"github.com/httpkey/httpkey/memstore"
)

var update = flag.Bool("update", false, "write the pictures of the README, list-light.webp and list-dark.webp")

// The pictures of the README show a list of a fixed moment, so that only a change of
// the page changes them.
func TestReadmePictures(t *testing.T) {
	t.Parallel()
	html := listOfFixedTime(t)
	s := newSite(t, nil)
	b := open(t, s, "ada")
	command(b, emulation.SetDeviceMetricsOverride,
		emulation.SetDeviceMetricsOverrideParams{Width: 1120, Height: 100, DeviceScaleFactor: 1.5})
	b.visit("") // its files are those of the fixed list
	command(b, page.SetDocumentContent,
		page.SetDocumentContentParams{FrameID: command(b, page.GetFrameTree, struct{}{}).FrameTree.Frame.ID, HTML: html})
	run(b, chromedp.Poll[chromedp.Void](`document.styleSheets.length === 1`, chromedp.WithPollingTimeout(patience)))
	b.mustRead("Rotated, ends", "Unused for 94 days", "25 Nov 2026")
	height := evaluate[float64](b, `document.querySelector("table").getBoundingClientRect().bottom`) + 20
	for _, scheme := range []string{"light", "dark"} {
		b.inScheme(scheme)
		shot := command(b, page.CaptureScreenshot, page.CaptureScreenshotParams{
			Format:                page.CaptureScreenshotFormatWebp,
			Quality:               new(int64(80)),
			CaptureBeyondViewport: new(true),
			Clip:                  &page.Viewport{Width: 1120, Height: height, Scale: 1},
		})
		if len(shot.Data) == 0 || len(shot.Data) > 150_000 {
			t.Errorf("the %s picture has %d bytes", scheme, len(shot.Data))
		}
		if *update {
			if err := os.WriteFile("list-"+scheme+".webp", shot.Data, 0o644); err != nil { //nolint:gosec // as git has it
				t.Fatal(err)
			}
		}
	}
}

// listOfFixedTime is a list as Ada saw it on a day in November.
func listOfFixedTime(t *testing.T) (html string) {
	synctest.Test(t, func(t *testing.T) {
		httpkeytest.Elapse(time.Until(time.Date(2026, time.November, 24, 9, 30, 0, 0, time.UTC)))
		s := &site{store: &store{TokenStore: memstore.New()}}
		s.add(t, slices.DeleteFunc(inEveryStatus(), func(token httpkey.Token) bool {
			return slices.Contains([]string{"other", "expired", "service"}, token.ID)
		})...)
		list := console.New(httpkey.New(s.store, memstore.NewLimiter(), nil), &console.Options{
			Principal: func(*http.Request) (console.Principal, error) { return people["ada"], nil },
		})
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
		r.Header.Set("Accept", "text/html")
		w := httptest.NewRecorder()
		list.ServeHTTP(w, r)
		html = w.Body.String()
	})
	return html
}
