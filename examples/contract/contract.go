// Package contract is the HTTP contract of httpkey as a test: what a client sees
// of an API behind a Guard must be the same whatever router the API is made with.
package contract

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/httpkeytest"
)

// Routes returns a router with guard as its middleware. Besides its own routes,
// GET /api/v1/users/me/ among them, it has handlers, each at its path and for
// every method.
type Routes func(guard *httpkey.Guard, handlers map[string]http.Handler) http.Handler

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
			start := func(t *testing.T) *api { return newAPI(t, over.connect, routes) }
			t.Run("refuses", func(t *testing.T) { testRefusals(t, start) })
			t.Run("admits", func(t *testing.T) { testAdmissions(t, start) })
			t.Run("knows the caller", func(t *testing.T) { testCallers(t, start) })
			t.Run("lets panics through", func(t *testing.T) { testPanic(t, start, over.proto) })
			if over.proto > 0 {
				t.Run("streams", func(t *testing.T) { testStream(t, start, over.proto) })
			}
		})
	}
}

// me is the route that the examples have of their own.
const me = "/api/v1/users/me/"

// arrange brings an api and a key into a state and returns the lines of
// X-Api-Key to send.
type arrange func(*testing.T, *api) []string

func testRefusals(t *testing.T, start func(*testing.T) *api) {
	const (
		missing     = `{"detail":"Authentication credentials were not provided."}`
		invalid     = `{"detail":"Given API token is not valid"}`
		unavailable = `{"detail":"Authentication is temporarily unavailable."}`
	)
	for _, tt := range []struct {
		name       string
		key        arrange
		status     int
		body       string
		retryAfter string
	}{
		{"no key", lines(), 401, missing, ""},
		{"empty key", lines(""), 401, missing, ""},
		{"blank key", lines(" \t "), 401, missing, ""},
		{"unknown key", deleted, 401, invalid, ""},
		{"malformed key", lines("hunter2"), 401, invalid, ""},
		{"revoked key", revoked, 401, invalid, ""},
		{"expired key", expired, 401, invalid, ""},
		{"two header lines", twice, 401, invalid, ""},
		{"300 bytes", lines(strings.Repeat("k", 300)), 401, invalid, ""},
		{"100 KB", lines(strings.Repeat("k", 100<<10)), 401, invalid, ""},
		{"over the limit", exhausted(12 * time.Second), 429, `{"detail":"Request was throttled. Expected available in 12 seconds."}`, "12"},
		{"over the limit for a second", exhausted(time.Second), 429, `{"detail":"Request was throttled. Expected available in 1 second."}`, "1"},
		{"store down", outage, 503, unavailable, "1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			a := start(t)
			key := tt.key(t, a)
			// A refusal changes nothing, so the same key gets it again, and the
			// guard comes before the router's own answers.
			for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodPost} {
				for _, path := range []string{"/whoami", me, "/no/such/route"} {
					t.Run(method+" "+path, func(t *testing.T) {
						response, body := a.send(t, method, path, key...)
						if response.StatusCode != tt.status {
							t.Errorf("status %d, want %d", response.StatusCode, tt.status)
						}
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
						if tt.status == http.StatusTooManyRequests {
							wantQuota(t, response, "1", "0")
						} else {
							wantNoQuota(t, response)
						}
					})
				}
			}
			if n := a.reached.Load(); n != 0 {
				t.Errorf("%d refused requests came to the handler", n)
			}
		})
	}
}

// lines are keys that no token has.
func lines(values ...string) arrange {
	return func(*testing.T, *api) []string { return values }
}

func deleted(t *testing.T, a *api) []string {
	key, token := a.issue(t, httpkey.Token{})
	if err := a.store.Delete(t.Context(), token.ID); err != nil {
		t.Fatal(err)
	}
	return []string{key}
}

func revoked(t *testing.T, a *api) []string {
	key, token := a.issue(t, httpkey.Token{})
	if err := a.guard.Revoke(t.Context(), token.ID, ""); err != nil {
		t.Fatal(err)
	}
	return []string{key}
}

