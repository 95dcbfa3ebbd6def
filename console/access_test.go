package console

import (
	"crypto/sha256"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/memstore"
)

// request is one way to use a route. A person who may use it is answered ok.
type request struct {
	pattern string // as in routes
	method  string
	page    bool
	body    string
	ok      int
}

// requests have every route in every way.
var requests = []request{
	{"/{$}", "GET", false, "", 200},
	{"/{$}", "POST", false, `{"label":"new"}`, 201},
	{"/{id}/{$}", "GET", false, "", 200},
	{"/{id}/{$}", "PATCH", false, `{"label":"changed"}`, 200},
	{"/{id}/{$}", "DELETE", false, "", 204},
	{"/{id}/rotate/{$}", "POST", false, `{"grace":60}`, 201},
	{"/{id}/usage/{$}", "GET", false, "", 200},
	{"/openapi.json", "GET", false, "", 200},
	{"/find", "POST", false, `{"key":"no key"}`, 404},
	{"/revoke", "POST", false, `{"ids":["{id}"]}`, 200},
	{"/find", "GET", true, "", 200},
	{"/find", "POST", true, "key=no+key", 404},
	{"/revoke", "POST", true, "id={id}", 200},
	{"/{$}", "GET", true, "", 200},
	{"/openapi.json", "GET", true, "", 200},
	{"/new", "GET", true, "", 200},
	{"/{$}", "POST", true, newForm(), 201},
	{"/{id}/{$}", "GET", true, "", 200},
	{"/{id}/{$}", "POST", true, "label=changed&expiry=keep", 303},
	{"/{id}/rotate/{$}", "GET", true, "", 200},
	{"/{id}/rotate/{$}", "POST", true, "grace=3600", 201},
	{"/{id}/revoke/{$}", "GET", true, "", 200},
	{"/{id}/revoke/{$}", "POST", true, "name=treasure", 303},
	{"/{id}/delete/{$}", "GET", true, "", 200},
	{"/{id}/delete/{$}", "POST", true, "name=treasure", 303},
	{"/{id}", "GET", false, "", 307},
	{"/{id}", "PATCH", false, `{"label":"changed"}`, 307},
	{"/{id}", "DELETE", false, "", 307},
	{"/{id}/rotate", "POST", false, `{"grace":60}`, 307},
	{"/{id}/usage", "GET", false, "", 307},
	{"/{id}", "GET", true, "", 307},
	{"/{id}", "POST", true, "label=changed&expiry=keep", 307},
	{"/{id}/rotate", "GET", true, "", 307},
	{"/{id}/rotate", "POST", true, "grace=3600", 307},
	{"/{id}/revoke", "GET", true, "", 307},
	{"/{id}/revoke", "POST", true, "name=treasure", 307},
	{"/{id}/delete", "GET", true, "", 307},
	{"/{id}/delete", "POST", true, "name=treasure", 307},
}

func (q request) String() string {
	if q.page {
		return q.method + " " + q.pattern + " page"
	}
	return q.method + " " + q.pattern
}

// aboutToken reports whether q reads or changes one token.
func (q request) aboutToken() bool {
	return (strings.HasPrefix(q.pattern, "/{id}/") || q.pattern == "/revoke" && q.page) && q.ok != 307
}

func (q request) send(s *site, login, id string, headers ...string) *httptest.ResponseRecorder {
	path := strings.NewReplacer("{$}", "", "{id}", url.PathEscape(id)).Replace(q.pattern)
	if q.page {
		headers = append(headers, "Accept", browserAccept, "Content-Type", formType)
	} else {
		headers = append(headers, "Content-Type", "application/json")
	}
	return s.send(login, q.method, path, strings.ReplaceAll(q.body, "{id}", id), headers...)
}

// The table of the other tests has every route.
func TestEveryRouteIsInTheTable(t *testing.T) {
	t.Parallel()
	want := make(map[string]bool)
	for pattern, route := range (&console{}).routes() {
		for method := range route.api {
			want[request{pattern: pattern, method: method}.String()] = true
		}
		for method := range route.page {
			want[request{pattern: pattern, method: method, page: true}.String()] = true
		}
	}
	got := make(map[string]bool)
	for _, q := range requests {
		got[q.String()] = true
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("the table has\n%v\nand the console\n%v", got, want)
	}
}

