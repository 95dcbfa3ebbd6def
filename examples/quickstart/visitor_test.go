package main

import (
	"html"
	"io"
	"maps"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"
)

// visitor is somebody with a browser.
type visitor struct {
	*http.Client
	t   *testing.T
	url string
}

func visit(t *testing.T, url string) *visitor {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &visitor{t: t, url: url, Client: &http.Client{Jar: jar, Timeout: 10 * time.Second}}
}

// visitAs returns a visitor who has signed in.
func visitAs(t *testing.T, url string, who user) *visitor {
	t.Helper()
	v := visit(t, url)
	v.submit(signInPath, map[string][]string{"user": {who.ID}})
	return v
}

// answer is the last response, after redirects.
type answer struct {
	status  int
	path    string // with the query
	cookies []*http.Cookie
	header  http.Header
	text    string
}

func (v *visitor) send(method, path, body string, header http.Header) answer {
	v.t.Helper()
	r, err := http.NewRequestWithContext(v.t.Context(), method, v.url+path, strings.NewReader(body))
	if err != nil {
		v.t.Fatal(err)
	}
	maps.Copy(r.Header, header)
	response, err := v.Do(r)
	if err != nil {
		v.t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		v.t.Fatal(err)
	}
	return answer{
		response.StatusCode, response.Request.URL.RequestURI(), response.Cookies(), response.Header, string(text),
	}
}

// get opens a page.
func (v *visitor) get(path string) answer {
	v.t.Helper()
	return v.send(http.MethodGet, path, "", http.Header{"Accept": {"text/html"}})
}

// submit sends a form.
func (v *visitor) submit(path string, fields url.Values) answer {
	v.t.Helper()
	return v.send(http.MethodPost, path, fields.Encode(), http.Header{
		"Accept": {"text/html"}, "Content-Type": {"application/x-www-form-urlencoded"}, "Sec-Fetch-Site": {"same-origin"},
	})
}

var (
	linkToSignIn = regexp.MustCompile(`href="(/sign-in[^"]*)"`)
	hiddenField  = regexp.MustCompile(`<input type="hidden" name="([^"]*)" value="([^"]*)">`)
)

// signIn follows the link of a page to the sign-in page, and signs in there.
func (v *visitor) signIn(page answer, who user) answer {
	v.t.Helper()
	link := linkToSignIn.FindStringSubmatch(page.text)
	if link == nil {
		v.t.Fatalf("%s has no link to the sign-in page:\n%s", page.path, page.text)
	}
	signIn := v.get(html.UnescapeString(link[1]))
	fields := signIn.hidden()
	fields.Set("user", who.ID)
	return v.submit(signInPath, fields)
}

// hidden returns the hidden fields of a page's form.
func (a answer) hidden() url.Values {
	fields := url.Values{}
	for _, field := range hiddenField.FindAllStringSubmatch(a.text, -1) {
		fields.Add(html.UnescapeString(field[1]), html.UnescapeString(field[2]))
	}
	return fields
}
