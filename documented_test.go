package httpkey_test

import (
	"go/ast"
	"go/doc"
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