func TestWhoMayDoWhat(t *testing.T) {
	t.Parallel()
	apiKey := httpkey.Token{ID: "id", Label: "treasure", User: "ada", Workspace: "acme", Scopes: []string{"read"}}
	service := apiKey
	service.Kind, service.User = httpkey.ServiceToken, ""
	old := service // from before service tokens acted for no person
	old.User = "ada"
	for _, tt := range []struct {
		who, login string
		token      httpkey.Token
		manages    bool
	}{
		{"owner", "ada", apiKey, true},
		{"manager of the workspace", "manager", apiKey, true},
		{"another user", "eve", apiKey, false},
		{"manager of another workspace", "rival", apiKey, false},
		{"owner of an old service token", "root", old, true},
		{"manager of the workspace of an old service token", "manager", old, true},
		{"manager of the workspace of a service token", "manager", service, true},
		{"owner of a service token who may not manage any", "ada", old, false},
		{"without a user", "nobody", apiKey, false},
		{"without a login", "", apiKey, false},
		{"nobody, of a token without user and workspace", "rival", httpkey.Token{ID: "id", Label: "treasure"}, false},
	} {
		for _, q := range requests {
			t.Run(tt.who+"/"+q.String(), func(t *testing.T) {
				t.Parallel()
				s := newSite(t, Options{})
				s.issue(tt.token)
				before := s.get("id")

				w := q.send(s, tt.login, "id")

				want := q.ok
				switch {
				case people[tt.login].User == "":
					want = http.StatusUnauthorized
				case !tt.manages && q.aboutToken():
					want = http.StatusNotFound
				case strings.Contains(q.pattern, "rotate") && q.ok != 307 && tt.token.User != "" &&
					people[tt.login].User != tt.token.User:
					want = http.StatusForbidden // it would show them a key that acts for its owner
				}
				if w.Code != want {
					t.Fatalf("status %d, want %d: %s", w.Code, want, w.Body)
				}
				if tt.manages {
					return
				}
				body := strings.ReplaceAll(w.Body.String(), `name="name" value="treasure"`, "") // which its sender typed
				if strings.Contains(body, "treasure") || strings.Contains(body, before.Hint) {
					t.Errorf("the answer tells of the token: %s", w.Body)
				}
				after, err := s.store.Get(t.Context(), "id")
				if err != nil || !reflect.DeepEqual(before, after) {
					t.Errorf("the token was changed: %+v, %v", after, err)
				}
				if want != http.StatusNotFound {
					return
				}
				missing := q.send(s, tt.login, "no")
				if missing.Body.String() != w.Body.String() || !reflect.DeepEqual(missing.Header(), w.Header()) {
					t.Errorf("a token of others differs from one that does not exist:\n%v %s\n%v %s",
						w.Header(), w.Body, missing.Header(), missing.Body)
				}
			})
		}
	}
}

// A login that does not answer is not the same as none.
func TestLoginIsDown(t *testing.T) {
	t.Parallel()
	s := newSite(t, Options{})
	s.issue(httpkey.Token{ID: "id", Label: "treasure", User: "ada"})
	for i, w := range []*httptest.ResponseRecorder{s.api("down", "GET", "/id/", ""), s.page("down", "/id/")} {
		if w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" ||
			strings.Contains(w.Body.String(), "treasure") || strings.Contains(w.Body.String(), "sessions") {
			t.Errorf("answered %d %v %s", w.Code, w.Header(), w.Body)
		}
		if told := s.told(); len(told) != 2 || !errors.Is(told[i].Err, httpkey.ErrUnavailable) ||
			told[i].Principal.User != "" {
			t.Errorf("told %+v", told)
		}
	}
}

