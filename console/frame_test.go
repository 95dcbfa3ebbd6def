package console

import (
	"bytes"
	"errors"
	"fmt"
	"html/template"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/httpkey/httpkey"
)

// framedBy is a Layout whose pages have the name of a program.
func framedBy(program string) func(http.ResponseWriter, *http.Request, Page) {
	return func(w http.ResponseWriter, r *http.Request, p Page) {
		_, _ = fmt.Fprintf(w, "<title>%s of %s</title>%s<nav>%s</nav>%s<!-- %s %s %s %d -->",
			template.HTMLEscapeString(p.Title), program, p.Head, r.RequestURI, p.Body,
			r.URL.Path, p.Language, p.Direction, p.Status)
	}
}

func TestLayoutWritesEveryPage(t *testing.T) {
	t.Parallel()
	s := newSite(t, Options{Layout: framedBy("Acme")})
	s.issue(httpkey.Token{ID: "id", Label: `<b> & "c"`, User: "ada"})
	for _, tt := range []struct {
		name    string
		w       *httptest.ResponseRecorder
		status  int
		title   string
		content string
		root    string
	}{
		{"list", s.page("ada", "/"), 200, "API tokens", "<h1>API tokens</h1>", "./"},
		{"token", s.page("ada", "/id/"), 200, `&lt;b&gt; &amp; &#34;c&#34; · API tokens`, "<bdi>&lt;b&gt;", "../"},
		{"secret", s.submit("ada", "/", newForm()), 201, "Copy your new key", `<code id="secret"`, "./"},
		{"form with an error", s.submit("ada", "/", newForm("label", "")), 400, "Generate a new token", `role="alert"`, "./"},
		{"failure", s.page("ada", "/no/"), 404, "No such token", "<h1>No such token</h1>", "../"},
		{"no path", s.page("ada", "/a/b/c"), 404, "No such token", "<h1>No such token</h1>", "../../"},
		{"no login", s.page("", "/"), 401, "Sign in first", "<h1>Sign in first</h1>", "./"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			body := tt.w.Body.String()
			if tt.w.Code != tt.status || !strings.HasPrefix(body, "<title>"+tt.title) ||
				!strings.HasSuffix(body, fmt.Sprintf(" en ltr %d -->", tt.status)) {
				t.Errorf("status %d, want %d with the title %s: %s", tt.w.Code, tt.status, tt.title, body)
			}
			for _, text := range []string{
				`<div class="httpkey" lang="en" dir="ltr">`, "<main>", tt.content,
				`<link rel="stylesheet" href="` + tt.root, `src="` + tt.root,
			} {
				if strings.Count(body, text) != 1 {
					t.Errorf("the page should have once %s: %s", text, body)
				}
			}
			for _, text := range []string{"<html", "<head>", "<body", "<header"} {
				if strings.Contains(body, text) {
					t.Errorf("the page has a second %s: %s", text, body)
				}
			}
			h := tt.w.Header()
			if h.Get("Content-Type") != "text/html; charset=utf-8" || h.Get("Cache-Control") != "no-store" ||
				h.Get("Content-Length") != "" || h.Get("Content-Security-Policy") != plainPolicy {
				t.Errorf("the headers are %v", h)
			}
		})
	}
}

// The links lead to the console wherever it is mounted.
func TestLinksOfALayoutAreRelative(t *testing.T) {
	t.Parallel()
	s := newSite(t, Options{Layout: framedBy("Acme")})
	s.issue(httpkey.Token{ID: "id", User: "ada"})
	mux := http.NewServeMux()
	mux.Handle("/a/b/", http.StripPrefix("/a/b", s.handler))
	s.handler = mux
	const page = "/a/b/id/rotate/"
	body := s.want(200, s.page("ada", page)).Body.String()
	links := regexp.MustCompile(`(?:href|src)="([^"]*)"`).FindAllStringSubmatch(body, -1)
	if len(links) < 4 || !strings.Contains(body, "<nav>"+page+"</nav>") || !strings.Contains(body, "<!-- /id/rotate/ ") {
		t.Fatalf("the page has the links %v: %s", links, body)
	}
	base, _ := url.Parse(page)
	for _, link := range links {
		to, err := base.Parse(link[1])
		if err != nil || !strings.HasPrefix(to.Path, "/a/b/") {
			t.Errorf("the link %s leads to %s", link[1], to)
			continue
		}
		s.want(200, s.page("ada", to.Path))
	}
}

