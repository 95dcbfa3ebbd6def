package httpkey_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/httpkeytest"
	"github.com/httpkey/httpkey/memstore"
)

// ofKeys are Options with the limits of an APIKey.
func ofKeys(l ...httpkey.Limit) httpkey.Options {
	return httpkey.Options{Limits: map[httpkey.Kind][]httpkey.Limit{httpkey.APIKey: l}}
}

// each returns the results of the single limits.
func each(r httpkey.Result) []httpkey.Result {
	if len(r.Each) == 0 && r.Limit != (httpkey.Limit{}) {
		return []httpkey.Result{r}
	}
	return r.Each
}

// Between random requests, Peek says what the next request finds, wherever tokens and buckets are.
// It moves neither a bucket nor LastUsed.
func TestPeekSaysWhatARequestFinds(t *testing.T) {
	t.Parallel()
	dry := httpkey.Limit{Name: "new", Rate: 4, Period: time.Minute, DryRun: true}
	byUser := func(_ *http.Request, t *httpkey.Token, c *httpkey.Charge) { c.Bucket = "user:" + t.User }
	byPlan := func(_ *http.Request, t *httpkey.Token, c *httpkey.Charge) {
		if t.Metadata["plan"] == "pro" {
			c.Limits = append(c.Limits, httpkey.PerDay(40))
		}
	}
	unlimited := func(_ *http.Request, _ *httpkey.Token, c *httpkey.Charge) { c.Limits = nil }
	with := func(l ...httpkey.Limit) httpkey.Token { return httpkey.Token{Limits: l} }
	for name, tt := range map[string]struct {
		opts  httpkey.Options
		token httpkey.Token
	}{
		"the default":        {},
		"a service":          {token: httpkey.Token{Kind: httpkey.ServiceToken}},
		"the kind's":         {opts: ofKeys(httpkey.PerMinute(9))},
		"its own":            {token: httpkey.Token{Limits: limits(httpkey.Limit{Rate: 30, Burst: 3, Period: time.Minute})}},
		"several":            {token: with(httpkey.PerMinute(7), httpkey.PerHour(50), httpkey.PerDay(70))},
		"a quota":            {token: httpkey.Token{Limits: limits(httpkey.PerMonth(90))}},
		"a dry run":          {opts: httpkey.Options{DryRun: true}},
		"one in a dry run":   {token: httpkey.Token{Limits: limits(httpkey.PerMinute(9), dry)}},
		"a limit of nothing": {token: httpkey.Token{Limits: limits(httpkey.PerMinute(0))}},
		"a user's":           {opts: httpkey.Options{Charge: byUser}, token: httpkey.Token{User: "ann"}},
		"a plan's":           {httpkey.Options{Charge: byPlan}, httpkey.Token{Metadata: map[string]string{"plan": "pro"}}},
		"none":               {opts: httpkey.Options{Charge: unlimited}},
		"of a rotated token": {token: httpkey.Token{Label: "rotated"}},
	} {
		for place, in := range places {
			t.Run(name+" "+place, func(t *testing.T) {
				t.Parallel()
				seed := rand.Uint64()
				synctest.Test(t, func(t *testing.T) {
					random := rand.New(rand.NewPCG(seed, 1))
					_, store, limiter := in()
					guard := httpkey.New(store, limiter, &tt.opts)
					key, token := issue(t, guard, tt.token)
					if token.Label == "rotated" {
						_, _ = guard.Admit(t.Context(), key, 5) // its bucket is the successor's
						created, err := guard.Rotate(t.Context(), token.ID, time.Hour)
						if err != nil {
							t.Fatal(err)
						}
						key, token = created.Secret.Reveal(), created.Token
					}
					peek := func() httpkey.Result {
						t.Helper()
						r, err := guard.Peek(t.Context(), token)
						if err != nil {
							t.Fatal(err)
						}
						return r
					}
					denials := 0
					for range 60 {
						httpkeytest.Elapse(time.Duration(random.IntN(20_000)) * time.Millisecond)
						cost := 1 + random.IntN(3)
						before := peek()
						if again := peek(); !reflect.DeepEqual(again, before) {
							t.Fatalf("Peek returned %+v, and then %+v", before, again)
						}
						admission, err := guard.Admit(t.Context(), key, cost)
						if err != nil {
							denials++
						} else if len(each(admission.Result)) != len(each(before)) {
							t.Fatalf("Peek returned %+v, and the request %+v", before, admission.Result)
						}
						for i, one := range each(before) {
							fits := one.Remaining >= cost || one.Limit.DryRun
							if !fits && err == nil {
								t.Errorf("seed %d: %d remained, and %d passed", seed, one.Remaining, cost)
							}
							if err != nil {
								continue
							}
							after := each(admission.Result)[i]
							left := one.Remaining - cost
							if left < 0 { // a dry run takes nothing without room
								left = one.Remaining
							}
							if after.Remaining != left || after.Limit != one.Limit {
								t.Errorf("seed %d: Peek returned %+v, and %d left %+v", seed, one, cost, after)
							}
						}
						if err != nil && peek().Remaining != before.Remaining {
							t.Errorf("seed %d: a denial took %d", seed, before.Remaining-peek().Remaining)
						}
					}
					t.Logf("%d of 60 were denied", denials)
					if err := guard.Close(t.Context()); err != nil {
						t.Fatal(err)
					}
					used, err := store.Get(t.Context(), token.ID)
					if err != nil {
						t.Fatal(err)
					}
					httpkeytest.Elapse(time.Minute)
					peek()
					if err := guard.Close(t.Context()); err != nil {
						t.Fatal(err)
					}
					if kept, err := store.Get(t.Context(), token.ID); err != nil || !reflect.DeepEqual(kept, used) {
						t.Errorf("Peek made %+v of %+v (%v)", kept, used, err)
					}
				})
			})
		}
	}
}

