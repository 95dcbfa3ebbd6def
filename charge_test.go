package httpkey_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"net/http"
	"reflect"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/httpkeytest"
	"github.com/httpkey/httpkey/memstore"
)

type edit = func(*http.Request, *httpkey.Token, *httpkey.Charge)

// The limiter is asked for the charge of the token or its kind, as Options.Charge edits it,
// wherever the token is kept.
func TestChargeOfARequest(t *testing.T) {
	t.Parallel()
	byKind := map[httpkey.Kind][]httpkey.Limit{httpkey.APIKey: limits(httpkey.PerHour(5)),
		httpkey.ServiceToken: limits(httpkey.PerHour(7))}
	several := limits(httpkey.PerSecond(5), httpkey.PerDay(500))
	plans := map[string][]httpkey.Limit{"pro": limits(httpkey.PerSecond(9), httpkey.PerDay(900))}
	byPlan := func(_ *http.Request, t *httpkey.Token, c *httpkey.Charge) {
		if limits, ok := plans[t.Metadata["plan"]]; ok {
			c.Limits = limits
		}
	}
	byUser := func(_ *http.Request, t *httpkey.Token, c *httpkey.Charge) { c.Bucket = "user:" + t.User }
	add := func(_ *http.Request, _ *httpkey.Token, c *httpkey.Charge) {
		c.Limits = append(c.Limits, httpkey.Limit{Name: "route", Rate: 1, Period: time.Second})
	}
	lower := func(_ *http.Request, _ *httpkey.Token, c *httpkey.Charge) { c.Limits[0].Rate = 1 }
	costs := func(n int) edit {
		return func(_ *http.Request, _ *httpkey.Token, c *httpkey.Charge) { c.Cost = n }
	}
	byMethod := func(r *http.Request, t *httpkey.Token, c *httpkey.Charge) {
		if r.Method == http.MethodGet && t.ID == "t" && c.Cost == 1 && c.Bucket == "token:t" {
			c.Cost = 3
		}
	}
	minute := func(n int) []httpkey.Limit { return limits(httpkey.PerMinute(n)) }
	for _, tt := range []struct {
		name  string
		opts  httpkey.Options
		token httpkey.Token
		want  httpkey.Charge
	}{
		{"defaults", httpkey.Options{}, httpkey.Token{}, httpkey.Charge{Bucket: "token:t", Limits: minute(60), Cost: 1}},
		{"service token", httpkey.Options{}, httpkey.Token{Kind: httpkey.ServiceToken},
			httpkey.Charge{Bucket: "token:t", Limits: minute(300), Cost: 1}},
		{"limit of the kind", httpkey.Options{Limits: byKind}, httpkey.Token{},
			httpkey.Charge{Bucket: "token:t", Limits: byKind[httpkey.APIKey], Cost: 1}},
		{"limit of the other kind", httpkey.Options{Limits: byKind}, httpkey.Token{Kind: httpkey.ServiceToken},
			httpkey.Charge{Bucket: "token:t", Limits: byKind[httpkey.ServiceToken], Cost: 1}},
		{"limits of the token", httpkey.Options{Limits: byKind}, httpkey.Token{Limits: several},
			httpkey.Charge{Bucket: "token:t", Limits: several, Cost: 1}},
		{"limit by plan", httpkey.Options{Charge: byPlan}, httpkey.Token{Metadata: map[string]string{"plan": "pro"}},
			httpkey.Charge{Bucket: "token:t", Limits: plans["pro"], Cost: 1}},
		{"limit by a plan that is none", httpkey.Options{Charge: byPlan},
			httpkey.Token{Metadata: map[string]string{"plan": "free"}}, httpkey.Charge{Bucket: "token:t", Limits: minute(60),
				Cost: 1}},
		{"bucket of the user", httpkey.Options{Charge: byUser}, httpkey.Token{User: "u"},
			httpkey.Charge{Bucket: "user:u", Limits: minute(60), Cost: 1}},
		{"one more limit", httpkey.Options{Charge: add, Limits: byKind}, httpkey.Token{},
			httpkey.Charge{Bucket: "token:t", Limits: limits(httpkey.PerHour(5),
				httpkey.Limit{Name: "route", Rate: 1, Period: time.Second}), Cost: 1}},
		{"lower limit", httpkey.Options{Charge: lower, Limits: byKind}, httpkey.Token{},
			httpkey.Charge{Bucket: "token:t", Limits: limits(httpkey.PerHour(1)), Cost: 1}},
		{"free", httpkey.Options{Charge: costs(0)}, httpkey.Token{}, httpkey.Charge{Bucket: "token:t", Limits: minute(60)}},
		{"dear", httpkey.Options{Charge: costs(5)}, httpkey.Token{},
			httpkey.Charge{Bucket: "token:t", Limits: minute(60), Cost: 5}},
		{"by the request", httpkey.Options{Charge: byMethod}, httpkey.Token{},
			httpkey.Charge{Bucket: "token:t", Limits: minute(60), Cost: 3}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			for _, store := range []httpkey.TokenStore{memstore.New(), httpkeytest.NewStore(memstore.New())} {
				var got httpkey.Charge
				guard := httpkey.New(store, limiterFunc(func(_ context.Context, c *httpkey.Charge) (httpkey.Result, error) {
					got = *c
					got.Limits = slices.Clone(c.Limits)
					return httpkey.Result{Allowed: true}, nil
				}), &tt.opts)
				token := tt.token
				token.ID = "t"
				key, _ := issue(t, guard, token)
				for range 2 { // an edit must not change the options or the token
					if httpkeytest.Get(guard.Handler(ok), key); !reflect.DeepEqual(got, tt.want) {
						t.Errorf("the limiter was asked %+v, want %+v", got, tt.want)
					}
				}
			}
		})
	}
}

