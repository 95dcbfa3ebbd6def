package httpkey_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/httpkeytest"
	"github.com/httpkey/httpkey/internal/contract"
	"github.com/httpkey/httpkey/memstore"
)

// The rest of the HTTP contract, which is in internal/contract, in exact bytes.

const (
	missing     = contract.Missing
	invalid     = contract.Invalid
	forbidden   = contract.Forbidden
	unavailable = contract.Unavailable
)

func TestContract(t *testing.T) {
	t.Parallel()
	contract.Run(t, func(guard *httpkey.Guard, routes []contract.Route) http.Handler {
		mux := http.NewServeMux()
		mux.HandleFunc("GET "+contract.Me, func(w http.ResponseWriter, r *http.Request) {
			token, _ := httpkey.FromContext(r.Context())
			_, _ = fmt.Fprintf(w, "Hello %s, this is your key %q.\n", token.User, token.Label)
		})
		for _, route := range routes {
			mux.Handle(route.Path, route.Require(route.Handler))
		}
		return guard.Handler(mux)
	})
}

// Only a map of headers that was filled by hand can hold other spellings;
// servers canonicalize. A key must be found in any spelling that a client sends.
func TestHeaderNameIsCaseInsensitiveOnTheWire(t *testing.T) {
	t.Parallel()
	guard, key := httpkeytest.New(t, nil)
	server := httptest.NewServer(guard.Handler(ok))
	defer server.Close()
	for _, name := range []string{"x-api-key", "X-API-KEY", "X-Api-Key"} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header[name] = []string{key}
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

// No client library sends these bytes: a server may answer them itself, with 400 or by
// hanging up, but never with a 5xx, and no store is asked.
func TestHostileBytesNeverFail(t *testing.T) {
	t.Parallel()
	for _, value := range []string{"\x00", "hk_k_\x00", "\x00hk_k_", "a\x00b", "\x01\x7f", "é", "\r", "\xff\xfe",
		"\u2028"} {
		store := httpkeytest.NewStore(memstore.New())
		guard := httpkey.New(store, memstore.NewLimiter(), nil)
		valid, _ := issue(t, guard, httpkey.Token{})
		for _, key := range []string{value, valid + value, value + valid} {
			if w := httpkeytest.Get(guard.Handler(ok), key); w.Code != http.StatusUnauthorized {
				t.Errorf("%q in memory: status %d", key, w.Code)
			}
			server := httptest.NewServer(guard.Handler(ok))
			status := sendRaw(t, server.Listener.Addr().String(),
				"GET / HTTP/1.1\r\nHost: h\r\nX-Api-Key: "+key+"\r\nConnection: close\r\n\r\n")
			if status >= 500 || status < 400 {
				t.Errorf("%q on the wire: status %d", key, status)
			}
			server.Close()
		}
		if n := store.Calls("Lookup"); n > 0 {
			t.Errorf("%q: the store was asked %d times", value, n)
		}
	}
}

// A refused key takes no quota, for any reason.
func TestRefusedKeysCostNothing(t *testing.T) {
	t.Parallel()
	var asked int
	limiter := limiterFunc(func(_ context.Context, c *httpkey.Charge) (httpkey.Result, error) {
		asked++
		return httpkey.Result{Allowed: true}, nil
	})
	guard := httpkey.New(memstore.New(), limiter, nil)
	key, token := issue(t, guard, httpkey.Token{})
	if err := guard.Revoke(t.Context(), token.ID, ""); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{key, "", "nonsense"} {
		httpkeytest.Get(guard.Handler(ok), key)
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
		if got := httpkeytest.Get(guard.Handler(ok), key).Header().Get("X-RateLimit-Remaining"); got != want {
			t.Errorf("Remaining %s, want %s", got, want)
		}
	}
}

// A Guard admits no request if the store returns a neighbor's token.
func TestDigestIsComparedAgain(t *testing.T) {
	t.Parallel()
	store := wrongNeighbor{memstore.New()}
	guard := httpkey.New(store, memstore.NewLimiter(), nil)
	issue(t, guard, httpkey.Token{})
	_, key := httpkeytest.New(t, nil)
	if w := httpkeytest.Get(guard.Handler(ok), key); w.Code != http.StatusUnauthorized {
		t.Errorf("status %d, want 401", w.Code)
	}
	if _, err := guard.Verify(t.Context(), key); !errors.Is(err, httpkey.ErrInvalidKey) {
		t.Errorf("Verify returned %v, want ErrInvalidKey", err)
	}
}

// wrongNeighbor returns a token for every digest, whose own digest differs in the last bit.
type wrongNeighbor struct{ *memstore.Store }

func (s wrongNeighbor) Lookup(ctx context.Context, d httpkey.Digest) (httpkey.Token, error) {
	page, err := s.List(ctx, httpkey.Filter{Limit: 1})
	page[0].Digest = d
	page[0].Digest[31] ^= 1
	return page[0], err
}

// Stores may wrap their errors.
func TestWrappedNotFoundIsNotFound(t *testing.T) {
	t.Parallel()
	store := httpkeytest.NewStore(memstore.New())
	var seen events
	pepper := httpkey.Secret(strings.Repeat("p", 32))
	key, _ := issue(t, httpkey.New(store, httpkey.Unlimited, nil), httpkey.Token{})
	guard := httpkey.New(store, httpkey.Unlimited, &httpkey.Options{Pepper: pepper,
		PreviousPeppers: []httpkey.Secret{""}, Observers: observers(&seen)})
	store.Before(func(_ context.Context, method string) error {
		if store.Calls(method) == 1 { // under the current pepper
			return fmt.Errorf("select: %w", httpkey.ErrNotFound)
		}
		return nil
	})
	if w := httpkeytest.Get(guard.Handler(ok), key); w.Code != http.StatusOK {
		t.Errorf("status %d", w.Code)
	}
	store.Before(httpkeytest.Fail(fmt.Errorf("select: %w", httpkey.ErrNotFound)))
	if w := httpkeytest.Get(guard.Handler(ok), key); w.Code != http.StatusUnauthorized ||
		seen.last(t).Reason != httpkey.ReasonUnknown {
		t.Errorf("status %d, observed %+v", w.Code, seen.last(t))
	}
}

// The request's context reaches the store and the limiter, and what it carries
// reaches the handler.
func TestContextIsPassedOn(t *testing.T) {
	t.Parallel()
	type mark struct{}
	needsMark := func(ctx context.Context, method string) error {
		if ctx.Value(mark{}) == nil && method != "Touch" { // which is nobody's request
			t.Errorf("%s got another context", method)
		}
		return nil
	}
	store, limiter := httpkeytest.NewStore(memstore.New()), httpkeytest.NewLimiter(memstore.NewLimiter())
	guard := httpkey.New(store, limiter, nil)
	key, _ := issue(t, guard, httpkey.Token{})
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r = r.WithContext(context.WithValue(r.Context(), mark{}, "mark"))
	r.Header.Set("X-Api-Key", key)
	store.Before(needsMark)
	limiter.Before(needsMark)
	guard.Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.Context().Value(mark{}) != "mark" {
			t.Error("the handler got another context")
		}
	})).ServeHTTP(httptest.NewRecorder(), r)
}

