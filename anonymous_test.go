package httpkey_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/httpkeytest"
	"github.com/httpkey/httpkey/memstore"
)

// ask sends a request from an address to a handler.
func ask(handler http.Handler, path, key, from string) *httptest.ResponseRecorder {
	r := httpkeytest.Request(http.MethodGet, path, key)
	r.RemoteAddr = from
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, r)
	return w
}

// onPublicPaths is an Options.Anonymous.
func onPublicPaths(l ...httpkey.Limit) func(*http.Request, *httpkey.Charge) bool {
	return func(r *http.Request, c *httpkey.Charge) bool {
		c.Limits = append(c.Limits, l...)
		return strings.HasPrefix(r.URL.Path, "/public")
	}
}

// On a public route a request without a key passes. One with a bad key does not, and one with a
// good key counts as its own.
func TestAnonymous(t *testing.T) {
	t.Parallel()
	for place, in := range places {
		var seen events
		_, store, limiter := in()
		guard := httpkey.New(store, limiter, &httpkey.Options{
			Observers: observers(&seen), Anonymous: onPublicPaths(httpkey.PerMinute(3)),
			Sources: []httpkey.Source{httpkey.FromHeader("X-Api-Key"), httpkey.FromBearer()},
		})
		good, token := issue(t, guard, httpkey.Token{})
		exhausted, _ := issue(t, guard, httpkey.Token{Limits: limits(httpkey.PerHour(0))})
		for _, tt := range []struct {
			name, path string
			lines      []string
			bearer     string
			status     int
			remaining  string
			reason     httpkey.Reason
			isToken    bool
		}{
			{"no key", "/public", nil, "", 200, "2", "", false},
			{"blanks", "/public", []string{" "}, "Bearer  ", 200, "1", "", false},
			{"no key on another path", "/private", nil, "", 401, "", httpkey.ReasonMissing, false},
			{"other credentials", "/public", nil, "Basic YTpi", 200, "0", "", false},
			{"too many", "/public", nil, "", 429, "0", httpkey.ReasonThrottled, false},
			{"too many, on another path", "/private", nil, "", 401, "", httpkey.ReasonMissing, false},
			{"a bad key", "/public", []string{madeUp()}, "", 401, "", httpkey.ReasonUnknown, false},
			{"nonsense", "/public", []string{"x"}, "", 401, "", httpkey.ReasonMalformed, false},
			{"two keys", "/public", []string{good}, "Bearer " + madeUp(), 401, "", httpkey.ReasonMalformed, false},
			{"two lines", "/public", []string{good, good}, "", 401, "", httpkey.ReasonMalformed, false},
			{"empty lines", "/public", []string{"", ""}, "", 401, "", httpkey.ReasonMalformed, false},
			{"a key", "/public", []string{good}, "", 200, "59", "", true},
			{"a key on another path", "/private", []string{good}, "", 200, "58", "", true},
			{"a key without quota", "/public", []string{exhausted}, "", 403, "0", httpkey.ReasonLimit, false},
		} {
			r := httptest.NewRequest(http.MethodGet, tt.path, nil)
			r.Header["X-Api-Key"] = tt.lines
			r.Header.Set("Authorization", tt.bearer)
			w, reached := httptest.NewRecorder(), false
			guard.Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				reached = true
				got, ok := httpkey.FromContext(r.Context())
				admission, isAdmitted := httpkey.AdmissionFrom(r.Context())
				if ok != tt.isToken || ok && got.ID != token.ID || !isAdmitted || admission.Token.ID != got.ID ||
					fmt.Sprint(admission.Result.Remaining) != tt.remaining {
					t.Errorf("%s, %s: the handler sees %v, %v", place, tt.name, got, admission)
				}
			})).ServeHTTP(w, r)
			h, cache := w.Header(), map[bool]string{true: "private", false: "no-store"}[tt.status == 200]
			if w.Code != tt.status || h.Get("X-RateLimit-Remaining") != tt.remaining || reached != (tt.status == 200) ||
				h.Get("Cache-Control") != cache || (h.Get("Www-Authenticate") != "") != (tt.status == 401) {
				t.Errorf("%s, %s: %d %s %v", place, tt.name, w.Code, w.Body, h)
			}
			e := seen.last(t)
			want := httpkey.EventRefused
			if tt.status == 200 {
				want = httpkey.EventAdmitted
			}
			if e.Type != want || e.Reason != tt.reason || e.Request != r || (e.Token.ID == token.ID) != tt.isToken {
				t.Errorf("%s, %s: observed %+v", place, tt.name, e)
			}
		}
	}
}

