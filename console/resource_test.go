package console

import (
	"errors"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/httpkeytest"
	"github.com/httpkey/httpkey/memstore"
)

// limitsIn are the limits in the JSON of a token.
type limitsIn struct {
	Own       []httpkey.Limit `json:"rate_limits"`
	Effective []httpkey.Limit `json:"effective_limits"`
	Remaining []remaining     `json:"remaining"`
}

// The limits of a token are those of its requests, wherever they come from.
func TestEffectiveLimits(t *testing.T) {
	t.Parallel()
	perMinute := func(n int) []httpkey.Limit { return []httpkey.Limit{httpkey.PerMinute(n).Resolve()} }
	for _, tt := range []struct {
		name   string
		opts   httpkey.Options
		token  httpkey.Token
		unlim  bool
		want   []httpkey.Limit
		remain []int
	}{
		{name: "of the kind", want: perMinute(60), remain: []int{60}},
		{name: "of another kind", token: httpkey.Token{Kind: httpkey.ServiceToken}, want: perMinute(300), remain: []int{300}},
		{name: "its own", token: httpkey.Token{Limits: []httpkey.Limit{httpkey.PerMinute(7)}}, want: perMinute(7),
			remain: []int{7}},
		{name: "a plan", opts: httpkey.Options{Charge: func(_ *http.Request, _ *httpkey.Token, c *httpkey.Charge) {
			c.Limits = []httpkey.Limit{httpkey.PerMinute(5), httpkey.PerMonth(9)}
		}}, want: []httpkey.Limit{httpkey.PerMinute(5).Resolve(), httpkey.PerMonth(9)}, remain: []int{5, 9}},
		{name: "none", unlim: true, want: []httpkey.Limit{}, remain: []int{}},
		{name: "none in the plan", opts: httpkey.Options{Charge: func(_ *http.Request, _ *httpkey.Token, c *httpkey.Charge) {
			c.Limits = nil
		}}, want: []httpkey.Limit{}, remain: []int{}},
		{name: "a limit that no limiter can apply", opts: httpkey.Options{
			Charge: func(_ *http.Request, _ *httpkey.Token, c *httpkey.Charge) { c.Limits = make([]httpkey.Limit, 1) },
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			limiter := httpkey.Unlimited
			if !tt.unlim {
				limiter = memstore.NewLimiter()
			}
			s := newSiteOf(t, httpkey.New(memstore.New(), limiter, &tt.opts), Options{})
			tt.token.ID, tt.token.Label, tt.token.User = "id", "x", "ada"
			s.issue(tt.token)
			var got limitsIn
			decode(t, s.want(200, s.api("root", "GET", "/id/", "")), &got)
			var remain []int
			if got.Remaining != nil {
				remain = []int{}
			}
			for _, r := range got.Remaining {
				remain = append(remain, r.Remaining)
			}
			if !reflect.DeepEqual(got.Effective, tt.want) || !reflect.DeepEqual(remain, tt.remain) {
				t.Errorf("the limits are %v, what remains %v", got.Effective, got.Remaining)
			}
			var list struct{ Results []limitsIn }
			decode(t, s.want(200, s.api("root", "GET", "/", "")), &list)
			if len(list.Results) != 1 || !reflect.DeepEqual(list.Results[0].Effective, tt.want) {
				t.Errorf("in the list, the limits are %+v", list.Results)
			}
			for _, w := range []string{`{"label":"y"}`, `{}`} {
				got = limitsIn{}
				decode(t, s.want(200, s.api("root", "PATCH", "/id/", w)), &got)
				if !reflect.DeepEqual(got.Effective, tt.want) {
					t.Errorf("after a change, the limits are %+v", got.Effective)
				}
			}
			got = limitsIn{}
			decode(t, s.want(201, s.api("root", "POST", "/id/rotate/", `{"grace":0}`)), &got)
			if !reflect.DeepEqual(got.Effective, tt.want) {
				t.Errorf("after a rotation, the limits are %+v", got.Effective)
			}
		})
	}
}

