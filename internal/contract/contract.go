// Package contract tests the HTTP contract of httpkey: a client sees the same API behind a
// Guard with every router.
package contract

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/httpkeytest"
)

// The bodies of the contract that have no number in them.
const (
	Missing     = `{"detail":"Authentication credentials were not provided."}`      // 401
	Invalid     = `{"detail":"Given API token is not valid"}`                       // 401
	Forbidden   = `{"detail":"You do not have permission to perform this action."}` // 403
	Unavailable = `{"detail":"Authentication is temporarily unavailable."}`         // 503
)

// Me is a route that every router under test provides. It greets the user of the key and
// names the key's label.
const Me = "/api/v1/users/me/"

// Route is a route for every method.
type Route struct {
	Path    string                          // a pattern of http.ServeMux
	Require func(http.Handler) http.Handler // a middleware, to be mounted as users of the framework do
	Handler http.Handler                    // the handler behind Require
}

// Colons returns the path as gin, echo and fiber write it.
func (r Route) Colons() string { return strings.NewReplacer("{", ":", "}", "").Replace(r.Path) }

// Routes returns a router with guard as its middleware. It has routes besides its own, which
// include GET [Me].
type Routes func(guard *httpkey.Guard, routes []Route) http.Handler

// Run tests a kind of router in memory, over HTTP/1.1 and over HTTP/2.
func Run(t *testing.T, routes Routes) {
	for _, over := range []struct {
		name    string
		connect transport
		proto   int // the major version, 0 for no network
	}{
		{"in memory", inMemory, 0},
		{"HTTP 1", overHTTP1, 1},
		{"HTTP 2", overHTTP2, 2},
	} {
		t.Run(over.name, func(t *testing.T) {
			t.Parallel()
			run(t, over.proto, nil, func(t *testing.T, guard *httpkey.Guard, list []Route) (*http.Client, string) {
				return over.connect(t, routes(guard, list))
			})
		})
	}
}

// Lacks says why a framework cannot pass a part of the contract. The key is the part's name.
type Lacks map[string]string

// The parts of the contract that a framework may lack.
const (
	LongHeaders    = "long headers"    // headers of 100 KB reach the Guard
	OtherHeaders   = "other headers"   // handlers of net/http may replace headers of the Guard
	Panics         = "panics"          // the server survives a handler's panic, and sends no response
	WriteDeadlines = "write deadlines" // handlers of net/http may set one
)

// RunServer tests a framework with a server of its own, over HTTP/1.1. The function serve
// starts a server with guard in front of the routes, and returns its URL. The tests of what
// the framework lacks are skipped.
func RunServer(t *testing.T, lacks Lacks, serve func(t *testing.T, guard *httpkey.Guard, routes []Route) (url string)) {
	t.Run("in memory", func(t *testing.T) { t.Skip("the framework makes no http.Handler") })
	t.Run("HTTP 1", func(t *testing.T) {
		t.Parallel()
		run(t, 1, lacks, func(t *testing.T, guard *httpkey.Guard, routes []Route) (*http.Client, string) {
			client := &http.Client{Transport: &http.Transport{}}
			t.Cleanup(client.CloseIdleConnections)
			return client, serve(t, guard, routes)
		})
	})
	t.Run("HTTP 2", func(t *testing.T) { t.Skip("the framework has no HTTP/2") })
}

func run(t *testing.T, proto int, lacks Lacks, serve server) {
	start := func(t *testing.T, opts *httpkey.Options) *api { return newAPI(t, lacks, serve, opts) }
	t.Run("refuses", func(t *testing.T) { testRefusals(t, start) })
	t.Run("admits", func(t *testing.T) { testAdmissions(t, start) })
	t.Run("knows the caller", func(t *testing.T) { testCallers(t, start) })
	t.Run("lets panics through", func(t *testing.T) { testPanic(t, start, proto) })
	if proto > 0 {
		t.Run("streams", func(t *testing.T) { testStream(t, start, proto) })
	}
}

type starter func(*testing.T, *httpkey.Options) *api

