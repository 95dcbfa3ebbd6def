package console

import (
	"bytes"
	"net/http"
	"strconv"
	"strings"
)

// writePage answers a person with a page or a redirect.
func (c *console) writePage(w http.ResponseWriter, r *http.Request, p Principal, a answer) {
	if a.page == "" {
		a.write(w)
		return
	}
	if err := c.render(w, r, p, a); err != nil {
		c.failurePage(w, r, p, errUnavailable)
	}
}

// failurePage answers a person with a failure.
func (c *console) failurePage(w http.ResponseWriter, r *http.Request, p Principal, f *failure) {
	f.setHeaders(w.Header())
	a := answer{status: f.status, page: "failure", view: view{Failure: newFailureView(f)}}
	if err := c.render(w, r, p, a); err != nil {
		http.Error(w, f.detail, f.status)
	}
}

// render writes a page, in the console's own layout or in that of the program.
func (c *console) render(w http.ResponseWriter, r *http.Request, p Principal, a answer) error {
	v := a.view
	v.Principal = p
	v.Page, v.Root = a.page, rootOf(r)
	v.NoScopes, v.TryURL, v.DocsURL, v.Scheme = c.options.NoScopes, c.options.TryURL, c.options.DocsURL, c.options.Scheme
	if c.options.Data != nil {
		v.Data = c.options.Data(r)
	}
	var text bytes.Buffer
	if err := c.look.page(a.page, p.Language).ExecuteTemplate(&text, "layout", v); err != nil {
		return c.failed(r.Context(), Event{Action: ActionRead, Principal: p, Err: err})
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Length", strconv.Itoa(text.Len()))
	w.WriteHeader(a.status)
	_, _ = text.WriteTo(w) // an error means that the client has gone
	return nil
}

// rootOf returns the relative path from that of r to the console's own.
func rootOf(r *http.Request) string {
	if depth := strings.Count(r.URL.EscapedPath(), "/") - 1; depth > 0 {
		return strings.Repeat("../", depth)
	}
	return "./"
}
