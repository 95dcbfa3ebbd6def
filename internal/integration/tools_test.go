package integration

import (
	"fmt"
	"os"
	"os/exec"
	"testing"
)

// tool returns the path of a program on PATH.
func tool(t testing.TB, name, debianPackage string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		missing(t, name, debianPackage)
	}
	return path
}

// missing skips the test, since a newcomer has Go alone, and fails it where the
// gate runs it, by $REQUIRE_TOOLS.
func missing(t testing.TB, program, debianPackage string) {
	t.Helper()
	message := fmt.Sprintf("%s is not installed; the Debian package %s has it", program, debianPackage)
	if os.Getenv("REQUIRE_TOOLS") != "" {
		t.Fatal(message)
	}
	t.Skip(message)
}
