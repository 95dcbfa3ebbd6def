package httpkey_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/httpkeytest"
	"github.com/httpkey/httpkey/memstore"
)

func TestExpiryIsExactToTheMicrosecond(t *testing.T) {
	t.Parallel()
	for offset, want := range map[time.Duration]int{
		-time.Microsecond: http.StatusOK,
		0:                 http.StatusUnauthorized,
		time.Microsecond:  http.StatusUnauthorized,
	} {
		t.Run(offset.String(), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				guard := newGuard(nil)
				key, _ := issue(t, guard, httpkey.Token{ExpiredAt: time.Now().Add(time.Hour)})
				httpkeytest.Elapse(time.Hour + offset)
				if got := httpkeytest.Get(guard.Handler(ok), key).Code; got != want {
					t.Errorf("%v from the expiry: status %d, want %d", offset, got, want)
				}
			})
		})
	}
}

// A key from a program's own table may expire in a year that 64-bit microseconds cannot
// express. The Guard decides as Token.Expired does.
func TestExpiryBeyondMicroseconds(t *testing.T) {
	t.Parallel()
	for _, year := range []int{-400_000, -290_308, -290_307, -1, 1, 9999, 294_246, 294_247, 400_000} {
		guard := newGuard(nil)
		key, token := issue(t, guard, httpkey.Token{})
		token.ExpiredAt = time.Date(year, time.June, 1, 0, 0, 0, 0, time.UTC)
		want := http.StatusOK
		if token.Expired(time.Now()) {
			want = http.StatusUnauthorized
		}
		store := memstore.New()
		if _, err := store.Create(t.Context(), token); err != nil {
			t.Fatal(err)
		}
		for where, store := range map[string]httpkey.TokenStore{
			"in memory": store, "in a table": httpkey.LookupOnly{
				ByDigest: func(context.Context, httpkey.Digest) (httpkey.Token, error) { return token, nil },
			},
		} {
			guard := httpkey.New(store, httpkey.Unlimited, nil)
			if got := httpkeytest.Get(guard.Handler(ok), key).Code; got != want {
				t.Errorf("%s, the year %d: status %d, want %d", where, year, got, want)
			}
		}
	}
}

func TestDefaultLimits(t *testing.T) {
	t.Parallel()
	for kind, limit := range map[httpkey.Kind]int{httpkey.APIKey: 60, httpkey.ServiceToken: 300} {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				guard := newGuard(nil)
				key, _ := issue(t, guard, httpkey.Token{Kind: kind})
				for n := 1; n <= limit; n++ {
					if w := httpkeytest.Get(guard.Handler(ok), key); w.Code != http.StatusOK {
						t.Fatalf("request %d: status %d", n, w.Code)
					}
				}
				w := httpkeytest.Get(guard.Handler(ok), key)
				if w.Code != http.StatusTooManyRequests || w.Header().Get("Retry-After") != "1" {
					t.Errorf("request %d: status %d, Retry-After %s", limit+1, w.Code, w.Header().Get("Retry-After"))
				}
				httpkeytest.Elapse(time.Minute)
				h := httpkeytest.Get(guard.Handler(ok), key).Header()
				if got := h.Get("X-RateLimit-Remaining"); got != fmt.Sprint(limit-1) {
					t.Errorf("a minute later, Remaining is %s", got)
				}
			})
		})
	}
}

// Retry-After, and the seconds in the body, are rounded up.
func TestRetryAfterIsRoundedUp(t *testing.T) {
	t.Parallel()
	for passed, want := range map[time.Duration]string{
		0:                          "10 seconds",
		time.Microsecond:           "10 seconds",
		8999999 * time.Microsecond: "2 seconds",
		9 * time.Second:            "1 second",
		9999999 * time.Microsecond: "1 second",
	} {
		synctest.Test(t, func(t *testing.T) {
			guard := newGuard(nil)
			key, _ := issue(t, guard, httpkey.Token{Limits: limits(httpkey.Limit{Rate: 1, Period: 10 * time.Second})})
			httpkeytest.Get(guard.Handler(ok), key)
			httpkeytest.Elapse(passed)
			w := httpkeytest.Get(guard.Handler(ok), key)
			number, _, _ := strings.Cut(want, " ")
			if w.Header().Get("Retry-After") != number || !strings.Contains(w.Body.String(), " "+want+".") {
				t.Errorf("after %v: Retry-After %s, %s", passed, w.Header().Get("Retry-After"), w.Body)
			}
		})
	}
}

// A client that waits for X-RateLimit-Reset finds the whole quota, at whatever
// fraction of a second it began.
func TestResetIsNeverEarly(t *testing.T) {
	t.Parallel()
	for _, start := range []time.Duration{0, time.Microsecond, 500 * time.Millisecond, 999_999 * time.Microsecond} {
		for _, limit := range []httpkey.Limit{httpkey.PerMinute(60), httpkey.PerMinute(7), httpkey.PerSecond(3)} {
			synctest.Test(t, func(t *testing.T) {
				httpkeytest.Elapse(start)
				guard := newGuard(nil)
				key, _ := issue(t, guard, httpkey.Token{Limits: limits(limit)})
				httpkeytest.Get(guard.Handler(ok), key)
				var reset int64
				if _, err := fmt.Sscan(httpkeytest.Get(guard.Handler(ok), key).Header().Get("X-RateLimit-Reset"),
					&reset); err != nil {
					t.Fatal(err)
				}
				wait := time.Until(time.Unix(reset, 0))
				owed := 2 * limit.Period / time.Duration(limit.Rate)
				if exact := start == 0 && time.Second%(limit.Period/time.Duration(limit.Rate)) == 0 &&
					owed%time.Second == 0; exact && wait != owed {
					t.Errorf("%+v: Reset is %v away, the quota exactly %v", limit, wait, owed)
				}
				if wait < owed || wait >= owed+time.Second+time.Microsecond {
					t.Errorf("%+v from %v: Reset is %v away, the quota %v", limit, start, wait, owed)
				}
				httpkeytest.Elapse(wait)
				h := httpkeytest.Get(guard.Handler(ok), key).Header()
				if got := h.Get("X-RateLimit-Remaining"); got != fmt.Sprint(limit.Rate-1) {
					t.Errorf("%+v from %v: after Reset, Remaining is %s", limit, start, got)
				}
			})
		}
	}
}