// The bucket is that of the client's address, or of the network of 64 bits, unless Anonymous
// names another.
func TestPayersOfAnonymousRequests(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		from, named string
		want        string // the bucket; empty: 503
	}{
		{"203.0.113.7:5", "", "anonymous:203.0.113.7"},
		{"[::ffff:203.0.113.7]:5", "", "anonymous:203.0.113.7"},
		{"[2001:db8::1%eth0]:5", "", "anonymous:2001:db8::/64"},
		{"@", "", "anonymous:unknown"},
		{"203.0.113.7:5", "login:ada", "login:ada"},
		{"203.0.113.7:5", "anonymous:device-1", "anonymous:device-1"},
		{"203.0.113.7:5", "user:ada", "user:ada"},
		{"203.0.113.7:5", "workspace:w", "workspace:w"},
		{"203.0.113.7:5", "everybody", "everybody"},
		{"203.0.113.7:5", "token:t-1", ""},
		{"203.0.113.7:5", "token:", ""},
		{"203.0.113.7:5", "anonymous:", ""},
		{"203.0.113.7:5", "user:", ""},
		{"203.0.113.7:5", "probe", ""},
		{"203.0.113.7:5", "-", ""}, // none
	} {
		var seen events
		var got string
		limiter := limiterFunc(func(_ context.Context, c *httpkey.Charge) (httpkey.Result, error) {
			got = c.Bucket
			return memstore.NewLimiter().Allow(t.Context(), c)
		})
		set := func(_ *http.Request, c *httpkey.Charge) bool {
			c.Limits = append(c.Limits, httpkey.PerMinute(5))
			switch tt.named {
			case "":
			case "-":
				c.Bucket = ""
			default:
				c.Bucket = tt.named
			}
			return true
		}
		guard := httpkey.New(memstore.New(), limiter, &httpkey.Options{Anonymous: set, Observers: observers(&seen)})
		by := guard.LimitBy(func(r *http.Request, c *httpkey.Charge) { set(r, c) })
		for name, handler := range map[string]http.Handler{"Anonymous": guard.Handler(ok), "LimitBy": by(ok)} {
			got = ""
			w := ask(handler, "/", "", tt.from)
			status := 200
			if tt.want == "" {
				status = 503
				if e := seen.last(t); e.Reason != httpkey.ReasonLimiter || !errors.Is(e.Err, httpkey.ErrInvalidLimit) {
					t.Errorf("%s of %s from %s: observed %+v", name, tt.named, tt.from, e)
				}
			}
			if got != tt.want || w.Code != status {
				t.Errorf("%s of %s from %s: %d, and the bucket is %q, want %q", name, tt.named, tt.from, w.Code, got, tt.want)
			}
		}
	}
}

// A charge that no limiter could apply is no reason to let a request pass.
func TestInvalidChargesOfAnonymousRequests(t *testing.T) {
	t.Parallel()
	for name, set := range map[string]func(*httpkey.Charge){
		"a limit without a period": func(c *httpkey.Charge) { c.Limits = limits(httpkey.Limit{Rate: 5}) },
		"a negative cost":          func(c *httpkey.Charge) { c.Limits, c.Cost = limits(httpkey.PerHour(5)), -1 },
		"a forced charge":          func(c *httpkey.Charge) { c.Limits, c.Forced = limits(httpkey.PerHour(5)), true },
		"too many limits": func(c *httpkey.Charge) {
			for n := range 9 {
				c.Limits = append(c.Limits, httpkey.PerHour(n+1))
			}
		},
		"one limit twice": func(c *httpkey.Charge) { c.Limits = limits(httpkey.PerHour(5), httpkey.PerHour(6)) },
	} {
		guard := newGuard(&httpkey.Options{Anonymous: func(_ *http.Request, c *httpkey.Charge) bool {
			set(c)
			return true
		}})
		by := guard.LimitBy(func(_ *http.Request, c *httpkey.Charge) { set(c) })
		for what, handler := range map[string]http.Handler{"Anonymous": guard.Handler(ok), "LimitBy": by(ok)} {
			if w := ask(handler, "/", "", attacker); w.Code != 503 || w.Header().Get("Retry-After") == "" {
				t.Errorf("%s, %s: %d %v", what, name, w.Code, w.Header())
			}
		}
	}
	limiter := httpkeytest.NewLimiter(memstore.NewLimiter())
	limiter.Before(httpkeytest.Fail(errors.New("down")))
	guard := httpkey.New(memstore.New(), limiter, &httpkey.Options{
		Anonymous: onPublicPaths(httpkey.PerHour(5)), Fallback: httpkey.FailClosed,
	})
	if w := ask(guard.Handler(ok), "/public", "", attacker); w.Code != 503 {
		t.Errorf("without a limiter: %d", w.Code)
	}
}

