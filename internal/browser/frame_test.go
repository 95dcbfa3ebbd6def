package browser

import (
	"context"
	"crypto/rand"
	"html/template"
	"net/http"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/httpkey/httpkey/console"
)

const (
	frameCSSURL = "/frame.css"
	sidebar     = 240 // its width in pixels
)

// beside puts the pages into the frame of a program, beside a sidebar. The program trusts only
// scripts and styles with its nonce.
func beside(o *console.Options) {
	o.CSP = func(r *http.Request) string {
		nonce := "'nonce-" + nonceOf(r) + "'"
		return "default-src 'self'; script-src " + nonce + " 'strict-dynamic'; style-src " + nonce +
			"; img-src 'self' data:; object-src 'none'; base-uri 'none'"
	}
	o.Layout = func(w http.ResponseWriter, r *http.Request, page console.Page) {
		_ = frame.Execute(w, struct {
			console.Page
			Nonce string
		}{page, nonceOf(r)})
	}
}

var frame = template.Must(template.New("frame").Parse(`<!DOCTYPE html>
<html lang="{{.Language}}" dir="{{.Direction}}">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{.Title}} · Plane</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="/frame.css" nonce="{{.Nonce}}">
{{.Head}}
</head>
<body>
<nav class="sidebar" aria-label="Settings"><a href="/profile">Profile</a></nav>
<div class="place" data-place>{{.Body}}</div>
<script nonce="{{.Nonce}}">document.documentElement.dataset.frame = "works"</script>
</body>
</html>
`))

// serveFrameCSS answers with a stylesheet as programs have it. It says nothing of the console.
func serveFrameCSS(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/css")
	_, _ = w.Write([]byte(`
		:root { color-scheme: light dark; background: canvas; color: canvastext; }
		body { display: flex; margin: 0; font: 14px/1.4 Georgia, serif; }
		.sidebar { box-sizing: border-box; flex: none; width: 240px; padding: 16px; border-inline-end: 1px solid gray; }
		.sidebar a { display: inline-block; padding: 4px; color: inherit; }
		.place { flex: 1; }
	`))
}

type nonceKey struct{}

// withNonce gives each request a nonce.
func withNonce(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), nonceKey{}, rand.Text())))
	})
}

func nonceOf(r *http.Request) string { return r.Context().Value(nonceKey{}).(string) }

// The pages work under the policy of a program that lets only scripts with its nonce run.
func TestStrictContentSecurityPolicy(t *testing.T) {
	t.Parallel()
	s := newSite(t, beside)
	b := open(t, s, "ada")
	b.visit("")
	key := b.generate("laptop") // which copies the key by the script
	if status := s.call(t, key); status != http.StatusOK {
		t.Errorf("the API answers the copied key with %d", status)
	}
	if got := evaluate[string](b, `document.documentElement.dataset.frame`); got != "works" {
		t.Error("the program's own script did not run")
	}
	b.mustBeCalm()

	// The policy is in force.
	run(b, chromedp.Evaluate[chromedp.Void](`document.body.append(Object.assign(document.createElement("div"),
		{ innerHTML: "<img src=nothing onerror='document.title = 1'>" }))`))
	eventually(t, func() error { return b.complained("ContentSecurityPolicyIssue") })
	if title := run(b, chromedp.Title()); !strings.Contains(title, "Plane") {
		t.Errorf("a script without a nonce ran: the title is %q", title)
	}
}