func TestStatusOfALayout(t *testing.T) {
	t.Parallel()
	flush := func(w http.ResponseWriter) error { return http.NewResponseController(w).Flush() }
	begin := func(status int) func(http.ResponseWriter) error {
		return func(w http.ResponseWriter) error {
			w.WriteHeader(status)
			return flush(w)
		}
	}
	copyText := func(w http.ResponseWriter) error {
		_, err := io.Copy(w, strings.NewReader("x"))
		return err
	}
	for name, tt := range map[string]struct {
		layout  func(http.ResponseWriter) error
		status  int
		flushed bool
	}{
		"writes nothing": {func(http.ResponseWriter) error { return nil }, 404, false},
		"writes":         {func(w http.ResponseWriter) error { _, err := w.Write([]byte("x")); return err }, 404, false},
		"writes a text":  {func(w http.ResponseWriter) error { _, err := io.WriteString(w, "x"); return err }, 404, false},
		"copies":         {copyText, 404, false},
		"flushes":        {flush, 404, true},
		"decides":        {begin(http.StatusNonAuthoritativeInfo), 203, true},
		"hints before":   {begin(http.StatusEarlyHints), 404, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, Options{Layout: func(w http.ResponseWriter, _ *http.Request, _ Page) {
				if err := tt.layout(w); err != nil {
					t.Error(err)
				}
			}})
			// The recorder of httptest takes 103 for the status, a server does not.
			server := httptest.NewServer(s.handler)
			defer server.Close()
			r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+"/no/", nil)
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Login", "ada")
			r.Header.Set("Accept", browserAccept)
			response, err := server.Client().Do(r)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = response.Body.Close() }()
			if response.StatusCode != tt.status {
				t.Errorf("status %d, want %d", response.StatusCode, tt.status)
			}
			if isChunked := len(response.TransferEncoding) > 0; isChunked != tt.flushed {
				t.Errorf("the answer was flushed: %v, want %v", isChunked, tt.flushed)
			}
		})
	}
}

// A Layout that panics is the program's panic.
func TestLayoutPanics(t *testing.T) {
	t.Parallel()
	s := newSite(t, Options{Layout: func(http.ResponseWriter, *http.Request, Page) { panic("no frame") }})
	defer func() {
		if got := recover(); got != "no frame" {
			t.Errorf("it panicked with %v", got)
		}
	}()
	s.page("ada", "/")
}

// A program and a redirect get what they get without a Layout.
func TestLayoutIsForPages(t *testing.T) {
	t.Parallel()
	s := newSite(t, Options{Layout: func(http.ResponseWriter, *http.Request, Page) { t.Error("the layout was called") }})
	s.issue(httpkey.Token{ID: "id", User: "ada"})
	s.want(200, s.api("ada", "GET", "/id/", ""))
	s.want(401, s.api("", "GET", "/id/", ""))
	s.want(307, s.page("ada", "/id"))
	s.want(303, s.submit("ada", "/id/revoke/", ""))
}

// A template that fails on a request writes no half of a page, in a Layout either.
func TestPageThatFailsInALayout(t *testing.T) {
	t.Parallel()
	calls := 0
	s := newSite(t, Options{
		Layout: func(w http.ResponseWriter, _ *http.Request, p Page) {
			calls++
			_, _ = io.WriteString(w, p.Title)
		},
		Data:  func(*http.Request) any { return struct{}{} },
		Files: fstest.MapFS{"list.html": {Data: []byte(`{{define "title"}}{{.Data.Name}}{{end}}`)}},
	})
	w := s.want(503, s.page("ada", "/"))
	if calls != 1 || !strings.HasPrefix(w.Body.String(), "Not available right now") {
		t.Errorf("%d calls, and %s", calls, w.Body)
	}
	if told := s.told(); len(told) != 1 || told[0].Err == nil {
		t.Errorf("the audit has %v", told)
	}
}

// session is the data of a program.
type session struct{ Team *team }

type team struct{ Name string }

func (t *team) Has(feature string) bool { return feature == "tokens" }

