package integration

import (
	"os"
	"os/exec"
	"testing"
)

// tool returns the path of a program. Without it the test is skipped, since a newcomer
// has Go alone, and fails where the gate runs it.
func tool(t testing.TB, name, debianPackage string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err == nil {
		return path
	}
	const format = "%s is not installed; it is in the Debian package %s: apt-get install %s"
	if os.Getenv("REQUIRE_TOOLS") != "" {
		t.Fatalf(format, name, debianPackage, debianPackage)
	}
	t.Skipf(format, name, debianPackage, debianPackage)
	return ""
}
