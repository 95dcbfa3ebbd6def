package httpkey_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/memstore"
)

// The HTTP contract, row by row, in exact bytes.

const (
	missing     = `{"detail":"Authentication credentials were not provided."}`
	invalid     = `{"detail":"Given API token is not valid"}`
	forbidden   = `{"detail":"You do not have permission to perform this action."}`
	unavailable = `{"detail":"Authentication is temporarily unavailable."}`
)

// world is a guard with tokens in every state.
type world struct {
	store   *spyStore
	handler http.Handler
	keys    map[string]string
	reached int // how often the handler behind the guard ran
}

func newWorld(t *testing.T) *world {
	w := &world{store: newSpyStore(), keys: make(map[string]string)}
	guard := httpkey.New(w.store, slowMotion(memstore.NewLimiter()), nil)
	for name, token := range map[string]httpkey.Token{
		"valid":     {},
		"revoked":   {},
		"deleted":   {},
		"expired":   {},
		"exhausted": {Limit: httpkey.Limit{Rate: 1, Period: 12 * time.Hour}},
		"nearly":    {Limit: httpkey.Limit{Rate: 1, Period: 24 * time.Minute}},
		"scoped":    {Scopes: []string{"read"}},
		"service":   {Kind: httpkey.ServiceToken},
	} {
		secret, token := issue(t, guard, token)
		w.keys[name] = secret
		var err error
		switch name {
		case "revoked":
			err = guard.Revoke(t.Context(), token.ID)
		case "deleted":
			err = w.store.Delete(t.Context(), token.ID)
		case "expired":
			token.ExpiredAt = time.Now()
			err = w.store.Update(t.Context(), token)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	w.store.failWith(func(method string, _ int) error {
		if method == "Lookup" && w.keys["outage"] != "" {
			return errors.New("the database is on fire at 10.0.0.7")
		}
		return nil
	})
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(rw http.ResponseWriter, r *http.Request) {
		w.reached++
		if code, err := strconv.Atoi(strings.Trim(r.URL.Path, "/")); err == nil {
			rw.WriteHeader(code)
		}
		_, _ = io.WriteString(rw, "reached")
	})
	mux.Handle("/scope/", httpkey.RequireScope("write")(mux))
	mux.Handle("/kind/", httpkey.RequireKind(httpkey.ServiceToken)(mux))
	mux.Handle("/workspace/", httpkey.RequireWorkspace(func(*http.Request) string { return "w-1" })(mux))
	w.handler = guard.Handler(mux)
	return w
}

// slowMotion makes an hour of a limit a second in the response, so that no
// response depends on how long the test takes.
func slowMotion(l httpkey.Limiter) httpkey.Limiter {
	return limiterFunc(func(key string, limit httpkey.Limit, n int) (httpkey.Result, error) {
		r, err := l.Allow(context.Background(), key, limit, n)
		r.RetryAfter = (r.RetryAfter / 3600).Round(100 * time.Millisecond)
		r.ResetAfter /= 3600
		return r, err
	})
}

// transport carries a request to a handler and the response back.
type transport struct {
	name string
	send func(t *testing.T, h http.Handler, r *http.Request) *http.Response
}

var transports = []transport{
	{"recorder", func(_ *testing.T, h http.Handler, r *http.Request) *http.Response {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w.Result()
	}},
	{"HTTP/1.1", func(t *testing.T, h http.Handler, r *http.Request) *http.Response {
		return roundTrip(t, httptest.NewServer(h), r, 1)
	}},
	{"HTTP/2", func(t *testing.T, h http.Handler, r *http.Request) *http.Response {
		server := httptest.NewUnstartedServer(h)
		server.EnableHTTP2 = true
		server.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
		server.StartTLS()
		return roundTrip(t, server, r, 2)
	}},
}

func roundTrip(t *testing.T, server *httptest.Server, r *http.Request, major int) *http.Response {
	t.Helper()
	defer server.Close()
	out, err := http.NewRequestWithContext(t.Context(), r.Method, server.URL+r.URL.RequestURI(), nil)
	if err != nil {
		t.Fatal(err)
	}
	out.Header = r.Header
	response, err := server.Client().Do(out)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	if response.ProtoMajor != major {
		t.Fatalf("the request went by %s", response.Proto)
	}
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	response.Body = io.NopCloser(bytes.NewReader(body))
	return response
}

func TestContract(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name       string
		method     string
		path       string
		key        string // a name in world.keys, or else the key itself
		lines      []string
		status     int
		body       string
		retryAfter string
		noLookup   bool // the store must not even be asked
	}{
		{name: "no key", status: 401, body: missing, noLookup: true},
		{name: "empty", lines: []string{""}, status: 401, body: missing, noLookup: true},
		{name: "blanks", lines: []string{" \t "}, status: 401, body: missing, noLookup: true},
		{name: "key in the query", path: "/?api_key={valid}&X-Api-Key={valid}", status: 401, body: missing, noLookup: true},
		{name: "malformed", key: "hunter2", status: 401, body: invalid, noLookup: true},
		{name: "mistyped", lines: []string{"{valid}0"}, status: 401, body: invalid, noLookup: true},
		{name: "two lines", lines: []string{"{valid}", "{valid}"}, status: 401, body: invalid, noLookup: true},
		{name: "two lines, one empty", lines: []string{"{valid}", ""}, status: 401, body: invalid, noLookup: true},
		{name: "two keys in one line", lines: []string{"{valid}, {valid}"}, status: 401, body: invalid, noLookup: true},
		{name: "300 bytes", key: strings.Repeat("k", 300), status: 401, body: invalid, noLookup: true},
		{name: "100 KB", key: strings.Repeat("k", 100<<10), status: 401, body: invalid, noLookup: true},
		{name: "100 KB behind a valid key", lines: []string{"{valid}" + strings.Repeat("k", 100<<10)}, status: 401, body: invalid, noLookup: true},
		{name: "not ASCII", key: "hk_k_ключ\xff\u00a0", status: 401, body: invalid, noLookup: true},
		{name: "unknown", key: "deleted", status: 401, body: invalid},
		{name: "revoked", key: "revoked", status: 401, body: invalid},
		{name: "expired", key: "expired", status: 401, body: invalid},
		{name: "HEAD without key", method: http.MethodHead, status: 401, body: missing, noLookup: true},
		{name: "OPTIONS without key", method: http.MethodOptions, status: 401, body: missing, noLookup: true},
		{name: "throttled", key: "exhausted", status: 429, retryAfter: "12",
			body: `{"detail":"Request was throttled. Expected available in 12 seconds."}`},
		{name: "throttled HEAD", method: http.MethodHead, key: "exhausted", status: 429, retryAfter: "12",
			body: `{"detail":"Request was throttled. Expected available in 12 seconds."}`},
		{name: "throttled for less than a second", key: "nearly", status: 429, retryAfter: "1",
			body: `{"detail":"Request was throttled. Expected available in 1 second."}`},
		{name: "scope", path: "/scope/", key: "scoped", status: 403, body: forbidden},
		{name: "kind", path: "/kind/", key: "valid", status: 403, body: forbidden},
		{name: "workspace", path: "/workspace/", key: "valid", status: 403, body: forbidden},
		{name: "outage", key: "valid", lines: nil, status: 503, body: unavailable, retryAfter: "1"},
		{name: "valid", key: "valid", status: 200, body: "reached"},
		{name: "valid with blanks around", lines: []string{" \t{valid}\t "}, status: 200, body: "reached"},
		{name: "service token", key: "service", status: 200, body: "reached"},
		{name: "HEAD", method: http.MethodHead, key: "valid", status: 200, body: "reached"},
		{name: "OPTIONS", method: http.MethodOptions, key: "valid", status: 200, body: "reached"},
		{name: "the handler's 404", path: "/404", key: "valid", status: 404, body: "reached"},
		{name: "the handler's 500", path: "/500", key: "valid", status: 500, body: "reached"},
	} {
		for _, transport := range transports {
			t.Run(tt.name+"/"+transport.name, func(t *testing.T) {
				t.Parallel()
				world := newWorld(t)
				fill := func(s string) string { return strings.ReplaceAll(s, "{valid}", world.keys["valid"]) }
				method, path := tt.method, tt.path
				if method == "" {
					method = http.MethodGet
				}
				if path == "" {
					path = "/"
				}
				r := httptest.NewRequest(method, fill(path), nil)
				key := tt.key
				if known := world.keys[key]; known != "" {
					key = known
				}
				if key != "" {
					r.Header["X-Api-Key"] = []string{key}
				}
				for _, line := range tt.lines {
					r.Header["X-Api-Key"] = append(r.Header["X-Api-Key"], fill(line))
				}
				if tt.status == 429 {
					get(world.handler, key) // takes the only one there is
					world.reached = 0
				}
				if tt.status == 503 {
					world.keys["outage"] = "now"
				}

				response := transport.send(t, world.handler, r)

				body, err := io.ReadAll(response.Body)
				if err != nil {
					t.Fatal(err)
				}
				if response.StatusCode != tt.status {
					t.Errorf("status %d, want %d", response.StatusCode, tt.status)
				}
				want := tt.body
				if method == http.MethodHead && (tt.body != "reached" || transport.name != "recorder") {
					want = ""
				}
				if string(body) != want {
					t.Errorf("body %q, want %q", body, want)
				}
				isOurs := tt.body != "reached"
				if reached := world.reached > 0; reached == isOurs {
					t.Errorf("the handler ran: %v, want %v", reached, !isOurs)
				}
				wantHeader := func(name, want string) {
					t.Helper()
					if got := strings.Join(response.Header.Values(name), "|"); got != want {
						t.Errorf("%s: %q, want %q", name, got, want)
					}
				}
				if isOurs {
					wantHeader("Content-Type", "application/json")
					wantHeader("Content-Length", strconv.Itoa(len(tt.body)))
					wantHeader("Cache-Control", "no-store")
				}
				wantHeader("Retry-After", tt.retryAfter)
				challenge := ""
				if tt.status == 401 {
					challenge = `ApiKey realm="api"`
				}
				wantHeader("WWW-Authenticate", challenge)
				limit, remaining := "60", "59"
				switch {
				case tt.status == 401 || tt.status == 503:
					limit, remaining = "", ""
				case tt.status == 429:
					limit, remaining = "1", "0"
				case tt.key == "service":
					limit, remaining = "300", "299"
				}
				wantHeader("X-RateLimit-Limit", limit)
				wantHeader("X-RateLimit-Remaining", remaining)
				if reset := response.Header.Get("X-RateLimit-Reset"); (reset != "") != (limit != "") {
					t.Errorf("X-RateLimit-Reset: %q", reset)
				} else if reset != "" {
					if at, err := strconv.ParseInt(reset, 10, 64); err != nil || at < time.Now().Unix() || at > time.Now().Unix()+13 {
						t.Errorf("X-RateLimit-Reset: %s, want whole Unix seconds a little ahead", reset)
					}
				}
				if lookups := world.store.count("Lookup"); tt.noLookup && lookups > 0 {
					t.Errorf("the store was asked %d times", lookups)
				}
			})
		}
	}
}

