package httpkey_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/cachestore"
	"github.com/httpkey/httpkey/httpkeytest"
	"github.com/httpkey/httpkey/internal/keyformat"
	"github.com/httpkey/httpkey/internal/model"
	"github.com/httpkey/httpkey/memstore"
)

// stores are the ways in which a Guard may find tokens. The second store is the one that the
// first asks; it may be nil.
var stores = map[string]func() (httpkey.TokenStore, *misses){
	"in memory": func() (httpkey.TokenStore, *misses) { return memstore.New(), nil },
	"elsewhere": func() (httpkey.TokenStore, *misses) {
		store := &misses{TokenStore: memstore.New()}
		return store, store
	},
	"in a cache": func() (httpkey.TokenStore, *misses) {
		store := &misses{TokenStore: memstore.New()}
		return cachestore.New(store, nil), store
	},
}

// misses is a store that counts the lookups of keys that it does not have.
type misses struct {
	httpkey.TokenStore
	count atomic.Int64
}

func (m *misses) Lookup(ctx context.Context, d httpkey.Digest) (httpkey.Token, error) {
	token, err := m.TokenStore.Lookup(ctx, d)
	if errors.Is(err, httpkey.ErrNotFound) {
		m.count.Add(1)
	}
	return token, err
}

// madeUp returns a key that was never issued, with a right checksum.
func madeUp() string { return keyformat.Format{Prefix: "hk"}.Generate(false) }

// clients sends requests with keys from addresses.
type clients struct {
	handler http.Handler
	request *http.Request
	writer  quiet
}

func clientsOf(guard *httpkey.Guard) *clients {
	r := httpkeytest.Request(http.MethodGet, "/", "")
	return &clients{guard.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})), r, quiet{}}
}

// send returns the status of a request, 200 if it is admitted.
func (c *clients) send(from, key string) int {
	c.request.RemoteAddr = from
	c.request.Header["X-Api-Key"] = []string{key}
	c.writer = quiet{header: make(http.Header), status: http.StatusOK}
	c.handler.ServeHTTP(&c.writer, c.request)
	return c.writer.status
}

// wait waits as long as the last response says.
func (c *clients) wait(t *testing.T) {
	t.Helper()
	seconds, err := strconv.Atoi(c.writer.header.Get("Retry-After"))
	if err != nil || seconds < 1 {
		t.Fatalf("the headers are %v", c.writer.header)
	}
	httpkeytest.Elapse(time.Duration(seconds) * time.Second)
}

// flood sends made-up keys and counts the statuses.
func (c *clients) flood(from string, count int) map[int]int {
	statuses := make(map[int]int)
	for range count {
		statuses[c.send(from, madeUp())]++
	}
	return statuses
}

const (
	attacker = "203.0.113.7:4000"
	neighbor = "203.0.113.8:4000"
)

