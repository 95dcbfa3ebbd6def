package adopt

import (
	"go/scanner"
	"go/token"
	"os"
	"path/filepath"
	"testing"
)

// Each program needs less than sixty lines for httpkey: lines with code, the imports among them.
func TestGlueIsShort(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("*/httpkey.go")
	if err != nil || len(files) != 3 {
		t.Fatalf("%q, %v", files, err)
	}
	for _, path := range files {
		source, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if n := linesOfCode(path, source); n >= 60 {
			t.Errorf("%s has %d lines of code", path, n)
		} else {
			t.Logf("%s has %d lines of code", path, n)
		}
	}
}

func TestLinesOfCode(t *testing.T) {
	t.Parallel()
	source := "// a comment\npackage a\n\nvar text = `two\nlines`\n\n/* more\ncomment */\nfunc f() {\n\tg() // called\n}\n"
	if n := linesOfCode("a.go", []byte(source)); n != 6 {
		t.Errorf("%d lines, want 6", n)
	}
}

// linesOfCode counts the lines that have more than blanks and comments.
func linesOfCode(path string, source []byte) int {
	files := token.NewFileSet()
	file := files.AddFile(path, files.Base(), len(source))
	var s scanner.Scanner
	s.Init(file, source, nil, 0)
	lines := make(map[int]bool)
	for {
		at, kind, text := s.Scan()
		if kind == token.EOF {
			return len(lines)
		}
		if kind == token.SEMICOLON && text == "\n" {
			continue
		}
		first := file.Line(at)
		for line := first; line <= file.Line(at+token.Pos(max(len(text), 1)-1)); line++ {
			lines[line] = true
		}
	}
}