// Keys and sessions share routes. A key counts before a session, and a bad key is refused though
// there is a session.
func TestKeysBesideSessions(t *testing.T) {
	t.Parallel()
	var answered []httpkey.Reason
	guard := newGuard(&httpkey.Options{
		Anonymous: func(*http.Request, *httpkey.Charge) bool { return true },
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, e httpkey.Error) {
			answered = append(answered, e.Reason())
			httpkey.WriteError(w, r, e)
		},
	})
	reader, _ := issue(t, guard, httpkey.Token{User: "reader"})
	writer, _ := issue(t, guard, httpkey.Token{User: "writer", Scopes: []string{"write"}})
	session := func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			var token httpkey.Token
			if cookie, err := r.Cookie("session"); err == nil {
				token.User = cookie.Value
				token.Scopes = map[string][]string{"editor": {"write"}}[cookie.Value]
			}
			next.ServeHTTP(w, r.WithContext(guard.NewContext(r.Context(), token)))
		})
	}
	user := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token, _ := httpkey.FromContext(r.Context())
		_, _ = w.Write([]byte(token.User))
	})
	write := httpkey.RequireScope("write")(user)
	for _, tt := range []struct {
		name         string
		handler      http.Handler
		key, session string
		status       int
		user         string
		reason       httpkey.Reason
	}{
		{"nobody", session(guard.Handler(user)), "", "", 200, "", ""},
		{"a session", session(guard.Handler(user)), "", "visitor", 200, "visitor", ""},
		{"a key", session(guard.Handler(user)), reader, "", 200, "reader", ""},
		{"a key and a session", session(guard.Handler(user)), reader, "editor", 200, "reader", ""},
		{"a bad key and a session", session(guard.Handler(user)), madeUp(), "editor", 401, "", httpkey.ReasonUnknown},

		{"nobody, with a demand", session(guard.Handler(write)), "", "", 401, "", httpkey.ReasonMissing},
		{"a session that may", session(guard.Handler(write)), "", "editor", 200, "editor", ""},
		{"a session that may not", session(guard.Handler(write)), "", "visitor", 403, "", httpkey.ReasonScope},
		{"a key that may", session(guard.Handler(write)), writer, "visitor", 200, "writer", ""},
		{"a key that may not", session(guard.Handler(write)), reader, "editor", 403, "", httpkey.ReasonScope},

		{"a session alone that may", session(write), "", "editor", 200, "editor", ""},
		{"a session alone that may not", session(write), "", "visitor", 403, "", httpkey.ReasonScope},
		{"nobody alone", session(write), "", "", 401, "", httpkey.ReasonMissing},
		{"a key that nobody reads", session(write), writer, "", 401, "", httpkey.ReasonMissing},
		{"no Guard at all", write, writer, "editor", 401, "", ""},
	} {
		answered = nil
		r := httpkeytest.Request(http.MethodGet, "/", tt.key)
		if tt.session != "" {
			r.AddCookie(&http.Cookie{Name: "session", Value: tt.session})
		}
		w := httptest.NewRecorder()
		tt.handler.ServeHTTP(w, r)
		if w.Code != tt.status || w.Code == 200 && w.Body.String() != tt.user {
			t.Errorf("%s: %d %s", tt.name, w.Code, w.Body)
		}
		if tt.reason != "" && (len(answered) != 1 || answered[0] != tt.reason) || tt.reason == "" && len(answered) > 0 {
			t.Errorf("%s: the ErrorHandler got %q", tt.name, answered)
		}
	}
}

