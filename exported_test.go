package httpkey_test

import (
	"flag"
	"go/ast"
	"go/doc"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

var writeGolden = flag.Bool("update", false, "write testdata/exported.txt")

// packages are the public ones, by their directories. The last two are modules of their own.
var packages = []string{
	".", "memstore", "redisstore", "sqlstore", "cachestore", "storetest", "httpkeytest", "console", "endpoint", "inflight",
	"leak", "notices", "streams", "usage", "otel", "prom",
}

// A new exported name is seen in review: all of them are in testdata/exported.txt, which
// go test -run=TestExportedNames . -update writes.
func TestExportedNames(t *testing.T) {
	t.Parallel()
	var all strings.Builder
	for _, dir := range packages {
		names := exportedNames(parsePackage(t, dir))
		if dir == "." {
			topLevel := 0
			for _, name := range names {
				if !strings.Contains(name, ".") {
					topLevel++
				}
			}
			if t.Logf("the root exports %d top-level names", topLevel); topLevel > 86 {
				t.Errorf("the root exports %d top-level names, want at most 86", topLevel)
			}
			dir = "httpkey"
		}
		all.WriteString(dir + "\n")
		for _, name := range names {
			all.WriteString("\t" + name + "\n")
		}
	}
	golden := filepath.Join("testdata", "exported.txt")
	if *writeGolden {
		if err := os.WriteFile(golden, []byte(all.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	got, known := strings.Split(all.String(), "\n"), strings.Split(strings.ReplaceAll(string(want), "\r", ""), "\n")
	if slices.Equal(got, known) {
		return
	}
	for _, name := range got {
		if !slices.Contains(known, name) {
			t.Errorf("%s is new", strings.TrimSpace(name))
		}
	}
	for _, name := range known {
		if !slices.Contains(got, name) {
			t.Errorf("%s is gone", strings.TrimSpace(name))
		}
	}
	t.Errorf("testdata/exported.txt is another list: if that is meant, go test -run=TestExportedNames . -update")
}

// exportedNames returns the names of constants, variables, functions and types, and of
// methods and fields behind that of their type.
func exportedNames(pkg *doc.Package) (names []string) {
	for _, values := range [][]*doc.Value{pkg.Consts, pkg.Vars} {
		names = append(names, valueNames(values)...)
	}
	for _, f := range pkg.Funcs {
		names = append(names, f.Name)
	}
	for _, typ := range pkg.Types {
		names = append(names, typ.Name)
		names = append(names, valueNames(typ.Consts)...)
		names = append(names, valueNames(typ.Vars)...)
		for _, f := range typ.Funcs {
			names = append(names, f.Name)
		}
		for _, method := range typ.Methods {
			names = append(names, typ.Name+"."+method.Name)
		}
		for _, spec := range typ.Decl.Specs {
			for _, field := range fieldsOf(spec.(*ast.TypeSpec)) {
				for _, name := range field.Names {
					if name.IsExported() {
						names = append(names, typ.Name+"."+name.Name)
					}
				}
			}
		}
	}
	slices.Sort(names)
	return names
}

func valueNames(values []*doc.Value) (names []string) {
	for _, value := range values {
		for _, name := range value.Names {
			if ast.IsExported(name) {
				names = append(names, name)
			}
		}
	}
	return names
}

// fieldsOf returns the fields of a struct, or the methods of an interface.
func fieldsOf(spec *ast.TypeSpec) []*ast.Field {
	switch t := spec.Type.(type) {
	case *ast.StructType:
		return t.Fields.List
	case *ast.InterfaceType:
		return t.Methods.List
	}
	return nil
}

// parsePackage returns the package in a directory, or nil if there is none.
func parsePackage(t *testing.T, dir string) *doc.Package {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	fset := token.NewFileSet()
	var parsed []*ast.File
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(fset, name, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		parsed = append(parsed, file)
	}
	if len(parsed) == 0 {
		return nil
	}
	pkg, err := doc.NewFromFiles(fset, parsed, "github.com/httpkey/httpkey/"+dir)
	if err != nil {
		t.Fatal(err)
	}
	return pkg
}

// The root is thirteen files of one idea each, and doc.go, and at most 2,260 lines of code. Expiring is
// among them, because it shares the loop of Due and Unused.
func TestRootIsSmall(t *testing.T) {
	t.Parallel()
	const most = 2260
	want := []string{
		"admission.go", "charge.go", "doc.go", "guard.go", "lifecycle.go", "limiter.go", "middleware.go",
		"observer.go", "refusal.go", "require.go", "secret.go", "source.go", "store.go", "token.go",
	}
	all, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	files := slices.DeleteFunc(all, func(name string) bool { return strings.HasSuffix(name, "_test.go") })
	if !slices.Equal(files, want) {
		t.Errorf("the files are %v, want %v", files, want)
	}
	lines := 0
	for _, name := range files {
		lines += linesOfCode(t, name)
	}
	if t.Logf("%d lines of code", lines); lines > most {
		t.Errorf("the root has %d lines of code, want at most %d", lines, most)
	}
}

// linesOfCode counts the lines of a file that are neither blank nor nothing but a comment.
func linesOfCode(t *testing.T, name string) (lines int) {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "//") {
			lines++
		}
	}
	return lines
}
