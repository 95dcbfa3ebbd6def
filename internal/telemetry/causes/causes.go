// Package causes has each cause of an event, through a real Guard, and the counts that packages
// otelkey and promkey make of it.
package causes

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/cachestore"
	"github.com/httpkey/httpkey/httpkeytest"
	"github.com/httpkey/httpkey/memstore"
	"github.com/httpkey/httpkey/streams"
)

// site is a Guard behind a ServeMux that has one route.
type site struct {
	store   *httpkeytest.Store
	limiter *httpkeytest.Limiter
	guard   *httpkey.Guard
	handler http.Handler
}

func newSite(o httpkey.Observer, opts httpkey.Options, behind func(http.Handler) http.Handler) *site {
	s := &site{
		store:   httpkeytest.NewStore(memstore.New()),
		limiter: httpkeytest.NewLimiter(memstore.NewLimiter()),
	}
	opts.Observers = []httpkey.Observer{o}
	s.guard = httpkey.New(s.store, s.limiter, &opts)
	var next http.Handler = http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})
	if behind != nil {
		next = behind(next)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /things/{id}", s.guard.Handler(next))
	s.handler = mux
	return s
}

func (s *site) get(key string) {
	s.handler.ServeHTTP(httptest.NewRecorder(), httpkeytest.Request(http.MethodGet, "/things/secret-path", key))
}

// issue returns a key of a token with an ID and a User that must be in no label.
func (s *site) issue(t *testing.T, token httpkey.Token) string {
	t.Helper()
	token.User = "secret-user"
	return httpkeytest.Issue(t, s.guard, token).Secret.Reveal()
}

var errDown = errors.New("connection refused")

const (
	route    = `http_route="/things/{id}",`
	allowed  = `httpkey_rate_limiting_requests_total{httpkey_result="allowed"}`
	denied   = `httpkey_rate_limiting_requests_total{httpkey_result="denied"}`
	admitted = `httpkey_requests_total{` + route + `httpkey_result="admitted",httpkey_token_kind="api_key"}`
)

// refusedFor returns the series of a refusal of a token's key, or of an unknown one.
func refusedFor(reason, result, kind string) string {
	series := `httpkey_requests_total{` + route + `httpkey_reason="` + reason + `",httpkey_result="` + result + `"`
	if kind != "" {
		series += `,httpkey_token_kind="` + kind + `"`
	}
	return series + "}"
}

// cause is something that happens once, and what it counts.
type cause struct {
	name   string
	opts   httpkey.Options
	behind func(http.Handler) http.Handler
	do     func(t *testing.T, s *site)
	want   map[string]int
}

func perHour(n int) []httpkey.Limit { return []httpkey.Limit{httpkey.PerHour(n)} }

// of makes a cause of one request with the key of a token.
func of(token httpkey.Token, change func(t *testing.T, s *site)) func(*testing.T, *site) {
	return func(t *testing.T, s *site) {
		key := s.issue(t, token)
		if change != nil {
			change(t, s)
		}
		s.get(key)
	}
}

