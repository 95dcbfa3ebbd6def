package console

import (
	"errors"
	"io/fs"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/httpkey/httpkey"
)

func TestFilesAreLaidOver(t *testing.T) {
	t.Parallel()
	s := newSite(t, Options{Files: fstest.MapFS{
		"texts.html": {Data: []byte(`{{define "product"}}Schlüssel{{end}}{{define "never"}}Nie{{end}}
			{{define "kind"}}{{if eq . "api_key"}}Persönlich{{end}}{{end}}`)},
		"layout.html": {Data: []byte(`{{define "header"}}<header><a href="/">Acme & Co.</a>
			{{- " "}}{{.Principal.User}}</header>{{end}}`)},
		"list.html": {Data: []byte(`{{define "title"}}Alle {{len .List.Tokens}}{{end}}`)},
		"style.css": {Data: []byte(`.httpkey { --accent: hotpink }`)},
		"icon.svg":  {Data: []byte(`<svg/>`)},
	}})
	s.issue(httpkey.Token{ID: "id", Label: "x", User: "ada"})
	body := s.page("ada", "/").Body.String()
	for _, text := range []string{
		"<h1>Schlüssel</h1>", "<title>Alle 1</title>", `<a href="/">Acme & Co.</a> ada`,
		`data-label="Last used">Nie<`, "Persönlich", "Generate new token",
	} {
		if !strings.Contains(body, text) {
			t.Errorf("the page has no %s: %s", text, body)
		}
	}
	if strings.Contains(body, "Signed in as") {
		t.Error("the replaced header is there too")
	}
	css := s.page("ada", "/"+regexp.MustCompile(`[0-9a-f]{12}-style.css`).FindString(body)).Body.String()
	ours, theirs := strings.Index(css, "--accent: light-dark"), strings.Index(css, "hotpink")
	if ours < 0 || theirs < ours {
		t.Error("their rules do not follow ours")
	}
	iconPath := "/" + regexp.MustCompile(`[0-9a-f]{12}-icon.svg`).FindString(body)
	if icon := s.page("ada", iconPath).Body.String(); icon != "<svg/>" {
		t.Errorf("the icon is %s", icon)
	}
	if plain := newSite(t, Options{}).page("ada", "/").Body.String(); strings.Contains(plain, "Schlüssel") {
		t.Error("another console has the texts too")
	}
}

// A file may replace a definition of another file.
func TestAnyFileMayReplaceADefinition(t *testing.T) {
	t.Parallel()
	s := newSite(t, Options{Files: fstest.MapFS{
		"texts.html": {Data: []byte(`{{define "badge"}}<b>{{.State}}</b>{{end}}
			{{define "header"}}<header>Acme</header>{{end}}`)},
	}})
	s.issue(httpkey.Token{ID: "id", Label: "x", User: "ada"})
	body := s.page("ada", "/").Body.String()
	for _, text := range []string{"<b>active</b>", "<header>Acme</header>"} {
		if !strings.Contains(body, text) {
			t.Errorf("the page has no %s: %s", text, body)
		}
	}
}

// brokenFS cannot be read.
type brokenFS struct{}

func (brokenFS) Open(string) (fs.File, error) { return nil, errors.New("no disk") }

func TestFilesAreCheckedAtTheStart(t *testing.T) {
	t.Parallel()
	login := func(*http.Request) (Principal, error) { return Principal{}, nil }
	file := func(name, content string) fs.FS { return fstest.MapFS{name: {Data: []byte(content)}} }
	for want, files := range map[string]fs.FS{
		"no file styles.css":          file("styles.css", ""),
		"no file templates/list.html": file("templates/list.html", ""),
		"list.html":                   file("list.html", `{{define "main"}}{{if}}{{end}}`),
		"NoSuchField":                 file("token.html", `{{define "title"}}{{.Token.NoSuchField}}{{end}}`),
		`no such template "nothing"`:  file("parts.html", `{{define "badge"}}{{template "nothing"}}{{end}}`),
		"can't evaluate field NoUnit": file("texts.html", `{{define "span"}}{{.NoUnit}}{{end}}`),
		"no disk":                     brokenFS{},
		"ends in a non-text context":  file("list.html", `{{define "main"}}<a href="{{end}}`),
	} {
		err := (&Options{Principal: login, Files: files}).Validate()
		if !errors.Is(err, httpkey.ErrInvalidOptions) || !strings.Contains(err.Error(), want) ||
			!strings.Contains(err.Error(), "Files") {
			t.Errorf("the error is %v, want Files and %q in it", err, want)
		}
	}
}

func TestAssets(t *testing.T) {
	t.Parallel()
	s := newSite(t, Options{})
	for _, name := range []string{"style.css", "script.js", "icon.svg"} {
		path := "/" + regexp.MustCompile(`[0-9a-f]{12}-`+name).FindString(s.page("", "/").Body.String())
		w := s.send("", "GET", path, "") // the page that tells to sign in has them too
		h := w.Header()
		if w.Code != 200 || w.Body.Len() == 0 || h.Get("X-Content-Type-Options") != "nosniff" ||
			h.Get("Cache-Control") != "public, max-age=31536000, immutable" {
			t.Errorf("%s: %d %v", path, w.Code, w.Header())
		}
		if w := s.send("", "GET", "/"+name, ""); w.Code == 200 {
			t.Errorf("%s without its hash: %d", name, w.Code)
		}
	}
}

// Every status, order, filter and action has a text.
func TestEveryCodeHasAText(t *testing.T) {
	t.Parallel()
	own, err := ownLook()
	if err != nil {
		t.Fatal(err)
	}
	page := own.page("list", "")
	for name, codes := range map[string][]any{
		"column":        {"label", "key", "scopes", "created_at", "last_used", "expired_at", "status"},
		"status-filter": {"", "works", "care", "expiring", "unused", "ended"},
		"done":          {"updated", "revoked", "deleted"},
		"field":         {"label", "description", "kind", "workspace", "scopes", "expired_at", "grace", "name"},
		"status": {
			status{State: "active"}, status{State: "expiring"}, status{State: "old"}, status{State: "unused"},
			status{State: "rotating"}, status{State: "expired"}, status{State: "revoked"},
		},
	} {
		seen := make(map[string]any)
		for _, code := range codes {
			var text strings.Builder
			if err := page.ExecuteTemplate(&text, name, code); err != nil {
				t.Fatal(err)
			}
			got := strings.TrimSpace(text.String())
			if other, ok := seen[got]; got == "" || ok && got != "Name" {
				t.Errorf("%s of %v is %q, as of %v", name, code, got, other)
			}
			seen[got] = code
		}
	}
}