// A request after a Peek takes from the very bucket that Peek has seen beside the token, and Peek
// sees what requests took there.
func TestPeekBesideRequests(t *testing.T) {
	t.Parallel()
	opts := ofKeys(httpkey.PerHour(1000))
	guard := newGuard(&opts)
	key, token := issue(t, guard, httpkey.Token{})
	var requests sync.WaitGroup
	for range 4 {
		requests.Go(func() {
			for range 200 {
				if code := httpkeytest.Get(guard.Handler(ok), key).Code; code != http.StatusOK {
					t.Errorf("status %d", code)
				}
			}
		})
	}
	last := 1000
	for range 300 {
		r, err := guard.Peek(t.Context(), token)
		if err != nil || r.Remaining > last || r.Limit.Rate != 1000 {
			t.Fatalf("%+v (%v) after %d", r, err, last)
		}
		last = r.Remaining
	}
	requests.Wait()
	if r, err := guard.Peek(t.Context(), token); err != nil || r.Remaining != 200 {
		t.Errorf("after 800 requests, %d of 1000 remain (%v)", r.Remaining, err)
	}
}

// Peek answers as a request is answered while the limiter is down, and waits no longer.
func TestPeekInAnOutage(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		fault    httpkeytest.Fault
		fallback httpkey.Limiter
		want     int // remains; -1: there is an error
	}{
		"fails, own fallback": {refused, nil, 60},
		"hangs, own fallback": {hang, nil, 60},
		"fails, closed":       {refused, httpkey.FailClosed, -1},
		"hangs, closed":       {hang, httpkey.FailClosed, -1},
		"fails, unlimited":    {refused, httpkey.Unlimited, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inOutage(t, httpkey.Options{Fallback: tt.fallback}, func(o outage) {
				guard := httpkey.New(memstore.New(), o.limiter, &httpkey.Options{Fallback: tt.fallback})
				_, token := issue(o.T, guard, httpkey.Token{})
				o.limiter.Before(tt.fault)
				for range 5 {
					start := time.Now()
					ctx, cancel := context.WithCancel(o.Context())
					cancel()
					r, err := guard.Peek(ctx, token)
					if isError := tt.want < 0; isError != errors.Is(err, httpkey.ErrUnavailable) ||
						!isError && r.Remaining != tt.want || !isError && !r.Allowed {
						o.Errorf("%+v (%v)", r, err)
					}
					if took := time.Since(start); took > 100*time.Millisecond {
						o.Errorf("it took %v", took)
					}
				}
				o.limiter.Before(nil)
				httpkeytest.Elapse(time.Minute)
			})
		})
	}
}