// A million made-up keys of one address, within 100 seconds, are looked up as often as the limit
// admits, and take a bounded memory. Keys that are known pass in between, though they come from
// the same address.
func TestFailedKeysAreMetered(t *testing.T) {
	// Not parallel: it measures the memory of the process.
	for name, in := range stores {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store, asked := in()
				guard := httpkey.New(store, httpkey.Unlimited, &httpkey.Options{Failures: httpkey.PerMinute(30)})
				c := clientsOf(guard)
				var known []string
				for range 500 {
					key, _ := issue(t, guard, httpkey.Token{})
					if status := c.send(attacker, key); status != 200 {
						t.Fatalf("a good key got %d", status)
					}
					known = append(known, key)
				}
				count := model.Steps(1_000_000)
				if name != "elsewhere" {
					count /= 10
				}
				before := heap()
				statuses, refused := make(map[int]int), 0
				for range 100 {
					for status, n := range c.flood(attacker, count/100) {
						statuses[status] += n
					}
					for _, key := range known {
						if c.send(attacker, key) != 200 {
							refused++
						}
					}
					httpkeytest.Elapse(time.Second) // the TTL of the cache passes, too
				}
				const most = 30 + 100/2
				if statuses[401] < most-1 || statuses[401] > most || statuses[429] != count-statuses[401] {
					t.Errorf("made-up keys got %v, want %d times 401 and else 429", statuses, most)
				}
				if refused > 0 {
					t.Errorf("known keys were refused %d times of %d", refused, 100*len(known))
				}
				if asked != nil && asked.count.Load() > most {
					t.Errorf("the store was asked for %d made-up keys, want %d", asked.count.Load(), most)
				}
				if grown := heap() - before; grown > 4<<20 {
					t.Errorf("the heap has grown by %d bytes", grown)
				}
				if err := guard.Close(t.Context()); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// A good key that the process does not know gets a 429 at worst, and passes after the time in
// Retry-After, though an attacker at the same address takes all that the limit admits.
func TestUnknownGoodKeysPassOnRetry(t *testing.T) {
	t.Parallel()
	for name, in := range stores {
		for _, limit := range []httpkey.Limit{httpkey.PerMinute(10), httpkey.PerSecond(5), httpkey.PerHour(60),
			{Rate: 30, Burst: 5, Period: time.Minute}} {
			t.Run(fmt.Sprint(name, " ", limit), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					store, _ := in()
					issuer := httpkey.New(store, httpkey.Unlimited, nil)
					guard := httpkey.New(store, httpkey.Unlimited, &httpkey.Options{Failures: limit})
					c := clientsOf(guard)
					c.flood(attacker, 200)
					for range 5 {
						key, _ := issue(t, issuer, httpkey.Token{})
						status := c.send(attacker, key)
						if name == "in memory" { // all keys are known there
							if status != 200 {
								t.Errorf("a key in memory got %d", status)
							}
							continue
						}
						if status != 429 || c.writer.header["X-Ratelimit-Limit"] != nil {
							t.Errorf("the first answer is %d %v", status, c.writer.header)
						}
						c.wait(t)
						c.flood(attacker, 200)
						if status := c.send(attacker, key); status != 200 {
							t.Errorf("after the wait, the answer is %d", status)
						}
						c.flood(attacker, 200)
						for range 100 {
							if status := c.send(attacker, key); status != 200 {
								t.Fatalf("once it is known, the answer is %d", status)
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
}

// The failed keys of an address are no matter for others, and neither the port nor anything in
// front of a /64 makes another address.
func TestFailuresOfAnAddress(t *testing.T) {
	t.Parallel()
	behind := httpkey.TrustedProxies(netip.MustParsePrefix("10.0.0.0/8"))
	for _, tt := range []struct {
		name            string
		client          func(*http.Request) netip.Addr
		attacker, other string
		forwarded, then string
		isOne           bool
	}{
		{name: "the address", attacker: attacker, other: attacker, isOne: true},
		{name: "another port", attacker: attacker, other: "203.0.113.7:5", isOne: true},
		{name: "another address", attacker: attacker, other: neighbor},
		{name: "IPv4-mapped", attacker: attacker, other: "[::ffff:203.0.113.7]:4000", isOne: true},
		{name: "a network", attacker: "[2001:db8::1]:5", other: "[2001:db8::ffff:0:0:1]:5", isOne: true},
		{name: "another network", attacker: "[2001:db8::1]:5", other: "[2001:db8:0:1::1]:5"},
		{name: "no address", attacker: "@", other: "@", isOne: true},
		{name: "an address beside none", attacker: "@", other: attacker},
		{name: "a header without a proxy", attacker: attacker, other: attacker, then: "192.0.2.1", isOne: true},
		{name: "a header that nobody trusts", client: behind, attacker: attacker, other: attacker, then: "192.0.2.1",
			isOne: true},
		{name: "a forged header behind a proxy", client: behind, attacker: "10.0.0.1:5", other: "10.0.0.1:5",
			forwarded: "203.0.113.7", then: "192.0.2.1, 203.0.113.7", isOne: true},
		{name: "another proxy", client: behind, attacker: "10.0.0.1:5", other: "10.0.0.2:5",
			forwarded: "203.0.113.7", then: "203.0.113.7, 10.0.0.1", isOne: true},
		{name: "another client of a proxy", client: behind, attacker: "10.0.0.1:5", other: "10.0.0.1:5",
			forwarded: "203.0.113.7", then: "203.0.113.7, 203.0.113.8"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			store := httpkeytest.NewStore(memstore.New())
			guard := httpkey.New(store, httpkey.Unlimited, &httpkey.Options{Failures: httpkey.PerHour(5), ClientAddr: tt.client})
			c := clientsOf(guard)
			set := func(lines string) {
				if c.request.Header.Del("X-Forwarded-For"); lines != "" {
					c.request.Header.Set("X-Forwarded-For", lines)
				}
			}
			set(tt.forwarded)
			if got := c.flood(tt.attacker, 50); got[401] != 5 || got[429] != 45 {
				t.Fatalf("made-up keys got %v", got)
			}
			set(tt.then)
			good, _ := issue(t, guard, httpkey.Token{})
			if got, want := c.send(tt.other, good), map[bool]int{true: 429, false: 200}[tt.isOne]; got != want {
				t.Errorf("a good key got %d, want %d", got, want)
			}
		})
	}
}

// Only keys that are not valid count, and all of these do if somebody looked them up.
func TestWhatCountsAsAFailure(t *testing.T) {
	t.Parallel()
	const burst = 5
	imports := httpkey.Options{ImportedMinLength: 20}
	for _, tt := range []struct {
		name   string
		opts   httpkey.Options
		token  httpkey.Token
		change func(*httpkey.Token)
		key    func(good string) string // nil: the good key
		counts bool
	}{
		{name: "unknown", key: func(string) string { return madeUp() }, counts: true},
		{name: "revoked", change: func(t *httpkey.Token) { t.IsActive = false }, counts: true},
		{name: "expired", change: func(t *httpkey.Token) { t.ExpiredAt = time.Unix(1, 0) }, counts: true},
		{name: "from elsewhere", token: httpkey.Token{Networks: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}},
			counts: true},
		{name: "of another shape", opts: imports, key: func(good string) string { return good + "x" }, counts: true},
		{name: "mistyped", key: func(good string) string { return good[:len(good)-1] + "~" }},
		{name: "with a wrong checksum", key: func(good string) string { return good[:len(good)-6] + "000000" }},
		{name: "missing", key: func(string) string { return "" }},
		{name: "valid"},
		{name: "throttled", token: httpkey.Token{Limits: limits(httpkey.PerHour(1))}},
		{name: "without any quota", token: httpkey.Token{Limits: limits(httpkey.PerHour(0))}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			store := httpkeytest.NewStore(memstore.New())
			opts := tt.opts
			opts.Failures = httpkey.PerHour(burst)
			guard := httpkey.New(store, memstore.NewLimiter(), &opts)
			key, token := issue(t, guard, tt.token)
			if tt.change != nil {
				update(t, store, token.ID, tt.change)
			}
			if tt.key != nil {
				key = tt.key(key)
			}
			c := clientsOf(guard)
			statuses := make(map[int]int)
			for range 2 * burst {
				statuses[c.send(attacker, key)]++
			}
			others := c.flood(attacker, burst)
			if tt.counts && (statuses[401] != burst || statuses[429] != burst || others[429] != burst) ||
				!tt.counts && others[401] != burst {
				t.Errorf("the key got %v, and other keys %v", statuses, others)
			}
		})
	}
}

// A key that is revoked is known no more.
func TestRevokedKeysAreMetered(t *testing.T) {
	t.Parallel()
	store := httpkeytest.NewStore(memstore.New())
	guard := httpkey.New(store, httpkey.Unlimited, &httpkey.Options{Failures: httpkey.PerHour(5)})
	key, token := issue(t, guard, httpkey.Token{})
	c := clientsOf(guard)
	if status := c.send(attacker, key); status != 200 {
		t.Fatalf("status %d", status)
	}
	c.flood(attacker, 20)
	if err := guard.Revoke(t.Context(), token.ID, "leaked"); err != nil {
		t.Fatal(err)
	}
	calls := store.Calls("Lookup")
	for n, want := range []int{401, 429, 429} {
		if status := c.send(attacker, key); status != want {
			t.Errorf("time %d after the revocation: status %d, want %d", n, status, want)
		}
	}
	if got := store.Calls("Lookup") - calls; got != 1 {
		t.Errorf("the store was asked %d times", got)
	}
}

// Bad keys with the ID of a token in them do not count against that token elsewhere.
func TestFailuresAreNotOfAToken(t *testing.T) {
	t.Parallel()
	store := httpkeytest.NewStore(memstore.New())
	guard := httpkey.New(store, httpkey.Unlimited, &httpkey.Options{Failures: httpkey.PerHour(5), ImportedMinLength: 20})
	const good = "account-1.secret-that-is-long-enough"
	if _, err := guard.Import(t.Context(), good, httpkey.Token{ID: "account-1", IsActive: true}); err != nil {
		t.Fatal(err)
	}
	c := clientsOf(guard)
	for n := range 100 {
		c.send(attacker, fmt.Sprintf("account-1.secret-that-is-wrong-%d", n))
	}
	if status := c.send(neighbor, good); status != 200 {
		t.Errorf("the good key got %d at another address", status)
	}
}

// Admit and Verify know no address, so they meter nothing.
func TestAdmitMetersNoFailures(t *testing.T) {
	t.Parallel()
	store := httpkeytest.NewStore(memstore.New())
	guard := httpkey.New(store, memstore.NewLimiter(), &httpkey.Options{Failures: httpkey.PerHour(5)})
	clientsOf(guard).flood(attacker, 50)
	for range 50 {
		if _, err := guard.Admit(t.Context(), madeUp(), 1); !errors.Is(err, httpkey.ErrInvalidKey) {
			t.Fatalf("Admit returned %v", err)
		}
		if _, err := guard.Verify(t.Context(), madeUp()); !errors.Is(err, httpkey.ErrInvalidKey) {
			t.Fatalf("Verify returned %v", err)
		}
	}
	key, _ := issue(t, guard, httpkey.Token{})
	if _, err := guard.Admit(t.Context(), key, 1); err != nil {
		t.Errorf("Admit of a good key returned %v", err)
	}
}

// The answer is that of the contract for a limit, without its numbers, which are no matter of a
// key. The Observer learns why.
func TestAnswerToTooManyFailures(t *testing.T) {
	t.Parallel()
	var seen events
	store := httpkeytest.NewStore(memstore.New())
	guard := httpkey.New(store, memstore.NewLimiter(), &httpkey.Options{
		Failures: httpkey.PerMinute(5), Observers: observers(&seen), IETFHeaders: true, DryRun: true,
	})
	clientsOf(guard).flood(attacker, 5)
	calls := store.Calls("Lookup")
	for _, method := range []string{http.MethodGet, http.MethodHead} {
		r := httpkeytest.Request(method, "/", madeUp())
		r.RemoteAddr = attacker
		w := httptest.NewRecorder()
		guard.Handler(ok).ServeHTTP(w, r)
		body := `{"detail":"Request was throttled. Expected available in 12 seconds."}`
		h := w.Header()
		if w.Code != 429 || h.Get("Retry-After") != "12" || h.Get("Content-Length") != strconv.Itoa(len(body)) ||
			h.Get("Cache-Control") != "no-store" || h.Get("Content-Type") != "application/json" || len(h) != 4 {
			t.Errorf("%s: %d %v", method, w.Code, h)
		}
		if method == http.MethodHead {
			body = ""
		}
		if w.Body.String() != body {
			t.Errorf("%s: the body is %s", method, w.Body)
		}
		e := seen.last(t)
		if e.Type != httpkey.EventRefused || e.Reason != httpkey.ReasonFailures || e.Token.ID != "" || e.Err != nil ||
			e.Request != r || e.Result.RetryAfter != 12*time.Second || e.Result.Limit != (httpkey.Limit{}) {
			t.Errorf("observed %+v", e)
		}
	}
	if got := store.Calls("Lookup") - calls; got != 0 {
		t.Errorf("the store was asked %d times", got)
	}
}

// A flood that makes the store slow is metered too: its lookups have cost the store as much.
func TestFailuresOfASlowStore(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]httpkeytest.Fault{
		"slow": httpkeytest.Lag(time.Second, "Lookup"), "down": httpkeytest.Fail(errors.New("down"), "Lookup"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				store := httpkeytest.NewStore(memstore.New())
				guard := httpkey.New(store, httpkey.Unlimited, &httpkey.Options{Failures: httpkey.PerHour(5)})
				key, _ := issue(t, guard, httpkey.Token{})
				known, _ := issue(t, guard, httpkey.Token{})
				c := clientsOf(guard)
				c.send(attacker, known)
				calls := store.Calls("Lookup")
				store.Before(fault)
				statuses := c.flood(attacker, 100)
				if got := store.Calls("Lookup") - calls; got > 5 || statuses[503] != got {
					t.Errorf("the store was asked %d times, and the keys got %v", got, statuses)
				}
				if status := c.send(attacker, known); status != 503 {
					t.Errorf("a known key got %d", status)
				}
				store.Before(nil)
				if status := c.send(attacker, known); status != 200 {
					t.Errorf("when the store is back, a known key got %d", status)
				}
				if status := c.send(attacker, key); status != 429 {
					t.Errorf("when the store is back, a key got %d", status)
				}
				c.wait(t)
				if status := c.send(attacker, key); status != 200 {
					t.Errorf("after its wait, the key got %d", status)
				}
				if err := guard.Close(t.Context()); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// A key at which a store panics is no good key.
func TestPanicsAreFailures(t *testing.T) {
	t.Parallel()
	store := httpkeytest.NewStore(memstore.New())
	guard := httpkey.New(store, httpkey.Unlimited, &httpkey.Options{Failures: httpkey.PerHour(5)})
	c := clientsOf(guard)
	store.Before(func(context.Context, string) error { panic("a bug") })
	panics := 0
	key := madeUp()
	for range 20 {
		func() {
			defer func() {
				if recover() != nil {
					panics++
				}
			}()
			c.send(attacker, key)
		}()
	}
	if panics != 5 {
		t.Errorf("the store was asked %d times", panics)
	}
}

// A key in a cache is known also when it is outdated there, however many keys there are.
func TestOutdatedKeysAreKnown(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		cache := cachestore.New(memstore.New(), nil)
		key, _ := issue(t, httpkey.New(cache, httpkey.Unlimited, nil), httpkey.Token{})
		if _, err := httpkey.New(cache, httpkey.Unlimited, nil).Verify(t.Context(), key); err != nil {
			t.Fatal(err)
		}
		// This Guard has never looked the key up.
		guard := httpkey.New(cache, httpkey.Unlimited, &httpkey.Options{Failures: httpkey.PerHour(5)})
		c := clientsOf(guard)
		c.flood(attacker, 20)
		httpkeytest.Elapse(31 * time.Second)
		if status := c.send(attacker, key); status != 200 {
			t.Errorf("an outdated key got %d", status)
		}
		if err := guard.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// Requests that come at once have no more keys looked up than those that come one by one.
func TestFailuresAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const burst = 20
		store := httpkeytest.NewStore(memstore.New())
		guard := httpkey.New(store, httpkey.Unlimited, &httpkey.Options{Failures: httpkey.PerHour(burst)})
		store.Before(httpkeytest.Lag(50*time.Millisecond, "Lookup"))
		var statuses [600]atomic.Int64
		var requests sync.WaitGroup
		for range 500 {
			requests.Go(func() { statuses[clientsOf(guard).send(attacker, madeUp())].Add(1) })
		}
		requests.Wait()
		if got := store.Calls("Lookup"); got != burst || statuses[401].Load() != burst || statuses[429].Load() != 500-burst {
			t.Errorf("the store was asked %d times, 401: %d, 429: %d", got, statuses[401].Load(), statuses[429].Load())
		}
	})
}

// Keys for Options.Adopt are metered as all others, since a slow hash costs more than a lookup.
func TestFailuresOfAdoption(t *testing.T) {
	t.Parallel()
	const old = "old-key-of-another-program"
	for name, in := range stores {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			store, _ := in()
			adopted := 0
			guard := httpkey.New(store, httpkey.Unlimited, &httpkey.Options{
				Failures: httpkey.PerHour(5), ImportedMinLength: 20,
				Adopt: func(_ context.Context, secret string) (httpkey.Token, error) {
					if adopted++; secret != old {
						return httpkey.Token{}, httpkey.ErrNotFound
					}
					return httpkey.Token{IsActive: true}, nil
				},
			})
			c := clientsOf(guard)
			if status := c.send(attacker, old); status != 200 {
				t.Errorf("the old key got %d", status)
			}
			if got := c.flood(attacker, 100); got[401] != 5 || got[429] != 95 || adopted != 6 {
				t.Errorf("made-up keys got %v, and Adopt was called %d times", got, adopted)
			}
			if status := c.send(attacker, old); status != 200 {
				t.Errorf("the old key got %d", status)
			}
		})
	}
}

// A denied key costs no allocation.
func TestAllocationsOfFailures(t *testing.T) {
	// Not parallel: AllocsPerRun counts those of the whole process.
	for name, in := range stores {
		store, _ := in()
		guard := httpkey.New(store, httpkey.Unlimited, &httpkey.Options{Failures: httpkey.PerHour(5)})
		w := &quiet{header: make(http.Header)}
		handler := guard.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
		var requests []*http.Request
		for range 210 {
			r := httpkeytest.Request(http.MethodGet, "/", madeUp())
			r.RemoteAddr = "[2001:db8::1]:4000"
			requests = append(requests, r)
		}
		send := func() {
			clear(w.header)
			handler.ServeHTTP(w, requests[0])
			requests = requests[1:]
		}
		for range 6 {
			send()
		}
		if got := testing.AllocsPerRun(200, send); got > 0 || w.status != 429 {
			t.Errorf("%s: %v allocations and status %d", name, got, w.status)
		}
	}
}