func TestCrossSiteRequestsAreRefused(t *testing.T) {
	t.Parallel()
	for _, q := range requests {
		if q.method == http.MethodGet {
			continue
		}
		for name, headers := range map[string][]string{
			"by Sec-Fetch-Site": {"Sec-Fetch-Site", "cross-site"},
			"same site":         {"Sec-Fetch-Site", "same-site"},
			"by Origin":         {"Origin", "https://evil.example"},
			"null Origin":       {"Origin", "null"},
		} {
			t.Run(q.String()+"/"+name, func(t *testing.T) {
				t.Parallel()
				s := newSite(t, Options{})
				s.issue(httpkey.Token{ID: "id", Label: "treasure", User: "ada"})
				before := s.get("id")
				if w := q.send(s, "ada", "id", headers...); w.Code != http.StatusForbidden {
					t.Errorf("status %d: %s", w.Code, w.Body)
				}
				all, _ := s.store.List(t.Context(), httpkey.Filter{})
				if len(all) != 1 || !reflect.DeepEqual(all[0], before) {
					t.Errorf("the store has %v", all)
				}
			})
		}
		s := newSite(t, Options{})
		s.issue(httpkey.Token{ID: "id", Label: "treasure", User: "ada"})
		if w := q.send(s, "ada", "id", "Sec-Fetch-Site", "same-origin", "Origin", "http://example.com"); w.Code != q.ok {
			t.Errorf("%v from its own page: %d %s", q, w.Code, w.Body)
		}
	}
}