func testRefusals(t *testing.T, start starter) {
	const (
		twelve = `{"detail":"Request was throttled. Expected available in 12 seconds."}`
		one    = `{"detail":"Request was throttled. Expected available in 1 second."}`
	)
	dear := &httpkey.Options{Charge: func(_ *http.Request, _ *httpkey.Token, c *httpkey.Charge) { c.Cost = 61 }}
	second := httpkey.Limit{Rate: 1, Period: time.Second}
	twelfth := httpkey.Limit{Rate: 1, Period: 12 * time.Second}
	for _, tt := range []struct {
		name   string
		key    arrange
		opts   *httpkey.Options
		path   string // empty: several
		status int
		body   string

		retryAfter       string
		limit, remaining int  // of the headers; -1: there are none
		costs            bool // a refused request takes from the limit
		noLookup         bool // the refusal needs no store call
	}{
		{name: "no key", key: lines(), status: 401, body: Missing, limit: -1, noLookup: true},
		{name: "empty key", key: lines(""), status: 401, body: Missing, limit: -1, noLookup: true},
		{name: "blank key", key: lines(" \t "), status: 401, body: Missing, limit: -1, noLookup: true},
		{name: "key in the query", key: inQuery, status: 401, body: Missing, limit: -1, noLookup: true},
		{name: "malformed key", key: lines("hunter2"), status: 401, body: Invalid, limit: -1, noLookup: true},
		{name: "mistyped key", key: lines("{key}0"), status: 401, body: Invalid, limit: -1, noLookup: true},
		{name: "two header lines", key: lines("{key}", "{key}"), status: 401, body: Invalid, limit: -1, noLookup: true},
		{name: "two header lines, one empty", key: lines("{key}", ""), status: 401, body: Invalid, limit: -1, noLookup: true},
		{name: "two keys in a line", key: lines("{key}, {key}"), status: 401, body: Invalid, limit: -1, noLookup: true},
		{name: "300 bytes", key: lines(strings.Repeat("k", 300)), status: 401, body: Invalid, limit: -1, noLookup: true},
		{name: "100 KB", key: lines(strings.Repeat("k", 100<<10)), status: 401, body: Invalid, limit: -1, noLookup: true},
		{name: "100 KB behind a key", key: lines("{key}" + strings.Repeat("k", 100<<10)), status: 401, body: Invalid,
			limit: -1, noLookup: true},
		{name: "not ASCII", key: lines("hk_k_ключ\xff\u00a0"), status: 401, body: Invalid, limit: -1, noLookup: true},
		{name: "unknown key", key: deleted, status: 401, body: Invalid, limit: -1},
		{name: "revoked key", key: revoked, status: 401, body: Invalid, limit: -1},
		{name: "expired key", key: expired, status: 401, body: Invalid, limit: -1},
		{name: "key of another network", key: elsewhere, status: 401, body: Invalid, limit: -1},
		{name: "over the limit", key: exhausted(twelfth), status: 429, body: twelve, retryAfter: "12", limit: 1},
		{name: "over the limit for a second", key: exhausted(second), status: 429, body: one, retryAfter: "1", limit: 1},
		{name: "over one of several limits", key: exhausted(httpkey.PerMinute(100), twelfth, second),
			status: 429, body: twelve, retryAfter: "12", limit: 1},
		{name: "limit of nothing", key: limited(httpkey.PerMinute(0)), status: 403, body: Forbidden},
		{name: "limit of nothing among others", key: limited(httpkey.PerHour(5), httpkey.PerMinute(0)), status: 403,
			body: Forbidden},
		{name: "cost above the limit", key: lines("{key}"), opts: dear, status: 403, body: Forbidden, limit: 60,
			remaining: 60},
		{name: "scope", key: lines("{key}"), path: "/scope", status: 403, body: Forbidden, limit: 60, remaining: 59,
			costs: true},
		{name: "any scope", key: lines("{key}"), path: "/any-scope", status: 403, body: Forbidden, limit: 60, remaining: 59,
			costs: true},
		{name: "kind", key: lines("{key}"), path: "/kind", status: 403, body: Forbidden, limit: 60, remaining: 59,
			costs: true},
		{name: "workspace", key: lines("{key}"), path: "/workspace/another", status: 403, body: Forbidden, limit: 60,
			remaining: 59, costs: true},
		{name: "store down", key: outage, status: 503, body: Unavailable, retryAfter: "1", limit: -1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			a := start(t, tt.opts)
			if strings.HasPrefix(tt.name, "100 KB") {
				a.needs(t, LongHeaders)
			}
			key := tt.key(t, a)
			lookups, reached := a.store.Calls("Lookup"), a.reached.Load()
			// A refusal changes nothing, so the same key is refused again. The
			// Guard comes before the router's own answers.
			paths := []string{"/whoami", Me, "/no/such/route"}
			if tt.path != "" {
				paths = []string{tt.path}
			}
			remaining := tt.remaining
			for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodPost} {
				for _, path := range paths {
					t.Run(method+" "+path, func(t *testing.T) {
						response, body := a.send(t, method, path+a.query, key...)
						wantStatus(t, response, tt.status)
						wantBody := tt.body
						if method == http.MethodHead {
							wantBody = ""
						}
						if body != wantBody {
							t.Errorf("body %q, want %q", body, wantBody)
						}
						challenge := ""
						if tt.status == http.StatusUnauthorized {
							challenge = `ApiKey realm="api"`
						}
						wantHeader(t, response, "Content-Type", "application/json")
						wantHeader(t, response, "Content-Length", strconv.Itoa(len(tt.body)))
						wantHeader(t, response, "Cache-Control", "no-store")
						wantHeader(t, response, "WWW-Authenticate", challenge)
						wantHeader(t, response, "Retry-After", tt.retryAfter)
						wantQuota(t, response, tt.limit, remaining)
						if tt.costs {
							remaining--
						}
					})
				}
			}
			if n := a.reached.Load() - reached; n != 0 {
				t.Errorf("%d refused requests came to the handler", n)
			}
			if n := a.store.Calls("Lookup") - lookups; tt.noLookup && n > 0 {
				t.Errorf("the store was asked %d times", n)
			}
		})
	}
}

