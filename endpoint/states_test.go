package endpoint_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/endpoint"
	"github.com/httpkey/httpkey/httpkeytest"
	"github.com/httpkey/httpkey/internal/contract"
	"github.com/httpkey/httpkey/memstore"
)

// Each handler answers for a key in every state, wherever the request carries the key.
func TestEveryStateOfAKey(t *testing.T) {
	t.Parallel()
	const (
		inactive = `{"active":false}`
		noToken  = `{"error":"invalid_request","error_description":"The form must have the parameter token, once."}`
	)
	type answer struct {
		status int
		body   string // begins with it
	}
	ended := answer{http.StatusNoContent, ""}
	rotated, refused := answer{http.StatusCreated, `{"token":"hk_`}, answer{http.StatusUnauthorized, contract.Invalid}
	for _, tt := range []struct {
		state      string   // of the key
		keys       []string // the states of several keys; nil: state alone
		isDown     bool
		whoAmI     answer
		introspect answer
		rotateSelf answer
		revokeSelf answer
	}{
		{state: "good", whoAmI: answer{200, `{"id":"`}, introspect: answer{200, `{"active":true,`}, rotateSelf: rotated,
			revokeSelf: ended},
		{state: "local", whoAmI: answer{200, `{"id":"`}, introspect: answer{200, inactive}, rotateSelf: rotated,
			revokeSelf: ended},
		{state: "service", whoAmI: answer{200, `{"id":"`}, introspect: answer{200, `{"active":true,`}, rotateSelf: rotated,
			revokeSelf: ended},
		{state: "exhausted", whoAmI: answer{200, `{"id":"`}, introspect: answer{200, `{"active":true,`},
			rotateSelf: answer{429, `{"detail":"Request was throttled. Expected available in `},
			revokeSelf: ended},
		{state: "several", whoAmI: answer{200, `{"id":"`}, introspect: answer{200, `{"active":true,`}, rotateSelf: rotated,
			revokeSelf: ended},
		{state: "nothing", whoAmI: answer{403, contract.Forbidden}, introspect: answer{200, inactive},
			rotateSelf: answer{403, contract.Forbidden}, revokeSelf: ended},
		{state: "elsewhere", whoAmI: answer{401, contract.Invalid}, introspect: answer{200, inactive}, rotateSelf: refused,
			revokeSelf: ended},
		{state: "unknown", whoAmI: answer{401, contract.Invalid}, introspect: answer{200, inactive}, rotateSelf: refused,
			revokeSelf: ended},
		{state: "malformed", whoAmI: answer{401, contract.Invalid}, introspect: answer{200, inactive}, rotateSelf: refused,
			revokeSelf: ended},
		{state: "revoked", whoAmI: answer{401, contract.Invalid}, introspect: answer{200, inactive}, rotateSelf: refused,
			revokeSelf: ended},
		{state: "expired", whoAmI: answer{401, contract.Invalid}, introspect: answer{200, inactive}, rotateSelf: refused,
			revokeSelf: ended},
		{state: "missing", whoAmI: answer{401, contract.Missing}, introspect: answer{400, noToken},
			rotateSelf: answer{401, contract.Missing}, revokeSelf: answer{401, contract.Missing}},
		{state: "two keys", keys: []string{"good", "service"}, whoAmI: answer{401, contract.Invalid},
			introspect: answer{400, noToken}, rotateSelf: refused, revokeSelf: answer{401, contract.Invalid}},
		{state: "good", isDown: true, whoAmI: answer{503, contract.Unavailable},
			introspect: answer{503, contract.Unavailable}, rotateSelf: answer{503, contract.Unavailable},
			revokeSelf: answer{503, contract.Unavailable}},
	} {
		for source, how := range sources {
			name := tt.state + " by " + source
			if tt.isDown {
				name += ", store down"
			}
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					store := httpkeytest.NewStore(memstore.New())
					opts := &httpkey.Options{Sources: []httpkey.Source{how.source}}
					w := newWorldOver(t, store, memstore.NewLimiter(), opts)
					if tt.isDown {
						store.Before(httpkeytest.Fail(errDown))
					}
					states := tt.keys
					if states == nil {
						states = []string{tt.state}
					}
					var keys []string
					for _, state := range states {
						keys = append(keys, w.keys[state])
					}
					all := w.handlers()
					for _, one := range []struct {
						name string
						want answer
					}{
						{"WhoAmI", tt.whoAmI}, {"Introspect", tt.introspect}, {"RotateSelf", tt.rotateSelf},
						{"RevokeSelf", tt.revokeSelf},
					} {
						got := all[one.name](source, keys...)
						body := got.Body.String()
						if got.Code != one.want.status || !strings.HasPrefix(body, one.want.body) ||
							!slices.Contains([]int{200, 201, 429}, got.Code) && body != one.want.body {
							t.Errorf("%s answers %d %s, want %d %s", one.name, got.Code, body, one.want.status, one.want.body)
						}
						if cache := got.Header().Values("Cache-Control"); len(cache) != 1 || cache[0] != "no-store" {
							t.Errorf("%s has Cache-Control %q", one.name, cache)
						}
						if isBad := got.Code == 401; isBad != (got.Header().Get("WWW-Authenticate") != "") {
							t.Errorf("%s has WWW-Authenticate %q", one.name, got.Header().Get("WWW-Authenticate"))
						}
						if isBusy := got.Code == 503; isBusy != (got.Header().Get("Retry-After") == "1") {
							t.Errorf("%s has Retry-After %q", one.name, got.Header().Get("Retry-After"))
						}
						w.assertNoTraces(t, one.name, dump(t, got))
					}
					store.Before(nil)
					for _, state := range states {
						token, err := store.Get(t.Context(), w.tokens[state].ID)
						if err == nil && token.IsActive != (tt.revokeSelf != ended) {
							t.Errorf("in the end, the token in state %s has IsActive %v", state, token.IsActive)
						}
					}
				})
			})
		}
	}
}

