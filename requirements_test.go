package httpkey_test

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// sound has the lowest versions without the vulnerabilities that are known of modules that we
// require. make vulnerabilities finds new ones; this test needs no network.
var sound = map[string]struct{ version, because string }{
	"filippo.io/edwards25519":        {"v1.1.1", "CVE-2026-26958"},
	"github.com/go-chi/chi/v5":       {"v5.2.4", "CVE-2025-69725"},
	"github.com/jackc/pgx/v5":        {"v5.9.2", "CVE-2026-41889"},
	"github.com/labstack/echo/v5":    {"v5.2.1", "CVE-2026-55677"},
	"github.com/quic-go/quic-go":     {"v0.59.1", "CVE-2026-40898"},
	"github.com/redis/go-redis/v9":   {"v9.7.3", "CVE-2025-29923"},
	"go.mongodb.org/mongo-driver/v2": {"v2.4.2", "CVE-2026-2303"},
	"golang.org/x/crypto":            {"v0.56.0", "CVE-2026-56855, CVE-2026-78662"},
	"golang.org/x/net":               {"v0.56.0", "CVE-2026-46600"},
	"golang.org/x/text":              {"v0.39.0", "CVE-2026-56852"},
}

func TestNoModuleRequiresAVulnerableVersion(t *testing.T) {
	t.Parallel()
	required := make(map[string]bool)
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.Name() != "go.mod" {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for line := range strings.Lines(string(text)) {
			fields := strings.Fields(strings.TrimPrefix(line, "require "))
			if len(fields) < 2 || sound[fields[0]].version == "" {
				continue
			}
			required[fields[0]] = true
			if lowest := sound[fields[0]]; isOlder(t, fields[1], lowest.version) {
				t.Errorf("%s requires %s %s, want at least %s: %s", path, fields[0], fields[1], lowest.version, lowest.because)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for module := range sound {
		if !required[module] {
			t.Errorf("no module requires %s any more: remove it from the list", module)
		}
	}
}

func isOlder(t *testing.T, version, other string) bool {
	t.Helper()
	return slices.Compare(numbersOf(t, version), numbersOf(t, other)) < 0
}

func numbersOf(t *testing.T, version string) []int {
	t.Helper()
	numbers := make([]int, 3)
	if _, err := fmt.Sscanf(version, "v%d.%d.%d", &numbers[0], &numbers[1], &numbers[2]); err != nil {
		t.Fatalf("%s: %v", version, err)
	}
	return numbers
}
