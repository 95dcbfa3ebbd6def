package integration

import (
	"cmp"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// sidFolder returns the folder in which .ci/sid has unpacked Debian sid, or skips the test. It also
// skips under REQUIRE_TOOLS, because sid changes from day to day and may be broken.
func sidFolder(t testing.TB) string {
	t.Helper()
	folder := cmp.Or(os.Getenv("HTTPKEY_SID"), "/var/cache/httpkey/sid")
	if _, err := os.Stat(filepath.Join(folder, "complete")); err != nil {
		t.Skipf("%v: as root, .ci/sid %s makes this folder", err, folder)
	}
	return folder
}

// sidCommand returns a command of Debian sid. The loader of sid runs it with the libraries of sid,
// so it needs no chroot.
func sidCommand(t testing.TB, name string, args ...string) *exec.Cmd {
	t.Helper()
	usr := filepath.Join(sidFolder(t), "usr")
	find := func(pattern string) string {
		paths, err := filepath.Glob(filepath.Join(usr, pattern))
		if err != nil || len(paths) != 1 {
			t.Fatalf("%s in %s: %v, %v", pattern, usr, paths, err)
		}
		return paths[0]
	}
	program := []string{"--library-path", find("lib/*-linux-gnu"), filepath.Join(usr, "sbin", name)}
	return exec.Command(find("lib*/ld-linux-*.so.*"), append(program, args...)...)
}
