package httpkey_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/httpkeytest"
	"github.com/httpkey/httpkey/memstore"
)

// places are where tokens and buckets may be.
var places = map[string]func() (*httpkeytest.Store, httpkey.TokenStore, httpkey.Limiter){
	"in memory": func() (*httpkeytest.Store, httpkey.TokenStore, httpkey.Limiter) {
		return nil, memstore.New(), memstore.NewLimiter()
	},
	"elsewhere": func() (*httpkeytest.Store, httpkey.TokenStore, httpkey.Limiter) {
		store := httpkeytest.NewStore(memstore.New())
		return store, store, httpkeytest.NewLimiter(memstore.NewLimiter())
	},
}

// keysInEveryState returns a Guard and its keys by their state.
func keysInEveryState(t *testing.T, store httpkey.TokenStore, limiter httpkey.Limiter,
	opts httpkey.Options) (*httpkey.Guard, map[string]string) {
	t.Helper()
	guard := httpkey.New(store, limiter, &opts)
	keys := map[string]string{"missing": "", "malformed": "nonsense"}
	tokens := make(map[string]httpkey.Token)
	for name, token := range map[string]httpkey.Token{
		"valid": {}, "service": {Kind: httpkey.ServiceToken}, "revoked": {},
		"expired": {ExpiredAt: time.Now().Add(time.Minute)}, "deleted": {},
		"once":    {Limits: limits(httpkey.PerHour(1))},
		"several": {Limits: limits(httpkey.PerHour(9), httpkey.PerDay(2))},
		"nothing": {Limits: limits(httpkey.PerMinute(0))},
	} {
		keys[name], tokens[name] = issue(t, guard, token)
	}
	if err := errors.Join(
		guard.Revoke(t.Context(), tokens["revoked"].ID, ""),
		store.Delete(t.Context(), tokens["deleted"].ID),
	); err != nil {
		t.Fatal(err)
	}
	httpkeytest.Elapse(time.Minute)
	return guard, keys
}

// classes are those of an [httpkey.Error] by its status.
var classes = map[int][]error{
	http.StatusUnauthorized:       {httpkey.ErrMissingKey, httpkey.ErrInvalidKey},
	http.StatusForbidden:          {httpkey.ErrForbidden},
	http.StatusTooManyRequests:    {httpkey.ErrThrottled},
	http.StatusServiceUnavailable: {httpkey.ErrUnavailable},
}

