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
	packages := 0
	err := filepath.WalkDir(".", func(dir string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); dir != "." && err == nil || strings.HasPrefix(d.Name(), ".") && dir != "." || d.Name() == "testdata" {
			return filepath.SkipDir // another module, or none
		}
		files, err := filepath.Glob(filepath.Join(dir, "*.go"))
		if err != nil || len(files) == 0 {
			return err
		}
		fset := token.NewFileSet()
		var parsed []*ast.File
		for _, name := range files {
			if strings.HasSuffix(name, "_test.go") {
				continue
			}
			file, err := parser.ParseFile(fset, name, nil, parser.ParseComments)
			if err != nil {
				return err
			}
			parsed = append(parsed, file)
		}
		pkg, err := doc.NewFromFiles(fset, parsed, "github.com/httpkey/httpkey/"+dir)
		if err != nil {
			return err
		}
		packages++
		for _, name := range undocumented(pkg) {
			t.Errorf("%s: %s has no doc comment", dir, name)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if packages < 3 {
		t.Errorf("only %d packages were found", packages)
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
			var fields *ast.FieldList
			switch t := spec.(*ast.TypeSpec).Type.(type) {
			case *ast.StructType:
				fields = t.Fields
			case *ast.InterfaceType:
				fields = t.Methods
			}
			if fields == nil {
				continue
			}
			for _, field := range fields.List {
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