// Only a map of headers that somebody filled by hand can hold other spellings;
// servers canonicalize. What a server lets through must be found however it was sent.
func TestHeaderNameIsCaseInsensitiveOnTheWire(t *testing.T) {
	t.Parallel()
	world := newWorld(t)
	server := httptest.NewServer(world.handler)
	defer server.Close()
	for _, name := range []string{"x-api-key", "X-API-KEY", "X-Api-Key"} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header[name] = []string{world.keys["valid"]}
		response, err := server.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		if response.StatusCode != http.StatusOK {
			t.Errorf("%s: status %d", name, response.StatusCode)
		}
	}
}

// What no client library sends: a server may answer these itself, with 400 or by
// hanging up, but never with a 5xx, and no store is asked.
func TestHostileBytesNeverFail(t *testing.T) {
	t.Parallel()
	for _, value := range []string{"\x00", "hk_k_\x00", "\x00hk_k_", "a\x00b", "\x01\x7f", "é", "\r", "\xff\xfe", "\u2028"} {
		world := newWorld(t)
		for _, key := range []string{value, world.keys["valid"] + value, value + world.keys["valid"]} {
			if w := get(world.handler, key); w.Code != http.StatusUnauthorized {
				t.Errorf("%q in memory: status %d", key, w.Code)
			}
			server := httptest.NewServer(world.handler)
			status := sendRaw(t, server.Listener.Addr().String(), "GET / HTTP/1.1\r\nHost: h\r\nX-Api-Key: "+key+"\r\nConnection: close\r\n\r\n")
			if status >= 500 || status < 400 {
				t.Errorf("%q on the wire: status %d", key, status)
			}
			server.Close()
		}
		if n := world.store.count("Lookup"); n > 0 {
			t.Errorf("%q: the store was asked %d times", value, n)
		}
	}
}