func all() []cause {
	const throttled, refused, unavailable = "throttled", "refused", "unavailable"
	return []cause{
		{name: "admitted", do: of(httpkey.Token{}, nil), want: map[string]int{admitted: 1, allowed: 1}},
		{name: "admitted without a limit", do: of(httpkey.Token{}, nil),
			opts: httpkey.Options{Limits: map[httpkey.Kind][]httpkey.Limit{httpkey.APIKey: nil}},
			want: map[string]int{admitted: 1}},
		{name: "a service token within a limit with a name",
			do: of(httpkey.Token{Kind: httpkey.ServiceToken, Limits: []httpkey.Limit{
				{Name: "pro", Rate: 5, Period: time.Hour}, httpkey.PerMinute(60)}}, nil),
			want: map[string]int{
				`httpkey_requests_total{` + route + `httpkey_result="admitted",httpkey_token_kind="service_token"}`: 1,
				`httpkey_rate_limiting_requests_total{httpkey_policy="pro",httpkey_result="allowed"}`:               1}},
		{name: "Admit, without HTTP", do: func(t *testing.T, s *site) {
			if _, err := s.guard.Admit(t.Context(), s.issue(t, httpkey.Token{}), 1); err != nil {
				t.Error(err)
			}
		}, want: map[string]int{
			`httpkey_requests_total{httpkey_result="admitted",httpkey_token_kind="api_key"}`: 1, allowed: 1}},
		{name: "a LimitBy behind a Guard", do: func(t *testing.T, s *site) {
			byAddress := s.guard.LimitBy(func(_ *http.Request, c *httpkey.Charge) { c.Limits = perHour(9) })
			s.handler = s.guard.Handler(byAddress(http.NotFoundHandler()))
			s.get(s.issue(t, httpkey.Token{}))
		}, want: map[string]int{
			`httpkey_requests_total{httpkey_result="admitted",httpkey_token_kind="api_key"}`: 1, allowed: 2}},
		{name: "missing", do: func(_ *testing.T, s *site) { s.get("") },
			want: map[string]int{refusedFor("missing", refused, ""): 1}},
		{name: "malformed", do: func(_ *testing.T, s *site) { s.get("nonsense") },
			want: map[string]int{refusedFor("malformed", refused, ""): 1}},
		{name: "unknown, and then failures", opts: httpkey.Options{Failures: httpkey.PerHour(1)},
			do: func(t *testing.T, s *site) {
				for range 2 {
					key := s.issue(t, httpkey.Token{ID: "gone"})
					if err := s.store.Delete(t.Context(), "gone"); err != nil {
						t.Error(err)
					}
					s.get(key)
				}
			},
			want: map[string]int{refusedFor("unknown", refused, ""): 1, refusedFor("failures", throttled, ""): 1}},
		{name: "inactive", do: of(httpkey.Token{ID: "one"}, func(t *testing.T, s *site) {
			if err := s.guard.Revoke(t.Context(), "one", ""); err != nil {
				t.Error(err)
			}
		}), want: map[string]int{refusedFor("inactive", refused, "api_key"): 1}},
		{name: "expired", do: func(t *testing.T, s *site) {
			key := s.issue(t, httpkey.Token{ExpiredAt: time.Now().Add(time.Second)})
			httpkeytest.Elapse(time.Second)
			s.get(key)
		}, want: map[string]int{refusedFor("expired", refused, "api_key"): 1}},
		{name: "network", do: of(httpkey.Token{Networks: []netip.Prefix{netip.MustParsePrefix("198.51.100.7/32")}}, nil),
			want: map[string]int{refusedFor("network", refused, "api_key"): 1}},
		{name: "limit", do: of(httpkey.Token{Limits: perHour(0)}, nil),
			want: map[string]int{refusedFor("limit", refused, "api_key"): 1, denied: 1}},
		{name: "throttled", do: func(t *testing.T, s *site) {
			key := s.issue(t, httpkey.Token{Limits: perHour(1)})
			s.get(key)
			s.get(key)
		}, want: map[string]int{admitted: 1, allowed: 1, refusedFor("throttled", throttled, "api_key"): 1, denied: 1}},
		{name: "scope, behind a Guard that admits", behind: httpkey.RequireScope("write"), do: of(httpkey.Token{}, nil),
			want: map[string]int{admitted: 1, allowed: 1, refusedFor("scope", refused, "api_key"): 1}},
		{name: "kind", behind: httpkey.RequireKind(httpkey.ServiceToken), do: of(httpkey.Token{}, nil),
			want: map[string]int{admitted: 1, allowed: 1, refusedFor("kind", refused, "api_key"): 1}},
		{name: "workspace", do: of(httpkey.Token{Workspace: "theirs"}, nil),
			behind: httpkey.RequireWorkspace(func(*http.Request) string { return "ours" }),
			want:   map[string]int{admitted: 1, allowed: 1, refusedFor("workspace", refused, "api_key"): 1}},
		{name: "store", do: of(httpkey.Token{}, func(_ *testing.T, s *site) {
			s.store.Before(httpkeytest.Fail(errDown, "Lookup"))
		}), want: map[string]int{refusedFor("store", unavailable, ""): 1}},
		{name: "limiter", do: of(httpkey.Token{}, func(_ *testing.T, s *site) {
			s.limiter.Before(httpkeytest.Fail(errDown))
		}), want: map[string]int{refusedFor("limiter", unavailable, "api_key"): 1}},
		{name: "dry run", opts: httpkey.Options{DryRun: true}, do: func(t *testing.T, s *site) {
			key := s.issue(t, httpkey.Token{Limits: perHour(1)})
			s.get(key)
			s.get(key)
		}, want: map[string]int{admitted: 2, `httpkey_rate_limiting_requests_total{httpkey_result="dry_run"}`: 1}},
		{name: "limiter down", do: func(t *testing.T, s *site) { s.breakLimiter(s.issue(t, httpkey.Token{})) },
			want: map[string]int{refusedFor("limiter", unavailable, "api_key"): 3,
				`httpkey_components_down{httpkey_component="limiter"}`: 1}},
		{name: "limiter up again", do: func(t *testing.T, s *site) {
			key := s.issue(t, httpkey.Token{})
			s.breakLimiter(key)
			s.limiter.Before(nil)
			httpkeytest.Elapse(time.Second)
			s.get(key)
			synctest.Wait()
		}, want: map[string]int{refusedFor("limiter", unavailable, "api_key"): 4}},
		{name: "a flush failed", do: func(t *testing.T, s *site) {
			key := s.issue(t, httpkey.Token{})
			s.store.Before(httpkeytest.Fail(errDown, "Touch"))
			s.get(key)
			httpkeytest.Elapse(1500 * time.Millisecond)
		}, want: map[string]int{admitted: 1, allowed: 1, "httpkey_last_used_failures_total": 1}},
		{name: "changes of tokens", do: func(t *testing.T, s *site) { s.issue(t, httpkey.Token{}) },
			want: map[string]int{}},
	}
}

