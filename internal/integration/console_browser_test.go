package integration

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/html"
)

// browser sends requests as a browser does that one person uses, without scripts.
type browser struct {
	t      *testing.T
	client http.Client
	origin string // of all pages, such as https://app.example:8443
	prefix string // of the console's pages
	seen   map[string]bool
}

// newBrowser returns a browser in which the host of an origin has an address.
func newBrowser(t *testing.T, origin, address, prefix string) *browser {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, address)
		},
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, // the certificate is of the test's own
	}
	t.Cleanup(transport.CloseIdleConnections)
	b := &browser{t: t, origin: origin, prefix: prefix, seen: make(map[string]bool)}
	b.client = http.Client{Jar: jar, Transport: transport, CheckRedirect: func(r *http.Request, _ []*http.Request) error {
		b.mustBeInside(r.URL, "a redirect")
		return nil
	}}
	return b
}

// mustBeInside checks that a link does not leave the console.
func (b *browser) mustBeInside(u *url.URL, what string) {
	b.t.Helper()
	if u.Scheme+"://"+u.Host != b.origin || !strings.HasPrefix(u.EscapedPath(), b.prefix) {
		b.t.Errorf("%s leaves %s%s: %s", what, b.origin, b.prefix, u)
	}
}

// page is a response to a navigation.
type page struct {
	url    *url.URL // after redirects
	status int
	text   string
	root   *html.Node
}

