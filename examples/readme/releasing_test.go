package readme

import (
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// rowsOf returns the first two cells of each row of the tables in a document whose first cell is code.
func rowsOf(document string) map[string]string {
	rows := make(map[string]string)
	for _, match := range regexp.MustCompile("(?m)^\\| `([^`]+)` \\| ([^|]+) \\|").FindAllStringSubmatch(document, -1) {
		rows[match[1]] = match[2]
	}
	return rows
}

var (
	packageClause     = regexp.MustCompile(`(?m)^package (\w+)$`)
	exportedInterface = regexp.MustCompile(`(?m)^type ([A-Z]\w*) interface \{`)
)

// interfaces returns the interfaces that programs can implement, with their packages.
func interfaces(t *testing.T) (names []string) {
	t.Helper()
	isCode := func(name string) bool {
		return strings.HasSuffix(name, ".go") && !strings.HasSuffix(name, "_test.go")
	}
	for _, file := range filesWith(t, isCode) {
		if isInternal(path.Dir(file)) {
			continue
		}
		text := read(t, root+file)
		for _, match := range exportedInterface.FindAllStringSubmatch(text, -1) {
			names = append(names, packageClause.FindStringSubmatch(text)[1]+"."+match[1])
		}
	}
	return names
}

// RELEASING.md says of each module how it is tagged, and of each interface how it grows.
func TestReleasingNamesModulesAndInterfaces(t *testing.T) {
	t.Parallel()
	var modules, promised []string
	for name, cell := range rowsOf(read(t, root+"RELEASING.md")) {
		if !strings.Contains(name, ".") || name == "." {
			modules = append(modules, name)
			want := "`" + strings.TrimPrefix(name+"/", "./") + "v0.1.0`"
			if isInternal(name) {
				want = "none"
			}
			if cell != want {
				t.Errorf("the tag of %s is %s, want %s", name, cell, want)
			}
		} else {
			promised = append(promised, name)
		}
	}
	compare(t, "RELEASING.md", modules, directoriesWith(t, "go.mod"))
	compare(t, "RELEASING.md", promised, interfaces(t))
}

const repository = "https://github.com/httpkey/httpkey/"

// versionLinks returns the links that a changelog needs, one for each version.
func versionLinks(changelog string) (links []string) {
	versions := regexp.MustCompile(`(?m)^## \[([^\]]+)\]`).FindAllStringSubmatch(changelog, -1)
	for i, version := range versions {
		link := "[" + version[1] + "]: " + repository
		switch {
		case version[1] != "Unreleased":
			link += "releases/tag/v" + version[1]
		case i+1 < len(versions):
			link += "compare/v" + versions[i+1][1] + "...main"
		default:
			link += "commits/main"
		}
		links = append(links, link)
	}
	return links
}

func TestChangelogLinksEveryVersion(t *testing.T) {
	t.Parallel()
	changelog := read(t, root+"CHANGELOG.md")
	links := versionLinks(changelog)
	if len(links) == 0 || len(links) != strings.Count(changelog, "\n## ") {
		t.Errorf("%d headings have a link, of %d", len(links), strings.Count(changelog, "\n## "))
	}
	compare(t, "CHANGELOG.md", regexp.MustCompile(`(?m)^\[.+\]: .+$`).FindAllString(changelog, -1), links)
}

func TestVersionLinks(t *testing.T) {
	t.Parallel()
	for changelog, want := range map[string][]string{
		"## [Unreleased]\n": {"[Unreleased]: " + repository + "commits/main"},
		"## [Unreleased]\n## [0.2.0] - 2027-02-01\n## [0.1.0] - 2027-01-01\n": {
			"[Unreleased]: " + repository + "compare/v0.2.0...main",
			"[0.2.0]: " + repository + "releases/tag/v0.2.0",
			"[0.1.0]: " + repository + "releases/tag/v0.1.0",
		},
	} {
		if got := versionLinks(changelog); !slices.Equal(got, want) {
			t.Errorf("%q: %q", changelog, got)
		}
	}
}