// LimitBy answers a request as the Guard does, with the same headers, wherever it stands.
func TestLimitBy(t *testing.T) {
	t.Parallel()
	for place, in := range places {
		t.Run(place, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var seen events
				_, store, limiter := in()
				guard := httpkey.New(store, limiter, &httpkey.Options{Observers: observers(&seen), IETFHeaders: true})
				handler := guard.LimitBy(func(_ *http.Request, c *httpkey.Charge) {
					c.Limits = append(c.Limits, httpkey.PerMinute(2))
				})(ok)
				for _, tt := range []struct {
					from, key string
					status    int
					remaining string
				}{
					{attacker, "", 200, "1"},
					{attacker, "nonsense", 200, "0"}, // a key is no matter
					{attacker, "", 429, "0"},
					{neighbor, "", 200, "1"},
					{"[2001:db8::1]:5", "", 200, "1"},
					{"[2001:db8::ffff:2]:5", "", 200, "0"},
					{"[2001:db8::3]:5", "", 429, "0"},
					{"[2001:db8:0:1::1]:5", "", 200, "1"},
				} {
					w := ask(handler, "/", tt.key, tt.from)
					h, e := w.Header(), seen.last(t)
					if w.Code != tt.status || h.Get("X-RateLimit-Limit") != "2" || h.Get("X-RateLimit-Remaining") != tt.remaining ||
						h.Get("X-RateLimit-Reset") == "" || h.Get("RateLimit") == "" {
						t.Errorf("from %s: %d %v", tt.from, w.Code, h)
					}
					isDenied := tt.status == 429
					body := `{"detail":"Request was throttled. Expected available in 30 seconds."}`
					if isDenied && (w.Body.String() != body || h.Get("Retry-After") != "30" ||
						h.Get("Cache-Control") != "no-store" || e.Reason != httpkey.ReasonThrottled) {
						t.Errorf("from %s: %s %v, observed %+v", tt.from, w.Body, h, e)
					}
					if !isDenied && (h.Get("Cache-Control") != "private" || e.Type != httpkey.EventAdmitted) || e.Token.ID != "" {
						t.Errorf("from %s: %v, observed %+v", tt.from, h, e)
					}
				}
				httpkeytest.Elapse(30 * time.Second)
				if w := ask(handler, "/", "", attacker); w.Code != 200 {
					t.Errorf("after the wait: %d", w.Code)
				}
				shut := guard.LimitBy(func(_ *http.Request, c *httpkey.Charge) {
					c.Limits = append(c.Limits, httpkey.PerMinute(0))
				})(ok)
				if w := ask(shut, "/", "", attacker); w.Code != 403 || w.Header().Get("Retry-After") != "" {
					t.Errorf("a limit that nothing passes: %d %v", w.Code, w.Header())
				}
			})
		})
	}
}

// A login page limits by address and by name, each all or nothing, and a login that succeeds costs
// nothing.
func TestLimitByLoginName(t *testing.T) {
	t.Parallel()
	guard := newGuard(nil)
	byAddress := guard.LimitBy(func(_ *http.Request, c *httpkey.Charge) {
		c.Limits = append(c.Limits, httpkey.PerHour(6))
	})
	byName := guard.LimitBy(func(r *http.Request, c *httpkey.Charge) {
		c.Bucket = "login:" + r.FormValue("name")
		c.Limits = append(c.Limits, httpkey.PerHour(3))
	})
	login := byAddress(byName(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.FormValue("password") != "right" {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		admission, ok := httpkey.AdmissionFrom(r.Context())
		if !ok || admission.Token.ID != "" {
			t.Fatalf("the admission is %v, %v", admission, ok)
		}
		if err := admission.Charge(r.Context(), -1); err != nil {
			t.Error(err)
		}
	})))
	for n, tt := range []struct {
		from, name, password string
		want                 int
	}{
		{attacker, "ada", "right", 200},
		{attacker, "ada", "right", 200},
		{attacker, "ada", "wrong", 403},
		{attacker, "ada", "wrong", 403},
		{neighbor, "ada", "wrong", 403},
		{neighbor, "ada", "right", 429}, // her name has no attempt left
		{neighbor, "bob", "right", 200},
		{attacker, "bob", "right", 200},
		{attacker, "bob", "right", 200},
		{attacker, "bob", "right", 429}, // the address has none left, since the innermost limit gave back its own
		{neighbor, "bob", "right", 200},
	} {
		w := ask(login, "/?name="+tt.name+"&password="+tt.password, "", tt.from)
		if w.Code != tt.want {
			t.Errorf("%d: %+v got %d", n, tt, w.Code)
		}
	}
}

