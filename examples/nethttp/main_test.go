package main

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/httpkeytest"
	"github.com/httpkey/httpkey/internal/contract"
	"github.com/httpkey/httpkey/memstore"
)

func TestContract(t *testing.T) {
	t.Parallel()
	contract.Run(t, func(guard *httpkey.Guard, added []contract.Route) http.Handler {
		mux := http.NewServeMux()
		mux.Handle("/", routes(guard))
		for _, route := range added {
			mux.Handle(route.Path, guard.Handler(route.Require(route.Handler)))
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

// The program answers as the README shows, except for the time.
func TestTranscriptOfTheREADME(t *testing.T) {
	t.Parallel()
	guard := httpkey.New(memstore.New(), memstore.NewLimiter(), nil)
	created := httpkeytest.Issue(t, guard, httpkey.Token{User: "ada", Label: "laptop"})
	server := httptest.NewServer(routes(guard))
	defer server.Close()
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, transcript, _ := strings.Cut(string(readme), "```console\n")
	transcript, _, _ = strings.Cut(transcript, "```")
	shown := strings.Split(transcript, "$ curl -i ")[1:]
	if len(shown) != 2 {
		t.Fatalf("the README shows %d answers, want 2", len(shown))
	}
	for i, key := range []string{created.Secret.Reveal(), ""} {
		_, want, _ := strings.Cut(shown[i], "\n")
		if got := raw(t, server.Listener.Addr().String(), key); withoutTime(got) != withoutTime(strings.TrimSpace(want)) {
			t.Errorf("the program answers\n%s\n\nthe README shows\n%s", got, want)
		}
	}
}

// raw returns an answer as curl -i shows it.
func raw(t *testing.T, address, key string) string {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	request := "GET /api/v1/users/me/ HTTP/1.1\r\nHost: " + address + "\r\nConnection: close\r\n"
	if key != "" {
		request += "X-Api-Key: " + key + "\r\n"
	}
	if _, err := io.WriteString(conn, request+"\r\n"); err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(conn)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(strings.ReplaceAll(strings.ReplaceAll(string(answer), "\r", ""), "Connection: close\n", ""))
}

var times = regexp.MustCompile("(Date|X-Ratelimit-Reset): .*")

func withoutTime(answer string) string { return times.ReplaceAllString(answer, "$1: …") }