// arrange brings an api and a key into a state and returns the lines of
// X-Api-Key to send.
type arrange func(*testing.T, *api) []string

// lines are header lines, with a valid key in place of {key}.
func lines(values ...string) arrange {
	return func(t *testing.T, a *api) []string {
		key := a.issue(t, httpkey.Token{}).Secret.Reveal()
		var lines []string
		for _, value := range values {
			lines = append(lines, strings.ReplaceAll(value, "{key}", key))
		}
		return lines
	}
}

func inQuery(t *testing.T, a *api) []string {
	key := a.issue(t, httpkey.Token{}).Secret.Reveal()
	a.query = "?api_key=" + key + "&X-Api-Key=" + key
	return nil
}

func deleted(t *testing.T, a *api) []string {
	created := a.issue(t, httpkey.Token{})
	if err := a.store.Delete(t.Context(), created.Token.ID); err != nil {
		t.Fatal(err)
	}
	return []string{created.Secret.Reveal()}
}

func revoked(t *testing.T, a *api) []string {
	created := a.issue(t, httpkey.Token{})
	if err := a.guard.Revoke(t.Context(), created.Token.ID, "leaked"); err != nil {
		t.Fatal(err)
	}
	return []string{created.Secret.Reveal()}
}

func expired(t *testing.T, a *api) []string {
	created := a.issue(t, httpkey.Token{})
	_, err := a.store.Update(t.Context(), created.Token.ID, func(token *httpkey.Token) error {
		token.ExpiredAt = time.Now() // expiring exactly now is expired
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return []string{created.Secret.Reveal()}
}

// elsewhere makes a key for a network of RFC 5737, which contains no client.
func elsewhere(t *testing.T, a *api) []string {
	token := httpkey.Token{Networks: []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24")}}
	return []string{a.issue(t, token).Secret.Reveal()}
}

func limited(limits ...httpkey.Limit) arrange {
	return func(t *testing.T, a *api) []string {
		return []string{a.issue(t, httpkey.Token{Limits: limits}).Secret.Reveal()}
	}
}

func exhausted(limits ...httpkey.Limit) arrange {
	return func(t *testing.T, a *api) []string {
		key := limited(limits...)(t, a)
		if response, _ := a.send(t, http.MethodGet, Me, key...); response.StatusCode != http.StatusOK {
			t.Fatalf("status %d for the one request that the limit allows", response.StatusCode)
		}
		return key
	}
}

func outage(t *testing.T, a *api) []string {
	key := a.issue(t, httpkey.Token{}).Secret.Reveal()
	a.store.Before(httpkeytest.Fail(errors.New("contract: the store at 10.0.0.7 is down"), "Lookup"))
	return []string{key}
}

// The response to a valid key has the rate-limit headers, whichever handler wrote it.
func testAdmissions(t *testing.T, start starter) {
	loopback := []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
	several := []httpkey.Limit{httpkey.PerHour(100), httpkey.PerMinute(5)}
	byPlan := &httpkey.Options{Charge: func(_ *http.Request, token *httpkey.Token, c *httpkey.Charge) {
		if token.Metadata["plan"] == "pro" {
			c.Limits = []httpkey.Limit{httpkey.PerMinute(600)}
		}
	}}
	unlimited := &httpkey.Options{Limits: map[httpkey.Kind][]httpkey.Limit{httpkey.APIKey: {}}}
	pro := httpkey.Token{Metadata: map[string]string{"plan": "pro"}}
	for _, tt := range []struct {
		name         string
		token        httpkey.Token
		opts         *httpkey.Options
		line         string // of the header, with the key in place of {key}
		method, path string
		status       int
		limit        int
		cacheControl string // empty: private
	}{
		{"GET", httpkey.Token{}, nil, "{key}", http.MethodGet, "/whoami", 200, 60, ""},
		{"HEAD", httpkey.Token{}, nil, "{key}", http.MethodHead, "/whoami", 200, 60, ""},
		{"OPTIONS", httpkey.Token{}, nil, "{key}", http.MethodOptions, "/whoami", 200, 60, ""},
		{"POST", httpkey.Token{}, nil, "{key}", http.MethodPost, "/whoami", 200, 60, ""},
		{"blanks around", httpkey.Token{}, nil, " \t{key}\t ", http.MethodGet, "/whoami", 200, 60, ""},
		{"service token", httpkey.Token{Kind: httpkey.ServiceToken}, nil, "{key}", http.MethodGet, "/whoami", 200, 300, ""},
		{"key of its network", httpkey.Token{Networks: loopback}, nil, "{key}", http.MethodGet, "/whoami", 200, 60, ""},
		{"several limits", httpkey.Token{Limits: several}, nil, "{key}", http.MethodGet, "/whoami", 200, 5, ""},
		{"limit by plan", pro, byPlan, "{key}", http.MethodGet, "/whoami", 200, 600, ""},
		{"no limit", httpkey.Token{}, unlimited, "{key}", http.MethodGet, "/whoami", 200, -1, ""},
		{"scope", httpkey.Token{Scopes: []string{"read", "write"}}, nil, "{key}", http.MethodGet, "/scope", 200, 60, ""},
		{"any scope", httpkey.Token{Scopes: []string{"write"}}, nil, "{key}", http.MethodGet, "/any-scope", 200, 60, ""},
		{"kind", httpkey.Token{Kind: httpkey.ServiceToken}, nil, "{key}", http.MethodGet, "/kind", 200, 300, ""},
		{"workspace", httpkey.Token{Workspace: "another"}, nil, "{key}", http.MethodGet, "/workspace/another", 200, 60, ""},
		{"the handler's 404", httpkey.Token{}, nil, "{key}", http.MethodGet, "/missing", 404, 60, ""},
		{"the handler's 500", httpkey.Token{}, nil, "{key}", http.MethodGet, "/broken", 500, 60, ""},
		{"cached for everybody", httpkey.Token{}, nil, "{key}", http.MethodGet, "/public", 200, 60, public},
		{"the router's 404", httpkey.Token{}, nil, "{key}", http.MethodGet, "/no/such/route", 404, 60, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			a := start(t, tt.opts)
			if tt.cacheControl != "" {
				a.needs(t, OtherHeaders)
			}
			key := strings.ReplaceAll(tt.line, "{key}", a.issue(t, tt.token).Secret.Reveal())
			for n := range 2 {
				response, _ := a.send(t, tt.method, tt.path, key)
				wantStatus(t, response, tt.status)
				wantQuota(t, response, tt.limit, tt.limit-1-n)
				wantHeader(t, response, "Cache-Control", cmp.Or(tt.cacheControl, "private"))
				for _, name := range []string{"WWW-Authenticate", "Retry-After"} {
					wantHeader(t, response, name, "")
				}
			}
		})
	}
}

// Routers reuse their contexts: no request may see the token of another.
func testCallers(t *testing.T, start starter) {
	a := start(t, nil)
	for n := range 8 {
		user := fmt.Sprintf("user-%d", n)
		t.Run(user, func(t *testing.T) {
			t.Parallel()
			key := a.issue(t, httpkey.Token{User: user, Label: "laptop"}).Secret.Reveal()
			for range 5 {
				if _, body := a.send(t, http.MethodGet, "/whoami", key); body != user {
					t.Errorf("the handler took it for a request of %q", body)
				}
				response, body := a.send(t, http.MethodGet, Me, key)
				if want := fmt.Sprintf("Hello %s, this is your key \"laptop\".\n", user); body != want ||
					response.StatusCode != http.StatusOK {
					t.Errorf("%s answered %d %q, want 200 %q", Me, response.StatusCode, body, want)
				}
			}
		})
	}
}

func testPanic(t *testing.T, start starter, proto int) {
	t.Parallel()
	a := start(t, nil)
	a.needs(t, Panics)
	key := a.issue(t, httpkey.Token{User: "ada"}).Secret.Reveal()
	var caught any
	err := func() error {
		defer func() { caught = recover() }()
		response, err := a.start(t, http.MethodGet, "/panic", key)
		if err == nil {
			_ = response.Body.Close()
		}
		return err
	}()
	switch {
	case proto == 0 && caught != any(errPanic):
		t.Errorf("the router panicked with %v, want the value of the handler's panic", caught)
	case proto > 0 && err == nil:
		t.Error("there was a response: the server has not seen the panic")
	}
	if _, body := a.send(t, http.MethodGet, "/whoami", key); body != "ada" {
		t.Errorf("after the panic the API answered %q", body)
	}
}

func testStream(t *testing.T, start starter, proto int) {
	t.Parallel()
	a := start(t, nil)
	key := a.issue(t, httpkey.Token{}).Secret.Reveal()
	response, err := a.start(t, http.MethodGet, "/stream", key)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	if response.ProtoMajor != proto {
		t.Errorf("the response came over %s", response.Proto)
	}
	wantQuota(t, response, 60, 59)
	chunk := make([]byte, len("first"))
	if _, err := io.ReadFull(response.Body, chunk); err != nil || string(chunk) != "first" {
		t.Fatalf("the first chunk is %q, %v", chunk, err)
	}
	close(a.chunkRead)
	rest, err := io.ReadAll(response.Body)
	if err = errors.Join(err, <-a.streamed); err != nil || string(rest) != " second" {
		t.Errorf("after the first chunk came %q, %v", rest, err)
	}
}

func wantStatus(t *testing.T, response *http.Response, want int) {
	t.Helper()
	if response.StatusCode != want {
		t.Errorf("status %d, want %d", response.StatusCode, want)
	}
}

func wantHeader(t *testing.T, response *http.Response, name, want string) {
	t.Helper()
	if got := strings.Join(response.Header.Values(name), "|"); got != want {
		t.Errorf("%s: %q, want %q", name, got, want)
	}
}

// wantQuota checks the three X-RateLimit headers: a limit of -1 has none. Reset need only be
// plausible: the tests of the library check it to the second.
func wantQuota(t *testing.T, response *http.Response, limit, remaining int) {
	t.Helper()
	if limit < 0 {
		for _, name := range []string{"X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset"} {
			wantHeader(t, response, name, "")
		}
		return
	}
	wantHeader(t, response, "X-RateLimit-Limit", strconv.Itoa(limit))
	wantHeader(t, response, "X-RateLimit-Remaining", strconv.Itoa(remaining))
	reset := response.Header.Get("X-RateLimit-Reset")
	seconds, err := strconv.ParseInt(reset, 10, 64)
	if ahead := time.Until(time.Unix(seconds, 0)); err != nil || ahead < -10*time.Second || ahead > time.Minute {
		t.Errorf("X-RateLimit-Reset: %q, want Unix seconds a little ahead", reset)
	}
}
