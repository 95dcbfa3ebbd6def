package readme

import (
	"io/fs"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// filesWith returns the files of the repository whose name passes a test, by their paths from its root.
func filesWith(t *testing.T, wanted func(name string) bool) (paths []string) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == "node_modules" || strings.HasPrefix(d.Name(), ".") && path != root):
			return filepath.SkipDir
		case !d.IsDir() && wanted(d.Name()):
			fromRoot, err := filepath.Rel(root, path)
			paths = append(paths, filepath.ToSlash(fromRoot))
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return paths
}

// directoriesWith returns the directories that have a file of a name, sorted.
func directoriesWith(t *testing.T, name string) (dirs []string) {
	t.Helper()
	for _, file := range filesWith(t, func(found string) bool { return found == name }) {
		dirs = append(dirs, path.Dir(file))
	}
	slices.Sort(dirs)
	return dirs
}

// isInternal reports whether no program outside of the repository can import a directory, or should.
func isInternal(dir string) bool {
	return slices.Contains(strings.Split(dir, "/"), "internal") || strings.HasPrefix(dir+"/", "examples/")
}

// compare reports what a list has too much and too little.
func compare(t *testing.T, list string, got, want []string) {
	t.Helper()
	for _, name := range want {
		if !slices.Contains(got, name) {
			t.Errorf("%s lacks %s", list, name)
		}
	}
	for _, name := range got {
		if !slices.Contains(want, name) {
			t.Errorf("%s has %s, which does not exist", list, name)
		}
	}
	if len(got) != len(slices.Compact(slices.Sorted(slices.Values(got)))) {
		t.Errorf("%s has something twice: %q", list, got)
	}
}

// makeList returns a list of the Makefile, such as MODULES.
func makeList(t *testing.T, name string) []string {
	t.Helper()
	match := regexp.MustCompile(`(?m)^` + name + ` *:= (.*)$`).FindStringSubmatch(read(t, root+"Makefile"))
	if match == nil {
		t.Fatalf("the Makefile has no %s", name)
	}
	return strings.Fields(match[1])
}

func TestMakeKnowsEveryModule(t *testing.T) {
	t.Parallel()
	known := slices.Concat(makeList(t, "MODULES"), makeList(t, "EQUIPPED"))
	compare(t, "the Makefile", known, directoriesWith(t, "go.mod"))
}

var (
	fuzzTarget = regexp.MustCompile(`(?m)^func (Fuzz\w+)\(`)
	fuzzRun    = regexp.MustCompile(
		`(?m)^\t(?:cd (\S+) && )?go test -run='\^\$\$' -fuzz=(\w+) -fuzztime=\$\(FUZZTIME\) (?:-\S+ )*(\.\S*)$`)
)

func TestMakeFuzzRunsEveryTarget(t *testing.T) {
	t.Parallel()
	var targets, run []string
	for _, file := range filesWith(t, func(name string) bool { return strings.HasSuffix(name, "_test.go") }) {
		for _, match := range fuzzTarget.FindAllStringSubmatch(read(t, root+file), -1) {
			targets = append(targets, match[1]+" in "+path.Dir(file))
		}
	}
	for _, match := range fuzzRun.FindAllStringSubmatch(read(t, root+"Makefile"), -1) {
		run = append(run, match[2]+" in "+path.Join(".", match[1], match[3]))
	}
	compare(t, "make fuzz", run, targets)
}