// A refused key takes no quota, whatever is wrong with it.
func TestRefusedKeysCostNothing(t *testing.T) {
	t.Parallel()
	var asked int
	limiter := limiterFunc(func(_ string, _ httpkey.Limit, _ int) (httpkey.Result, error) {
		asked++
		return httpkey.Result{Allowed: true}, nil
	})
	guard := httpkey.New(memstore.New(), limiter, nil)
	key, token := issue(t, guard, httpkey.Token{})
	if err := guard.Revoke(t.Context(), token.ID); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{key, "", "nonsense"} {
		get(guard.Handler(ok), key)
	}
	if asked != 0 {
		t.Errorf("the limiter was asked %d times", asked)
	}
}

func TestRemainingCountsDown(t *testing.T) {
	t.Parallel()
	guard := newGuard(nil)
	key, _ := issue(t, guard, httpkey.Token{})
	for _, want := range []string{"59", "58", "57"} {
		if got := get(guard.Handler(ok), key).Header().Get("X-RateLimit-Remaining"); got != want {
			t.Errorf("Remaining %s, want %s", got, want)
		}
	}
}

// A store that returns a neighbor's token must not let anybody in.
func TestDigestIsComparedAgain(t *testing.T) {
	t.Parallel()
	neighbor := wrongNeighbor{newSpyStore()}
	for name, store := range map[string]httpkey.TokenStore{"by Lookup": neighbor, "by Find": wrongMemory{neighbor}} {
		guard := httpkey.New(store, memstore.NewLimiter(), nil)
		issue(t, guard, httpkey.Token{})
		stranger := newGuard(nil)
		key, _ := issue(t, stranger, httpkey.Token{})
		if w := get(guard.Handler(ok), key); w.Code != http.StatusUnauthorized {
			t.Errorf("%s: status %d, want 401", name, w.Code)
		}
		if _, err := guard.Verify(t.Context(), key); !errors.Is(err, httpkey.ErrInvalidKey) {
			t.Errorf("%s: Verify returned %v, want ErrInvalidKey", name, err)
		}
	}
}

