package endpoint_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/endpoint"
	"github.com/httpkey/httpkey/httpkeytest"
	"github.com/httpkey/httpkey/memstore"
)

func TestWhoAmIIsExact(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		state string
		opts  *httpkey.Options
		want  string // with %[1]s for the ID and %[2]s for the hint
	}{
		{"good", nil, `{"id":%q,"hint":%q,"kind":"api_key","label":"laptop","user":"ada","workspace":"lab",` +
			`"scopes":["read","write"],"expired_at":"2000-01-02T00:00:00Z",` +
			`"rate_limits":[{"rate":60,"burst":60,"period":60,"remaining":57,"reset_after":3}]}`},
		{"service", nil, `{"id":%q,"hint":%q,"kind":"service_token","label":"","user":"","workspace":null,"scopes":[],` +
			`"expired_at":null,"rate_limits":[{"rate":300,"burst":300,"period":60,"remaining":297,"reset_after":1}]}`},
		{"several", nil, `{"id":%q,"hint":%q,"kind":"api_key","label":"","user":"","workspace":null,"scopes":[],` +
			`"expired_at":null,"rate_limits":[{"rate":9,"burst":9,"period":3600,"remaining":7,"reset_after":800},` +
			`{"name":"slow","rate":2,"calendar":"day","remaining":0,"reset_after":86340}]}`},
		{"exhausted", nil, `{"id":%q,"hint":%q,"kind":"api_key","label":"","user":"","workspace":null,"scopes":[],` +
			`"expired_at":null,"rate_limits":[{"rate":1,"burst":1,"period":3600,"remaining":0,"reset_after":3540}]}`},
		{"local", &httpkey.Options{Limits: map[httpkey.Kind][]httpkey.Limit{httpkey.APIKey: {}}},
			`{"id":%q,"hint":%q,"kind":"api_key","label":"","user":"","workspace":null,"scopes":[],` +
				`"expired_at":null,"rate_limits":[]}`},
		{"service", &httpkey.Options{DryRun: true}, `{"id":%q,"hint":%q,"kind":"service_token","label":"","user":"",` +
			`"workspace":null,"scopes":[],"expired_at":null,"rate_limits":[{"rate":300,"burst":300,"period":60,` +
			`"dry_run":true,"remaining":297,"reset_after":1}]}`},
	} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, tt.opts)
			for range 3 {
				httpkeytest.Get(w.guard.Handler(http.NotFoundHandler()), w.keys[tt.state])
			}
			got := httpkeytest.Get(endpoint.WhoAmI(w.guard), w.keys[tt.state])
			want := fmt.Sprintf(tt.want, w.tokens[tt.state].ID, w.tokens[tt.state].Hint)
			if got.Body.String() != want {
				t.Errorf("state %s: %s\nwant %s", tt.state, got.Body, want)
			}
			if h := got.Header(); h.Get("Content-Type") != "application/json" ||
				h.Get("Content-Length") != strconv.Itoa(len(want)) {
				t.Errorf("state %s: the headers are %v", tt.state, h)
			}
			head := send(endpoint.WhoAmI(w.guard), http.MethodHead, "header", w.keys[tt.state])
			if head.Body.Len() > 0 || !reflect.DeepEqual(head.Header(), got.Header()) {
				t.Errorf("state %s: HEAD answers %s", tt.state, dump(t, head))
			}
		})
	}
}

