package httpkey_test

import (
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/memstore"
)

func TestIETFHeaders(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name     string
		limit    httpkey.Limit
		requests int
		pause    time.Duration // before the last
		policy   string
		state    string
	}{
		{"second request", httpkey.PerMinute(60), 2, 0, `"default";q=60;w=60`, `"default";r=58;t=1`},
		{"first request", httpkey.PerMinute(60), 1, 0, `"default";q=60;w=60`, `"default";r=59;t=1`},
		{"in between two refills", httpkey.PerHour(60), 2, 20 * time.Second, `"default";q=60;w=3600`, `"default";r=58;t=40`},
		{"burst below rate", httpkey.Limit{Rate: 60, Burst: 10, Period: time.Minute}, 1, 0, `"default";q=10;w=10`, `"default";r=9;t=1`},
		{"faster than the clock", httpkey.Limit{Rate: 10_000_000, Burst: 1, Period: time.Second}, 1, 0, `"default";q=1;w=1`, `"default";r=0;t=1`},
		{"throttled", httpkey.PerMinute(2), 3, 0, `"default";q=2;w=60`, `"default";r=0;t=30`},
		{"shorter than a second", httpkey.Limit{Rate: 4, Period: 100 * time.Millisecond}, 1, 0, `"default";q=4;w=1`, `"default";r=3;t=1`},
		{"rate that does not divide", httpkey.PerMinute(7), 1, 0, `"default";q=7;w=60`, `"default";r=6;t=9`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				guard := newGuard(&httpkey.Options{IETFHeaders: true})
				key, _ := issue(t, guard, httpkey.Token{Limit: tt.limit})
				for range tt.requests - 1 {
					get(guard.Handler(ok), key)
				}
				elapse(tt.pause) // on the bubble's clock
				h := get(guard.Handler(ok), key).Header()
				if got := h.Get("RateLimit-Policy"); got != tt.policy {
					t.Errorf("RateLimit-Policy: %s, want %s", got, tt.policy)
				}
				if got := h.Get("RateLimit"); got != tt.state {
					t.Errorf("RateLimit: %s, want %s", got, tt.state)
				}
			})
		})
	}
}

func TestIETFHeadersLeaveOutTheTimeOfAFullBucket(t *testing.T) {
	t.Parallel()
	guard := newGuard(&httpkey.Options{
		IETFHeaders: true,
		Cost:        func(*http.Request, httpkey.Token) int { return 0 },
	})
	key, _ := issue(t, guard, httpkey.Token{})
	if got := get(guard.Handler(ok), key).Header().Get("RateLimit"); got != `"default";r=60` {
		t.Errorf("RateLimit: %s", got)
	}
}

// What may come at once is the quota that Remaining counts down.
func TestLimitHeaderIsTheBurst(t *testing.T) {
	t.Parallel()
	guard := newGuard(nil)
	key, _ := issue(t, guard, httpkey.Token{Limit: httpkey.Limit{Rate: 60, Burst: 10, Period: time.Minute}})
	h := get(guard.Handler(ok), key).Header()
	if h.Get("X-RateLimit-Limit") != "10" || h.Get("X-RateLimit-Remaining") != "9" {
		t.Errorf("the headers are %v", h)
	}
}

func TestIETFHeadersAreOptIn(t *testing.T) {
	t.Parallel()
	guard := newGuard(nil)
	key, _ := issue(t, guard, httpkey.Token{})
	h := get(guard.Handler(ok), key).Header()
	if h.Get("RateLimit") != "" || h.Get("RateLimit-Policy") != "" {
		t.Errorf("the response has them: %v", h)
	}
}

// A foreign limiter's nonsense is not passed on, and does not crash.
func TestNonsenseResultsAreContained(t *testing.T) {
	t.Parallel()
	for _, result := range []httpkey.Result{
		{Allowed: true, Limit: httpkey.Limit{Burst: 5}, Remaining: -3, ResetAfter: -time.Hour},
		{Limit: httpkey.PerMinute(1), Remaining: 900, ResetAfter: 1 << 62, RetryAfter: 1 << 62},
		{Allowed: true, Limit: httpkey.Limit{Rate: 5, Burst: 5, Period: time.Minute}, Remaining: -3},
		{Limit: httpkey.Limit{Rate: math.MaxInt, Burst: math.MaxInt, Period: math.MaxInt64}, RetryAfter: -1},
	} {
		limiter := limiterFunc(func(string, httpkey.Limit, int) (httpkey.Result, error) { return result, nil })
		guard := httpkey.New(memstore.New(), limiter, &httpkey.Options{IETFHeaders: true})
		key, _ := issue(t, guard, httpkey.Token{})
		h := get(guard.Handler(ok), key).Header()
		if got := h.Get("X-RateLimit-Remaining"); got == "" || got[0] == '-' {
			t.Errorf("%+v: Remaining %q", result, got)
		}
		if got := h.Get("RateLimit"); strings.Contains(got, "-") || strings.Contains(got, "t=0") {
			t.Errorf("%+v: RateLimit %s", result, got)
		}
		if got := h.Get("Retry-After"); !result.Allowed && (got == "" || got[0] == '-' || got[0] == '0') {
			t.Errorf("%+v: Retry-After %q", result, got)
		}
	}
}