// Edits in place change neither the configuration nor a token, however a
// limiter is reached.
func TestEditsOfChargesChangeNothingElse(t *testing.T) {
	t.Parallel()
	configured := map[httpkey.Kind][]httpkey.Limit{httpkey.APIKey: limits(httpkey.PerHour(50), httpkey.PerDay(500))}
	reckless := func(_ *http.Request, token *httpkey.Token, c *httpkey.Charge) {
		for i := range c.Limits {
			c.Limits[i].Rate /= 2
		}
		c.Limits = append(c.Limits, httpkey.PerSecond(1000))
		c.Limits = append(c.Limits[:1], c.Limits[2:]...)
		if len(token.Limits) > 0 {
			c.Limits = token.Limits // a copy that belongs to the charge
			c.Limits[0].Rate = 3
		}
	}
	for name, limiter := range map[string]httpkey.Limiter{
		"in memory": memstore.NewLimiter(), "elsewhere": httpkeytest.NewLimiter(memstore.NewLimiter()),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			store := memstore.New()
			guard := httpkey.New(store, limiter, &httpkey.Options{Limits: configured, Charge: reckless})
			plain, _ := issue(t, guard, httpkey.Token{})
			own, token := issue(t, guard, httpkey.Token{Limits: limits(httpkey.PerHour(9))})
			for range 3 {
				for key, want := range map[string]string{plain: "25", own: "3"} {
					if got := httpkeytest.Get(guard.Handler(ok), key).Header().Get("X-RateLimit-Limit"); got != want {
						t.Errorf("the limit is %s, want %s", got, want)
					}
				}
			}
			kept, err := store.Get(t.Context(), token.ID)
			if err != nil || kept.Limits[0] != httpkey.PerHour(9) {
				t.Errorf("the token's limits became %v (%v)", kept.Limits, err)
			}
			if configured[httpkey.APIKey][0] != httpkey.PerHour(50) {
				t.Errorf("the options became %v", configured)
			}
		})
	}
}

// No limits left is no limit, and no headers.
func TestChargeWithoutLimitsIsUnlimited(t *testing.T) {
	t.Parallel()
	guard, key := httpkeytest.New(t, &httpkey.Options{
		IETFHeaders: true,
		Charge:      func(_ *http.Request, _ *httpkey.Token, c *httpkey.Charge) { c.Limits = nil },
	})
	for range 100 {
		w := httpkeytest.Get(guard.Handler(ok), key)
		if w.Code != http.StatusOK || len(w.Header()["X-Ratelimit-Limit"])+len(w.Header()["Ratelimit"]) > 0 {
			t.Fatalf("status %d, %v", w.Code, w.Header())
		}
	}
}