// navigate sends a request from a page, or from the address bar if from is nil.
func (b *browser) navigate(from *page, method, target string, form url.Values) *page {
	b.t.Helper()
	var body io.Reader
	if method == http.MethodPost {
		body = strings.NewReader(form.Encode())
	}
	r, err := http.NewRequestWithContext(b.t.Context(), method, target, body)
	if err != nil {
		b.t.Fatal(err)
	}
	r.Header.Set("User-Agent", "Mozilla/5.0")
	r.Header.Set("Accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8")
	r.Header.Set("Accept-Language", "en")
	if from != nil {
		r.Header.Set("Referer", from.url.String())
	}
	if method == http.MethodPost {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Origin", b.origin)
	}
	if strings.HasPrefix(b.origin, "https:") { // on plain HTTP, browsers send no Fetch Metadata
		site := "none"
		if from != nil {
			site = "same-origin"
		}
		r.Header.Set("Sec-Fetch-Site", site)
		r.Header.Set("Sec-Fetch-Mode", "navigate")
		r.Header.Set("Sec-Fetch-Dest", "document")
		r.Header.Set("Sec-Fetch-User", "?1")
	}
	response, err := b.client.Do(r)
	if err != nil {
		b.t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	root, err := html.Parse(strings.NewReader(string(text)))
	if err != nil {
		b.t.Fatal(err)
	}
	return &page{response.Request.URL, response.StatusCode, string(text), root}
}

// get opens a path, as from the address bar.
func (b *browser) get(path string) *page {
	b.t.Helper()
	return b.navigate(nil, http.MethodGet, b.origin+path, nil)
}

// want checks the status of a page.
func (b *browser) want(status int, p *page) *page {
	b.t.Helper()
	if p.status != status {
		b.t.Fatalf("%s: %d, want %d\n%s", p.url, p.status, status, p.text)
	}
	return p
}

// maxLinks bounds a crawl, which would not end if links led ever deeper.
const maxLinks = 1000

// crawl opens every link of a page, and every link of the pages there. No link may leave the console,
// and none may lead nowhere.
func (b *browser) crawl(p *page) {
	b.t.Helper()
	if p.status >= 400 {
		b.t.Errorf("%s: %d", p.url, p.status)
	}
	for _, link := range p.links() {
		target, err := p.url.Parse(link)
		if err != nil {
			b.t.Errorf("%s has the link %q: %v", p.url, link, err)
			continue
		}
		b.mustBeInside(target, "a link of "+p.url.String())
		if place := placeOf(target); b.seen[place] {
			continue
		} else if b.seen[place] = true; len(b.seen) > maxLinks {
			b.t.Fatalf("%s has the link %q, and the console has no end", p.url, link)
		}
		target.Fragment = ""
		b.crawl(b.navigate(p, http.MethodGet, target.String(), nil))
	}
}

// placeOf returns what a crawl visits once: a path with parameters of some names. Their values are
// the orders and filters of the list, which other links combine in all ways.
func placeOf(u *url.URL) string {
	return u.EscapedPath() + "?" + strings.Join(slices.Sorted(maps.Keys(u.Query())), "&") + u.Query().Get("order_by")
}

// links returns the targets of all elements that a browser follows or loads. The app's own links
// have the attribute data-app.
func (p *page) links() (links []string) {
	for n := range p.root.Descendants() {
		_, isApps := attribute(n, "data-app")
		for _, name := range []string{"href", "src", "action"} {
			if link, ok := attribute(n, name); ok && !isApps && !isPost(n) {
				links = append(links, link)
			}
		}
	}
	return links
}

// isPost reports whether a node is a form that is sent by POST.
func isPost(n *html.Node) bool {
	method, _ := attribute(n, "method")
	return n.Data == "form" && strings.EqualFold(method, http.MethodPost)
}

// follow opens the first link whose path ends so.
func (b *browser) follow(p *page, ending string) *page {
	b.t.Helper()
	for _, link := range p.links() {
		if target, err := p.url.Parse(link); err == nil && strings.HasSuffix(target.Path, ending) {
			return b.want(http.StatusOK, b.navigate(p, http.MethodGet, target.String(), nil))
		}
	}
	b.t.Fatalf("%s has no link that ends in %q\n%s", p.url, ending, p.text)
	return nil
}

// submit fills in the first form of the page that has these fields, and sends it.
func (b *browser) submit(p *page, values map[string]string) *page {
	b.t.Helper()
	for n := range p.root.Descendants() {
		form := fieldsOf(n)
		lacks := func(name string) bool { return form[name] == nil }
		if !isPost(n) || slices.ContainsFunc(slices.Collect(maps.Keys(values)), lacks) {
			continue
		}
		action, _ := attribute(n, "action")
		target, err := p.url.Parse(action)
		if err != nil {
			b.t.Fatal(err)
		}
		b.mustBeInside(target, "a form of "+p.url.String())
		for name, value := range values {
			form.Set(name, value)
		}
		return b.navigate(p, http.MethodPost, target.String(), form)
	}
	b.t.Fatalf("%s has no form with %v\n%s", p.url, values, p.text)
	return nil
}

// fieldsOf returns the values of a form as it was loaded. A group of radio buttons without a choice
// is there, and empty.
func fieldsOf(form *html.Node) url.Values {
	fields := make(url.Values)
	for n := range form.Descendants() {
		name, ok := attribute(n, "name")
		if !ok {
			continue
		}
		value, _ := attribute(n, "value")
		_, isChecked := attribute(n, "checked")
		switch kind, _ := attribute(n, "type"); {
		case n.Data == "input" && (kind == "radio" || kind == "checkbox"):
			if isChecked {
				fields.Add(name, value)
			}
		case n.Data == "input":
			fields.Set(name, value)
		case n.Data == "textarea":
			fields.Set(name, textOf(n))
		case n.Data == "select":
			fields.Set(name, selectedIn(n))
		}
	}
	return fields
}

// selectedIn returns the value of the selected option, or of the first one.
func selectedIn(list *html.Node) string {
	var values []string
	for n := range list.Descendants() {
		if n.Data != "option" {
			continue
		}
		value, _ := attribute(n, "value")
		if _, isSelected := attribute(n, "selected"); isSelected {
			return value
		}
		values = append(values, value)
	}
	return append(values, "")[0]
}

func attribute(n *html.Node, name string) (string, bool) {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val, true
		}
	}
	return "", false
}

// textOf returns the text in a node.
func textOf(n *html.Node) string {
	var text strings.Builder
	for child := range n.Descendants() {
		if child.Type == html.TextNode {
			text.WriteString(child.Data)
		}
	}
	return text.String()
}

// element returns the text of the element with an ID.
func (p *page) element(id string) (string, error) {
	for n := range p.root.Descendants() {
		if is, _ := attribute(n, "id"); is == id {
			return textOf(n), nil
		}
	}
	return "", fmt.Errorf("%s has no element %s", p.url, id)
}