// The decision about limit, cost and bucket of a request.
func TestLimitCostAndBucket(t *testing.T) {
	t.Parallel()
	type ask struct {
		key   string
		limit httpkey.Limit
		n     int
	}
	own := httpkey.PerHour(5)
	plan := httpkey.PerSecond(9)
	for _, tt := range []struct {
		name  string
		opts  httpkey.Options
		token httpkey.Token
		want  ask
	}{
		{"defaults", httpkey.Options{}, httpkey.Token{ID: "t"}, ask{"t", httpkey.PerMinute(60), 1}},
		{"service token", httpkey.Options{}, httpkey.Token{ID: "t", Kind: httpkey.ServiceToken}, ask{"t", httpkey.PerMinute(300), 1}},
		{"limit of the kind", httpkey.Options{APIKeyLimit: own}, httpkey.Token{ID: "t"}, ask{"t", own, 1}},
		{"limit of the other kind", httpkey.Options{ServiceTokenLimit: own}, httpkey.Token{ID: "t"}, ask{"t", httpkey.PerMinute(60), 1}},
		{"limit of the token", httpkey.Options{APIKeyLimit: httpkey.PerHour(1)}, httpkey.Token{ID: "t", Limit: own}, ask{"t", own, 1}},
		{"limit of a service token of its own", httpkey.Options{}, httpkey.Token{ID: "t", Kind: httpkey.ServiceToken, Limit: own}, ask{"t", own, 1}},
		{"limit of the request", httpkey.Options{Limit: func(r *http.Request, t httpkey.Token) httpkey.Limit {
			if r.Method == http.MethodGet && t.User == "u" {
				return plan
			}
			return httpkey.Limit{}
		}}, httpkey.Token{ID: "t", User: "u", Limit: own}, ask{"t", plan, 1}},
		{"limit of the request left open", httpkey.Options{Limit: func(*http.Request, httpkey.Token) httpkey.Limit {
			return httpkey.Limit{}
		}}, httpkey.Token{ID: "t", Limit: own}, ask{"t", own, 1}},
		{"cost", httpkey.Options{Cost: func(*http.Request, httpkey.Token) int { return 7 }}, httpkey.Token{ID: "t"}, ask{"t", httpkey.PerMinute(60), 7}},
		{"bucket of the user", httpkey.Options{Bucket: httpkey.PerUser}, httpkey.Token{ID: "t", User: "u"}, ask{"user:u", httpkey.PerMinute(60), 1}},
		{"bucket of no user", httpkey.Options{Bucket: httpkey.PerUser}, httpkey.Token{ID: "t"}, ask{"t", httpkey.PerMinute(60), 1}},
		{"bucket of the workspace", httpkey.Options{Bucket: httpkey.PerWorkspace}, httpkey.Token{ID: "t", Workspace: "w"}, ask{"workspace:w", httpkey.PerMinute(60), 1}},
		{"bucket of no workspace", httpkey.Options{Bucket: httpkey.PerWorkspace}, httpkey.Token{ID: "t", User: "u"}, ask{"t", httpkey.PerMinute(60), 1}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var got ask
			guard := httpkey.New(memstore.New(), limiterFunc(func(key string, limit httpkey.Limit, n int) (httpkey.Result, error) {
				got = ask{key, limit, n}
				return httpkey.Result{Allowed: true}, nil
			}), &tt.opts)
			key, _ := issue(t, guard, tt.token)
			get(guard.Handler(ok), key)
			if got != tt.want {
				t.Errorf("the limiter was asked %+v, want %+v", got, tt.want)
			}
		})
	}
}

// A limit or a cost that cannot be applied must not become "no limit".
func TestInvalidLimitsNeverAllow(t *testing.T) {
	t.Parallel()
	for name, opts := range map[string]httpkey.Options{
		"negative rate": {Limit: func(*http.Request, httpkey.Token) httpkey.Limit { return httpkey.Limit{Rate: -1, Period: time.Second} }},
		"no rate":       {Limit: func(*http.Request, httpkey.Token) httpkey.Limit { return httpkey.Limit{Period: time.Hour} }},
		"no period":     {Limit: func(*http.Request, httpkey.Token) httpkey.Limit { return httpkey.Limit{Rate: 5} }},
		"negative cost": {Cost: func(*http.Request, httpkey.Token) int { return -1 }},
		"cost above it": {Cost: func(*http.Request, httpkey.Token) int { return 61 }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			guard := newGuard(&opts)
			key, _ := issue(t, guard, httpkey.Token{})
			for range 3 {
				if w := get(guard.Handler(ok), key); w.Code != http.StatusServiceUnavailable {
					t.Errorf("status %d, want 503", w.Code)
				}
			}
		})
	}
}

func TestSharedBucket(t *testing.T) {
	t.Parallel()
	guard := newGuard(&httpkey.Options{Bucket: httpkey.PerUser})
	first, _ := issue(t, guard, httpkey.Token{User: "ann"})
	second, _ := issue(t, guard, httpkey.Token{User: "ann"})
	other, _ := issue(t, guard, httpkey.Token{User: "bob"})
	for i, step := range []struct{ key, remaining string }{{first, "59"}, {second, "58"}, {other, "59"}, {first, "57"}} {
		if got := get(guard.Handler(ok), step.key).Header().Get("X-RateLimit-Remaining"); got != step.remaining {
			t.Errorf("request %d: Remaining %s, want %s", i+1, got, step.remaining)
		}
	}
}

// The wrapped handler sees the ResponseWriter itself, with all that it can do.
func TestResponseWriterIsNotWrapped(t *testing.T) {
	t.Parallel()
	guard := newGuard(nil)
	key, _ := issue(t, guard, httpkey.Token{})
	w := httptest.NewRecorder()
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.Header.Set("X-Api-Key", key)
	guard.Handler(http.HandlerFunc(func(got http.ResponseWriter, _ *http.Request) {
		if got != http.ResponseWriter(w) {
			t.Errorf("the handler got a %T", got)
		}
	})).ServeHTTP(w, r)
}
