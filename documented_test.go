package httpkey_test

import (
	"go/ast"
	"go/doc"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Every exported name of every package has a doc comment: types, functions,
// methods, fields, interface methods, constants and variables.
func TestEverythingExportedIsDocumented(t *testing.T) {
	t.Parallel()
	found := 0
	err := filepath.WalkDir(".", func(dir string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); dir != "." && err == nil || strings.HasPrefix(d.Name(), ".") &&
			dir != "." || d.Name() == "testdata" {
			return filepath.SkipDir // another module, or none
		}
		pkg := parsePackage(t, dir)
		if pkg == nil {
			return nil
		}
		found++
		for _, name := range undocumented(pkg) {
			t.Errorf("%s: %s has no doc comment", dir, name)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if found < len(packages) {
		t.Errorf("only %d packages were found", found)
	}
}

// undocumented returns the exported names of pkg that nothing is said about.
func undocumented(pkg *doc.Package) (names []string) {
	need := func(name string, comments ...string) {
		if strings.TrimSpace(strings.Join(comments, "")) == "" {
			names = append(names, name)
		}
	}
	need("package "+pkg.Name, pkg.Doc)
	funcs := func(prefix string, funcs []*doc.Func) {
		for _, f := range funcs {
			need(prefix+f.Name, f.Doc)
		}
	}
	values := func(values []*doc.Value) {
		for _, v := range values {
			for _, spec := range v.Decl.Specs {
				spec := spec.(*ast.ValueSpec)
				for _, name := range spec.Names {
					own := spec.Doc.Text() + spec.Comment.Text()
					if len(v.Decl.Specs) == 1 {
						own += v.Doc
					}
					if name.IsExported() {
						need(name.Name, own)
					}
				}
			}
		}
	}
	values(pkg.Consts)
	values(pkg.Vars)
	funcs("", pkg.Funcs)
	for _, typ := range pkg.Types {
		need(typ.Name, typ.Doc)
		values(typ.Consts)
		values(typ.Vars)
		funcs("", typ.Funcs)
		funcs(typ.Name+".", typ.Methods)
		for _, spec := range typ.Decl.Specs {
			for _, field := range fieldsOf(spec.(*ast.TypeSpec)) {
				for _, name := range field.Names {
					if name.IsExported() {
						need(typ.Name+"."+name.Name, field.Doc.Text(), field.Comment.Text())
					}
				}
			}
		}
	}
	return names
}

// Each row of the table in SECURITY.md names tests, and all of them exist.
func TestSecurityIsTested(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("SECURITY.md")
	if err != nil {
		t.Fatal(err)
	}
	const head = "| what httpkey does | tests |\n|---|---|---|\n"
	_, table, found := strings.Cut(strings.ReplaceAll(string(text), "\r", ""), head)
	table, _, _ = strings.Cut(table, "\n\n")
	if !found {
		t.Fatal("SECURITY.md has no column of tests")
	}
	tests := testNames(t)
	for row := range strings.Lines(table) {
		cells := strings.Split(strings.Trim(row, "|\n "), " | ")
		if len(cells) != 3 {
			t.Errorf("a row has %d cells: %s", len(cells), row)
			continue
		}
		for name := range strings.SplitSeq(cells[2], ", ") {
			if !tests[strings.Trim(name, "`")] {
				t.Errorf("%q names the test %s, which does not exist", cells[0], name)
			}
		}
	}
}

// testNames returns the names of the tests and fuzz targets of all modules.
func testNames(t *testing.T) map[string]bool {
	t.Helper()
	names := make(map[string]bool)
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		for _, declaration := range file.Decls {
			if f, ok := declaration.(*ast.FuncDecl); ok && f.Recv == nil &&
				(strings.HasPrefix(f.Name.Name, "Test") || strings.HasPrefix(f.Name.Name, "Fuzz")) {
				names[f.Name.Name] = true
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}