// LimitBy stands in front of a Guard, behind it, or on both sides.
func TestLimitByBesideAGuard(t *testing.T) {
	t.Parallel()
	for place, in := range places {
		_, store, limiter := in()
		guard := httpkey.New(store, limiter, nil)
		by := guard.LimitBy(func(_ *http.Request, c *httpkey.Charge) {
			c.Limits = append(c.Limits, httpkey.PerHour(4))
		})
		none := guard.LimitBy(func(*http.Request, *httpkey.Charge) {})
		key, token := issue(t, guard, httpkey.Token{})
		var charged *httpkey.Admission
		handler := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			charged, _ = httpkey.AdmissionFrom(r.Context())
			got, ok := httpkey.FromContext(r.Context())
			if ok != (charged.Token.ID != "") || ok && got.ID != token.ID {
				t.Errorf("%s: FromContext returned %v, %v", place, got, ok)
			}
		})
		used := func() int {
			t.Helper()
			admission, err := guard.Admit(t.Context(), key, 0)
			if err != nil {
				t.Fatal(err)
			}
			return 60 - admission.Result.Remaining
		}
		for n, tt := range []struct {
			name      string
			handler   http.Handler
			key, from string
			status    int
			limit     string // in the header
			charge    int    // the limit of the admission
			used      int    // of the key's 60, afterwards
		}{
			{"in front", by(guard.Handler(handler)), key, "192.0.2.1:5", 200, "60", 60, 1},
			{"in front, with a bad key", by(guard.Handler(handler)), madeUp(), "192.0.2.1:5", 401, "", 0, 1},
			{"behind", guard.Handler(by(handler)), key, "192.0.2.1:5", 200, "4", 4, 2},
			{"behind, with a bad key", guard.Handler(by(handler)), madeUp(), "192.0.2.1:5", 401, "", 0, 2},
			{"twice around", guard.Handler(by(guard.Handler(handler))), key, "192.0.2.1:5", 200, "4", 4, 3},
			{"in front, and empty", by(guard.Handler(handler)), key, "192.0.2.1:5", 429, "4", 0, 3},
			{"behind, and empty", guard.Handler(by(handler)), key, "192.0.2.1:5", 429, "4", 0, 4},
			{"at another address", by(guard.Handler(handler)), key, "192.0.2.2:5", 200, "60", 60, 5},
			{"without limits, in front", none(guard.Handler(handler)), key, "192.0.2.2:5", 200, "60", 60, 6},
			{"without limits, behind", guard.Handler(none(handler)), key, "192.0.2.2:5", 200, "60", 60, 7},
			{"without limits, alone", none(handler), "", "192.0.2.2:5", 200, "", 0, 7},
		} {
			charged = nil
			w := ask(tt.handler, "/", tt.key, tt.from)
			if w.Code != tt.status || w.Header().Get("X-RateLimit-Limit") != tt.limit || used() != tt.used {
				t.Errorf("%s, %d %s: %d %v, used %d, want %d", place, n, tt.name, w.Code, w.Header(), used(), tt.used)
			}
			if tt.status == 200 && (charged == nil || charged.Result.Limit.Burst != tt.charge) {
				t.Errorf("%s, %d %s: the admission is %v", place, n, tt.name, charged)
			}
		}
	}
}