// The limiter's failure is never a yes.
func TestLimiterFailureIsUnavailable(t *testing.T) {
	t.Parallel()
	broken := limiterFunc(func(_ context.Context, c *httpkey.Charge) (httpkey.Result, error) {
		return httpkey.Result{Allowed: true, Remaining: 7}, errors.New("limiter down")
	})
	var seen events
	guard := httpkey.New(memstore.New(), broken, &httpkey.Options{Observers: observers(&seen)})
	key, _ := issue(t, guard, httpkey.Token{})
	w := httpkeytest.Get(guard.Handler(ok), key)
	if w.Code != http.StatusServiceUnavailable || w.Body.String() != unavailable ||
		w.Header().Get("X-RateLimit-Limit") != "" {
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
		w := httpkeytest.Get(guard.Handler(ok), key)
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
	key, _ := issue(t, guard, httpkey.Token{Limits: limits(httpkey.Limit{Rate: 1, Period: time.Hour})})
	httpkeytest.Get(guard.Handler(ok), key)
	w := httpkeytest.Get(guard.Handler(ok), key)
	if w.Code != http.StatusTeapot || w.Body.String() != "wait 1h0m0s" {
		t.Errorf("%d %q", w.Code, w.Body)
	}
	if w.Header().Get("Retry-After") != "3600" || w.Header().Get("X-RateLimit-Remaining") != "0" ||
		w.Header().Get("Cache-Control") != "no-store" {
		t.Errorf("the headers of the refusal are not set: %v", w.Header())
	}
	if w := httpkeytest.Get(guard.Handler(ok), ""); w.Code != http.StatusUnauthorized || w.Body.String() != missing {
		t.Errorf("WriteError answered %d %q", w.Code, w.Body)
	}
}

// WriteError leaves the headers that an ErrorHandler has changed.
func TestWriteErrorKeepsWhatIsSet(t *testing.T) {
	t.Parallel()
	guard := newGuard(&httpkey.Options{ErrorHandler: func(w http.ResponseWriter, r *http.Request, e httpkey.Error) {
		w.Header().Set("WWW-Authenticate", `ApiKey realm="acme"`)
		httpkey.WriteError(w, r, e)
	}})
	w := httpkeytest.Get(guard.Handler(ok), "")
	if got := w.Header().Get("WWW-Authenticate"); got != `ApiKey realm="acme"` ||
		w.Header().Get("Cache-Control") != "no-store" {
		t.Errorf("the headers are %v", w.Header())
	}
}

// An ErrorHandler that writes into header values in place changes no other response.
func TestErrorHandlersWriteIntoTheirOwnHeaders(t *testing.T) {
	t.Parallel()
	spoil := func(h http.Header) {
		for _, values := range h {
			for i := range values {
				values[i] = "spoiled"
			}
		}
	}
	spoiling := httpkey.Options{ErrorHandler: func(w http.ResponseWriter, r *http.Request, e httpkey.Error) {
		spoil(w.Header())
		clear(w.Header())
		httpkey.WriteError(w, r, e)
		spoil(w.Header())
	}}
	second := httpkey.Limit{Rate: 1, Period: time.Second}
	dear := func(_ *http.Request, _ *httpkey.Token, c *httpkey.Charge) { c.Cost = 9 }
	for _, tt := range []struct {
		name     string
		token    *httpkey.Token // nil: no key
		charge   func(*http.Request, *httpkey.Token, *httpkey.Charge)
		requests int
		status   int
		headers  []string // those that refusals share
	}{
		{"missing", nil, nil, 1, 401, []string{"Cache-Control", "Www-Authenticate", "Content-Type", "Content-Length"}},
		{"throttled", &httpkey.Token{Limits: limits(second)}, nil, 2, 429, []string{"Cache-Control", "Retry-After",
			"Content-Type", "Content-Length", "X-Ratelimit-Limit", "X-Ratelimit-Remaining"}},
		{"never", &httpkey.Token{Limits: limits(second)}, dear, 1, 403, []string{"Cache-Control", "Content-Type",
			"Content-Length", "X-Ratelimit-Limit"}},
		{"scope", &httpkey.Token{}, nil, 1, 403, []string{"Cache-Control", "Content-Type", "Content-Length"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			answer := func(opts httpkey.Options) (int, http.Header) {
				opts.Charge = tt.charge
				guard := newGuard(&opts)
				key := ""
				if tt.token != nil {
					key, _ = issue(t, guard, *tt.token)
				}
				handler := guard.Handler(httpkey.RequireScope("write")(ok))
				for range tt.requests - 1 {
					httpkeytest.Get(handler, key)
				}
				w := httpkeytest.Get(handler, key)
				return w.Code, w.Header()
			}
			_, before := answer(httpkey.Options{})
			before = before.Clone()
			if status, _ := answer(spoiling); status != tt.status {
				t.Fatalf("status %d, want %d", status, tt.status)
			}
			_, after := answer(httpkey.Options{})
			for _, name := range tt.headers {
				if after.Get(name) == "" || after.Get(name) != before.Get(name) {
					t.Errorf("%s: %q after an ErrorHandler, %q before", name, after.Get(name), before.Get(name))
				}
			}
		})
	}
}

// WriteError is a whole response also where a program calls it itself.
func TestWriteErrorAlone(t *testing.T) {
	t.Parallel()
	_, err := newGuard(nil).Verify(t.Context(), "")
	var refusal httpkey.Error
	if !errors.As(err, &refusal) {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	httpkey.WriteError(w, httptest.NewRequest(http.MethodGet, "/", nil), refusal)
	if w.Code != 401 || w.Body.String() != missing || w.Header().Get("WWW-Authenticate") == "" ||
		w.Header().Get("Cache-Control") != "no-store" {
		t.Errorf("%d %s %v", w.Code, w.Body, w.Header())
	}
}

// A refusal by an inner Guard does not show the quota of the outer one.
func TestNestedGuards(t *testing.T) {
	t.Parallel()
	own := []httpkey.Source{httpkey.FromHeader("X-Outer-Key")}
	outer, inner := newGuard(&httpkey.Options{Sources: own, IETFHeaders: true}), newGuard(nil)
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
	store := httpkeytest.NewStore(memstore.New())
	outer := newGuard(&httpkey.Options{Sources: []httpkey.Source{httpkey.FromHeader("X-Outer-Key")}})
	inner := httpkey.New(store, memstore.NewLimiter(), nil)
	outerKey, _ := issue(t, outer, httpkey.Token{})
	key, _ := issue(t, inner, httpkey.Token{})
	store.Before(httpkeytest.Fail(errors.New("down")))
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
	guard := newGuard(&httpkey.Options{Sources: []httpkey.Source{httpkey.FromHeader("x-acme-token")}})
	key, _ := issue(t, guard, httpkey.Token{})
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.Header.Set("X-Acme-Token", key)
	r.Header.Add("X-Api-Key", "another")
	w := httptest.NewRecorder()
	guard.Handler(ok).ServeHTTP(w, r)
	if w.Code != http.StatusOK {
		t.Errorf("status %d", w.Code)
	}
	if w := httpkeytest.Get(guard.Handler(ok), key); w.Body.String() != missing {
		t.Errorf("a key in the default header got %q", w.Body)
	}
}

func TestVerify(t *testing.T) {
	t.Parallel()
	store := httpkeytest.NewStore(memstore.New())
	guard := httpkey.New(store, memstore.NewLimiter(), nil)
	key, token := issue(t, guard, httpkey.Token{User: "u-1", Limits: limits(httpkey.PerHour(1))})
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
	store.Before(httpkeytest.Fail(cause))
	if _, err := guard.Verify(t.Context(), key); !errors.Is(err, httpkey.ErrUnavailable) || !errors.Is(err, cause) {
		t.Errorf("with a store that is down, Verify returned %v", err)
	}
}
