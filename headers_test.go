package httpkey_test

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/httpkeytest"
	"github.com/httpkey/httpkey/memstore"
)

func TestIETFHeaders(t *testing.T) {
	t.Parallel()
	midnight := 24 * time.Hour // a bubble begins at the beginning of a day, of a month and of a year
	for _, tt := range []struct {
		name     string
		limits   []httpkey.Limit
		requests int
		pause    time.Duration // before the last
		policy   string
		state    string
	}{
		{"first request", limits(httpkey.PerMinute(60)), 1, 0, `"default";q=60;w=60`, `"default";r=59;t=59`},
		{"second request", limits(httpkey.PerMinute(60)), 2, 0, `"default";q=60;w=60`, `"default";r=58;t=58`},
		{"in between two refills", limits(httpkey.PerHour(60)), 2, 20 * time.Second, `"default";q=60;w=3600`,
			`"default";r=58;t=3480`},
		{"burst below rate", limits(httpkey.Limit{Rate: 60, Burst: 10, Period: time.Minute}), 1, 0, `"default";q=10;w=10`,
			`"default";r=9;t=9`},
		{"faster than the clock", limits(httpkey.Limit{Rate: 10_000_000, Burst: 1, Period: time.Second}), 1, 0,
			`"default";q=1;w=1`, `"default";r=0;t=1`},
		{"none left", limits(httpkey.PerMinute(2)), 2, 0, `"default";q=2;w=60`, `"default";r=0;t=30`},
		{"none left, soon one", limits(httpkey.PerMinute(2)), 2, 9 * time.Second, `"default";q=2;w=60`, `"default";r=0;t=21`},
		{"throttled", limits(httpkey.PerMinute(2)), 3, 10 * time.Second, `"default";q=2;w=60`, `"default";r=0;t=20`},
		{"shorter than a second", limits(httpkey.Limit{Rate: 4, Period: 100 * time.Millisecond}), 1, 0, `"default";q=4;w=1`,
			`"default";r=3;t=1`},
		{"rate that does not divide", limits(httpkey.PerMinute(7)), 1, 0, `"default";q=7;w=60`, `"default";r=6;t=52`},
		{"name", limits(httpkey.Limit{Name: "write", Rate: 5, Period: time.Minute}), 1, 0, `"write";q=5;w=60`,
			`"write";r=4;t=48`},
		{"limit of nothing", limits(httpkey.PerMinute(0)), 1, 0, `"default";q=0;w=60`, `"default";r=0`},
		{"quota", limits(httpkey.PerDay(10)), 1, 0, `"day";q=10;w=86400`, `"day";r=9;t=86400`},
		{"quota in the evening", limits(httpkey.PerDay(10)), 2, midnight - time.Hour, `"day";q=10;w=86400`,
			`"day";r=8;t=3600`},
		{"quota that is used up", limits(httpkey.PerDay(1)), 2, midnight - time.Minute, `"day";q=1;w=86400`,
			`"day";r=0;t=60`},
		{"quota of a month", limits(httpkey.PerMonth(10)), 1, 0, `"month";q=10;w=2678400`, `"month";r=9;t=2678400`},
		{"several", limits(httpkey.PerMinute(60), httpkey.PerHour(100)), 1, 0,
			`"1m0s";q=60;w=60, "1h0m0s";q=100;w=3600`, `"1m0s";r=59;t=59, "1h0m0s";r=99;t=3564`},
		{"several with names", limits(httpkey.Limit{Name: "burst", Rate: 2, Period: time.Second},
			httpkey.Limit{Name: "plan", Rate: 9, Calendar: "day"}), 3, 0,
			`"burst";q=2;w=1, "plan";q=9;w=86400`, `"burst";r=0;t=1, "plan";r=7;t=86400`},
		{"several of one name", limits(httpkey.Limit{Name: "api", Rate: 60, Period: time.Minute},
			httpkey.Limit{Name: "api", Rate: 9, Calendar: "day"}), 1, 0,
			`"api-1m0s";q=60;w=60, "api-day";q=9;w=86400`, `"api-1m0s";r=59;t=59, "api-day";r=8;t=86400`},
		{"one with a name and one without", limits(httpkey.PerMinute(60),
			httpkey.Limit{Name: "api", Rate: 9, Calendar: "day"}), 1, 0,
			`"default";q=60;w=60, "api";q=9;w=86400`, `"default";r=59;t=59, "api";r=8;t=86400`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				guard := newGuard(&httpkey.Options{IETFHeaders: true})
				key, _ := issue(t, guard, httpkey.Token{Limits: tt.limits})
				for range tt.requests - 1 {
					httpkeytest.Get(guard.Handler(ok), key)
				}
				httpkeytest.Elapse(tt.pause)
				h := httpkeytest.Get(guard.Handler(ok), key).Header()
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

// RateLimit and Retry-After tell a throttled client the same time.
func TestRateLimitAgreesWithRetryAfter(t *testing.T) {
	t.Parallel()
	limiters := map[string]func() httpkey.Limiter{
		"GCRA":   func() httpkey.Limiter { return memstore.NewLimiter() },
		"Window": func() httpkey.Limiter { return memstore.NewWindow() },
	}
	for name, newLimiter := range limiters {
		for _, limit := range []httpkey.Limit{httpkey.PerMinute(60), httpkey.PerMinute(7), httpkey.PerHour(2)} {
			t.Run(fmt.Sprint(name, " ", limit), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					guard := httpkey.New(memstore.New(), newLimiter(), &httpkey.Options{IETFHeaders: true})
					key, _ := issue(t, guard, httpkey.Token{Limits: limits(limit)})
					unit, throttled := limit.Period/time.Duration(limit.Rate), 0
					for range 300 {
						h := httpkeytest.Get(guard.Handler(ok), key).Header()
						httpkeytest.Elapse(rand.N(unit / 2))
						wait, err := strconv.Atoi(h.Get("Retry-After"))
						if err != nil {
							continue // admitted
						}
						throttled++
						if want := fmt.Sprintf(`"default";r=0;t=%d`, wait); h.Get("RateLimit") != want {
							t.Fatalf("RateLimit: %s beside Retry-After: %d", h.Get("RateLimit"), wait)
						}
					}
					if throttled < 50 {
						t.Errorf("only %d requests were throttled", throttled)
					}
				})
			})
		}
	}
}

// Remaining counts down from Burst.
func TestLimitHeaderIsTheBurst(t *testing.T) {
	t.Parallel()
	guard := newGuard(nil)
	key, _ := issue(t, guard, httpkey.Token{Limits: limits(httpkey.Limit{Rate: 60, Burst: 10, Period: time.Minute})})
	h := httpkeytest.Get(guard.Handler(ok), key).Header()
	if h.Get("X-RateLimit-Limit") != "10" || h.Get("X-RateLimit-Remaining") != "9" {
		t.Errorf("the headers are %v", h)
	}
}

func TestIETFHeadersAreOptIn(t *testing.T) {
	t.Parallel()
	guard := newGuard(nil)
	key, _ := issue(t, guard, httpkey.Token{})
	h := httpkeytest.Get(guard.Handler(ok), key).Header()
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
		limiter := limiterFunc(func(context.Context, *httpkey.Charge) (httpkey.Result, error) { return result, nil })
		guard := httpkey.New(memstore.New(), limiter, &httpkey.Options{IETFHeaders: true})
		key, _ := issue(t, guard, httpkey.Token{})
		h := httpkeytest.Get(guard.Handler(ok), key).Header()
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
