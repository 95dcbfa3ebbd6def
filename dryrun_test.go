package httpkey_test

import (
	"errors"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/httpkeytest"
	"github.com/httpkey/httpkey/memstore"
)

// A limit under DryRun decides as if it were enforced, says so, and refuses nothing. The limits
// that are enforced decide as if there were no other.
func TestDryRun(t *testing.T) {
	t.Parallel()
	dry := func(l httpkey.Limit, name string) httpkey.Limit {
		l.DryRun, l.Name = true, name
		return l
	}
	for _, tt := range []struct {
		name   string
		all    bool // Options.DryRun
		limits []httpkey.Limit
		// of six requests:
		statuses   string
		marks      string // of X-RateLimit-Dry-Run: allowed, denied, or none
		remainings string
	}{
		{"none", false, limits(httpkey.PerMinute(2)), "200 200 429 429 429 429", "- - - - - -", "1 0 0 0 0 0"},
		{"one limit", false, limits(dry(httpkey.PerMinute(2), "")), "200 200 200 200 200 200", "a a d d d d", "1 0 0 0 0 0"},
		{"a new limit beside an old one", false, limits(httpkey.PerHour(4), dry(httpkey.PerMinute(2), "new")),
			"200 200 200 200 429 429", "a a d d - -", "3 2 1 0 0 0"},
		{"a wider limit", false, limits(httpkey.PerMinute(2), dry(httpkey.PerHour(100), "wide")),
			"200 200 429 429 429 429", "a a - - - -", "1 0 0 0 0 0"},
		{"two new limits", false, limits(dry(httpkey.PerMinute(2), "a"), dry(httpkey.PerHour(100), "b")),
			"200 200 200 200 200 200", "a a d d d d", "1 0 0 0 0 0"},
		{"a limit of nothing", false, limits(dry(httpkey.PerMinute(0), "")), "200 200 200 200 200 200", "d d d d d d",
			"0 0 0 0 0 0"},
		{"a blocked key", true, limits(httpkey.PerMinute(0)), "403 403 403 403 403 403", "- - - - - -", "0 0 0 0 0 0"},
		{"the whole Guard", true, limits(httpkey.PerMinute(2)), "200 200 200 200 200 200", "a a d d d d", "1 0 0 0 0 0"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var seen events
				guard := newGuard(&httpkey.Options{DryRun: tt.all, IETFHeaders: true, Observers: observers(&seen)})
				key, _ := issue(t, guard, httpkey.Token{Limits: tt.limits})
				seen.all = nil
				var statuses, marks, remainings string
				denials := 0
				for range 6 {
					w := httpkeytest.Get(guard.Handler(ok), key)
					mark := "-"
					if value := w.Header().Get("X-RateLimit-Dry-Run"); value != "" {
						mark = value[:1]
					}
					if mark == "d" {
						denials++
					}
					statuses += " " + strconv.Itoa(w.Code)
					marks += " " + mark
					remainings += " " + w.Header().Get("X-RateLimit-Remaining")
				}
				if statuses[1:] != tt.statuses || marks[1:] != tt.marks || remainings[1:] != tt.remainings {
					t.Errorf("%s |%s |%s, want %s | %s | %s", statuses, marks, remainings, tt.statuses, tt.marks, tt.remainings)
				}
				told := 0
				for _, of := range seen.types() {
					if of == httpkey.EventDryRun {
						told++
					}
				}
				if told != denials {
					t.Errorf("the Observer was told %d times of %d denials", told, denials)
				}
			})
		})
	}
}

// A bad key is refused under DryRun too.
func TestDryRunRefusesBadKeys(t *testing.T) {
	t.Parallel()
	guard := newGuard(&httpkey.Options{DryRun: true})
	_, token := issue(t, guard, httpkey.Token{})
	if err := guard.Store().Delete(t.Context(), token.ID); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"", "hunter2"} {
		if w := httpkeytest.Get(guard.Handler(ok), key); w.Code != http.StatusUnauthorized {
			t.Errorf("%q: status %d", key, w.Code)
		}
	}
}