// Admit decides as the Handler does, for keys in every state, wherever they are.
func TestAdmitDecidesAsTheHandler(t *testing.T) {
	t.Parallel()
	for place, in := range places {
		t.Run(place, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var seen, seenHandler events
				_, store, limiter := in()
				guard, keys := keysInEveryState(t, store, limiter, httpkey.Options{Observers: observers(&seen)})
				_, store, limiter = in()
				other, otherKeys := keysInEveryState(t, store, limiter, httpkey.Options{Observers: observers(&seenHandler)})
				outcomes := make(map[int]int)
				for state, key := range keys {
					for n := range 3 {
						w := httpkeytest.Get(other.Handler(ok), otherKeys[state])
						admission, err := guard.Admit(t.Context(), key, 1)
						want, got := seenHandler.last(t), seen.last(t)
						what := fmt.Sprint(state, ", time ", n)
						if got.Type != want.Type || got.Reason != want.Reason || fmt.Sprint(got.Result) != fmt.Sprint(want.Result) ||
							(got.Token.ID == "") != (want.Token.ID == "") {
							t.Errorf("%s: Admit is observed as %s %q %v, the Handler as %s %q %v",
								what, got.Type, got.Reason, got.Result, want.Type, want.Reason, want.Result)
						}
						outcomes[w.Code]++
						if w.Code == http.StatusOK {
							if err != nil || fmt.Sprint(admission.Result) != fmt.Sprint(want.Result) || admission.Token.ID != got.Token.ID {
								t.Errorf("%s: Admit returned %+v, %v", what, admission, err)
							}
							continue
						}
						var refusal httpkey.Error
						if !errors.As(err, &refusal) || admission != nil || refusal.Status() != w.Code ||
							refusal.Reason() != want.Reason ||
							fmt.Sprint(refusal.Result()) != fmt.Sprint(want.Result) {
							t.Fatalf("%s: Admit returned %v, the Handler %d", what, err, w.Code)
						}
						for status, errs := range classes {
							matches := 0
							for _, class := range errs {
								if errors.Is(err, class) {
									matches++
								}
							}
							if status == w.Code && matches != 1 || status != w.Code && matches > 0 {
								t.Errorf("%s: %v matches %d classes of %d", what, err, matches, status)
							}
						}
					}
				}
				if len(outcomes) != 4 {
					t.Errorf("the statuses are %v", outcomes)
				}
				if err := errors.Join(guard.Close(t.Context()), other.Close(t.Context())); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// Where there is no decision, Admit and Verify say so, with the cause.
func TestAdmitInAnOutage(t *testing.T) {
	t.Parallel()
	store, limiter := httpkeytest.NewStore(memstore.New()), httpkeytest.NewLimiter(memstore.NewLimiter())
	guard := httpkey.New(store, limiter, nil)
	key, _ := issue(t, guard, httpkey.Token{})
	limiter.Before(refused)
	_, err := guard.Admit(t.Context(), key, 1)
	var refusal httpkey.Error
	if !errors.Is(err, httpkey.ErrUnavailable) || !errors.Is(err, errDown) || !errors.As(err, &refusal) ||
		refusal.Reason() != httpkey.ReasonLimiter {
		t.Errorf("with the limiter down, Admit returned %v", err)
	}
	if _, err := guard.Verify(t.Context(), key); err != nil {
		t.Errorf("with the limiter down, Verify returned %v", err)
	}
	store.Before(refused)
	if _, err := guard.Admit(t.Context(), key, 1); !errors.Is(err, httpkey.ErrUnavailable) ||
		!errors.As(err, &refusal) || refusal.Reason() != httpkey.ReasonStore {
		t.Errorf("with the store down, Admit returned %v", err)
	}
	store.Before(nil)
	if _, err := guard.Admit(t.Context(), key, -1); !errors.Is(err, httpkey.ErrInvalidLimit) {
		t.Errorf("with a negative cost, Admit returned %v", err)
	}
}

// A cost of 0 only looks: it takes nothing and is no use, also where nothing is left.
func TestAdmitOnlyLooks(t *testing.T) {
	t.Parallel()
	for place, in := range places {
		t.Run(place, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				_, store, limiter := in()
				guard := httpkey.New(store, limiter, &httpkey.Options{Charge: func(_ *http.Request, _ *httpkey.Token,
					c *httpkey.Charge) {
					c.Cost = max(c.Cost, 1) // as one that knows no Admit
				}})
				key, token := issue(t, guard, httpkey.Token{Limits: limits(httpkey.PerHour(2))})
				look := func(remaining int) {
					t.Helper()
					for range 3 {
						if a, err := guard.Admit(t.Context(), key, 0); err != nil || a.Result.Remaining != remaining {
							t.Errorf("Admit returned %+v, %v, want %d remaining", a, err, remaining)
						}
					}
				}
				look(2)
				if err := guard.Close(t.Context()); err != nil {
					t.Fatal(err)
				}
				if kept, _ := store.Get(t.Context(), token.ID); !kept.LastUsed.IsZero() {
					t.Error("a look is a use")
				}
				for range 2 {
					if _, err := guard.Admit(t.Context(), key, 1); err != nil {
						t.Error(err)
					}
				}
				look(0)
				if err := guard.Close(t.Context()); err != nil {
					t.Fatal(err)
				}
				if kept, _ := store.Get(t.Context(), token.ID); !kept.LastUsed.Equal(time.Now()) {
					t.Errorf("last used at %v", kept.LastUsed)
				}
			})
		})
	}
}