func (s *site) breakLimiter(key string) {
	s.limiter.Before(httpkeytest.Fail(errDown))
	for range 3 {
		s.get(key)
	}
}

// Run gives each cause an Observer of its own. counts returns the counts of that Observer that are
// not 0, by their series in the notation of Prometheus.
func Run(t *testing.T, observe func(t *testing.T) (o httpkey.Observer, counts func() map[string]int)) {
	t.Helper()
	for _, c := range all() {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				o, counts := observe(t)
				s := newSite(o, c.opts, c.behind)
				c.do(t, s)
				s.store.Before(nil)
				if got := counts(); !maps.Equal(got, c.want) {
					t.Errorf("counted\n%v, want\n%v", got, c.want)
				}
				if err := s.guard.Close(context.Background()); err != nil {
					t.Error(err)
				}
			})
		})
	}
	for down, up := range map[httpkey.EventType]httpkey.EventType{
		cachestore.EventStoreDown: cachestore.EventStoreUp,
		cachestore.EventFeedDown:  cachestore.EventFeedUp,
		streams.EventFeedDown:     streams.EventFeedUp,
	} {
		t.Run(string(down), func(t *testing.T) {
			t.Parallel()
			o, counts := observe(t)
			o.Observe(t.Context(), &httpkey.Event{Type: down, Err: errDown})
			series := `httpkey_components_down{httpkey_component="` + string(down[:len(down)-len("_down")]) + `"}`
			if got, want := counts(), map[string]int{series: 1}; !maps.Equal(got, want) {
				t.Errorf("counted %v, want %v", got, want)
			}
			o.Observe(t.Context(), &httpkey.Event{Type: up})
			if got := counts(); len(got) > 0 {
				t.Errorf("after %s, counted %v", up, got)
			}
		})
	}
}