// A limiter that is down refuses nothing that is not enforced.
func TestDryRunOutage(t *testing.T) {
	t.Parallel()
	limiter := httpkeytest.NewLimiter(memstore.NewLimiter())
	limiter.Before(httpkeytest.Fail(errors.New("down")))
	guard := httpkey.New(memstore.New(), limiter, &httpkey.Options{DryRun: true, Fallback: httpkey.FailClosed})
	key, _ := issue(t, guard, httpkey.Token{})
	if w := httpkeytest.Get(guard.Handler(ok), key); w.Code != http.StatusOK {
		t.Errorf("status %d", w.Code)
	}
}

// Charge takes from all limits of the request, also from those under DryRun.
func TestDryRunIsCharged(t *testing.T) {
	t.Parallel()
	guard := newGuard(&httpkey.Options{DryRun: true})
	key, _ := issue(t, guard, httpkey.Token{Limits: limits(httpkey.PerHour(10))})
	handler := guard.Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		admission, _ := httpkey.AdmissionFrom(r.Context())
		if err := admission.Charge(r.Context(), 4); err != nil {
			t.Error(err)
		}
	}))
	httpkeytest.Get(handler, key)
	if w := httpkeytest.Get(handler, key); w.Header().Get("X-RateLimit-Remaining") != "4" {
		t.Errorf("%s remain, want 4", w.Header().Get("X-RateLimit-Remaining"))
	}
}

// A request of cost 0 shows the limits and changes nothing, and the Guard behind it still
// charges.
func TestCheckCost(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		guard := newGuard(nil)
		key, token := issue(t, guard, httpkey.Token{Limits: limits(httpkey.PerHour(10))})
		costing := func(cost int, next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r, passes := guard.CheckCost(w, r, cost); passes {
					next.ServeHTTP(w, r)
				}
			})
		}
		for _, step := range []struct {
			name      string
			handler   http.Handler
			status    int
			remaining string
		}{
			{"a look", costing(0, ok), 200, "10"},
			{"another look", costing(0, ok), 200, "10"},
			{"four", costing(4, ok), 200, "6"},
			{"a look, then a request", costing(0, guard.Handler(ok)), 200, "5"},
			{"four, then the Guard again", costing(4, guard.Handler(ok)), 200, "1"},
			{"too many", costing(4, ok), 429, "1"},
			{"more than ever", costing(11, ok), 403, "1"},
			{"a negative cost", costing(-1, ok), 503, ""},
			{"a look in the end", costing(0, ok), 200, "1"},
		} {
			w := httpkeytest.Get(step.handler, key)
			if got := w.Header().Get("X-RateLimit-Remaining"); w.Code != step.status || got != step.remaining {
				t.Errorf("%s: %d with %q, want %d with %q", step.name, w.Code, got, step.status, step.remaining)
			}
		}
		looked, _ := issue(t, guard, httpkey.Token{})
		httpkeytest.Get(costing(0, ok), looked)
		if err := guard.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if stored, _ := guard.Verify(t.Context(), looked); !stored.LastUsed.IsZero() {
			t.Errorf("a look is a use, at %v", stored.LastUsed)
		}
		if stored, _ := guard.Store().Get(t.Context(), token.ID); stored.LastUsed.IsZero() {
			t.Error("a request is no use")
		}
	})
}