// A request that a Guard admits without a key is charged once, however often that Guard is
// around the handler. A check of cost 0 takes nothing.
func TestAnonymousTwiceInAChain(t *testing.T) {
	t.Parallel()
	guard := newGuard(&httpkey.Options{Anonymous: onPublicPaths(httpkey.PerHour(9))})
	look := func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r, ok := guard.CheckCost(w, r, 0); ok {
				next.ServeHTTP(w, r)
			}
		})
	}
	withKey := func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			r.Header.Set("X-Api-Key", madeUp())
			next.ServeHTTP(w, r)
		})
	}
	for _, tt := range []struct {
		name      string
		handler   http.Handler
		status    int
		remaining string
	}{
		{"once", guard.Handler(ok), 200, "8"},
		{"twice", guard.Handler(guard.Handler(ok)), 200, "7"},
		{"looked at", look(ok), 200, "7"},
		{"looked at before", look(guard.Handler(ok)), 200, "6"},
		{"looked at behind", guard.Handler(look(ok)), 200, "5"},
		{"with a bad key in between", guard.Handler(withKey(guard.Handler(ok))), 401, ""},
		{"again", guard.Handler(ok), 200, "3"},
	} {
		w := ask(tt.handler, "/public", "", attacker)
		if w.Code != tt.status || w.Header().Get("X-RateLimit-Remaining") != tt.remaining {
			t.Errorf("%s: %d %v", tt.name, w.Code, w.Header())
		}
	}
}

// More after the response, and refunds, are those of the client's address.
func TestChargesOfAnonymousRequests(t *testing.T) {
	t.Parallel()
	for place, in := range places {
		_, store, limiter := in()
		guard := httpkey.New(store, limiter, &httpkey.Options{
			Anonymous: onPublicPaths(httpkey.PerHour(10), httpkey.PerDay(100)),
		})
		more := 0
		handler := guard.Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			admission, ok := httpkey.AdmissionFrom(r.Context())
			if !ok {
				t.Fatal("there is no admission")
			}
			if err := admission.Charge(r.Context(), more); err != nil {
				t.Error(err)
			}
		}))
		for n, tt := range []struct {
			more      int
			from      string
			remaining string
			status    int
		}{
			{5, attacker, "9", 200},
			{-1, attacker, "3", 200},
			{-100, attacker, "3", 200},
			{3, attacker, "9", 200},
			{0, neighbor, "9", 200},
			{20, attacker, "5", 200},
			{0, attacker, "0", 429},
		} {
			more = tt.more
			if w := ask(handler, "/public", "", tt.from); w.Code != tt.status ||
				w.Header().Get("X-RateLimit-Remaining") != tt.remaining {
				t.Errorf("%s, %d: %d %v", place, n, w.Code, w.Header())
			}
		}
	}
}

// A dry run lets requests without a key pass, and tells what it would do.
func TestDryRunOfAnonymousRequests(t *testing.T) {
	t.Parallel()
	var seen events
	guard := newGuard(&httpkey.Options{
		DryRun: true, Anonymous: onPublicPaths(httpkey.PerHour(1)), Observers: observers(&seen),
	})
	by := guard.LimitBy(func(_ *http.Request, c *httpkey.Charge) {
		c.Bucket, c.Limits = "login:ada", append(c.Limits, httpkey.PerHour(1))
	})
	for name, handler := range map[string]http.Handler{"Anonymous": guard.Handler(ok), "LimitBy": by(ok)} {
		for n, want := range []string{"allowed", "denied", "denied"} {
			w := ask(handler, "/public", "", attacker)
			if w.Code != 200 || w.Header().Get("X-RateLimit-Dry-Run") != want {
				t.Errorf("%s, %d: %d %v", name, n, w.Code, w.Header())
			}
			if e := seen.last(t); (e.Type == httpkey.EventDryRun) != (want == "denied") {
				t.Errorf("%s, %d: observed %+v", name, n, e)
			}
		}
		if w := ask(handler, "/private", "", attacker); name == "Anonymous" && w.Code != 401 {
			t.Errorf("%s: a private path got %d", name, w.Code)
		}
	}
}

// Observers that come with the library print requests without a key.
func TestSlogOfAnonymousRequests(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	handler := slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})
	guard := newGuard(&httpkey.Options{
		Observers: observers(httpkey.SlogObserver(slog.New(handler))), Anonymous: onPublicPaths(httpkey.PerHour(1)),
	})
	for _, path := range []string{"/public", "/public", "/private"} {
		ask(guard.Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			admission, _ := httpkey.AdmissionFrom(r.Context())
			_, _ = fmt.Fprint(&log, r.Context(), *admission)
		})), path, "", attacker)
	}
	if text := log.String(); !strings.Contains(text, "throttled") || !strings.Contains(text, "missing") {
		t.Errorf("the log is %s", text)
	}
}