// wrongNeighbor finds a token for every digest, with one that differs in the last bit.
type wrongNeighbor struct{ *spyStore }

func (s wrongNeighbor) Lookup(ctx context.Context, d httpkey.Digest) (httpkey.Token, error) {
	page, err := s.List(ctx, httpkey.Filter{Limit: 1})
	page[0].Digest = d
	page[0].Digest[31] ^= 1
	return page[0], err
}

// wrongMemory finds the same without being asked by Lookup.
type wrongMemory struct{ wrongNeighbor }

func (m wrongMemory) Find(d httpkey.Digest) (*httpkey.Entry, bool) {
	token, err := m.Lookup(context.Background(), d)
	return httpkey.NewEntry(token), err == nil
}

func (m wrongMemory) Self() httpkey.TokenStore { return m }

// Stores may wrap what they answer.
func TestWrappedNotFoundIsNotFound(t *testing.T) {
	t.Parallel()
	store := newSpyStore()
	var seen events
	pepper := httpkey.Secret(strings.Repeat("p", 32))
	key, _ := issue(t, httpkey.New(store, httpkey.Unlimited, nil), httpkey.Token{})
	guard := httpkey.New(store, httpkey.Unlimited, &httpkey.Options{Pepper: pepper, PreviousPeppers: []httpkey.Secret{""}, Observer: &seen})
	store.failWith(func(_ string, call int) error {
		if call == 1 { // under the current pepper
			return fmt.Errorf("select: %w", httpkey.ErrNotFound)
		}
		return nil
	})
	if w := get(guard.Handler(ok), key); w.Code != http.StatusOK {
		t.Errorf("status %d", w.Code)
	}
	store.failWith(func(string, int) error { return fmt.Errorf("select: %w", httpkey.ErrNotFound) })
	if w := get(guard.Handler(ok), key); w.Code != http.StatusUnauthorized || seen.last(t).Reason != httpkey.ReasonUnknown {
		t.Errorf("status %d, observed %+v", w.Code, seen.last(t))
	}
}

