package browser

import (
	"context"
	"os"
	"sync"
	"testing"

	"github.com/chromedp/chromedp"
)

// process is the one browser of all tests: a start takes longer than most tests.
var process struct {
	once sync.Once
	ctx  context.Context
	stop context.CancelFunc
	err  error
}

func TestMain(m *testing.M) {
	status := m.Run()
	if process.stop != nil {
		process.stop()
	}
	os.Exit(status)
}

// start returns the browser. Its profile is empty, and it reaches no other machine.
func start(t testing.TB) context.Context {
	t.Helper()
	path := chromium(t)
	process.once.Do(func() {
		flags := []chromedp.ExecAllocatorOption{
			chromedp.ExecPath(path),
			chromedp.Headless,
			chromedp.DisableGPU,
			chromedp.NoFirstRun,
			chromedp.NoDefaultBrowserCheck,
			chromedp.Flag("disable-background-networking", true),
			chromedp.Flag("disable-component-update", true),
			chromedp.Flag("disable-dev-shm-usage", true), // it is small in containers
			chromedp.Flag("disable-quic", true),
			chromedp.Flag("disable-sync", true),
			chromedp.Flag("force-color-profile", "srgb"),
			chromedp.Flag("host-resolver-rules", "MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"),
			chromedp.Flag("lang", "en-US"),
		}
		if os.Geteuid() == 0 {
			flags = append(flags, chromedp.NoSandbox) // Chromium has none for root
		}
		ctx, stop := chromedp.NewExecAllocator(context.Background(), flags...)
		process.stop = stop
		process.ctx, _ = chromedp.NewContext(ctx) // which ends with the process
		process.err = chromedp.Do(process.ctx)
	})
	if process.err != nil {
		t.Fatal(process.err)
	}
	return process.ctx
}