// Limits under DryRun change nothing but their mark: a Guard with them decides and answers as one
// without them, and the mark is what a limiter with these limits alone decides.
func TestDryRunChangesNothingElse(t *testing.T) {
	t.Parallel()
	for seed := range uint64(20) {
		t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				random := rand.New(rand.NewPCG(seed, 13))
				enforced := []httpkey.Limit{{Rate: 1 + random.IntN(9), Period: time.Minute}, httpkey.PerDay(50)}
				tried := []httpkey.Limit{
					{Name: "a", Rate: 1 + random.IntN(9), Period: time.Minute, DryRun: true},
					{Name: "b", Rate: 1 + random.IntN(50), Calendar: "day", DryRun: true},
				}
				with, without, alone := newGuard(nil), newGuard(nil), memstore.NewLimiter()
				key, _ := issue(t, with, httpkey.Token{Limits: slices.Concat(enforced, tried)})
				other, _ := issue(t, without, httpkey.Token{Limits: enforced})
				for range 200 {
					httpkeytest.Elapse(time.Duration(random.Int64N(int64(20 * time.Second))))
					cost := random.IntN(4)
					got, want := httptest.NewRecorder(), httptest.NewRecorder()
					_, admitted := with.CheckCost(got, httpkeytest.Request(http.MethodGet, "/", key), cost)
					without.CheckCost(want, httpkeytest.Request(http.MethodGet, "/", other), cost)
					if admitted {
						r, err := alone.Allow(t.Context(), &httpkey.Charge{Bucket: "alone", Limits: tried, Cost: cost})
						if err != nil {
							t.Fatal(err)
						}
						want.Header().Set("X-RateLimit-Dry-Run", map[bool]string{true: "allowed", false: "denied"}[r.Allowed])
					}
					if got.Code != want.Code || got.Body.String() != want.Body.String() ||
						!reflect.DeepEqual(got.Header(), want.Header()) {
						t.Fatalf("%d %s %v, want %d %s %v", got.Code, got.Body, got.Header(), want.Code, want.Body, want.Header())
					}
				}
			})
		})
	}
}

// A request that only DryRun lets pass need not wait: Each says how long it would.
func TestDryRunNeedsNoRetry(t *testing.T) {
	t.Parallel()
	guard := newGuard(&httpkey.Options{DryRun: true})
	key, _ := issue(t, guard, httpkey.Token{Limits: limits(httpkey.PerHour(1))})
	for range 2 {
		admission, err := guard.Admit(t.Context(), key, 1)
		if err != nil || !admission.Result.Allowed || admission.Result.RetryAfter != 0 {
			t.Fatalf("%+v, %v", admission, err)
		}
	}
	admission, err := guard.Admit(t.Context(), key, 1)
	if err != nil || len(admission.Result.Each) != 1 || admission.Result.Each[0].RetryAfter <= 0 {
		t.Errorf("%+v, %v", admission, err)
	}
}

// Anonymous cannot make a look cost anything.
func TestCheckCostOfNothingWithoutAKey(t *testing.T) {
	t.Parallel()
	guard := newGuard(&httpkey.Options{Anonymous: func(_ *http.Request, c *httpkey.Charge) bool {
		c.Limits, c.Cost = limits(httpkey.PerHour(10)), 5
		return true
	}})
	for range 3 {
		w := httptest.NewRecorder()
		if _, passes := guard.CheckCost(w, httpkeytest.Request(http.MethodGet, "/", ""), 0); !passes ||
			w.Header().Get("X-RateLimit-Remaining") != "10" {
			t.Errorf("%d %v", w.Code, w.Header())
		}
	}
}

// A refusal shows the limit that refused the request, and no mark of a trial in front.
func TestRefusalsHaveNoMarkOfATrial(t *testing.T) {
	t.Parallel()
	guard := newGuard(&httpkey.Options{IETFHeaders: true})
	key, _ := issue(t, guard, httpkey.Token{Limits: limits(httpkey.PerHour(1))})
	trial := guard.LimitBy(func(_ *http.Request, c *httpkey.Charge) {
		c.Limits = []httpkey.Limit{{Name: "trial", Rate: 1, Period: time.Hour, DryRun: true}}
	})
	plain := newGuard(nil).LimitBy(func(_ *http.Request, c *httpkey.Charge) { c.Limits = limits(httpkey.PerHour(9)) })
	chain := plain(trial(guard.Handler(ok)))
	if w := httpkeytest.Get(chain, key); w.Code != http.StatusOK || w.Header().Get("X-RateLimit-Dry-Run") != "allowed" {
		t.Errorf("%d %v", w.Code, w.Header())
	}
	w := httpkeytest.Get(chain, key)
	if w.Code != http.StatusTooManyRequests || w.Header().Get("X-RateLimit-Limit") != "1" ||
		w.Header().Get("X-RateLimit-Dry-Run") != "" {
		t.Errorf("%d %v", w.Code, w.Header())
	}
}