// The request's context reaches the store and the limiter, and what it carries
// reaches the handler.
func TestContextIsPassedOn(t *testing.T) {
	t.Parallel()
	type mark struct{}
	limiter := contextLimiter(func(ctx context.Context) {
		if ctx.Value(mark{}) == nil {
			t.Error("the limiter got another context")
		}
	})
	store := contextStore{memstore.New(), func(ctx context.Context) {
		if ctx.Value(mark{}) == nil {
			t.Error("the store got another context")
		}
	}}
	guard := httpkey.New(store, limiter, nil)
	key, _ := issue(t, guard, httpkey.Token{})
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r = r.WithContext(context.WithValue(r.Context(), mark{}, "mark"))
	r.Header.Set("X-Api-Key", key)
	guard.Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.Context().Value(mark{}) != "mark" {
			t.Error("the handler got another context")
		}
	})).ServeHTTP(httptest.NewRecorder(), r)
}

type contextLimiter func(context.Context)

func (f contextLimiter) Allow(ctx context.Context, _ string, _ httpkey.Limit, _ int) (httpkey.Result, error) {
	f(ctx)
	return httpkey.Result{Allowed: true}, nil
}

type contextStore struct {
	*memstore.Store
	look func(context.Context)
}

func (s contextStore) Lookup(ctx context.Context, d httpkey.Digest) (httpkey.Token, error) {
	s.look(ctx)
	return s.Store.Lookup(ctx, d)
}

// The limiter's failure is never a yes.
func TestLimiterFailureIsUnavailable(t *testing.T) {
	t.Parallel()
	broken := limiterFunc(func(string, httpkey.Limit, int) (httpkey.Result, error) {
		return httpkey.Result{Allowed: true, Remaining: 7}, errors.New("limiter down")
	})
	var seen events
	guard := httpkey.New(memstore.New(), broken, &httpkey.Options{Observer: &seen})
	key, _ := issue(t, guard, httpkey.Token{})
	w := get(guard.Handler(ok), key)
	if w.Code != http.StatusServiceUnavailable || w.Body.String() != unavailable || w.Header().Get("X-RateLimit-Limit") != "" {
		t.Errorf("%d %s %v", w.Code, w.Body, w.Header())
	}
	if e := seen.last(t); e.Reason != httpkey.ReasonLimiter || e.Err == nil {
		t.Errorf("observed %+v", e)
	}
}

func TestUnlimitedHasNoRateLimitHeaders(t *testing.T) {
	t.Parallel()
	guard := httpkey.New(memstore.New(), httpkey.Unlimited, &httpkey.Options{IETFHeaders: true})
	key, _ := issue(t, guard, httpkey.Token{})
	for range 1000 {
		w := get(guard.Handler(ok), key)
		if w.Code != http.StatusOK {
			t.Fatalf("status %d", w.Code)
		}
		for name := range w.Header() {
			if strings.Contains(strings.ToLower(name), "ratelimit") {
				t.Fatalf("the response has %s", name)
			}
		}
	}
}