// A charge after the response takes down to one Burst below empty, and gives back up to
// full, from the bucket that the request was charged to.
func TestAdmissionCharge(t *testing.T) {
	t.Parallel()
	for place, in := range places {
		t.Run(place, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				_, store, limiter := in()
				guard := httpkey.New(store, limiter, &httpkey.Options{Charge: func(r *http.Request, t *httpkey.Token,
					c *httpkey.Charge) {
					if t.User != "" {
						c.Bucket = "user:" + t.User
						c.Limits = limits(httpkey.PerMinute(6))
					}
				}})
				own, _ := issue(t, guard, httpkey.Token{Limits: limits(httpkey.PerMinute(6))})
				shared, _ := issue(t, guard, httpkey.Token{User: "ann"})
				sharing, _ := issue(t, guard, httpkey.Token{User: "ann"})
				for _, keys := range [][2]string{{own, own}, {shared, sharing}} {
					admission, err := guard.Admit(t.Context(), keys[0], 1)
					if err != nil {
						t.Fatal(err)
					}
					for i, step := range []struct {
						charge, remaining int
						wait              time.Duration // until one more passes
					}{
						{2, 3, 0},
						{-1, 4, 0},
						{-100, 6, 0}, // never above full
						{6, 0, 10 * time.Second},
						{3, 0, 40 * time.Second},
						{1000, 0, 70 * time.Second}, // never more than one Burst below empty
						{-5, 0, 20 * time.Second},
						{-2, 1, 0},
						{0, 1, 0},
					} {
						if err := admission.Charge(t.Context(), step.charge); err != nil {
							t.Fatal(err)
						}
						look, err := guard.Admit(t.Context(), keys[1], 0)
						if err != nil || look.Result.Remaining != step.remaining {
							t.Errorf("step %d: %+v remains (%v), want %d", i, look.Result, err, step.remaining)
						}
						if step.wait == 0 {
							continue
						}
						_, err = guard.Admit(t.Context(), keys[1], 1)
						var refusal httpkey.Error
						if !errors.As(err, &refusal) || refusal.Result().RetryAfter != step.wait {
							t.Errorf("step %d: one more is answered %v %+v, want a wait of %v", i, err, refusal.Result(), step.wait)
						}
					}
				}
				if err := guard.Close(t.Context()); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// A charge waits for the limiter no longer than a request does.
func TestAdmissionChargeIsBoundedByTheTimeout(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		fallback httpkey.Limiter
		err      error
	}{
		"with a fallback":    {memstore.NewLimiter(), nil},
		"without a fallback": {nil, context.DeadlineExceeded},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				limiter := httpkeytest.NewLimiter(memstore.NewLimiter())
				guard := httpkey.New(memstore.New(), limiter, &httpkey.Options{Fallback: tt.fallback,
					Timeout: 70 * time.Millisecond})
				key, _ := issue(t, guard, httpkey.Token{})
				admission, err := guard.Admit(t.Context(), key, 1)
				if err != nil {
					t.Fatal(err)
				}
				limiter.Before(httpkeytest.Stall())
				for n := range 5 {
					want := 70 * time.Millisecond
					if n >= 3 { // the limiter is known to be down
						want = 0
					}
					start := time.Now()
					err := admission.Charge(t.Context(), 5)
					if took := time.Since(start); took != want {
						t.Errorf("charge %d took %v, want %v", n, took, want)
					}
					if n < 3 && !errors.Is(err, tt.err) || n >= 3 && (err != nil) != (tt.err != nil) {
						t.Errorf("charge %d returned %v", n, err)
					}
				}
			})
		})
	}
}