func expired(t *testing.T, a *api) []string {
	key, token := a.issue(t, httpkey.Token{})
	_, err := a.store.Update(t.Context(), token.ID, func(t *httpkey.Token) error {
		t.ExpiredAt = time.Now() // expiring exactly now is expired
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return []string{key}
}

func twice(t *testing.T, a *api) []string {
	key, _ := a.issue(t, httpkey.Token{})
	return []string{key, key}
}

func exhausted(period time.Duration) arrange {
	return func(t *testing.T, a *api) []string {
		key, _ := a.issue(t, httpkey.Token{Limits: []httpkey.Limit{{Rate: 1, Period: period}}})
		if response, _ := a.send(t, http.MethodGet, me, key); response.StatusCode != http.StatusOK {
			t.Fatalf("status %d for the one request that the limit allows", response.StatusCode)
		}
		return []string{key}
	}
}

func outage(t *testing.T, a *api) []string {
	key, _ := a.issue(t, httpkey.Token{})
	a.store.Before(httpkeytest.Fail(errors.New("contract: the store is down"), "Lookup"))
	return []string{key}
}

// Whoever writes the response to a valid key, it says what is left of the limit.
func testAdmissions(t *testing.T, start func(*testing.T) *api) {
	for _, tt := range []struct {
		name         string
		kind         httpkey.Kind
		method, path string
		status       int
	}{
		{"GET", httpkey.APIKey, http.MethodGet, "/whoami", 200},
		{"HEAD", httpkey.APIKey, http.MethodHead, "/whoami", 200},
		{"OPTIONS", httpkey.APIKey, http.MethodOptions, "/whoami", 200},
		{"POST", httpkey.APIKey, http.MethodPost, "/whoami", 200},
		{"service token", httpkey.ServiceToken, http.MethodGet, "/whoami", 200},
		{"the handler's 404", httpkey.APIKey, http.MethodGet, "/missing", 404},
		{"the handler's 500", httpkey.APIKey, http.MethodGet, "/broken", 500},
		{"the router's 404", httpkey.APIKey, http.MethodGet, "/no/such/route", 404},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			a := start(t)
			key, _ := a.issue(t, httpkey.Token{Kind: tt.kind})
			limit := 60
			if tt.kind == httpkey.ServiceToken {
				limit = 300
			}
			for n := range 2 {
				response, _ := a.send(t, tt.method, tt.path, key)
				if response.StatusCode != tt.status {
					t.Errorf("status %d, want %d", response.StatusCode, tt.status)
				}
				wantQuota(t, response, strconv.Itoa(limit), strconv.Itoa(limit-1-n))
				for _, name := range []string{"WWW-Authenticate", "Retry-After", "Cache-Control"} {
					wantHeader(t, response, name, "")
				}
			}
		})
	}
}

// Routers reuse their contexts: no request may see the token of another.
func testCallers(t *testing.T, start func(*testing.T) *api) {
	a := start(t)
	for n := range 8 {
		user := fmt.Sprintf("user-%d", n)
		t.Run(user, func(t *testing.T) {
			t.Parallel()
			key, _ := a.issue(t, httpkey.Token{User: user, Label: "laptop"})
			for range 5 {
				if _, body := a.send(t, http.MethodGet, "/whoami", key); body != user {
					t.Errorf("the handler took it for a request of %q", body)
				}
				response, body := a.send(t, http.MethodGet, me, key)
				if want := fmt.Sprintf("Hello %s, this is your key \"laptop\".\n", user); body != want || response.StatusCode != http.StatusOK {
					t.Errorf("%s answered %d %q, want 200 %q", me, response.StatusCode, body, want)
				}
			}
		})
	}
}

func testPanic(t *testing.T, start func(*testing.T) *api, proto int) {
	t.Parallel()
	a := start(t)
	key, _ := a.issue(t, httpkey.Token{User: "ada"})
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
		t.Errorf("the router panicked with %v, want what the handler panicked with", caught)
	case proto > 0 && err == nil:
		t.Error("there was a response: the server has not seen the panic")
	}
	if _, body := a.send(t, http.MethodGet, "/whoami", key); body != "ada" {
		t.Errorf("after the panic the API answered %q", body)
	}
}

func testStream(t *testing.T, start func(*testing.T) *api, proto int) {
	t.Parallel()
	a := start(t)
	key, _ := a.issue(t, httpkey.Token{})
	response, err := a.start(t, http.MethodGet, "/stream", key)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	if response.ProtoMajor != proto {
		t.Errorf("the response came over %s", response.Proto)
	}
	wantQuota(t, response, "60", "59")
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

func wantHeader(t *testing.T, response *http.Response, name, want string) {
	t.Helper()
	if got := strings.Join(response.Header.Values(name), "|"); got != want {
		t.Errorf("%s: %q, want %q", name, got, want)
	}
}

// wantQuota checks the three X-RateLimit headers. Reset need only be plausible:
// the tests of the library check it to the second.
func wantQuota(t *testing.T, response *http.Response, limit, remaining string) {
	t.Helper()
	wantHeader(t, response, "X-RateLimit-Limit", limit)
	wantHeader(t, response, "X-RateLimit-Remaining", remaining)
	reset := response.Header.Get("X-RateLimit-Reset")
	seconds, err := strconv.ParseInt(reset, 10, 64)
	if ahead := time.Until(time.Unix(seconds, 0)); err != nil || ahead < -10*time.Second || ahead > time.Minute {
		t.Errorf("X-RateLimit-Reset: %q, want Unix seconds a little ahead", reset)
	}
}

func wantNoQuota(t *testing.T, response *http.Response) {
	t.Helper()
	for _, name := range []string{"X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset"} {
		wantHeader(t, response, name, "")
	}
}