func TestErrorHandlerReplacesTheResponse(t *testing.T) {
	t.Parallel()
	guard := newGuard(&httpkey.Options{ErrorHandler: func(w http.ResponseWriter, r *http.Request, e httpkey.Error) {
		if errors.Is(e, httpkey.ErrThrottled) {
			w.Header().Set("Content-Type", "text/plain")
			w.WriteHeader(http.StatusTeapot)
			_, _ = io.WriteString(w, "wait "+e.Result().RetryAfter.Round(time.Second).String())
			return
		}
		httpkey.WriteError(w, r, e)
	}})
	key, _ := issue(t, guard, httpkey.Token{Limit: httpkey.Limit{Rate: 1, Period: time.Hour}})
	get(guard.Handler(ok), key)
	w := get(guard.Handler(ok), key)
	if w.Code != http.StatusTeapot || w.Body.String() != "wait 1h0m0s" {
		t.Errorf("%d %q", w.Code, w.Body)
	}
	if w.Header().Get("Retry-After") != "3600" || w.Header().Get("X-RateLimit-Remaining") != "0" || w.Header().Get("Cache-Control") != "no-store" {
		t.Errorf("the headers of the refusal are not set: %v", w.Header())
	}
	if w := get(guard.Handler(ok), ""); w.Code != http.StatusUnauthorized || w.Body.String() != missing {
		t.Errorf("WriteError answered %d %q", w.Code, w.Body)
	}
}

// What an ErrorHandler has changed, WriteError leaves.
func TestWriteErrorKeepsWhatIsSet(t *testing.T) {
	t.Parallel()
	guard := newGuard(&httpkey.Options{ErrorHandler: func(w http.ResponseWriter, r *http.Request, e httpkey.Error) {
		w.Header().Set("WWW-Authenticate", `ApiKey realm="acme"`)
		httpkey.WriteError(w, r, e)
	}})
	w := get(guard.Handler(ok), "")
	if got := w.Header().Get("WWW-Authenticate"); got != `ApiKey realm="acme"` || w.Header().Get("Cache-Control") != "no-store" {
		t.Errorf("the headers are %v", w.Header())
	}
}