// Without a limit, or in a context of NewContext, Admission.Charge does nothing.
func TestAdmissionChargeOfNothing(t *testing.T) {
	t.Parallel()
	guard := httpkey.New(memstore.New(), memstore.NewLimiter(), &httpkey.Options{
		Limits: map[httpkey.Kind][]httpkey.Limit{httpkey.APIKey: {}},
	})
	key, _ := issue(t, guard, httpkey.Token{})
	unlimited, err := guard.Admit(t.Context(), key, 1)
	if err != nil {
		t.Fatal(err)
	}
	inTest, _ := httpkey.AdmissionFrom(httpkey.NewContext(t.Context(), httpkey.Token{ID: "t"}))
	for _, admission := range []*httpkey.Admission{unlimited, inTest, {}} {
		if err := admission.Charge(t.Context(), 5); err != nil {
			t.Error(err)
		}
	}
}

// The charge of a request is that of its own, whatever requests come between: what
// Options.Charge edits is reused.
func TestAdmissionsDoNotShareTheirCharge(t *testing.T) {
	t.Parallel()
	limiter := memstore.NewLimiter()
	guard := httpkey.New(memstore.New(), limiter, &httpkey.Options{
		Charge: func(_ *http.Request, t *httpkey.Token, c *httpkey.Charge) {
			c.Bucket, c.Limits[0] = "user:"+t.User, httpkey.Limit{Name: t.User, Rate: 100, Period: time.Hour}
		},
	})
	var admissions []*httpkey.Admission
	for n := range 20 {
		key, _ := issue(t, guard, httpkey.Token{User: fmt.Sprint("u", n)})
		admission, err := guard.Admit(t.Context(), key, 1)
		if err != nil {
			t.Fatal(err)
		}
		admissions = append(admissions, admission)
	}
	for n, admission := range admissions {
		if err := admission.Charge(t.Context(), 10); err != nil {
			t.Fatal(err)
		}
		user := fmt.Sprint("u", n)
		r, err := limiter.Allow(t.Context(), &httpkey.Charge{Bucket: "user:" + user,
			Limits: limits(httpkey.Limit{Name: user, Rate: 100, Period: time.Hour})})
		if err != nil || r.Remaining != 89 {
			t.Errorf("%s has %d left (%v), want 89", user, r.Remaining, err)
		}
	}
}