func TestEveryAnswerHasTheSecurityHeaders(t *testing.T) {
	t.Parallel()
	s := newSite(t, Options{})
	answers := map[string]*httptest.ResponseRecorder{
		"unknown path": s.page("ada", "/a/b/c"),
		"wrong method": s.api("ada", http.MethodPut, "/", "{}"),
		"no login":     s.page("", "/"),
	}
	for _, q := range requests {
		_, token := s.issue(httpkey.Token{Label: "treasure", User: "ada"})
		answers[q.String()] = q.send(s, "ada", token.ID)
	}
	for name, w := range answers {
		for header, want := range map[string]string{
			"Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; " +
				"font-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
			"Cross-Origin-Opener-Policy":   "same-origin",
			"X-Content-Type-Options":       "nosniff",
			"Cross-Origin-Resource-Policy": "same-origin",
			"Referrer-Policy":              "same-origin",
			"Cache-Control":                "no-store",
			"Vary":                         "Accept",
		} {
			if got := w.Header().Get(header); got != want {
				t.Errorf("%s: %s is %q, want %q", name, header, got, want)
			}
		}
		if strings.Contains(w.Body.String(), " style=") || strings.Contains(w.Body.String(), "<script>") ||
			strings.Contains(w.Body.String(), " onclick") {
			t.Errorf("%s has an inline script or style: %s", name, w.Body)
		}
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	s := newSite(t, Options{})
	s.issue(httpkey.Token{ID: "id", User: "ada"})
	for _, tt := range []struct {
		login, method, path string
		status              int
		body, header, value string
	}{
		{"", "GET", "/", 401, `{"detail":"Authentication credentials were not provided.","code":"not_authenticated"}`,
			"Www-Authenticate", `Session realm="api"`},
		{"ada", "GET", "/no/", 404, `{"detail":"Not found.","code":"not_found"}`, "Content-Type", "application/json"},
		{"ada", "GET", "/a/b/c/", 404, `{"detail":"Not found.","code":"not_found"}`, "", ""},
		{"ada", "GET", "/id/revoke/", 404, `{"detail":"Not found.","code":"not_found"}`, "", ""},
		{"ada", "PUT", "/id/", 405,
			`{"detail":"Method \"PUT\" not allowed.","code":"method_not_allowed"}`, "Allow", "DELETE, GET, HEAD, PATCH"},
		{"ada", "PATCH", "/id", 307, "", "Location", "./id/"},
		{"ada", "POST", "/id/rotate", 307, "", "Location", "./rotate/"},
		{"ada", "PUT", "/id", 405,
			`{"detail":"Method \"PUT\" not allowed.","code":"method_not_allowed"}`, "Allow", "DELETE, GET, HEAD, PATCH"},
		{"ada", "GET", "/id/rotate", 405,
			`{"detail":"Method \"GET\" not allowed.","code":"method_not_allowed"}`, "Allow", "POST"},
		{"ada", "GET", "/id/revoke", 404, `{"detail":"Not found.","code":"not_found"}`, "", ""},
		{"ada", "GET", "/id/nothing", 404, `{"detail":"Not found.","code":"not_found"}`, "", ""},
		{"ada", "DELETE", "/", 405,
			`{"detail":"Method \"DELETE\" not allowed.","code":"method_not_allowed"}`, "Allow", "GET, HEAD, POST"},
	} {
		w := s.api(tt.login, tt.method, tt.path, "")
		if w.Code != tt.status || w.Body.String() != tt.body || tt.header != "" && w.Header().Get(tt.header) != tt.value {
			t.Errorf("%s %s: %d %s %v", tt.method, tt.path, w.Code, w.Body, w.Header())
		}
	}
	if w := s.page("", "/"); w.Code != 401 || !strings.Contains(w.Body.String(), "Sign in first") {
		t.Errorf("the page without a login: %d %s", w.Code, w.Body)
	}
}

// A request that prefers a page gets it, any other gets JSON.
func TestRepresentation(t *testing.T) {
	t.Parallel()
	s := newSite(t, Options{})
	for accept, want := range map[string]string{
		"":                                      "application/json",
		"*/*":                                   "application/json",
		"application/json":                      "application/json",
		"application/json, text/html;q=0.9":     "application/json",
		"text/html;q=0, */*":                    "application/json",
		"text/html;q=0.5, application/*;q=0.8":  "application/json",
		"nonsense/;;, text/html; q=x":           "application/json",
		browserAccept:                           "text/html; charset=utf-8",
		"text/html":                             "text/html; charset=utf-8",
		"text/*":                                "text/html; charset=utf-8",
		"TEXT/HTML, application/json;q=0.9":     "text/html; charset=utf-8",
		"*/*;q=0.1, text/html;level=1;q=0.4, a": "text/html; charset=utf-8",
	} {
		w := s.send("ada", http.MethodGet, "/", "", "Accept", accept)
		if got := w.Header().Get("Content-Type"); got != want {
			t.Errorf("Accept %q: %s, want %s", accept, got, want)
		}
		head := s.send("ada", http.MethodHead, "/", "", "Accept", accept)
		if head.Code != 200 || head.Header().Get("Content-Type") != want {
			t.Errorf("HEAD with Accept %q: %d %s", accept, head.Code, head.Header().Get("Content-Type"))
		}
	}
}

// Behind StripPrefix, at any depth, every link leads to a page and every asset is there.
func TestLinksWorkWhereverItIsMounted(t *testing.T) {
	t.Parallel()
	for _, mount := range []string{"", "/settings/api-tokens", "/a/b.c/d"} {
		s := newSite(t, Options{})
		for _, id := range []string{"one?with #odd letters%2F", "a:b", "javascript:alert(1)", "//host", "~", "ä", `"'<>`} {
			// An earlier version let a token have any ID.
			if _, err := s.store.Create(t.Context(), httpkey.Token{ID: id, Digest: sha256.Sum256([]byte(id)),
				Kind: httpkey.APIKey, Label: "x", User: "ada", IsActive: true, CreatedAt: time.Now()}); err != nil {
				t.Fatal(err)
			}
		}
		s.issue(httpkey.Token{ID: "id", Label: "y", User: "ada"})
		mux := http.NewServeMux()
		mux.Handle(mount+"/", http.StripPrefix(mount, s.handler))
		server := httptest.NewServer(mux)
		t.Cleanup(server.Close)

		visited := make(map[string]bool)
		var visit func(from, link string)
		visit = func(from, link string) {
			base, _ := url.Parse(from)
			target, err := base.Parse(link)
			if err != nil {
				t.Errorf("%s links to %q: %v", from, link, err)
				return
			}
			target.Fragment = ""
			if visited[target.String()] {
				return
			}
			visited[target.String()] = true
			r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, target.String(), nil)
			if err != nil {
				t.Error(err)
				return
			}
			r.Header.Set("Login", "ada")
			r.Header.Set("Accept", browserAccept)
			response, err := server.Client().Do(r)
			if err != nil {
				t.Error(err)
				return
			}
			var body strings.Builder
			_ = response.Write(&body)
			_ = response.Body.Close()
			if response.StatusCode != http.StatusOK {
				t.Errorf("%s links to %s: %s", from, target, response.Status)
			}
			if !strings.HasPrefix(response.Header.Get("Content-Type"), "text/html") {
				return
			}
			if strings.Contains(body.String(), "ZgotmplZ") { // html/template writes this in place of an unsafe link
				t.Errorf("%s has a link that html/template has replaced", target)
			}
			for _, attribute := range []string{` href="`, ` src="`} {
				for _, rest := range strings.Split(body.String(), attribute)[1:] {
					link, _, _ := strings.Cut(rest, `"`)
					visit(response.Request.URL.String(), strings.ReplaceAll(link, "&amp;", "&"))
				}
			}
		}
		for _, path := range []string{"/", "/id", "/id/rotate", "/?per_page=1"} {
			visit(server.URL, server.URL+mount+path)
		}
		if len(visited) < 17 {
			t.Errorf("only %d pages were found", len(visited))
		}
	}
}

