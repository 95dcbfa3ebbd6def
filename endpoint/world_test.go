package endpoint_test

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/endpoint"
	"github.com/httpkey/httpkey/httpkeytest"
	"github.com/httpkey/httpkey/memstore"
)

var errDown = errors.New("the store is down")

// world is a Guard with keys in every state.
type world struct {
	guard   *httpkey.Guard
	store   httpkey.TokenStore
	limiter httpkey.Limiter
	keys    map[string]string        // the keys by their state
	tokens  map[string]httpkey.Token // as they were issued
}

// newWorld returns a world over a store and a limiter in memory, in which a minute elapses.
func newWorld(t *testing.T, opts *httpkey.Options) *world {
	t.Helper()
	return newWorldOver(t, memstore.New(), memstore.NewLimiter(), opts)
}

func newWorldOver(t *testing.T, store httpkey.TokenStore, limiter httpkey.Limiter, opts *httpkey.Options) *world {
	t.Helper()
	w := &world{
		guard: httpkey.New(store, limiter, opts), store: store, limiter: limiter,
		keys: map[string]string{"missing": "", "malformed": "nonsense"}, tokens: make(map[string]httpkey.Token),
	}
	t.Cleanup(func() { _ = w.guard.Close(context.Background()) })
	for state, token := range map[string]httpkey.Token{
		"good": {
			Label: "laptop", User: "ada", Workspace: "lab", Scopes: []string{"read", "write"},
			Description: "hidden description", CreatedBy: "hidden creator",
			Metadata:  map[string]string{"plan": "hidden plan"},
			ExpiredAt: time.Now().Add(24 * time.Hour),
		},
		"local": {
			Networks: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("2001:db8:aced::/48")},
		},
		"service":   {Kind: httpkey.ServiceToken},
		"expired":   {ExpiredAt: time.Now().Add(time.Minute)},
		"revoked":   {},
		"unknown":   {},
		"exhausted": {Limits: []httpkey.Limit{httpkey.PerHour(1)}},
		"several":   {Limits: []httpkey.Limit{httpkey.PerHour(9), {Name: "slow", Rate: 2, Calendar: "day"}}},
		"nothing":   {Limits: []httpkey.Limit{httpkey.PerMinute(0)}},
		"elsewhere": {Networks: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}},
	} {
		created := httpkeytest.Issue(t, w.guard, token)
		w.keys[state], w.tokens[state] = created.Secret.Reveal(), created.Token
	}
	_, exhausted := w.guard.Admit(t.Context(), w.keys["exhausted"], 1)
	if err := errors.Join(
		exhausted,
		w.guard.Revoke(t.Context(), w.tokens["revoked"].ID, "leaked"),
		w.store.Delete(t.Context(), w.tokens["unknown"].ID),
	); err != nil {
		t.Fatal(err)
	}
	httpkeytest.Elapse(time.Minute)
	return w
}

// sources are the ways in which a request carries keys.
var sources = map[string]struct {
	source httpkey.Source
	put    func(r *http.Request, key string)
}{
	"header": {httpkey.FromHeader("X-Api-Key"), func(r *http.Request, key string) { r.Header.Add("X-Api-Key", key) }},
	"bearer": {httpkey.FromBearer(), func(r *http.Request, key string) { r.Header.Add("Authorization", "Bearer "+key) }},
}

// send sends a request with keys to a handler.
func send(handler http.Handler, method, source string, keys ...string) *httptest.ResponseRecorder {
	r := httpkeytest.Request(method, "/", "")
	for _, key := range keys {
		sources[source].put(r, key)
	}
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, r)
	return w
}

// ask sends a token to an introspection endpoint.
func ask(handler http.Handler, token string) *httptest.ResponseRecorder {
	return post(handler, url.Values{"token": {token}, "token_type_hint": {"refresh_token"}}.Encode())
}

// post sends a form to a handler.
func post(handler http.Handler, form string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(form))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, r)
	return w
}

// rotate asks for a rotation, behind the Guard.
func rotate(guard *httpkey.Guard, body, source string, keys ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	for _, key := range keys {
		sources[source].put(r, key)
	}
	w := httptest.NewRecorder()
	guard.Handler(endpoint.RotateSelf(guard)).ServeHTTP(w, r)
	return w
}

// dump returns a response as text.
func dump(t *testing.T, w *httptest.ResponseRecorder) string {
	t.Helper()
	var text strings.Builder
	if err := w.Result().Write(&text); err != nil {
		t.Fatal(err)
	}
	return text.String()
}

// assertNoTraces checks that a response shows no secret and no digest of the world's keys, and
// nothing that only the program may know.
func (w *world) assertNoTraces(t *testing.T, where, response string) {
	t.Helper()
	traces := []string{"hidden", "leaked", "aced::", "down", "httpkey:"}
	for state, token := range w.tokens {
		secret, sum := w.keys[state], token.Digest[:]
		traces = append(traces, secret, secret[5:32], hex.EncodeToString(sum), strings.ToUpper(hex.EncodeToString(sum)),
			base64.StdEncoding.EncodeToString(sum), base64.RawURLEncoding.EncodeToString(sum), string(sum))
	}
	for _, trace := range traces {
		if strings.Contains(response, trace) {
			t.Errorf("%s shows %q: %s", where, trace, response)
		}
	}
}

// handlers are all of the package, with a request that each of them allows.
func (w *world) handlers() map[string]func(source string, keys ...string) *httptest.ResponseRecorder {
	whoAmI, introspect, revoke := endpoint.WhoAmI(w.guard), endpoint.Introspect(w.guard), endpoint.RevokeSelf(w.guard)
	return map[string]func(string, ...string) *httptest.ResponseRecorder{
		"WhoAmI": func(source string, keys ...string) *httptest.ResponseRecorder {
			return send(whoAmI, http.MethodGet, source, keys...)
		},
		"Introspect": func(_ string, keys ...string) *httptest.ResponseRecorder {
			return post(introspect, url.Values{"token": keys}.Encode())
		},
		"RotateSelf": func(source string, keys ...string) *httptest.ResponseRecorder {
			return rotate(w.guard, `{"grace":3600}`, source, keys...)
		},
		"RevokeSelf": func(source string, keys ...string) *httptest.ResponseRecorder {
			return send(revoke, http.MethodPost, source, keys...)
		},
	}
}