// A charge that no limiter could apply must not become "no limit": it is answered 503 and
// observed, whichever limiter is there.
func TestInvalidChargesNeverAllow(t *testing.T) {
	t.Parallel()
	for name, edit := range map[string]func(*httpkey.Charge){
		"negative rate":        func(c *httpkey.Charge) { c.Limits[0].Rate = -1 },
		"no period":            func(c *httpkey.Charge) { c.Limits[0].Period = 0 },
		"zero limit":           func(c *httpkey.Charge) { c.Limits = append(c.Limits, httpkey.Limit{}) },
		"two of one bucket":    func(c *httpkey.Charge) { c.Limits = append(c.Limits, httpkey.PerMinute(5)) },
		"nine limits":          func(c *httpkey.Charge) { c.Limits = make([]httpkey.Limit, 9) },
		"negative cost":        func(c *httpkey.Charge) { c.Cost = -1 },
		"forced":               func(c *httpkey.Charge) { c.Forced = true },
		"forced negative cost": func(c *httpkey.Charge) { c.Cost, c.Forced = -1, true },
	} {
		for where, limiter := range map[string]httpkey.Limiter{
			"in memory": memstore.NewLimiter(), "strict": memstore.NewWindow(), "elsewhere": newRemoteLimiter(),
		} {
			t.Run(name+", "+where, func(t *testing.T) {
				t.Parallel()
				var seen events
				guard := httpkey.New(memstore.New(), limiter, &httpkey.Options{
					Observers: observers(&seen),
					Charge:    func(_ *http.Request, _ *httpkey.Token, c *httpkey.Charge) { edit(c) },
				})
				key, _ := issue(t, guard, httpkey.Token{})
				for range 5 {
					w := httpkeytest.Get(guard.Handler(ok), key)
					if w.Code != http.StatusServiceUnavailable || w.Header().Get("X-RateLimit-Limit") != "" {
						t.Errorf("%d %v, want 503", w.Code, w.Header())
					}
					if e := seen.last(t); e.Reason != httpkey.ReasonLimiter || !errors.Is(e.Err, httpkey.ErrInvalidLimit) {
						t.Errorf("observed %s %s: %v", e.Type, e.Reason, e.Err)
					}
				}
				if got := seen.changes(); len(got) > 0 {
					t.Errorf("an invalid charge is told as an outage: %v", got)
				}
			})
		}
	}
}

// everyLimiter are the limiters that a Guard may have, and one that is down.
var everyLimiter = map[string]func() httpkey.Limiter{
	"in memory":        func() httpkey.Limiter { return memstore.NewLimiter() },
	"strict":           func() httpkey.Limiter { return memstore.NewWindow() },
	"elsewhere":        func() httpkey.Limiter { return newRemoteLimiter() },
	"strict elsewhere": func() httpkey.Limiter { return httpkeytest.NewLimiter(memstore.NewWindow()) },
	"down": func() httpkey.Limiter {
		limiter := newRemoteLimiter()
		limiter.Before(refused)
		return limiter
	},
}