// A client in Go reads the response into a Token, whose JSON has the same names and forms.
func TestWhoAmIReadsAsAToken(t *testing.T) {
	t.Parallel()
	guard := httpkey.New(memstore.New(), memstore.NewLimiter(), nil)
	created := httpkeytest.Issue(t, guard, httpkey.Token{
		Label: "a <label>", User: "ada", Workspace: "lab", Scopes: []string{"read"}, ExpiredAt: time.Now().Add(time.Hour),
		Limits: []httpkey.Limit{
			{Name: "burst", Rate: 3, Burst: 7, Period: 1500 * time.Millisecond}, httpkey.PerMonth(9),
		},
	})
	var got httpkey.Token
	answer := httpkeytest.Get(endpoint.WhoAmI(guard), created.Secret.Reveal())
	if err := json.Unmarshal(answer.Body.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	all := created.Token
	want := httpkey.Token{
		ID: all.ID, Hint: all.Hint, Kind: all.Kind, Label: all.Label, User: all.User, Workspace: all.Workspace,
		Scopes: all.Scopes, ExpiredAt: all.ExpiredAt, Limits: all.Limits,
	}
	for i := range got.Limits { // JSON leaves the Burst of a quota to Resolve
		want.Limits[i] = want.Limits[i].Resolve()
		got.Limits[i] = got.Limits[i].Resolve()
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("read %+v\nwant %+v", got, want)
	}
}

// Without a key, there is nobody to tell about, whoever may pass.
func TestWhoAmIWithoutAKey(t *testing.T) {
	t.Parallel()
	anonymous := func(_ *http.Request, c *httpkey.Charge) bool {
		c.Limits = []httpkey.Limit{httpkey.PerMinute(5)}
		return true
	}
	for name, opts := range map[string]*httpkey.Options{"": nil, "anonymous": {Anonymous: anonymous}} {
		guard, _ := httpkeytest.New(t, opts)
		got := httpkeytest.Get(endpoint.WhoAmI(guard), "")
		if got.Code != http.StatusUnauthorized || got.Header().Get("X-Ratelimit-Limit") != "" ||
			got.Body.String() != `{"detail":"Authentication credentials were not provided."}` {
			t.Errorf("%s: %s", name, dump(t, got))
		}
	}
}

// WhoAmI tells of the key's limits, wherever it is mounted.
func TestWhoAmIBehindOthers(t *testing.T) {
	t.Parallel()
	limit := func(_ *http.Request, c *httpkey.Charge) { c.Limits = []httpkey.Limit{httpkey.PerHour(7)} }
	for name, tt := range map[string]struct {
		around    func(*httpkey.Guard, http.Handler) http.Handler
		remaining string
	}{
		"beside the Guard": {func(_ *httpkey.Guard, h http.Handler) http.Handler { return h }, `"remaining":60`},
		"LimitBy": {func(g *httpkey.Guard, h http.Handler) http.Handler {
			return g.LimitBy(limit)(h)
		}, `"remaining":60`},
		"behind the Guard": {func(g *httpkey.Guard, h http.Handler) http.Handler { return g.Handler(h) }, `"remaining":59`},
		"behind the Guard and LimitBy": {func(g *httpkey.Guard, h http.Handler) http.Handler {
			return g.Handler(g.LimitBy(limit)(h))
		}, `"remaining":59`},
	} {
		guard, key := httpkeytest.New(t, nil)
		got := httpkeytest.Get(tt.around(guard, endpoint.WhoAmI(guard)), key)
		body := got.Body.String()
		if !strings.Contains(body, `"rate_limits":[{"rate":60,`) || !strings.Contains(body, tt.remaining) {
			t.Errorf("%s: %s", name, body)
		}
	}
}

// The limits are those that the program applies, from the bucket that it names.
func TestWhoAmITellsOfTheBucketThatPays(t *testing.T) {
	t.Parallel()
	guard, key := httpkeytest.New(t, &httpkey.Options{Charge: func(_ *http.Request, _ *httpkey.Token, c *httpkey.Charge) {
		c.Bucket, c.Cost = "plan:team", 4
		c.Limits = []httpkey.Limit{httpkey.PerDay(100)}
	}})
	other := httpkeytest.Issue(t, guard, httpkey.Token{}).Secret.Reveal()
	httpkeytest.Get(guard.Handler(http.NotFoundHandler()), other)
	for range 3 {
		got := httpkeytest.Get(endpoint.WhoAmI(guard), key)
		if !strings.Contains(got.Body.String(), `"rate_limits":[{"rate":100,"calendar":"day","remaining":96,`) {
			t.Errorf("%s", got.Body)
		}
	}
}

// One error handler answers every refusal of both handlers for clients.
func TestRefusalsGoThroughTheErrorHandler(t *testing.T) {
	t.Parallel()
	store := httpkeytest.NewStore(memstore.New())
	var reasons []httpkey.Reason
	guard := httpkey.New(store, memstore.NewLimiter(), &httpkey.Options{
		Anonymous: func(*http.Request, *httpkey.Charge) bool { return true },
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, e httpkey.Error) {
			reasons = append(reasons, e.Reason())
			w.WriteHeader(http.StatusTeapot)
		},
	})
	key := httpkeytest.Issue(t, guard, httpkey.Token{}).Secret.Reveal()
	whoAmI, revoke := endpoint.WhoAmI(guard), endpoint.RevokeSelf(guard)
	answers := []*httptest.ResponseRecorder{
		send(whoAmI, http.MethodGet, "header"), send(whoAmI, http.MethodGet, "header", "nonsense"),
		send(revoke, http.MethodPost, "header"), send(revoke, http.MethodPost, "header", key, key),
	}
	store.Before(httpkeytest.Fail(errDown))
	answers = append(answers, send(whoAmI, http.MethodGet, "header", key), send(revoke, http.MethodPost, "header", key))
	store.Before(nil)
	for range 7 {
		send(revoke, http.MethodPost, "header", "nonsense")
	}
	answers = append(answers, send(revoke, http.MethodPost, "header", key))
	want := []httpkey.Reason{
		httpkey.ReasonMissing, httpkey.ReasonMalformed, httpkey.ReasonMissing, httpkey.ReasonMalformed,
		httpkey.ReasonStore, httpkey.ReasonStore, httpkey.ReasonThrottled,
	}
	if !reflect.DeepEqual(reasons, want) {
		t.Errorf("the error handler got %v, want %v", reasons, want)
	}
	for i, answer := range answers {
		if answer.Code != http.StatusTeapot || answer.Header().Get("Cache-Control") != "no-store" {
			t.Errorf("answer %d is %s", i, dump(t, answer))
		}
	}
}

// A token of an own table may have what JSON has not.
func TestWhoAmIWithAYearThatJSONHasNot(t *testing.T) {
	t.Parallel()
	created := httpkeytest.Issue(t, httpkey.New(memstore.New(), httpkey.Unlimited, nil), httpkey.Token{})
	table := httpkey.LookupOnly{ByDigest: func(_ context.Context, d httpkey.Digest) (httpkey.Token, error) {
		far := time.Date(12000, 1, 1, 0, 0, 0, 0, time.UTC)
		return httpkey.Token{ID: "1", Digest: d, IsActive: true, ExpiredAt: far}, nil
	}}
	guard := httpkey.New(table, httpkey.Unlimited, nil)
	got := httpkeytest.Get(endpoint.WhoAmI(guard), created.Secret.Reveal())
	const want = `{"detail":"The response could not be written."}`
	if got.Code != http.StatusInternalServerError || got.Body.String() != want {
		t.Errorf("%d %s", got.Code, got.Body)
	}
}
