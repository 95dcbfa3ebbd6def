package console

import (
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"text/template/parse"
)

// definitions are those of a template file, by name.
type definitions map[string]*parse.Tree

// parseDefinitions returns the definitions in a file.
func parseDefinitions(layer fs.FS, file string) (definitions, error) {
	content, err := fs.ReadFile(layer, file)
	if err != nil {
		return nil, err
	}
	tree := parse.New(file)
	tree.Mode = parse.SkipFuncCheck
	defined := make(definitions)
	if _, err := tree.Parse(string(content), "", "", defined); err != nil {
		return nil, err
	}
	delete(defined, file) // the text outside of definitions
	return defined, nil
}

// checkDefinitions refuses a definition in over that replaces none of ours, and that no template
// uses: its name is misspelt.
func checkDefinitions(over, own fs.FS) error {
	known := make(map[string]bool)
	ours, err := fs.Glob(own, "*.html")
	if err != nil {
		return err
	}
	for _, file := range ours {
		defined, err := parseDefinitions(own, file)
		if err != nil {
			return err
		}
		for name := range defined {
			known[name] = true
		}
	}
	theirs, err := fs.Glob(over, "*.html")
	if err != nil {
		return err
	}
	added := make(map[string]string) // the file of each other definition
	used := make(map[string]bool)
	for _, file := range theirs {
		defined, err := parseDefinitions(over, file)
		if err != nil {
			return err
		}
		for name, tree := range defined {
			if !known[name] {
				added[name] = file
			}
			eachUse(tree.Root, func(name string) { used[name] = true })
		}
	}
	for _, name := range slices.Sorted(maps.Keys(added)) {
		if !used[name] {
			return fmt.Errorf("%s defines %q, which no page uses: it may mean %q",
				path.Base(added[name]), name, closest(name, slices.Sorted(maps.Keys(known))))
		}
	}
	return nil
}

// eachUse calls f with the name of each template that node uses.
func eachUse(node parse.Node, f func(name string)) {
	branch := func(b parse.BranchNode) {
		eachUse(b.List, f)
		eachUse(b.ElseList, f)
	}
	switch node := node.(type) {
	case *parse.ListNode:
		if node != nil { // the else of an if without one
			for _, child := range node.Nodes {
				eachUse(child, f)
			}
		}
	case *parse.IfNode:
		branch(node.BranchNode)
	case *parse.RangeNode:
		branch(node.BranchNode)
	case *parse.WithNode:
		branch(node.BranchNode)
	case *parse.TemplateNode:
		f(node.Name)
	}
}

// closest returns the name to which the fewest changes lead.
func closest(name string, names []string) string {
	return slices.MinFunc(names, func(a, b string) int { return distance(name, a) - distance(name, b) })
}

// distance returns the number of letters to insert, delete or replace between two names.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0]++
		for j := range len(b) {
			replaced := diagonal
			if a[i] != b[j] {
				replaced++
			}
			diagonal = row[j+1]
			row[j+1] = min(replaced, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
