//go:build linux || darwin

package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	block  = regexp.MustCompile("(?ms)^```(sh|text)\n(.*?)^```$")
	when   = regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ`)
	masked = regexp.MustCompile(`…[0-9A-Za-z]{4}`)
)

// The commands of docs/cli.md write what the page shows, with other IDs, keys and times.
func TestDocument(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "cli.md"))
	if err != nil {
		t.Fatal(err)
	}
	var script, want strings.Builder
	script.WriteString("set -eu\n")
	for _, found := range block.FindAllStringSubmatch(strings.ReplaceAll(string(text), "\r", ""), -1) {
		if found[1] == "sh" {
			script.WriteString(found[2])
		} else {
			want.WriteString(found[2])
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "sh", "-c", script.String())
	cmd.Dir = t.TempDir()
	cmd.Env = append(os.Environ(), "HTTPKEY_DSN=sqlite:keys.db", "HTTPKEY_PEPPER=",
		"PATH="+filepath.Dir(binary)+string(os.PathListSeparator)+os.Getenv("PATH"))
	got, err := cmd.CombinedOutput()
	if err != nil || want.Len() == 0 {
		t.Fatalf("%v: %s", err, got)
	}
	if got, want := likeEach(string(got)), likeEach(want.String()); got != want {
		t.Errorf("the commands write\n%s\nthe page has\n%s", got, want)
	}
}

// likeEach replaces what differs from run to run.
func likeEach(text string) string {
	text = id.ReplaceAllString(text, "ID")
	text = when.ReplaceAllString(text, "TIME")
	return masked.ReplaceAllString(text, "…hint")
}
