package main

import (
	"embed"
	"html/template"
	"log/slog"
	"net/http"
	"strings"

	"github.com/httpkey/httpkey/console"
)

//go:embed pages
var files embed.FS

var templates = template.Must(template.ParseFS(files, "pages/*.html"))

func styleSheet(w http.ResponseWriter, r *http.Request) {
	http.ServeFileFS(w, r, files, "pages/style.css")
}

func (s *site) startPage(w http.ResponseWriter, r *http.Request) {
	s.show(w, r, "Start", "start.html", r.Host)
}

// show writes a page of the demo's own.
func (s *site) show(w http.ResponseWriter, r *http.Request, title, name string, data any) {
	var body strings.Builder
	if err := templates.ExecuteTemplate(&body, name, data); err != nil {
		slog.ErrorContext(r.Context(), "page", "name", name, "error", err)
		http.Error(w, "Something went wrong.", http.StatusInternalServerError)
		return
	}
	header := w.Header()
	header.Set("Content-Security-Policy",
		"default-src 'none'; style-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'")
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Cache-Control", "no-store")
	s.frame(r.URL.Path)(w, r, console.Page{Status: http.StatusOK, Title: title, Body: template.HTML(body.String())})
}

// frame returns a function that writes a page beside the sidebar, in which it marks the link here.
func (s *site) frame(here string) func(http.ResponseWriter, *http.Request, console.Page) {
	return func(w http.ResponseWriter, r *http.Request, page console.Page) {
		name := ""
		if p, ok := s.sessions.person(r); ok {
			name = p.Name()
		}
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.WriteHeader(page.Status)
		_ = templates.ExecuteTemplate(w, "layout.html", struct { // it can only fail if the client is gone
			Page         console.Page
			Here, Person string
			Links        []link
		}{page, here, name, links})
	}
}

// link is a line of the sidebar.
type link struct{ Path, Name string }

var links = []link{{"/", "Start"}, {tokensPath + "/", "API tokens"}}
