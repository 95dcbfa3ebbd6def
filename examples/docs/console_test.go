package docs

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/httpkeytest"
	"github.com/httpkey/httpkey/memstore"
	"github.com/httpkey/httpkey/usage"
)

// account is a user of a made-up login.
type account struct {
	ID, Name, Language string
	Scopes, Workspaces []string
}

// userOf is that login. Its cookie has the name of the user.
func userOf(r *http.Request) (account, error) {
	cookie, err := r.Cookie("session")
	if err != nil || cookie.Value != "ada" {
		return account{}, errors.New("no session")
	}
	return account{
		ID: "ada", Name: "Ada Lovelace", Language: r.Header.Get("Accept-Language"),
		Scopes: []string{"issues:read"}, Workspaces: []string{"acme"},
	}, nil
}

const (
	page    = "Accept: text/html"
	session = "Cookie: session=ada"
)

func TestConsoleIsMounted(t *testing.T) {
	t.Parallel()
	guard, _ := httpkeytest.New(t, nil)
	tokens := settings(guard)
	w := get(tokens, "/settings/api-tokens/", page, session)
	if w.Code != http.StatusOK || !strings.Contains(w.Body.String(), "Ada Lovelace") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	w = get(tokens, "/settings/api-tokens/new?a=b", page)
	link := `href="/login?next=%2Fsettings%2Fapi-tokens%2Fnew%3Fa%3Db"`
	if w.Code != http.StatusUnauthorized || !strings.Contains(w.Body.String(), link) {
		t.Errorf("without a session: %d %s", w.Code, w.Body)
	}
}

// A change of the program's own page is refused behind a proxy that changes the Host header,
// unless its origin is trusted.
func TestConsoleBehindAProxy(t *testing.T) {
	t.Parallel()
	guard, _ := httpkeytest.New(t, nil)
	for _, tt := range []struct {
		handler http.Handler
		origin  string
		want    int
	}{
		{behindProxy(guard), "https://app.example.com", http.StatusCreated},
		{behindProxy(guard), "https://evil.example", http.StatusForbidden},
		{strict(guard, memstore.NewLimiter()), "https://app.example.com", http.StatusForbidden},
	} {
		r := httptest.NewRequest(http.MethodPost, "http://10.0.0.7:8080/", strings.NewReader(`{"label":"laptop"}`))
		r.Header = http.Header{
			"Cookie": {"session=ada"}, "Origin": {tt.origin}, "Content-Type": {"application/json"},
		}
		w := httptest.NewRecorder()
		tt.handler.ServeHTTP(w, r)
		if w.Code != tt.want {
			t.Errorf("from %s: %d %s, want %d", tt.origin, w.Code, w.Body, tt.want)
		}
	}
}

var nonceOfPage = regexp.MustCompile(`nonce="([^"]+)"`)

func TestConsoleInAFrame(t *testing.T) {
	t.Parallel()
	guard, _ := httpkeytest.New(t, nil)
	tokens := framed(guard)
	first, second := get(tokens, "/", page, session), get(tokens, "/", page, session)
	body := first.Body.String()
	for _, part := range []string{
		"<title>API tokens · Acme</title>", `class="sidebar"`, `class="httpkey"`, `lang="en" dir="ltr"`,
	} {
		if strings.Count(body, part) == 0 {
			t.Errorf("the page has no %s:\n%s", part, body)
		}
	}
	nonce := nonceOfPage.FindStringSubmatch(body)
	if nonce == nil || strings.Contains(second.Body.String(), nonce[1]) {
		t.Fatalf("the nonce is %v, of two pages", nonce)
	}
	csp := first.Header().Get("Content-Security-Policy")
	for _, source := range []string{"'nonce-" + nonce[1] + "'", "https://fonts.example.com", "default-src 'none'"} {
		if !strings.Contains(csp, source) {
			t.Errorf("the policy has no %s: %s", source, csp)
		}
	}
}