// WriteError is a whole response also for those who call it themselves.
func TestWriteErrorAlone(t *testing.T) {
	t.Parallel()
	_, err := newGuard(nil).Verify(t.Context(), "")
	var refusal httpkey.Error
	if !errors.As(err, &refusal) {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	httpkey.WriteError(w, httptest.NewRequest(http.MethodGet, "/", nil), refusal)
	if w.Code != 401 || w.Body.String() != missing || w.Header().Get("WWW-Authenticate") == "" || w.Header().Get("Cache-Control") != "no-store" {
		t.Errorf("%d %s %v", w.Code, w.Body, w.Header())
	}
}

// A refusal by an inner Guard does not show the quota of the outer one.
func TestNestedGuards(t *testing.T) {
	t.Parallel()
	outer, inner := newGuard(&httpkey.Options{Header: "X-Outer-Key", IETFHeaders: true}), newGuard(nil)
	key, _ := issue(t, outer, httpkey.Token{})
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.Header.Set("X-Outer-Key", key)
	w := httptest.NewRecorder()
	outer.Handler(inner.Handler(ok)).ServeHTTP(w, r)
	if w.Code != http.StatusUnauthorized {
		t.Errorf("status %d", w.Code)
	}
	for name := range w.Header() {
		if strings.Contains(name, "Ratelimit") {
			t.Errorf("the 401 has %s", name)
		}
	}
}

func TestNestedOutage(t *testing.T) {
	t.Parallel()
	store := newSpyStore()
	outer, inner := newGuard(&httpkey.Options{Header: "X-Outer-Key"}), httpkey.New(store, memstore.NewLimiter(), nil)
	outerKey, _ := issue(t, outer, httpkey.Token{})
	key, _ := issue(t, inner, httpkey.Token{})
	store.failWith(func(string, int) error { return errors.New("down") })
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.Header.Set("X-Outer-Key", outerKey)
	r.Header.Set("X-Api-Key", key)
	w := httptest.NewRecorder()
	outer.Handler(inner.Handler(ok)).ServeHTTP(w, r)
	if w.Code != http.StatusServiceUnavailable || w.Header().Get("X-RateLimit-Limit") != "" {
		t.Errorf("%d %v", w.Code, w.Header())
	}
}

func TestHeaderCanBeRenamed(t *testing.T) {
	t.Parallel()
	guard := newGuard(&httpkey.Options{Header: "x-acme-token"})
	key, _ := issue(t, guard, httpkey.Token{})
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.Header.Set("X-Acme-Token", key)
	r.Header.Add("X-Api-Key", "another")
	w := httptest.NewRecorder()
	guard.Handler(ok).ServeHTTP(w, r)
	if w.Code != http.StatusOK {
		t.Errorf("status %d", w.Code)
	}
	if w := get(guard.Handler(ok), key); w.Body.String() != missing {
		t.Errorf("a key in the default header got %q", w.Body)
	}
}

func TestVerify(t *testing.T) {
	t.Parallel()
	store := newSpyStore()
	guard := httpkey.New(store, memstore.NewLimiter(), nil)
	key, token := issue(t, guard, httpkey.Token{User: "u-1", Limit: httpkey.PerHour(1)})
	for range 5 { // no quota
		got, err := guard.Verify(t.Context(), key)
		if err != nil || got.ID != token.ID {
			t.Fatalf("Verify returned %v, %v", got, err)
		}
	}
	if err := guard.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if used, _ := store.Get(t.Context(), token.ID); used.LastUsed.IsZero() {
		t.Error("Verify did not count as a use")
	}
	for key, want := range map[string]error{"": httpkey.ErrMissingKey, "nonsense": httpkey.ErrInvalidKey} {
		got, err := guard.Verify(t.Context(), key)
		var refusal httpkey.Error
		if !errors.Is(err, want) || !errors.As(err, &refusal) || refusal.Status() != 401 || got.ID != "" {
			t.Errorf("Verify(%q) returned %v, %v", key, got, err)
		}
	}
	cause := errors.New("down")
	store.failWith(func(string, int) error { return cause })
	if _, err := guard.Verify(t.Context(), key); !errors.Is(err, httpkey.ErrUnavailable) || !errors.Is(err, cause) {
		t.Errorf("with a store that is down, Verify returned %v", err)
	}
}

// A caller who went away is reported as that, not as an outage.
func TestCanceledCallerIsNoOutage(t *testing.T) {
	t.Parallel()
	store := newSpyStore()
	var seen events
	guard := httpkey.New(store, memstore.NewLimiter(), &httpkey.Options{Observer: &seen})
	key, _ := issue(t, guard, httpkey.Token{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	store.failWith(func(string, int) error { return ctx.Err() })
	_, err := guard.Verify(ctx, key)
	if !errors.Is(err, context.Canceled) || !errors.Is(err, httpkey.ErrUnavailable) || seen.last(t).Reason != httpkey.ReasonCanceled {
		t.Errorf("Verify returned %v, observed %+v", err, seen.last(t))
	}
	store.failWith(nil)
	guard = httpkey.New(store, limiterFunc(func(string, httpkey.Limit, int) (httpkey.Result, error) {
		return httpkey.Result{}, ctx.Err()
	}), &httpkey.Options{Observer: &seen})
	r := httptest.NewRequest(http.MethodGet, "/", nil).WithContext(ctx)
	r.Header.Set("X-Api-Key", key)
	guard.Handler(ok).ServeHTTP(httptest.NewRecorder(), r)
	if e := seen.last(t); e.Reason != httpkey.ReasonCanceled {
		t.Errorf("a limiter that was canceled is observed as %+v", e)
	}

	late, stop := context.WithTimeout(t.Context(), 0)
	defer stop()
	for cause, ctx := range map[error]context.Context{
		context.DeadlineExceeded: late,        // the caller waits, and got no answer in time
		context.Canceled:         t.Context(), // the store canceled something of its own
	} {
		store.failWith(func(string, int) error { return cause })
		if _, err := guard.Verify(ctx, key); !errors.Is(err, cause) || seen.last(t).Reason != httpkey.ReasonStore {
			t.Errorf("Verify returned %v, observed %+v", err, seen.last(t))
		}
	}
}