func TestLimitByNeedsAFunction(t *testing.T) {
	t.Parallel()
	defer func() {
		if text, _ := recover().(string); !strings.HasPrefix(text, "httpkey: LimitBy") {
			t.Errorf("panicked with %q", text)
		}
	}()
	newGuard(nil).LimitBy(nil)
}

// A request without a key is nobody's, even in the context of another request. Only a session
// that the program has found stays.
func TestAnonymousRequestsHaveNoKeysToken(t *testing.T) {
	t.Parallel()
	opts := &httpkey.Options{Anonymous: func(*http.Request, *httpkey.Charge) bool { return true }}
	guard, other := newGuard(opts), newGuard(nil)
	whose := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token, _ := httpkey.FromContext(r.Context())
		_, _ = io.WriteString(w, token.User)
	})
	for _, tt := range []struct {
		name  string
		outer *httpkey.Guard // of a key of ada's; nil: a session of ada's
		want  string
	}{{"a part of a batch", guard, ""}, {"behind another Guard", other, ""}, {"a session", nil, "ada"}} {
		part := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			guard.Handler(whose).ServeHTTP(w, httpkeytest.Request(http.MethodGet, "/", "").WithContext(r.Context()))
		})
		var got string
		if tt.outer != nil {
			key, _ := issue(t, tt.outer, httpkey.Token{User: "ada"})
			got = httpkeytest.Get(tt.outer.Handler(part), key).Body.String()
		} else {
			w, r := httptest.NewRecorder(), httpkeytest.Request(http.MethodGet, "/", "")
			part.ServeHTTP(w, r.WithContext(guard.NewContext(r.Context(), httpkey.Token{User: "ada"})))
			got = w.Body.String()
		}
		if got != tt.want {
			t.Errorf("%s: the request is of %q, want %q", tt.name, got, tt.want)
		}
	}
}

// The parts of a batch on a public route may share its header. Those on other routes need a key
// all the same, and so do those whose header has got two keys meanwhile.
func TestAnonymousPartsOfABatch(t *testing.T) {
	t.Parallel()
	guard := newGuard(&httpkey.Options{Anonymous: onPublicPaths(httpkey.PerHour(9))})
	for _, tt := range []struct {
		name   string
		path   string
		keys   []string
		status int
	}{
		{"a public route", "/public/part", nil, 200},
		{"another route", "/private", nil, 401},
		{"two keys", "/public/part", []string{"one", "two"}, 401},
	} {
		var status int
		batch := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			part := httptest.NewRequestWithContext(r.Context(), http.MethodGet, tt.path, nil)
			part.Header = r.Header
			if tt.keys != nil {
				part.Header["X-Api-Key"] = tt.keys
			}
			w := httptest.NewRecorder()
			guard.Handler(ok).ServeHTTP(w, part)
			status = w.Code
		})
		if w := ask(guard.Handler(batch), "/public", "", attacker); w.Code != 200 || status != tt.status {
			t.Errorf("%s: the batch got %d and its part %d, want 200 and %d", tt.name, w.Code, status, tt.status)
		}
	}
}

// A session in front of a Guard that is twice around a handler is charged once.
func TestSessionsTwiceInAChain(t *testing.T) {
	t.Parallel()
	guard := newGuard(&httpkey.Options{Anonymous: onPublicPaths(httpkey.PerHour(9))})
	chain := guard.Handler(guard.Handler(ok))
	session := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		chain.ServeHTTP(w, r.WithContext(guard.NewContext(r.Context(), httpkey.Token{User: "ada"})))
	})
	if w := ask(session, "/public", "", attacker); w.Code != 200 || w.Header().Get("X-RateLimit-Remaining") != "8" {
		t.Errorf("%d %v", w.Code, w.Header())
	}
}

// LimitBy of one Guard behind another Guard makes the key of the other one no key of its own.
func TestLimitByDoesNotVouchForAnotherGuard(t *testing.T) {
	t.Parallel()
	outer, inner := newGuard(nil), newGuard(nil)
	by := inner.LimitBy(func(_ *http.Request, c *httpkey.Charge) { c.Limits = limits(httpkey.PerHour(9)) })
	foreign, _ := issue(t, outer, httpkey.Token{})
	if w := ask(outer.Handler(by(inner.Handler(ok))), "/", foreign, attacker); w.Code != http.StatusUnauthorized {
		t.Errorf("the inner Guard admits the key of the outer one: %d", w.Code)
	}
}