// A limit that can never admit a charge causes no outage, no throttling and no error to log.
func TestLimitOfNothing(t *testing.T) {
	t.Parallel()
	costs := func(n int) edit {
		return func(_ *http.Request, _ *httpkey.Token, c *httpkey.Charge) { c.Cost = n }
	}
	under := func(l ...httpkey.Limit) edit {
		return func(_ *http.Request, _ *httpkey.Token, c *httpkey.Charge) { c.Limits = l }
	}
	for name, tt := range map[string]struct {
		limits []httpkey.Limit
		edit   edit
		cost   int // of Admit
	}{
		"rate 0":                         {limits(httpkey.PerMinute(0)), nil, 1},
		"rate 0, by the charge":          {nil, under(httpkey.PerMinute(0)), 1},
		"quota 0":                        {limits(httpkey.PerDay(0)), nil, 1},
		"rate 0 among others":            {limits(httpkey.PerHour(5), httpkey.PerMinute(0)), nil, 1},
		"rate 0, in an odd period":       {limits(httpkey.Limit{Period: time.Minute + 1}), nil, 1},
		"cost above burst":               {nil, costs(61), 61},
		"cost above burst, odd period":   {limits(httpkey.Limit{Rate: 60, Period: time.Minute + 1}), costs(61), 61},
		"cost above one of two":          {limits(httpkey.PerHour(50), httpkey.PerSecond(5)), costs(6), 6},
		"cost above a quota":             {limits(httpkey.PerMonth(60)), costs(61), 61},
		"cost above a quota and a limit": {limits(httpkey.PerDay(60), httpkey.PerMinute(60)), costs(61), 61},
		"cost above all that can be":     {nil, costs(math.MaxInt), math.MaxInt},
		"cost above all of several": {limits(httpkey.PerDay(60), httpkey.PerMinute(60)), costs(math.MaxInt),
			math.MaxInt},
		"cost 0, but rate 0, too": {limits(httpkey.PerMinute(0)), costs(0), 0},
	} {
		for where, limiter := range everyLimiter {
			t.Run(name+", "+where, func(t *testing.T) {
				t.Parallel()
				var seen events
				guard := httpkey.New(memstore.New(), limiter(), &httpkey.Options{Observers: observers(&seen), Charge: tt.edit})
				plain := httpkey.New(guard.Store(), limiter(), &httpkey.Options{Observers: observers(&seen)})
				key, token := issue(t, guard, httpkey.Token{Limits: tt.limits})
				for range 5 {
					w := httpkeytest.Get(guard.Handler(ok), key)
					if w.Code != http.StatusForbidden || w.Body.String() != forbidden || w.Header().Get("X-RateLimit-Limit") == "" ||
						w.Header().Get("Retry-After") != "" {
						t.Errorf("%d %s %v", w.Code, w.Body, w.Header())
					}
					if e := seen.last(t); e.Reason != httpkey.ReasonLimit || e.Token.ID != token.ID || e.Err != nil {
						t.Errorf("observed %+v", e)
					}
				}
				admits := []*httpkey.Guard{guard}
				if name != "rate 0, by the charge" {
					admits = append(admits, plain) // it knows only the token's limits and the cost
				}
				for _, g := range admits {
					_, err := g.Admit(t.Context(), key, tt.cost)
					if e := seen.last(t); !errors.Is(err, httpkey.ErrForbidden) || e.Reason != httpkey.ReasonLimit || e.Err != nil {
						t.Errorf("Admit returned %v, observed %+v", err, e)
					}
				}
			})
		}
	}
}

// A Period with nanoseconds is rounded up, so that its limit works like any other.
func TestOddPeriods(t *testing.T) {
	t.Parallel()
	odd := httpkey.Limit{Rate: 3, Period: time.Hour + 1}
	whole := httpkey.Limit{Rate: 3, Period: time.Hour + time.Microsecond}
	byKind := func(l ...httpkey.Limit) map[httpkey.Kind][]httpkey.Limit {
		return map[httpkey.Kind][]httpkey.Limit{httpkey.APIKey: l}
	}
	charge := func(_ *http.Request, _ *httpkey.Token, c *httpkey.Charge) { c.Limits = limits(odd) }
	for where, limiter := range everyLimiter {
		for how, tt := range map[string]struct {
			opts  httpkey.Options
			token httpkey.Token
		}{
			"of the token":   {httpkey.Options{}, httpkey.Token{Limits: limits(odd)}},
			"of the kind":    {httpkey.Options{Limits: byKind(odd)}, httpkey.Token{}},
			"of the charge":  {httpkey.Options{Charge: charge}, httpkey.Token{}},
			"beside another": {httpkey.Options{}, httpkey.Token{Limits: limits(odd, httpkey.PerDay(10))}},
		} {
			t.Run(how+", "+where, func(t *testing.T) {
				t.Parallel()
				var seen events
				tt.opts.Observers = observers(&seen)
				if err := tt.opts.Validate(); err != nil {
					t.Fatal(err)
				}
				guard := httpkey.New(memstore.New(), limiter(), &tt.opts)
				key, _ := issue(t, guard, tt.token)
				for n := range 5 {
					want := map[bool]int{true: http.StatusOK, false: http.StatusTooManyRequests}[n < 3]
					w := httpkeytest.Get(guard.Handler(ok), key)
					e := seen.last(t)
					if w.Code != want || e.Err != nil || e.Result.Limit != whole.Resolve() {
						t.Errorf("request %d: %d, observed %+v", n, w.Code, e)
					}
				}
			})
		}
	}
	if err := (&httpkey.Options{Limits: byKind(odd, whole)}).Validate(); !errors.Is(err, httpkey.ErrInvalidOptions) {
		t.Errorf("two limits that are equal when rounded: %v", err)
	}
	if err := (httpkey.Token{ID: "t", Kind: httpkey.APIKey, Limits: limits(odd, whole)}).Validate(); !errors.Is(err,
		httpkey.ErrInvalidLimit) {
		t.Errorf("two limits of a token that are equal when rounded: %v", err)
	}
}