// Unlike http.ServeMux, some routers do not clean paths. The console then redirects no client to
// another path of the host, and asks for a login first.
func TestRedirectsStayInTheConsole(t *testing.T) {
	t.Parallel()
	s := newSite(t, Options{})
	server := httptest.NewServer(http.StripPrefix("/tokens", s.handler))
	defer server.Close()
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	for _, path := range []string{
		"//host", "///host/", "//", "/a//b", "/a//", "/..", "/../other", "/a/..", "/./", "/a/../../other/", "", "/%2fhost",
		"/%5chost", "/%2e%2e", "/id", "/id/", "/", "/new",
	} {
		for _, login := range []string{"", "ada"} {
			r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL, nil)
			if err != nil {
				t.Fatal(err)
			}
			r.URL.Opaque = "/tokens" + path
			r.Header.Set("Login", login)
			response, err := client.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			_ = response.Body.Close()
			to := response.Header.Get("Location")
			if strings.HasPrefix(to, "/") || login == "" && response.StatusCode != http.StatusUnauthorized {
				t.Errorf("%q by %q: %d to %q", path, login, response.StatusCode, to)
			}
		}
	}
}

func TestNewRefusesWhatCannotWork(t *testing.T) {
	t.Parallel()
	guard := httpkey.New(memstore.New(), httpkey.Unlimited, nil)
	login := func(*http.Request) (Principal, error) { return Principal{}, nil }
	for want, build := range map[string]func(){
		"needs a Guard":            func() { New(nil, &Options{Principal: login}) },
		"Principal is nil":         func() { New(guard, nil) },
		"options: Principal":       func() { New(guard, &Options{}) },
		"MaxLifetime is -1ns":      func() { New(guard, &Options{Principal: login, MaxLifetime: -1}) },
		"TryURL is \"ftp://x\"":    func() { New(guard, &Options{Principal: login, TryURL: "ftp://x"}) },
		"TryURL is \"http://x'":    func() { New(guard, &Options{Principal: login, TryURL: "http://x'"}) },
		"DocsURL is \":\"":         func() { New(guard, &Options{Principal: login, DocsURL: ":"}) },
		"MaxTokens is -1":          func() { New(guard, &Options{Principal: login, MaxTokens: -1}) },
		"Lifetimes has 1h0m0s":     func() { New(guard, &Options{Principal: login, Lifetimes: []time.Duration{time.Hour}}) },
		"Graces has 192h0m0s":      func() { New(guard, &Options{Principal: login, Graces: []time.Duration{8 * day}}) },
		"Scheme is \"sepia\"":      func() { New(guard, &Options{Principal: login, Scheme: "sepia"}) },
		"TrustedOrigins has \"x\"": func() { New(guard, &Options{Principal: login, TrustedOrigins: []string{"x"}}) },
		"ReadLimit is of no use":   func() { New(guard, &Options{Principal: login, ReadLimit: httpkey.Limit{Rate: -1}}) },
		"DefaultLifetime is 48h": func() {
			New(guard, &Options{Principal: login, MaxLifetime: day, DefaultLifetime: 2 * day})
		},
		"DefaultLifetime is negat": func() { New(guard, &Options{Principal: login, MaxLifetime: day, DefaultLifetime: -1}) },
		"no file openapi.json": func() {
			New(guard, &Options{Principal: login, Files: fstest.MapFS{"openapi.json": {Data: []byte("{}")}}})
		},
		"Limit is of no use: htt": func() { New(guard, &Options{Principal: login, Limit: httpkey.Limit{Rate: -1}}) },
	} {
		func() {
			defer func() {
				if text, _ := recover().(string); !strings.Contains(text, want) || !strings.HasPrefix(text, "httpkey: ") {
					t.Errorf("New panics with %q, want %q in it", text, want)
				}
			}()
			build()
		}()
	}
}
