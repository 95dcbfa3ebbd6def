package readme

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// root is the directory of the repository.
const root = "../../"

// sources returns the files that have the code of a document. Tests compile and run them.
func sources(t *testing.T, document string) []string {
	t.Helper()
	switch document {
	case "README.md":
		return []string{"examples/readme/readme.go", "examples/nethttp/main.go"}
	case "redisstore/README.md":
		return []string{"examples/readme/redisstore.go"}
	case "sqlstore/README.md":
		return []string{"internal/integration/sql_readme_test.go"}
	case "docs/telemetry.md": // of modules that examples does not require
		return []string{"otel/docs_test.go", "prom/example_test.go"}
	}
	page := strings.ReplaceAll(strings.TrimSuffix(filepath.Base(document), ".md"), "-", "_")
	files := []string{"examples/docs/" + page + ".go", "examples/docs/" + page + "_test.go"}
	return append(files, linkedCode(t, document)...)
}

// linkedCode returns the files of Go that a document links to.
func linkedCode(t *testing.T, document string) (files []string) {
	t.Helper()
	for _, target := range links(read(t, root+document)) {
		if strings.HasSuffix(target, ".go") {
			files = append(files, filepath.ToSlash(filepath.Join(filepath.Dir(document), target)))
		}
	}
	return files
}

// Each block of Go in a document stands in a file that is compiled.
func TestBlocksOfGoCompile(t *testing.T) {
	t.Parallel()
	for _, document := range documents(t) {
		t.Run(document, func(t *testing.T) {
			t.Parallel()
			blocks := blocksOfGo(read(t, root+document))
			if len(blocks) == 0 {
				return
			}
			var code strings.Builder
			for _, file := range sources(t, document) {
				if text, err := os.ReadFile(root + file); err == nil {
					code.WriteString("\n")
					code.Write(text)
				}
			}
			for _, block := range blocks {
				if !contains(code.String(), block) {
					t.Errorf("this code is in no file that is compiled:\n%s", block)
				}
			}
		})
	}
}

// documents returns the Markdown files of the repository, by their paths from its root.
func documents(t *testing.T) (paths []string) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == "node_modules" || strings.HasPrefix(d.Name(), ".") && path != root):
			return filepath.SkipDir
		case filepath.Ext(path) == ".md":
			fromRoot, err := filepath.Rel(root, path)
			paths = append(paths, filepath.ToSlash(fromRoot))
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(paths) < 9 {
		t.Fatalf("found only %q", paths)
	}
	return paths
}

var fenced = regexp.MustCompile("(?ms)^( *)```go\n(.*?)^ *```$")

// blocksOfGo returns the blocks of Go in a document, without the indentation of a list.
func blocksOfGo(document string) (blocks []string) {
	for _, match := range fenced.FindAllStringSubmatch(document, -1) {
		blocks = append(blocks, strings.ReplaceAll("\n"+match[2], "\n"+match[1], "\n")[1:])
	}
	return blocks
}

// contains reports whether code has the lines of a block, at any indentation.
func contains(code, block string) bool {
	block = "\n" + block
	for range 4 {
		if strings.Contains(code, block) {
			return true
		}
		block = strings.ReplaceAll(strings.ReplaceAll(block, "\n", "\n\t"), "\n\t\n", "\n\n")
		block = strings.TrimSuffix(block, "\t")
	}
	return false
}

// The test itself finds code that differs.
func TestContains(t *testing.T) {
	t.Parallel()
	const code = "func f() {\n\tif a {\n\t\tb()\n\n\t\tc()\n\t}\n}\n"
	for block, want := range map[string]bool{
		code:                           true,
		"if a {\n\tb()\n\n\tc()\n}\n":  true,
		"b()\n\nc()\n":                 true,
		"b()\nc()\n":                   false,
		"a {\n\tb()\n":                 false,
		"if a {\n\tb()\n\n\t\tc()\n":   false,
		"func g() {\n\tif a {\n\t\tb(": false,
	} {
		if got := contains("\n"+code, block); got != want {
			t.Errorf("%q: %v", block, got)
		}
	}
}

var (
	link    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading = regexp.MustCompile(`(?m)^#+ (.+)$`)
	dropped = regexp.MustCompile("[^a-z0-9 _-]")
)

// links returns the targets of the links in a document.
func links(document string) (targets []string) {
	for _, match := range link.FindAllStringSubmatch(document, -1) {
		targets = append(targets, match[1])
	}
	return targets
}

// Each link to a file or a heading leads to one.
func TestLinks(t *testing.T) {
	t.Parallel()
	for _, document := range documents(t) {
		for _, target := range links(read(t, root+document)) {
			if strings.Contains(target, ":") {
				continue // of another site
			}
			file, anchor, _ := strings.Cut(target, "#")
			path := filepath.Join(root, filepath.Dir(document), file)
			if file == "" {
				path = root + document
			}
			if _, err := os.Stat(path); err != nil {
				t.Errorf("%s: there is no %s", document, target)
			} else if anchor != "" && !hasHeading(read(t, path), anchor) {
				t.Errorf("%s: %s has no heading #%s", document, path, anchor)
			}
		}
	}
}

func hasHeading(document, anchor string) bool {
	for _, match := range heading.FindAllStringSubmatch(document, -1) {
		if strings.ReplaceAll(dropped.ReplaceAllString(strings.ToLower(match[1]), ""), " ", "-") == anchor {
			return true
		}
	}
	return false
}

// The index of the pages has a line for each.
func TestIndexHasEachPage(t *testing.T) {
	t.Parallel()
	index := read(t, root+"docs/README.md")
	for _, document := range documents(t) {
		page, isPage := strings.CutPrefix(document, "docs/")
		if isPage && page != "README.md" && !slices.Contains(links(index), page) {
			t.Errorf("docs/README.md has no link to %s", page)
		}
	}
}
