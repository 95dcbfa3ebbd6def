package main

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/cookiejar"
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

// answer is the last response, after redirects.
type answer struct {
	status  int
	path    string
	cookies []*http.Cookie
	text    string
}

func (v *visitor) send(method, path, body string, header http.Header) answer {
	v.t.Helper()
	r, err := http.NewRequestWithContext(v.t.Context(), method, v.url+path, strings.NewReader(body))
	if err != nil {
		v.t.Fatal(err)
	}
	r.Header = header
	response, err := v.Do(r)
	if err != nil {
		v.t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		v.t.Fatal(err)
	}
	return answer{response.StatusCode, response.Request.URL.Path, response.Cookies(), string(text)}
}

func (v *visitor) get(path string) answer {
	v.t.Helper()
	page := v.send(http.MethodGet, path, "", http.Header{"Accept": {"text/html"}})
	if page.status != http.StatusOK {
		v.t.Fatalf("%s: %d", path, page.status)
	}
	return page
}

// From the start page through the login to the list of one's own keys.
func TestConsole(t *testing.T) {
	t.Parallel()
	demo, _ := start(t, onAnyPort)
	p := visit(t, demo.url)
	if page := p.get("/"); !strings.Contains(page.text, `href="/settings/api-tokens/"`) {
		t.Errorf("the start page has no link to the tokens:\n%s", page.text)
	}
	if page := p.get("/settings/api-tokens/"); page.path != "/sign-in" || !strings.Contains(page.text, "Sign in as Ada") {
		t.Fatalf("without a session one comes to %s:\n%s", page.path, page.text)
	}
	page := p.send(http.MethodPost, "/sign-in", "",
		http.Header{"Accept": {"text/html"}, "Sec-Fetch-Site": {"same-origin"}})
	if page.path != "/settings/api-tokens/" {
		t.Fatalf("signed in one comes to %s:\n%s", page.path, page.text)
	}
	for _, text := range []string{"Ada Lovelace", "quickstart"} {
		if !strings.Contains(page.text, text) {
			t.Errorf("the list has no %q:\n%s", text, page.text)
		}
	}
	if strings.Contains(page.text, "hk_s_") {
		t.Error("Ada sees the service token of the bot")
	}

	response := p.send(http.MethodPost, "/settings/api-tokens/", `{"label":"laptop"}`,
		http.Header{"Content-Type": {"application/json"}})
	var created struct{ Token string }
	if err := json.Unmarshal([]byte(response.text), &created); err != nil || response.status != http.StatusCreated {
		t.Fatalf("%d %s", response.status, response.text)
	}
	status, who, _ := get(t, demo.url+"/api/v1/users/me/", created.Token)
	if status != http.StatusOK || !strings.Contains(string(who), ada.ID) {
		t.Errorf("the API answers the new key with %d %s", status, who)
	}
}

func TestLogin(t *testing.T) {
	t.Parallel()
	demo, _ := start(t, onAnyPort)
	p := visit(t, demo.url)
	p.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	const tokens = "/settings/api-tokens/"
	for _, tt := range []struct {
		name, method, path string
		header, value      string
		want               int
	}{
		{"a program without a session", http.MethodGet, tokens, "Accept", "application/json", http.StatusUnauthorized},
		{"a change without a session", http.MethodPost, tokens, "Accept", "text/html", http.StatusUnauthorized},
		{"a session that is made up", http.MethodGet, tokens, "Cookie", "demo_session=ada", http.StatusUnauthorized},
		{"a login from another site", http.MethodPost, "/sign-in", "Sec-Fetch-Site", "cross-site", http.StatusForbidden},
	} {
		response := p.send(tt.method, tt.path, "", http.Header{tt.header: {tt.value}})
		if response.status != tt.want || len(response.cookies) > 0 {
			t.Errorf("%s: %d %s, cookies %v", tt.name, response.status, response.text, response.cookies)
		}
	}
	cookies := p.send(http.MethodPost, "/sign-in", "", nil).cookies
	if len(cookies) != 1 || !cookies[0].HttpOnly || cookies[0].SameSite != http.SameSiteLaxMode {
		t.Fatalf("the login set %v", cookies)
	}
	if session := cookies[0].Value; len(session) < 26 {
		t.Errorf("the session is %q", session)
	}
}