// A token is good for requests from its networks alone, and a request from elsewhere costs
// it nothing.
func TestNetworks(t *testing.T) {
	t.Parallel()
	prefixes := func(texts ...string) (networks []netip.Prefix) {
		for _, text := range texts {
			networks = append(networks, netip.MustParsePrefix(text))
		}
		return networks
	}
	fromHeader := func(r *http.Request) netip.Addr {
		addr, _ := netip.ParseAddr(r.Header.Get("X-Real-Ip"))
		return addr
	}
	for _, tt := range []struct {
		networks []netip.Prefix
		client   func(*http.Request) netip.Addr
		from     string
		want     bool
	}{
		{nil, nil, "192.0.2.1:5", true},
		{nil, nil, "nonsense", true},
		{prefixes("192.0.2.0/24"), nil, "192.0.2.1:5", true},
		{prefixes("192.0.2.0/24"), nil, "192.0.3.1:5", false},
		{prefixes("192.0.2.0/24"), nil, "[::ffff:192.0.2.1]:5", true}, // as a socket of both families has it
		{prefixes("192.0.2.0/24"), nil, "[::ffff:192.0.3.1]:5", false},
		{prefixes("192.0.2.0/24"), nil, "nonsense", false},
		{prefixes("192.0.2.0/24"), nil, "", false},
		{prefixes("192.0.2.0/24"), nil, "@", false}, // as a Unix socket has it
		{prefixes("0.0.0.0/0", "::/0"), nil, "", false},
		{prefixes("2001:db8::/32"), nil, "[2001:db8::1]:5", true},
		{prefixes("2001:db8::/32"), nil, "[2001:db9::1]:5", false},
		{prefixes("fe80::/10"), nil, "[fe80::1%eth0]:5", true},
		{prefixes("10.0.0.0/8", "2001:db8::/32", "192.0.2.1/32"), nil, "192.0.2.1:5", true},
		{prefixes("10.0.0.0/8", "2001:db8::/32", "192.0.2.1/32"), nil, "192.0.2.2:5", false},
		{prefixes("192.0.2.0/24"), fromHeader, "192.0.2.1", true},
		{prefixes("192.0.2.0/24"), fromHeader, "::ffff:192.0.2.1", true},
		{prefixes("192.0.2.0/24"), fromHeader, "", false},
	} {
		for place, in := range places {
			var seen events
			_, store, limiter := in()
			guard := httpkey.New(store, limiter, &httpkey.Options{ClientAddr: tt.client, Observers: observers(&seen)})
			key, token := issue(t, guard, httpkey.Token{Networks: tt.networks, Limits: limits(httpkey.PerHour(60))})
			r := httpkeytest.Request(http.MethodGet, "/", key)
			r.RemoteAddr = tt.from
			r.Header.Set("X-Real-Ip", tt.from)
			what := fmt.Sprintf("%s: from %q in %v", place, tt.from, tt.networks)
			for range 2 {
				w := httptest.NewRecorder()
				guard.Handler(ok).ServeHTTP(w, r)
				switch e := seen.last(t); {
				case tt.want && w.Code != http.StatusOK:
					t.Errorf("%s: status %d", what, w.Code)
				case !tt.want && (w.Code != http.StatusUnauthorized || w.Body.String() != invalid ||
					w.Header().Get("X-RateLimit-Limit") != ""):
					t.Errorf("%s: %d %s %v", what, w.Code, w.Body, w.Header())
				case !tt.want && (e.Reason != httpkey.ReasonNetwork || e.Token.ID != token.ID):
					t.Errorf("%s: observed %+v", what, e)
				}
			}
			_, err := guard.Admit(t.Context(), key, 1)
			_, verifyErr := guard.Verify(t.Context(), key)
			if anywhere := len(tt.networks) == 0; errors.Is(err, httpkey.ErrInvalidKey) == anywhere ||
				errors.Is(verifyErr, httpkey.ErrInvalidKey) == anywhere {
				t.Errorf("%s: Admit returned %v, Verify %v", what, err, verifyErr)
			}
			if _, err := store.Update(t.Context(), token.ID,
				func(t *httpkey.Token) error { t.Networks = nil; return nil }); err != nil {
				t.Fatal(err)
			}
			look, err := guard.Admit(t.Context(), key, 0)
			if want := map[bool]int{true: 58, false: 60}[tt.want]; err != nil || len(tt.networks) > 0 &&
				look.Result.Remaining != want {
				t.Errorf("%s: %+v remains (%v), want %d", what, look, err, want)
			}
			if err := guard.Close(t.Context()); err != nil {
				t.Error(err)
			}
		}
	}
}

// More after the response is paid from the bucket that the request was charged to, also where
// the token has other limits by then.
func TestChargeAfterALimitHasChanged(t *testing.T) {
	t.Parallel()
	limiter := memstore.NewLimiter()
	guard := httpkey.New(memstore.New(), limiter, nil)
	before, after := httpkey.PerHour(10), httpkey.PerHour(10)
	before.Name, after.Name = "before", "after"
	key, token := issue(t, guard, httpkey.Token{Limits: limits(before)})
	handler := guard.Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, err := guard.Store().Update(r.Context(), token.ID, func(t *httpkey.Token) error {
			t.Limits = limits(after)
			return nil
		})
		if err != nil {
			t.Error(err)
		}
		admission, ok := httpkey.AdmissionFrom(r.Context())
		if !ok {
			t.Error("there is no admission")
		} else if err := admission.Charge(r.Context(), 6); err != nil {
			t.Error(err)
		}
	}))
	httpkeytest.Get(handler, key)
	for _, tt := range []struct {
		limit httpkey.Limit
		want  int
	}{{before, 3}, {after, 10}} {
		r, err := limiter.Allow(t.Context(), &httpkey.Charge{Bucket: token.Payer(), Limits: limits(tt.limit)})
		if err != nil || r.Remaining != tt.want {
			t.Errorf("of the limit %s, %d remain (%v), want %d", tt.limit.Name, r.Remaining, err, tt.want)
		}
	}
}
