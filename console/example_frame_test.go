package console_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing/fstest"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/console"
	"github.com/httpkey/httpkey/memstore"
)

// The login is on another host, and leads back to the page that a person asked for.
func ExampleOptions_signIn() {
	tokens := console.New(httpkey.New(memstore.New(), memstore.NewLimiter(), nil), &console.Options{
		Principal: func(*http.Request) (console.Principal, error) { return console.Principal{}, errors.New("no session") },
		SignIn: func(r *http.Request) string {
			back := "https://app.example.com" + r.RequestURI // r.URL has no prefix any more
			return "https://login.example.com/?" + url.Values{"next": {back}}.Encode()
		},
	})

	mux := http.NewServeMux()
	mux.Handle("/settings/api-tokens/", http.StripPrefix("/settings/api-tokens", tokens))
	for line := range strings.Lines(show(mux, "/settings/api-tokens/new")) {
		if strings.Contains(line, "Sign in<") {
			before, after, _ := strings.Cut(strings.TrimSpace(line), "?")
			fmt.Printf("%s\n?%s\n", before, after)
		}
	}
	// Output:
	// <a class="button primary" href="https://login.example.com/
	// ?next=https%3A%2F%2Fapp.example.com%2Fsettings%2Fapi-tokens%2Fnew">Sign in</a>
}

// A template in Files shows data of the app.
func ExampleOptions_data() {
	type account struct{ Plan string }
	tokens := console.New(httpkey.New(memstore.New(), memstore.NewLimiter(), nil), &console.Options{
		Principal: func(*http.Request) (console.Principal, error) { return console.Principal{User: "ada"}, nil },
		Data:      func(*http.Request) any { return account{Plan: "Free & easy"} },
		Files: fstest.MapFS{"layout.html": {Data: []byte(
			`{{define "header"}}<header><a href="/">Acme</a> Plan: {{.Data.Plan}}</header>{{end}}`,
		)}},
	})

	for line := range strings.Lines(show(tokens, "/")) {
		if strings.Contains(line, "Acme") {
			fmt.Print(line)
		}
	}
	// Output:
	// <header><a href="/">Acme</a> Plan: Free &amp; easy</header>
}

// An app with fonts of another host adds that host to the policy of the pages.
func ExampleOptions_csp() {
	tokens := console.New(httpkey.New(memstore.New(), memstore.NewLimiter(), nil), &console.Options{
		Principal: func(*http.Request) (console.Principal, error) { return console.Principal{User: "ada"}, nil },
		CSP: func(*http.Request) string {
			return "font-src https://fonts.example.com; report-uri /csp-reports"
		},
	})

	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.Header.Set("Accept", "text/html")
	w := httptest.NewRecorder()
	tokens.ServeHTTP(w, r)
	for _, directive := range strings.Split(w.Header().Get("Content-Security-Policy"), "; ") {
		fmt.Println(directive)
	}
	// Output:
	// default-src 'none'
	// style-src 'self'
	// script-src 'self'
	// img-src 'self'
	// font-src 'self' https://fonts.example.com
	// form-action 'self'
	// frame-ancestors 'none'
	// base-uri 'none'
	// report-uri /csp-reports
}
