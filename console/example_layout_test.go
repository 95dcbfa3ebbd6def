package console_test

import (
	"fmt"
	"html/template"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/console"
	"github.com/httpkey/httpkey/memstore"
)

// frame is the template that an app has for all of its pages.
var frame = template.Must(template.New("frame").Parse(`<!DOCTYPE html>
<html lang="{{.Page.Language}}" dir="{{.Page.Direction}}">
<head>
	<meta charset="utf-8">
	<title>{{.Page.Title}} – Acme</title>
	<link rel="stylesheet" href="/acme.css">
	{{.Page.Head}}
</head>
<body>
	<header><a href="/">Acme</a> {{.User}}</header>
	{{.Page.Body}}
</body>
</html>
`))

// An app frames the page like each of its own, with html/template.
func ExampleOptions_layout() {
	tokens := console.New(httpkey.New(memstore.New(), memstore.NewLimiter(), nil), &console.Options{
		Principal: func(*http.Request) (console.Principal, error) { return console.Principal{User: "ada"}, nil },
		Layout: func(w http.ResponseWriter, r *http.Request, page console.Page) {
			err := frame.Execute(w, map[string]any{"Page": page, "User": "Ada"})
			if err != nil {
				fmt.Println(r.RequestURI, err)
			}
		},
	})

	mux := http.NewServeMux()
	mux.Handle("/settings/api-tokens/", http.StripPrefix("/settings/api-tokens", tokens))
	for _, path := range []string{"", "new", "nothing/"} {
		body := show(mux, "/settings/api-tokens/"+path)
		fmt.Println(regexp.MustCompile(`<title>.*</title>`).FindString(body), strings.Count(body, "<main>"))
	}
	// Output:
	// <title>API tokens – Acme</title> 1
	// <title>Generate a new token · API tokens – Acme</title> 1
	// <title>No such token · API tokens – Acme</title> 1
}

// An app has a sidebar of 240 pixels, and a Content-Security-Policy with a nonce for its own style.
// Its middleware sets that policy on every page.
func ExampleOptions_sidebar() {
	const nonce = "bm9uY2U" // of each request another, from crypto/rand
	const sidebar = `<!DOCTYPE html>
<title>%s</title>
<style nonce="%s">
	body { display: grid; grid-template-columns: 240px minmax(0, 1fr); color-scheme: light dark; }
	.httpkey { --accent: light-dark(#6c2bd9, #c4a5ff); padding: 1rem; }
</style>
%s
<aside><nav aria-label="Settings"><a href="/settings/profile">Profile</a></nav></aside>
%s
`
	tokens := console.New(httpkey.New(memstore.New(), memstore.NewLimiter(), nil), &console.Options{
		Principal: func(*http.Request) (console.Principal, error) { return console.Principal{User: "ada"}, nil },
		Layout: func(w http.ResponseWriter, _ *http.Request, page console.Page) {
			fmt.Fprintf(w, sidebar, template.HTMLEscapeString(page.Title), nonce, page.Head, page.Body)
		},
	})
	withPolicy := func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Security-Policy", "default-src 'self'; style-src 'nonce-"+nonce+"'")
			next.ServeHTTP(w, r)
		})
	}

	mux := http.NewServeMux()
	mux.Handle("/settings/api-tokens/", withPolicy(http.StripPrefix("/settings/api-tokens", tokens)))
	body := show(mux, "/settings/api-tokens/new")
	for _, text := range []string{
		"<title>Generate a new token", "<aside>", `<div class="httpkey"`, "<main>", `nonce="` + nonce,
	} {
		fmt.Println(strings.Count(body, text), text)
	}
	// Output:
	// 1 <title>Generate a new token
	// 1 <aside>
	// 1 <div class="httpkey"
	// 1 <main>
	// 2 nonce="bm9uY2U
}

// show returns what a browser gets.
func show(handler http.Handler, path string) string {
	r := httptest.NewRequest(http.MethodGet, path, nil)
	r.Header.Set("Accept", "text/html")
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, r)
	return w.Body.String()
}