func TestLimitsOf(t *testing.T) {
	t.Parallel()
	with := func(l ...httpkey.Limit) httpkey.Token { return httpkey.Token{Limits: l} }
	ann, daily := httpkey.Token{User: "ann"}, httpkey.PerDay(9).Resolve()
	resolved := func(rate int) httpkey.Limit { return httpkey.PerMinute(rate).Resolve() }
	dry := func(l httpkey.Limit) httpkey.Limit {
		l.DryRun = true
		return l
	}
	byUser := func(r *http.Request, t *httpkey.Token, c *httpkey.Charge) {
		if r == nil && t.User == "ann" {
			c.Bucket, c.Limits[0].Rate = "user:"+t.User, 7
		}
	}
	bad := func(_ *http.Request, _ *httpkey.Token, c *httpkey.Charge) { c.Bucket = "token:other" }
	twice := func(_ *http.Request, _ *httpkey.Token, c *httpkey.Charge) { c.Limits = append(c.Limits, c.Limits[0]) }
	for name, tt := range map[string]struct {
		limiter httpkey.Limiter // nil: in memory
		opts    httpkey.Options
		token   httpkey.Token
		want    []httpkey.Limit
		err     error
	}{
		"the default":   {want: limits(resolved(60))},
		"a service":     {token: httpkey.Token{Kind: httpkey.ServiceToken}, want: limits(resolved(300))},
		"no kind":       {token: httpkey.Token{Kind: "robot"}, want: limits(resolved(60))},
		"its own":       {token: with(httpkey.PerMinute(5), httpkey.PerDay(9)), want: limits(resolved(5), daily)},
		"of nothing":    {token: with(httpkey.PerMinute(0)), want: limits(resolved(0))},
		"of the kind":   {opts: ofKeys(httpkey.PerMinute(8)), want: limits(resolved(8))},
		"none":          {opts: ofKeys()},
		"unlimited":     {limiter: httpkey.Unlimited},
		"a dry run":     {opts: httpkey.Options{DryRun: true}, want: limits(dry(resolved(60)))},
		"one dry run":   {token: with(httpkey.PerMinute(5), dry(httpkey.PerDay(9))), want: limits(resolved(5), dry(daily))},
		"Charge":        {opts: httpkey.Options{Charge: byUser}, token: ann, want: limits(resolved(7))},
		"Charge errs":   {opts: httpkey.Options{Charge: bad}, err: httpkey.ErrInvalidLimit},
		"one twice":     {opts: httpkey.Options{Charge: twice}, err: httpkey.ErrInvalidLimit},
		"an own is bad": {token: httpkey.Token{Limits: limits(httpkey.Limit{Rate: 5})}, err: httpkey.ErrInvalidLimit},
	} {
		limiter := tt.limiter
		if limiter == nil {
			limiter = memstore.NewLimiter()
		}
		guard := httpkey.New(memstore.New(), limiter, &tt.opts)
		tt.token.ID = "t"
		before := tt.token.Clone()
		for range 2 { // no call leaves anything to the next
			got, err := guard.LimitsOf(tt.token)
			if !errors.Is(err, tt.err) || (err == nil) != (tt.err == nil) || !slices.Equal(got, tt.want) {
				t.Errorf("%s: %+v (%v), want %+v (%v)", name, got, err, tt.want, tt.err)
			}
			if err != nil && !strings.HasPrefix(err.Error(), "httpkey: ") {
				t.Errorf("%s: %v", name, err)
			}
			for i := range got { // the result is the caller's
				got[i].Rate = 1
			}
		}
		if _, err := guard.Peek(t.Context(), tt.token); !errors.Is(err, tt.err) {
			t.Errorf("%s: Peek returned %v, want %v", name, err, tt.err)
		}
		if !reflect.DeepEqual(tt.token, before) {
			t.Errorf("%s: the token became %+v", name, tt.token)
		}
	}
}

// Lookup finds the token of a key in every state, calls no limiter, and is no use.
func TestLookup(t *testing.T) {
	t.Parallel()
	for place, in := range places {
		t.Run(place, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				_, store, limiter := in()
				adoptions := 0
				opts := httpkey.Options{ImportedMinLength: 16, Adopt: func(context.Context, string) (httpkey.Token, error) {
					adoptions++
					return httpkey.Token{}, httpkey.ErrNotFound
				}}
				guard, keys := keysInEveryState(t, store, limiter, opts)
				now := httpkey.New(store, limiter, &httpkey.Options{Prefix: "new"}) // accepts none of the keys
				for state, key := range keys {
					found, err := guard.Lookup(t.Context(), httpkey.Secret(key))
					switch state {
					case "missing", "malformed", "deleted":
						if !errors.Is(err, httpkey.ErrNotFound) || found.ID != "" {
							t.Errorf("%s: %+v (%v)", state, found, err)
						}
						continue
					}
					kept, getErr := store.Get(t.Context(), found.ID)
					if err != nil || getErr != nil || !reflect.DeepEqual(found, kept) || !found.LastUsed.IsZero() {
						t.Errorf("%s: %+v (%v), want %+v", state, found, err, kept)
					}
					if again, err := now.Lookup(t.Context(), httpkey.Secret(key)); err != nil || again.ID != found.ID {
						t.Errorf("%s: a Guard with another prefix found %+v (%v)", state, again, err)
					}
					if r, err := guard.Peek(t.Context(), found); err != nil || len(found.Limits) == 0 && r.Remaining != r.Limit.Burst {
						t.Errorf("%s: %+v (%v)", state, r, err)
					}
				}
				if adoptions > 0 {
					t.Errorf("Adopt was asked %d times", adoptions)
				}
				if err := errors.Join(guard.Close(t.Context()), now.Close(t.Context())); err != nil {
					t.Error(err)
				}
			})
		})
	}
	store := httpkeytest.NewStore(memstore.New())
	guard := httpkey.New(store, memstore.NewLimiter(), &httpkey.Options{ImportedMinLength: 16})
	long := strings.Repeat("x", 255)
	if _, err := guard.Import(t.Context(), httpkey.Secret(long), httpkey.Token{IsActive: true}); err != nil {
		t.Fatal(err)
	}
	if _, err := guard.Lookup(t.Context(), httpkey.Secret(long+"y")); !errors.Is(err, httpkey.ErrNotFound) {
		t.Errorf("a key that only begins as another found it: %v", err)
	}
	store.Before(refused)
	_, err := guard.Lookup(t.Context(), httpkey.Secret(long))
	if !errors.Is(err, errDown) || errors.Is(err, httpkey.ErrNotFound) || strings.Contains(err.Error(), "xx") {
		t.Errorf("with a store that fails, Lookup returned %v", err)
	}
}