func TestDataForTemplates(t *testing.T) {
	t.Parallel()
	data := func(r *http.Request) any {
		switch r.Header.Get("Login") {
		case "ada":
			return &session{&team{"Engines & Co."}}
		case "eve":
			return map[string]any{"Team": map[string]string{"Name": "Eavesdroppers"}}
		}
		return nil
	}
	for name, tt := range map[string]struct {
		header string
		want   map[string]string // by login; none: no data
	}{
		"a field": {
			`<i>{{.Data.Team.Name}}</i>`,
			map[string]string{"ada": "<i>Engines &amp; Co.</i>", "eve": "<i>Eavesdroppers</i>", "root": "<i></i>"},
		},
		"a field in a condition": {
			`{{with .Data.Team}}<i>{{.Name}}</i>{{else}}<i>none</i>{{end}}`,
			map[string]string{"ada": "<i>Engines &amp; Co.</i>", "root": "<i>none</i>"},
		},
		"a method": {
			`{{with .Data}}{{if .Team.Has "tokens"}}<i>yes</i>{{end}}{{else}}<i>none</i>{{end}}`,
			map[string]string{"ada": "<i>yes</i>", "root": "<i>none</i>"},
		},
		"a range": {`<i>{{range .Data.Items}}x{{end}}</i>`, map[string]string{"eve": "<i></i>", "root": "<i></i>"}},
		"a comparison": {
			`{{if eq .Data.Plan "free"}}<i>free</i>{{else}}<i>paid</i>{{end}}`, map[string]string{"root": "<i>paid</i>"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			files := fstest.MapFS{"layout.html": {Data: []byte(`{{define "header"}}<header>` + tt.header + `</header>{{end}}`)}}
			with, without := newSite(t, Options{Files: files, Data: data}), newSite(t, Options{Files: files})
			for login, want := range tt.want {
				if body := with.want(200, with.page(login, "/")).Body.String(); !strings.Contains(body, want) {
					t.Errorf("for %s the page has no %s: %s", login, want, body)
				}
			}
			if want, ok := tt.want["root"]; ok {
				if body := without.want(200, without.page("ada", "/")).Body.String(); !strings.Contains(body, want) {
					t.Errorf("without Options.Data the page has no %s: %s", want, body)
				}
			}
		})
	}
}

func TestSchemeIsForced(t *testing.T) {
	t.Parallel()
	for scheme, want := range map[string]string{
		"":      `<body class="httpkey">`,
		"light": `<body class="httpkey" data-scheme="light">`,
		"dark":  `<body class="httpkey" data-scheme="dark">`,
	} {
		body := newSite(t, Options{Scheme: scheme}).page("ada", "/").Body.String()
		meta := `<meta name="color-scheme" content="` + scheme + `">`
		if scheme == "" {
			meta = `<meta name="color-scheme" content="light dark">`
		}
		if !strings.Contains(body, want) || !strings.Contains(body, meta) {
			t.Errorf("scheme %q makes %s", scheme, body)
		}
		framed := newSite(t, Options{Scheme: scheme, Layout: framedBy("Acme")}).page("ada", "/").Body.String()
		if got := strings.Contains(framed, `data-scheme="`+scheme+`"`); got != (scheme != "") {
			t.Errorf("scheme %q in a layout makes %s", scheme, framed)
		}
	}
}

// A proxy on plain HTTP that does not pass on the Host header makes a change look like one from
// another site. A browser sends no Sec-Fetch-Site there.
func TestProxyThatChangesTheHost(t *testing.T) {
	t.Parallel()
	const public = "http://app.example:8080"
	for name, tt := range map[string]struct {
		trusted []string
		origin  string
		status  int
	}{
		"not trusted":          {nil, public, 403},
		"another port trusted": {[]string{"http://app.example"}, public, 403},
		"trusted":              {[]string{public}, public, 201},
		"of another site":      {[]string{public}, "http://evil.example", 403},
		"of a sandbox":         {[]string{public}, "null", 403},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, Options{TrustedOrigins: tt.trusted})
			backend := httptest.NewServer(s.handler)
			defer backend.Close()
			target, _ := url.Parse(backend.URL)
			proxy := httptest.NewServer(&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
				r.SetURL(target) // and the Host with it, as proxy_pass of nginx does
			}})
			defer proxy.Close()
			r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, proxy.URL+"/", strings.NewReader(newForm()))
			if err != nil {
				t.Fatal(err)
			}
			r.Host = "app.example:8080"
			for header, value := range map[string]string{
				"Login": "ada", "Accept": browserAccept, "Content-Type": formType, "Origin": tt.origin,
			} {
				r.Header.Set(header, value)
			}
			response, err := proxy.Client().Do(r)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = response.Body.Close() }()
			body, _ := io.ReadAll(response.Body)
			if response.StatusCode != tt.status {
				t.Fatalf("status %d, want %d: %s", response.StatusCode, tt.status, body)
			}
			if tt.status == 403 && !bytes.Contains(body, []byte("The request comes from another site.")) {
				t.Errorf("the page does not say why: %s", body)
			}
		})
	}
}

// A login that is down still gets its frame.
func TestLoginIsDownInALayout(t *testing.T) {
	t.Parallel()
	s := newSite(t, Options{Layout: framedBy("Acme")})
	w := s.want(503, s.page("down", "/"))
	if !strings.Contains(w.Body.String(), "of Acme") || w.Header().Get("Retry-After") == "" {
		t.Errorf("%v %s", w.Header(), w.Body)
	}
	if told := s.told(); len(told) != 1 || !errors.Is(told[0].Err, httpkey.ErrUnavailable) {
		t.Errorf("the audit has %v", told)
	}
}
