package main

import (
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/internal/contract"
)

func TestContract(t *testing.T) {
	t.Parallel()
	contract.Run(t, func(guard *httpkey.Guard, handlers map[string]http.Handler) http.Handler {
		mux := http.NewServeMux()
		mux.Handle("/", routes(guard))
		for path, handler := range handlers {
			mux.Handle(path, guard.Handler(handler))
		}
		return mux
	})
}

// The program that the README begins with is this one.
func TestREADME(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile("main.go")
	if err != nil {
		t.Fatal(err)
	}
	_, code, _ := strings.Cut(string(program), "\n") // behind the package's comment
	before, _, found := strings.Cut(string(readme), "```go\n"+code+"```\n")
	if !found {
		t.Error("the README does not have the program of main.go")
	}
	if line := strings.Count(before, "\n") + 1; line > 15 {
		t.Errorf("the README's program begins at line %d", line)
	}
}