// The console says what the headers of a request would say, and a look costs nothing.
func TestRemaining(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSiteOf(t, httpkey.New(memstore.New(), memstore.NewLimiter(), nil), Options{})
		monthly := httpkey.PerMonth(10)
		monthly.Name = "monthly"
		secret, _ := s.issue(httpkey.Token{
			ID: "id", Label: "x", User: "ada", Limits: []httpkey.Limit{httpkey.PerMinute(6), monthly},
		})
		handler := s.guard.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
		time.Sleep(300 * time.Millisecond) // of the bubble's clock, so that there is something to round up
		for range 2 {
			if w := httpkeytest.Get(handler, secret); w.Code != 200 {
				t.Fatalf("answered %d", w.Code)
			}
		}
		used := s.get("id").LastUsed
		now := time.Now()
		want := []remaining{
			{"", 6, 4, now.Add(20*time.Second + 700*time.Millisecond).Unix()},
			{"monthly", 10, 8, time.Date(2000, 2, 1, 0, 0, 0, 0, time.UTC).Unix()},
		}
		for range 3 {
			var got limitsIn
			decode(t, s.want(200, s.api("ada", "GET", "/id/", "")), &got)
			if !reflect.DeepEqual(got.Remaining, want) {
				t.Errorf("there remains %+v, want %+v", got.Remaining, want)
			}
		}
		if got := s.get("id").LastUsed; !got.Equal(used) {
			t.Errorf("a look was a use, at %v", got)
		}
	})
}

// The charge of a program may want a request, which the console has none of. The audit hears of it.
func TestChargeThatWantsARequest(t *testing.T) {
	t.Parallel()
	guard := httpkey.New(memstore.New(), memstore.NewLimiter(), &httpkey.Options{
		Charge: func(r *http.Request, _ *httpkey.Token, c *httpkey.Charge) { c.Cost = len(r.URL.Path) },
	})
	s := newSiteOf(t, guard, Options{})
	s.issue(httpkey.Token{ID: "id", Label: "x", User: "ada"})
	for _, path := range []string{"/", "/new", "/id/", "/id/rotate/"} {
		s.want(200, s.page("ada", path))
	}
	var got limitsIn
	decode(t, s.want(200, s.api("ada", "GET", "/id/", "")), &got)
	if got.Effective != nil || got.Remaining != nil {
		t.Errorf("the limits are %+v", got)
	}
	for _, e := range s.told() {
		if e.Err == nil || !strings.Contains(e.Err.Error(), "Options.Charge") {
			t.Errorf("told %+v", e)
		}
	}
	s.want(201, s.api("ada", "POST", "/", `{"label":"y"}`))
}

// A token is shown although the limiter does not answer. The audit hears why.
func TestLimiterOfTheGuardIsDown(t *testing.T) {
	t.Parallel()
	cause := errors.New("secret detail of the limiter")
	for name, fault := range map[string]httpkeytest.Fault{
		"fails": httpkeytest.Fail(cause), "never answers": httpkeytest.Stall(),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				limiter := httpkeytest.NewLimiter(memstore.NewLimiter())
				limiter.Before(fault)
				guard := httpkey.New(memstore.New(), limiter, &httpkey.Options{Fallback: httpkey.FailClosed})
				defer func() { _ = guard.Close(t.Context()) }() // it probes the limiter
				s := newSiteOf(t, guard, Options{})
				s.issue(httpkey.Token{ID: "id", Label: "x", User: "ada"})
				start := time.Now()
				var got map[string]any
				decode(t, s.want(200, s.api("ada", "GET", "/id/", "")), &got)
				if remains, ok := got["remaining"]; !ok || remains != nil || len(got["effective_limits"].([]any)) != 1 {
					t.Errorf("answered %v", got)
				}
				if waited := time.Since(start); waited > limiterTimeout {
					t.Errorf("it was answered after %v", waited)
				}
				if told := s.told(); len(told) != 1 || told[0].Action != ActionRead || told[0].Err == nil ||
					told[0].Token.ID != "id" {
					t.Errorf("told %+v", told)
				}
			})
		})
	}
}
