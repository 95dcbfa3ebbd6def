package browser

import (
	"os"
	"os/exec"
	"testing"
)

// chromium returns the path of the browser.
func chromium(t testing.TB) string {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		missing(t, "chromium is not installed; it is a Debian package: apt-get install chromium")
	}
	return path
}

// axe returns the source of axe-core.
func axe(t testing.TB) string {
	t.Helper()
	source, err := os.ReadFile("node_modules/axe-core/axe.min.js")
	if err != nil {
		missing(t, "axe-core is not installed; make browser does it by npm, a Debian package: apt-get install npm")
	}
	return string(source)
}

// missing skips the test, because a newcomer has Go alone. With $REQUIRE_TOOLS it fails it.
func missing(t testing.TB, message string) {
	t.Helper()
	if os.Getenv("REQUIRE_TOOLS") != "" {
		t.Fatal(message)
	}
	t.Skip(message) // which says what to install
}