func TestConsoleWithLooks(t *testing.T) {
	t.Parallel()
	guard, _ := httpkeytest.New(t, nil)
	tokens := themed(guard)
	for language, want := range map[string]string{
		"":   "<h1>Access keys</h1>",
		"de": "<h1>Zugangsschlüssel</h1>",
		"fr": "<h1>Access keys</h1>",
	} {
		w := get(tokens, "/", page, session, "Accept-Language: "+language)
		if body := w.Body.String(); !strings.Contains(body, want) || !strings.Contains(body, `data-scheme="light"`) {
			t.Errorf("in %q: %s", language, body)
		}
	}
	body := get(tokens, "/", page, session).Body.String()
	link := regexp.MustCompile(`href="\./([^"]*\.css[^"]*)"`).FindStringSubmatch(body)
	if link == nil {
		t.Fatal("the page has no stylesheet")
	}
	if w := get(tokens, "/"+link[1]); !strings.Contains(w.Body.String(), "#6c2bd9") {
		t.Errorf("%s does not have our color: %d", link[1], w.Code)
	}
}

func TestStrictConsole(t *testing.T) {
	t.Parallel()
	guard, _ := httpkeytest.New(t, nil)
	body := get(strict(guard, memstore.NewLimiter()), "/new", page, session).Body.String()
	for _, choice := range []string{`value="7"`, `value="30"`, `value="90"`} {
		if !strings.Contains(body, choice) {
			t.Errorf("the form has no %s:\n%s", choice, body)
		}
	}
	for _, choice := range []string{`value="365"`, `value="never"`} {
		if strings.Contains(body, choice) {
			t.Errorf("the form has %s", choice)
		}
	}
}

func TestConsoleShowsUsage(t *testing.T) {
	t.Parallel()
	guard, tokens := counting(memstore.New(), memstore.NewLimiter(), usage.NewMemory())
	created := httpkeytest.Issue(t, guard, httpkey.Token{User: "ada"})
	httpkeytest.Get(guard.Handler(http.HandlerFunc(hello)), created.Secret.Reveal())
	w := get(tokens, "/"+created.Token.ID+"/usage/", session)
	if w.Code != http.StatusOK || !strings.Contains(w.Body.String(), `"passed":1`) {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if body := get(tokens, "/"+created.Token.ID+"/", page, session).Body.String(); !strings.Contains(body, "<svg") {
		t.Errorf("the page has no chart:\n%s", body)
	}
}

// The lines of curl in the page work as they stand there.
func TestLinesOfCurl(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("curl"); err != nil {
		if os.Getenv("REQUIRE_TOOLS") != "" { // as the gate sets it
			t.Fatal("curl is not installed")
		}
		t.Skip("curl is not installed, and a newcomer needs Go alone")
	}
	guard, _ := httpkeytest.New(t, nil)
	server := httptest.NewServer(settings(guard))
	defer server.Close()
	for _, id := range []string{"laptop", "website"} {
		httpkeytest.Issue(t, guard, httpkey.Token{ID: id, User: "ada", Scopes: []string{"issues:read"}})
	}
	document, err := os.ReadFile("../../docs/console.md")
	if err != nil {
		t.Fatal(err)
	}
	block := regexp.MustCompile("(?s)```sh\n(.*?)```").FindSubmatch(document)
	if block == nil {
		t.Fatal("the page has no lines of curl")
	}
	here := strings.NewReplacer("https://app.example.com", server.URL, "session=…", "session=ada")
	script := here.Replace(string(block[1]))
	out, err := exec.CommandContext(t.Context(), "sh", "-eu", "-c", script).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, want := range []string{`"token":"hk_k_`, `"revoked_for":"lost"`, `"openapi"`, `"rotated_from":"laptop"`} {
		if !strings.Contains(string(out), want) {
			t.Errorf("the answers have no %s:\n%s", want, out)
		}
	}
	tokens, err := guard.Store().List(t.Context(), httpkey.Filter{User: "ada"})
	deleted := !slices.ContainsFunc(tokens, func(t httpkey.Token) bool { return t.ID == "website" })
	if err != nil || !deleted {
		t.Errorf("the tokens are %v, %v", tokens, err)
	}
}
