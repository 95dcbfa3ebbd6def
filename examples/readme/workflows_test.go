package readme

import (
	"fmt"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// A tag of an action can be moved to other code, but a commit cannot.
var (
	action = regexp.MustCompile(`(?m)^[ -]*uses:.*$`)
	pinned = regexp.MustCompile(`^[ -]*uses: [\w-]+/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$`)
)

// workflowFaults returns the rules that a workflow breaks.
func workflowFaults(workflow string) (faults []string) {
	actions, checkouts := action.FindAllString(workflow, -1), 0
	for _, line := range actions {
		if !pinned.MatchString(line) {
			faults = append(faults, fmt.Sprintf("no commit with its version in a comment: %s", strings.TrimSpace(line)))
		}
		if strings.Contains(line, "actions/checkout@") {
			checkouts++
		}
	}
	if strings.Count(workflow, "persist-credentials: false") != checkouts {
		faults = append(faults, "a checkout leaves its credentials to the next steps")
	}
	if !strings.Contains(workflow, "\npermissions:\n  contents: read\njobs:\n") {
		faults = append(faults, "the permissions are not contents: read")
	}
	for _, power := range []string{": write", "write-all", "pull_request_target", "workflow_run", "secrets."} {
		if strings.Contains(workflow, power) {
			faults = append(faults, "no job needs "+power)
		}
	}
	if strings.Count(workflow, "\n    runs-on:") != strings.Count(workflow, "\n    timeout-minutes:") {
		faults = append(faults, "a job has no timeout")
	}
	return faults
}

func TestWorkflows(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob(root + ".github/workflows/*.y*ml")
	if err != nil || len(files) == 0 {
		t.Fatalf("found %q, %v", files, err)
	}
	pins := make(map[string]string)
	for _, file := range files {
		text := read(t, file)
		for _, fault := range workflowFaults(text) {
			t.Errorf("%s: %s", filepath.Base(file), fault)
		}
		for _, line := range action.FindAllString(text, -1) {
			name, pin, _ := strings.Cut(strings.TrimLeft(line, " -"), "@")
			if pins[name] == "" {
				pins[name] = pin
			} else if pins[name] != pin {
				t.Errorf("%s: %s is at %s, elsewhere at %s", filepath.Base(file), name, pin, pins[name])
			}
		}
	}
}

// The test itself finds each fault.
func TestFaultsOfWorkflows(t *testing.T) {
	t.Parallel()
	const sha = "3d3c42e5aac5ba805825da76410c181273ba90b1"
	const sound = "on:\n  push:\npermissions:\n  contents: read\njobs:\n  test:\n    runs-on: ubuntu-latest\n" +
		"    timeout-minutes: 9\n    steps:\n      - uses: actions/checkout@" + sha + " # v7.0.1\n" +
		"        with:\n          persist-credentials: false\n"
	if faults := workflowFaults(sound); faults != nil {
		t.Fatal(faults)
	}
	for _, change := range []struct{ old, new string }{
		{"@" + sha, "@v7"},
		{"@" + sha, "@" + sha[:39]},
		{" # v7.0.1", ""},
		{" # v7.0.1", " # v7"},
		{"persist-credentials: false", "fetch-depth: 0"},
		{"permissions:\n  contents: read\n", ""},
		{"contents: read", "contents: write"},
		{"contents: read\n", "contents: read\n  issues: write\n"},
		{"timeout-minutes", "permissions: write-all\n    timeout-minutes"},
		{"  push:", "  pull_request_target:"},
		{"    timeout-minutes: 9\n", ""},
	} {
		if faults := workflowFaults(strings.Replace(sound, change.old, change.new, 1)); len(faults) == 0 {
			t.Errorf("%q in place of %q is no fault", change.new, change.old)
		}
	}
}

// dependabotDirectories returns the directories of an ecosystem, by their paths from the root.
func dependabotDirectories(config, ecosystem string) (dirs []string) {
	current := ""
	for line := range strings.Lines(config) {
		line = strings.TrimSpace(line)
		if name, ok := strings.CutPrefix(line, "- package-ecosystem: "); ok {
			current = name
			continue
		}
		line = strings.TrimPrefix(strings.TrimPrefix(line, "directory: "), "- ")
		if current == ecosystem && strings.HasPrefix(line, "/") {
			dirs = append(dirs, path.Join(".", line[1:]))
		}
	}
	return dirs
}

func TestDependabotKnowsEveryModule(t *testing.T) {
	t.Parallel()
	config := read(t, root+".github/dependabot.yml")
	compare(t, "dependabot.yml (gomod)", dependabotDirectories(config, "gomod"), directoriesWith(t, "go.mod"))
	compare(t, "dependabot.yml (npm)", dependabotDirectories(config, "npm"), directoriesWith(t, "package.json"))
	compare(t, "dependabot.yml (github-actions)", dependabotDirectories(config, "github-actions"), []string{"."})
}
