package console

import (
	"bytes"
	"html"
	"html/template"
	"net/http"
	"strconv"
	"strings"

	"github.com/httpkey/httpkey/console/internal/csp"
)

// Page is a page of the console for [Options.Layout].
type Page struct {
	// Status is that of the response. A Layout that calls WriteHeader decides itself.
	Status int
	// Title is the text of the title element.
	Title string
	// Head has the link and script elements that Body needs, for the end of your head element.
	Head template.HTML
	// Body is one div element of class httpkey, with a main element and often a nav element.
	Body template.HTML
	// Language and Direction are the attributes lang and dir of Body.
	Language, Direction string
}

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
	if f.status == http.StatusUnauthorized {
		a.view.Unsent = unsent(w, r)
		if c.options.SignIn != nil {
			a.view.SignIn = c.options.SignIn(r)
		}
	}
	if err := c.render(w, r, p, a); err != nil {
		http.Error(w, f.detail, f.status)
	}
}

// noData stands in for Options.Data. Every field of it is empty.
var noData = map[string]any{}

// render writes a page, in the console's own layout or in that of the program.
func (c *console) render(w http.ResponseWriter, r *http.Request, p Principal, a answer) error {
	v := a.view
	v.Principal = p
	v.Page, v.Root = a.page, rootOf(r)
	v.From, v.Back = c.waysOf(r, v.List)
	v.NoScopes, v.TryURL, v.DocsURL, v.Scheme = c.options.NoScopes, c.options.TryURL, c.options.DocsURL, c.options.Scheme
	policy := csp.Parse(w.Header().Get(cspHeader))
	v.StyleNonce, v.ScriptNonce = policy.Nonce("style-src-elem"), policy.Nonce("script-src-elem")
	if c.options.Data != nil {
		v.Data = c.options.Data(r)
	}
	if v.Data == nil {
		v.Data = noData
	}
	write := c.writeOwn
	if c.options.Layout != nil {
		write = c.writeFramed
	}
	if err := write(w, r, a.status, v); err != nil {
		return c.failed(r.Context(), Event{Action: ActionRead, Principal: p, Err: err})
	}
	return nil
}

const htmlType = "text/html; charset=utf-8"

// writeOwn writes a page in the console's layout. After an error it has written nothing.
func (c *console) writeOwn(w http.ResponseWriter, _ *http.Request, status int, v view) error {
	var text bytes.Buffer
	if err := c.look.page(v.Page, v.Principal.Language).ExecuteTemplate(&text, "layout", v); err != nil {
		return err
	}
	w.Header().Set("Content-Type", htmlType)
	w.Header().Set("Content-Length", strconv.Itoa(text.Len()))
	w.WriteHeader(status)
	_, _ = text.WriteTo(w) // an error means that the client has gone
	return nil
}

// writeFramed lets the program write a page. After an error nothing is written.
func (c *console) writeFramed(w http.ResponseWriter, r *http.Request, status int, v view) error {
	page, err := frame(c.look.page(v.Page, v.Principal.Language), v)
	if err != nil {
		return err
	}
	page.Status = status
	w.Header().Set("Content-Type", htmlType)
	framed := &statusWriter{ResponseWriter: w, status: status}
	c.options.Layout(framed, r, page)
	framed.begin()
	return nil
}

// frame returns the parts of a page.
func frame(t *template.Template, v view) (Page, error) {
	parts := map[string]string{"document-title": "", "head": "", "body": "", "language": "", "direction": ""}
	for name := range parts {
		var text strings.Builder
		if err := t.ExecuteTemplate(&text, name, v); err != nil {
			return Page{}, err
		}
		parts[name] = text.String()
	}
	return Page{
		Title:     html.UnescapeString(parts["document-title"]),
		Head:      template.HTML(parts["head"]), //nolint:gosec // html/template has written it
		Body:      template.HTML(parts["body"]), //nolint:gosec // html/template has written it
		Language:  parts["language"],
		Direction: parts["direction"],
	}, nil
}

// statusWriter has a status for a response that is written without one.
type statusWriter struct {
	http.ResponseWriter
	status int
	begun  bool
}

func (w *statusWriter) begin() {
	if !w.begun {
		w.WriteHeader(w.status)
	}
}

// WriteHeader implements [http.ResponseWriter].
func (w *statusWriter) WriteHeader(status int) {
	w.begun = w.begun || status >= 200
	w.ResponseWriter.WriteHeader(status)
}

// Write implements [http.ResponseWriter].
func (w *statusWriter) Write(text []byte) (int, error) {
	w.begin()
	return w.ResponseWriter.Write(text)
}

// FlushError flushes, for an [http.ResponseController].
func (w *statusWriter) FlushError() error {
	w.begin()
	return http.NewResponseController(w.ResponseWriter).Flush()
}

// Unwrap returns the writer of the server, for an [http.ResponseController].
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// rootOf returns the relative path from that of r to the console's own.
func rootOf(r *http.Request) string {
	if depth := strings.Count(r.URL.EscapedPath(), "/") - 1; depth > 0 {
		return strings.Repeat("../", depth)
	}
	return "./"
}