// The responses for bad keys are the same to the byte, so they tell nobody why a key is bad.
// RevokeSelf does not even tell a good key from a bad one.
func TestResponsesTellNoReason(t *testing.T) {
	t.Parallel()
	bad := []string{"unknown", "malformed", "revoked", "expired", "elsewhere"}
	for name, states := range map[string][]string{
		"WhoAmI":     bad,
		"Introspect": append([]string{"nothing"}, bad...),
		"RotateSelf": bad,
		"RevokeSelf": append([]string{"good", "exhausted", "nothing"}, bad...),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			first := ""
			for _, state := range states {
				synctest.Test(t, func(t *testing.T) { // at the same time for each state
					w := newWorld(t, nil)
					got := dump(t, w.handlers()[name]("header", w.keys[state]))
					if first == "" {
						first = got
					}
					if got != first {
						t.Errorf("state %s: %s\nwant %s", state, got, first)
					}
				})
			}
		})
	}
}

func TestOtherMethodsAreNotAllowed(t *testing.T) {
	t.Parallel()
	store := httpkeytest.NewStore(memstore.New())
	guard := httpkey.New(store, memstore.NewLimiter(), nil)
	key := httpkeytest.Issue(t, guard, httpkey.Token{}).Secret.Reveal()
	for name, tt := range map[string]struct {
		handler http.Handler
		allow   string
	}{
		"WhoAmI":     {endpoint.WhoAmI(guard), "GET, HEAD"},
		"Introspect": {endpoint.Introspect(guard), "POST"},
		"RevokeSelf": {endpoint.RevokeSelf(guard), "POST"},
		"RotateSelf": {endpoint.RotateSelf(guard), "POST"},
	} {
		for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "get", "X"} {
			if strings.Contains(tt.allow, method) {
				continue
			}
			got := send(tt.handler, method, "header", key)
			body := `{"detail":"Method not allowed."}`
			if method == http.MethodHead {
				body = ""
			}
			if got.Code != 405 || got.Header().Get("Allow") != tt.allow || got.Body.String() != body ||
				got.Header().Get("Cache-Control") != "no-store" || store.Calls("Lookup") > 0 {
				t.Errorf("%s %s: %s", method, name, dump(t, got))
			}
		}
	}
}

func TestHandlersNeedAGuard(t *testing.T) {
	t.Parallel()
	for name, make := range map[string]func(*httpkey.Guard) http.Handler{
		"WhoAmI": endpoint.WhoAmI, "Introspect": endpoint.Introspect, "RevokeSelf": endpoint.RevokeSelf,
		"RotateSelf": endpoint.RotateSelf,
	} {
		func() {
			defer func() {
				if got, want := recover(), "httpkey: endpoint."+name+" needs a Guard, as httpkey.New makes one"; got != want {
					t.Errorf("%s panics with %v", name, got)
				}
			}()
			make(nil)
		}()
	}
}