func TestSharedBucket(t *testing.T) {
	t.Parallel()
	for name, limiter := range map[string]httpkey.Limiter{"in memory": memstore.NewLimiter(),
		"elsewhere": newRemoteLimiter()} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			guard := httpkey.New(memstore.New(), limiter, &httpkey.Options{
				Charge: func(_ *http.Request, t *httpkey.Token, c *httpkey.Charge) {
					c.Bucket, c.Limits = "user:"+t.User, limits(httpkey.PerHour(60))
				},
			})
			first, _ := issue(t, guard, httpkey.Token{User: "ann"})
			second, _ := issue(t, guard, httpkey.Token{User: "ann"})
			other, _ := issue(t, guard, httpkey.Token{User: "bob"})
			for i, step := range []struct{ key, remaining string }{{first, "59"}, {second, "58"}, {other, "59"}, {first, "57"}} {
				h := httpkeytest.Get(guard.Handler(ok), step.key).Header()
				if got := h.Get("X-RateLimit-Remaining"); got != step.remaining {
					t.Errorf("request %d: Remaining %s, want %s", i+1, got, step.remaining)
				}
			}
		})
	}
}

// A refusal by one of several limits takes from none, and the headers tell of the one that
// binds.
func TestSeveralLimits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		for name, limiter := range map[string]httpkey.Limiter{"in memory": memstore.NewLimiter(),
			"elsewhere": newRemoteLimiter()} {
			guard := httpkey.New(memstore.New(), limiter, nil)
			key, _ := issue(t, guard, httpkey.Token{Limits: limits(httpkey.PerSecond(3), httpkey.PerMinute(5))})
			for n, want := range []string{
				"200 3 2", "200 3 1", "200 3 0", "429 3 0", "429 3 0", // within a second
				"+1s", "200 5 1", "200 5 0", "429 5 0", // within a minute
				"+12s", "200 5 0",
				"+1m", "200 3 2",
			} {
				if pause, err := time.ParseDuration(want); err == nil {
					httpkeytest.Elapse(pause)
					continue
				}
				w := httpkeytest.Get(guard.Handler(ok), key)
				got := fmt.Sprint(w.Code, " ", w.Header().Get("X-RateLimit-Limit"), " ", w.Header().Get("X-RateLimit-Remaining"))
				if got != want {
					t.Errorf("%s: step %d is %s, want %s", name, n, got, want)
				}
			}
		}
	})
}

// A payer whose limit changes from request to request keeps its use so far.
func TestChangingLimitsAdmitNoMore(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := 0
		guard, key := httpkeytest.New(t, &httpkey.Options{Charge: func(_ *http.Request, _ *httpkey.Token, c *httpkey.Charge) {
			c.Limits = limits(httpkey.PerMinute(41 + n%20))
			n++
		}})
		admitted := 0
		for range 3000 { // a minute
			if httpkeytest.Get(guard.Handler(ok), key).Code == http.StatusOK {
				admitted++
			}
			httpkeytest.Elapse(20 * time.Millisecond)
		}
		if admitted > 2*60 || admitted < 41 { // the burst, and a minute's worth
			t.Errorf("%d requests were admitted in a minute", admitted)
		}
	})
}

// Requests reuse the memory of charges. No token has a property of another one.
func TestChargesDoNotMixMetadata(t *testing.T) {
	t.Parallel()
	var seen map[string]string
	guard := newGuard(&httpkey.Options{Charge: func(_ *http.Request, t *httpkey.Token, _ *httpkey.Charge) {
		seen = maps.Clone(t.Metadata)
		if t.Metadata != nil {
			t.Metadata["plan"] = "unlimited"
		}
	}})
	tokens := []map[string]string{{"plan": "pro"}, {"region": "eu"}, nil, {"plan": "free"}}
	keys := make([]string, len(tokens))
	for i, metadata := range tokens {
		keys[i], _ = issue(t, guard, httpkey.Token{Metadata: metadata})
	}
	for range 10 {
		for i, want := range tokens {
			if httpkeytest.Get(guard.Handler(ok), keys[i]); !maps.Equal(seen, want) {
				t.Errorf("Charge sees the Metadata %v, want %v", seen, want)
			}
		}
	}
}
