package usage_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/httpkeytest"
	"github.com/httpkey/httpkey/memstore"
	"github.com/httpkey/httpkey/usage"
)

var ok = http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})

// api is a Guard whose requests are counted.
type api struct {
	*httpkey.Guard
	*usage.Recorder
}

func newAPI(store usage.Store, opts *usage.Options, guard httpkey.Options) api {
	r := usage.NewRecorder(store, opts)
	guard.Observers = []httpkey.Observer{r}
	return api{httpkey.New(memstore.New(), memstore.NewLimiter(), &guard), r}
}

// elapse lets time pass in a bubble, and the work that is then due.
func elapse(d time.Duration) {
	httpkeytest.Elapse(d)
	synctest.Wait()
}

// day returns the counts of a token since yesterday.
func day(t *testing.T, r usage.Reader, id string) usage.Counts {
	t.Helper()
	intervals, err := r.Of(t.Context(), id, time.Now().Add(-usage.Day), time.Now().Add(usage.Hour), usage.Hour)
	if err != nil {
		t.Fatal(err)
	}
	var sum usage.Counts
	for _, i := range intervals {
		sum.Add(i.Counts)
	}
	return sum
}

func same(a, b usage.Counts) bool { return fmt.Sprint(a) == fmt.Sprint(b) }

// close writes everything.
func (a api) close(t *testing.T) {
	t.Helper()
	if err := a.Recorder.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// Each request counts once, by its outcome, before and after it is written.
func TestRequestsCount(t *testing.T) {
	t.Parallel()
	perHour := func(n int) []httpkey.Limit { return []httpkey.Limit{httpkey.PerHour(n)} }
	refused := func(reason httpkey.Reason, n int64) usage.Counts {
		return usage.Counts{Refused: n, Reasons: map[httpkey.Reason]int64{reason: n}}
	}
	with := func(c usage.Counts, others ...usage.Counts) usage.Counts {
		for _, other := range others {
			c.Add(other)
		}
		return c
	}
	charging := func(n int) http.Handler {
		return http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			admission, _ := httpkey.AdmissionFrom(r.Context())
			if err := admission.Charge(r.Context(), n); err != nil {
				t.Error(err)
			}
		})
	}
	byCost := func(_ *http.Request, _ *httpkey.Token, c *httpkey.Charge) { c.Cost = 5 }
	limitBy := func(g *httpkey.Guard, n int) func(http.Handler) http.Handler {
		return g.LimitBy(func(_ *http.Request, c *httpkey.Charge) { c.Limits = perHour(n) })
	}
	for _, tt := range []struct {
		name    string
		token   httpkey.Token
		guard   httpkey.Options
		handler func(*httpkey.Guard) http.Handler // nil: the Guard alone
		before  func(*httpkey.Guard, string)
		want    usage.Counts // of three requests
	}{
		{"passed", httpkey.Token{}, httpkey.Options{}, nil, nil, usage.Counts{Passed: 3, Cost: 3}},
		{"throttled", httpkey.Token{Limits: perHour(1)}, httpkey.Options{}, nil, nil,
			usage.Counts{Passed: 1, Throttled: 2, Cost: 1}},
		{"never", httpkey.Token{Limits: perHour(0)}, httpkey.Options{}, nil, nil, refused(httpkey.ReasonLimit, 3)},
		{"revoked", httpkey.Token{}, httpkey.Options{}, nil,
			func(g *httpkey.Guard, id string) {
				if err := g.Revoke(t.Context(), id, "leaked"); err != nil {
					t.Error(err)
				}
			}, refused(httpkey.ReasonInactive, 3)},
		{"another network", httpkey.Token{Networks: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}, httpkey.Options{},
			nil, nil, refused(httpkey.ReasonNetwork, 3)},
		{"a limit under DryRun", httpkey.Token{Limits: perHour(1)}, httpkey.Options{DryRun: true}, nil, nil,
			usage.Counts{Passed: 3, DryRun: 2, Cost: 3}},
		{"a cost", httpkey.Token{Limits: perHour(11)}, httpkey.Options{Charge: byCost}, nil, nil,
			usage.Counts{Passed: 2, Throttled: 1, Cost: 10}},
		{"a cost without a limit", httpkey.Token{Kind: httpkey.ServiceToken},
			httpkey.Options{Charge: byCost, Limits: map[httpkey.Kind][]httpkey.Limit{httpkey.ServiceToken: nil}}, nil, nil,
			usage.Counts{Passed: 3, Cost: 15}},
		{"a cost afterwards", httpkey.Token{}, httpkey.Options{},
			func(g *httpkey.Guard) http.Handler { return g.Handler(charging(7)) }, nil, usage.Counts{Passed: 3, Cost: 24}},
		{"a refund", httpkey.Token{}, httpkey.Options{},
			func(g *httpkey.Guard) http.Handler { return g.Handler(charging(-1)) }, nil, usage.Counts{Passed: 3}},
		{"no scope", httpkey.Token{}, httpkey.Options{},
			func(g *httpkey.Guard) http.Handler { return g.Handler(httpkey.RequireScope("a")(ok)) }, nil,
			with(refused(httpkey.ReasonScope, 3), usage.Counts{Cost: 3})},
		{"a LimitBy behind", httpkey.Token{}, httpkey.Options{},
			func(g *httpkey.Guard) http.Handler { return g.Handler(limitBy(g, 2)(charging(4))) }, nil,
			usage.Counts{Passed: 1, Throttled: 2, Cost: 3}},
		{"a LimitBy in front", httpkey.Token{}, httpkey.Options{},
			func(g *httpkey.Guard) http.Handler { return limitBy(g, 2)(g.Handler(ok)) }, nil,
			usage.Counts{Passed: 2, Cost: 2}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			store := usage.NewMemory()
			a := newAPI(store, nil, tt.guard)
			created := httpkeytest.Issue(t, a.Guard, tt.token)
			if tt.before != nil {
				tt.before(a.Guard, created.Token.ID)
			}
			handler := a.Handler(ok)
			if tt.handler != nil {
				handler = tt.handler(a.Guard)
			}
			for range 3 {
				httpkeytest.Get(handler, created.Secret.Reveal())
			}
			httpkeytest.Get(handler, "")
			httpkeytest.Get(handler, "nonsense")
			if got := day(t, a, created.Token.ID); !same(got, tt.want) {
				t.Errorf("counted %+v, want %+v", got, tt.want)
			}
			a.close(t)
			for _, r := range []usage.Reader{a, store} {
				if got := day(t, r, created.Token.ID); !same(got, tt.want) {
					t.Errorf("%T: wrote %+v, want %+v", r, got, tt.want)
				}
			}
		})
	}
}

// watched is a store that counts its writes, and fails on demand.
type watched struct {
	usage.Store
	adds, deltas atomic.Int64
	fail         atomic.Pointer[failure]
}

// failure returns an error in place of an Add, or lets it be.
type failure func(deltas []usage.Delta) (rest []usage.Delta, err error)

func (w *watched) failing(f failure) { w.fail.Store(&f) }

func (w *watched) Add(ctx context.Context, deltas []usage.Delta, keep usage.Keep) ([]usage.Delta, error) {
	w.adds.Add(1)
	w.deltas.Add(int64(len(deltas)))
	if fail := w.fail.Load(); fail != nil && *fail != nil {
		if rest, err := (*fail)(deltas); err != nil {
			return rest, err
		}
	}
	return w.Store.Add(ctx, deltas, keep)
}

// No request writes. All counts of an Interval are one write, and nothing is written without counts.
func TestOneWriteAnInterval(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := &watched{Store: usage.NewMemory()}
		a := newAPI(store, &usage.Options{Interval: time.Minute}, httpkey.Options{})
		var keys []httpkey.Created
		for range 3 {
			keys = append(keys, httpkeytest.Issue(t, a.Guard, httpkey.Token{}))
		}
		elapse(time.Hour)
		for range 20 {
			for _, key := range keys {
				httpkeytest.Get(a.Handler(ok), key.Secret.Reveal())
			}
			elapse(time.Second)
		}
		if n := store.adds.Load(); n != 0 {
			t.Errorf("%d writes on the path of requests", n)
		}
		elapse(40*time.Second + time.Millisecond)
		if store.adds.Load() != 1 || store.deltas.Load() != 3 {
			t.Errorf("%d writes of %d counts, want 1 of 3", store.adds.Load(), store.deltas.Load())
		}
		if got := day(t, store, keys[0].Token.ID); got.Passed != 20 {
			t.Errorf("wrote %+v", got)
		}
		elapse(time.Hour)
		if n := store.adds.Load(); n != 1 {
			t.Errorf("%d writes, want no other without counts", n)
		}
	})
}

// A count belongs to the hour in which it was made, also before an Interval ends.
func TestHours(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := newAPI(usage.NewMemory(), &usage.Options{Interval: 20 * time.Minute}, httpkey.Options{})
		key := httpkeytest.Issue(t, a.Guard, httpkey.Token{})
		id, start := key.Token.ID, time.Now().Truncate(usage.Hour)
		var want []usage.Interval
		request := func(n int) {
			for range n {
				httpkeytest.Get(a.Handler(ok), key.Secret.Reveal())
			}
			counts := usage.Counts{Passed: int64(n), Cost: int64(n)}
			want = append(want, usage.Interval{Start: time.Now().UTC().Truncate(usage.Hour), Counts: counts})
		}
		elapse(5*time.Hour - time.Second)
		for i := range 40 { // more than a week
			request(i + 1)
			elapse(2 * time.Second) // into the next hour
			request(1)
			elapse(5*time.Hour - 2*time.Second)
		}
		equal := func(a, b usage.Interval) bool { return a.Start.Equal(b.Start) && same(a.Counts, b.Counts) }
		got, err := a.Of(t.Context(), id, start, time.Now().Add(1), usage.Hour)
		if err != nil || !slices.EqualFunc(got, want, equal) {
			t.Errorf("hours are %+v, %v, want %+v", got, err, want)
		}
		days, err := a.Of(t.Context(), id, start, time.Now().Add(1), usage.Day)
		if err != nil {
			t.Fatal(err)
		}
		sum := make(map[time.Time]int64)
		for _, i := range want {
			sum[i.Start.Truncate(usage.Day)] += i.Passed
		}
		if len(days) != len(sum) {
			t.Errorf("%d days, want %d", len(days), len(sum))
		}
		for _, d := range days {
			if sum[d.Start] != d.Passed {
				t.Errorf("%v has %d, want %d", d.Start, d.Passed, sum[d.Start])
			}
		}
		// A total is the sum of its hours, wherever it begins and ends.
		for _, from := range []time.Duration{0, 3, 23, 24, 25, 48, 71, 200} {
			for _, length := range []time.Duration{0, 1, 5, 23, 24, 25, 47, 48, 49, 96, 97} {
				from := start.Add(from * usage.Hour)
				to := from.Add(length * usage.Hour)
				var want int64
				for _, i := range got {
					if !i.Start.Before(from) && i.Start.Before(to) {
						want += i.Passed
					}
				}
				if total, err := a.Total(t.Context(), id, from, to.Add(time.Minute)); err != nil || total.Passed != want {
					t.Errorf("the total from %v for %d hours is %d, %v, want %d", from, length, total.Passed, err, want)
				}
			}
		}
		a.close(t)
	})
}

var errDown = errors.New("the store is down")

// Counts that are not written are written later, and the program is told.
func TestOutage(t *testing.T) {
	t.Parallel()
	for name, fail := range map[string]func([]usage.Delta) ([]usage.Delta, error){
		"all":  func(deltas []usage.Delta) ([]usage.Delta, error) { return deltas, errDown },
		"some": func(deltas []usage.Delta) ([]usage.Delta, error) { return deltas[:1], errDown },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				store := &watched{Store: usage.NewMemory()}
				store.failing(func(deltas []usage.Delta) ([]usage.Delta, error) {
					rest, err := fail(deltas)
					_, added := store.Store.Add(t.Context(), deltas[len(rest):], usage.Keep{Hours: usage.Day, Days: usage.Day})
					if added != nil {
						t.Error(added)
					}
					return rest, err
				})
				var told []error
				a := newAPI(store, &usage.Options{OnError: func(err error) { told = append(told, err) }}, httpkey.Options{})
				one, two := httpkeytest.Issue(t, a.Guard, httpkey.Token{}), httpkeytest.Issue(t, a.Guard, httpkey.Token{})
				const hours = 3
				for range hours {
					for range 6 {
						httpkeytest.Get(a.Handler(ok), one.Secret.Reveal())
						httpkeytest.Get(a.Handler(ok), two.Secret.Reveal())
						elapse(10 * time.Minute)
					}
				}
				if len(told) < 18 || !errors.Is(told[0], errDown) || !strings.HasPrefix(told[0].Error(), "httpkey: ") {
					t.Errorf("told %d errors, %v", len(told), told)
				}
				for _, created := range []httpkey.Created{one, two} {
					if got := day(t, a, created.Token.ID); got.Passed != 6*hours {
						t.Errorf("in the outage the recorder has %+v", got)
					}
				}
				store.failing(nil)
				elapse(10*time.Second + time.Millisecond)
				for _, created := range []httpkey.Created{one, two} {
					intervals, err := store.Of(t.Context(), created.Token.ID, time.Now().Add(-usage.Day), time.Now(), usage.Hour)
					if err != nil || len(intervals) < hours || day(t, store, created.Token.ID).Passed != 6*hours {
						t.Errorf("after the outage the store has %+v, %v", intervals, err)
					}
				}
				a.close(t)
			})
		})
	}
}

// A Recorder bears a bounded number of tokens, and says how many requests are lost.
func TestBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var told []error
		store := &watched{Store: usage.NewMemory()}
		store.failing(func(deltas []usage.Delta) ([]usage.Delta, error) { return deltas, errDown })
		r := usage.NewRecorder(store, &usage.Options{OnError: func(err error) { told = append(told, err) }})
		for i := range 150_000 {
			id := fmt.Sprint("token", i)
			r.Observe(t.Context(), &httpkey.Event{Type: httpkey.EventAdmitted, Token: httpkey.Token{ID: id}, Cost: 1})
		}
		elapse(11 * time.Second)
		if len(told) != 1 || !strings.Contains(told[0].Error(), "131072 counts") ||
			strings.Contains(told[0].Error(), " 0 requests") {
			t.Errorf("told %v", told)
		}
		for i := range 1000 {
			id := fmt.Sprint("late", i)
			r.Observe(t.Context(), &httpkey.Event{Type: httpkey.EventAdmitted, Token: httpkey.Token{ID: id}, Cost: 1})
		}
		elapse(10 * time.Second)
		if len(told) != 2 || !strings.Contains(told[1].Error(), "1000 requests are lost") {
			t.Errorf("told %v", told[1:])
		}
		store.failing(nil)
		if err := r.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// Close writes everything, ends with its context, and can be called again.
func TestClose(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := &watched{Store: usage.NewMemory()}
		a := newAPI(store, nil, httpkey.Options{})
		key := httpkeytest.Issue(t, a.Guard, httpkey.Token{})
		a.close(t)
		if store.adds.Load() != 0 {
			t.Error("Close wrote without counts")
		}
		for i := range 2 {
			httpkeytest.Get(a.Handler(ok), key.Secret.Reveal())
			a.close(t)
			if got := day(t, store, key.Token.ID); got.Passed != int64(i+1) {
				t.Errorf("Close %d wrote %+v", i, got)
			}
			elapse(3 * time.Hour)
		}
		httpkeytest.Get(a.Handler(ok), key.Secret.Reveal())
		hour := time.Now().UTC().Truncate(usage.Hour)
		elapse(time.Minute)
		if n := store.adds.Load(); n != 2 {
			t.Errorf("%d writes, want none in the background after Close", n)
		}
		a.close(t)
		if got, err := store.Of(t.Context(), key.Token.ID, hour, hour.Add(1), usage.Hour); err != nil || len(got) != 1 {
			t.Errorf("the last hour has %+v, %v", got, err)
		}

		hang := make(chan struct{})
		store.failing(func(deltas []usage.Delta) ([]usage.Delta, error) { <-hang; return deltas, errDown })
		httpkeytest.Get(a.Handler(ok), key.Secret.Reveal())
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := a.Recorder.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Close with a store that hangs returned %v", err)
		}
		if _, err := a.Of(ctx, key.Token.ID, hour, hour.Add(1), usage.Hour); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Of with a store that hangs returned %v", err)
		}
		if _, err := a.LastClient(ctx, key.Token.ID); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("LastClient with a store that hangs returned %v", err)
		}
		close(hang)
		synctest.Wait()
		store.failing(nil)
		a.close(t)
		if got := day(t, store, key.Token.ID); got.Passed != 4 {
			t.Errorf("in the end the store has %+v", got)
		}
	})
}

// A reader who reads while others write sees each request once.
func TestReadersSeeEachRequestOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := &watched{Store: usage.NewMemory()}
		slow := func([]usage.Delta) ([]usage.Delta, error) {
			httpkeytest.Elapse(3 * time.Second)
			return nil, nil
		}
		store.failing(slow)
		a := newAPI(store, nil, httpkey.Options{Limits: map[httpkey.Kind][]httpkey.Limit{httpkey.APIKey: nil}})
		key := httpkeytest.Issue(t, a.Guard, httpkey.Token{})
		for n := range 200 {
			httpkeytest.Get(a.Handler(ok), key.Secret.Reveal())
			if got := day(t, a, key.Token.ID); got.Passed != int64(n+1) {
				t.Fatalf("after %d requests a reader sees %+v", n+1, got)
			}
			elapse(700 * time.Millisecond)
		}
		a.close(t)
	})
}

// Several Recorders add up, under the race detector too.
func TestTogether(t *testing.T) {
	t.Parallel()
	store := usage.NewMemory()
	var wg sync.WaitGroup
	const requests = 2000
	recorders := make([]*usage.Recorder, 4)
	for i := range recorders {
		recorders[i] = usage.NewRecorder(store, &usage.Options{Interval: time.Millisecond})
		for range 2 {
			wg.Go(func() {
				for n := range requests {
					e := httpkey.Event{Type: httpkey.EventAdmitted, Token: httpkey.Token{ID: fmt.Sprint(n % 7)}, Cost: 2}
					recorders[i].Observe(t.Context(), &e)
				}
			})
		}
	}
	wg.Wait()
	var sum usage.Counts
	for _, r := range recorders {
		if err := r.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}
	for id := range 7 {
		sum.Add(day(t, store, fmt.Sprint(id)))
	}
	if want := int64(2 * len(recorders) * requests); sum.Passed != want || sum.Cost != 2*want {
		t.Errorf("the store has %+v, want %d", sum, want)
	}
}

// The last client is recorded only where the program says so, and is safe to show.
func TestClients(t *testing.T) {
	t.Parallel()
	get := func(a api, key httpkey.Secret, addr, agent string) int {
		r := httpkeytest.Request(http.MethodGet, "/", key.Reveal())
		r.RemoteAddr = addr
		r.Header["User-Agent"] = []string{agent}
		w := httptest.NewRecorder()
		a.Handler(ok).ServeHTTP(w, r)
		return w.Code
	}
	for _, tt := range []struct {
		name, agent, want string
	}{
		{"plain", "curl/8.5.0", "curl/8.5.0"},
		{"none", "", ""},
		{"long", strings.Repeat("x", 1<<16), strings.Repeat("x", 256)},
		{"cut within a rune", "x" + strings.Repeat("é", 200), "x" + strings.Repeat("é", 127)},
		{"control characters", "a\x00b\x1b[31mc\r\nd\u202ee\u200bf", "ab[31mcdef"},
		{"not UTF-8", "a\xff\xfeb", "ab"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				store := usage.NewMemory()
				silent := newAPI(store, nil, httpkey.Options{})
				a := newAPI(store, &usage.Options{Clients: true}, httpkey.Options{})
				for _, a := range []api{silent, a} {
					key := httpkeytest.Issue(t, a.Guard, httpkey.Token{Limits: []httpkey.Limit{httpkey.PerHour(2)}})
					id := key.Token.ID
					get(a, key.Secret, "192.0.2.1:1234", "earlier")
					elapse(time.Minute)
					get(a, key.Secret, "[::ffff:203.0.113.7]:1234", tt.agent)
					want := usage.Client{Addr: netip.MustParseAddr("203.0.113.7"), UserAgent: tt.want, At: time.Now().UTC()}
					if a == silent {
						want = usage.Client{}
					}
					for range 2 {
						if last, err := a.LastClient(t.Context(), id); err != nil || last != want {
							t.Errorf("the last client is %+v, %v, want %+v", last, err, want)
						}
						a.close(t)
					}
					if err := a.Revoke(t.Context(), id, ""); err != nil {
						t.Fatal(err)
					}
					if status := get(a, key.Secret, "192.0.2.9:1", "thief"); status != http.StatusUnauthorized {
						t.Fatalf("status %d", status)
					}
					if last, err := a.LastClient(t.Context(), id); err != nil || last != want {
						t.Errorf("after a refused request the last client is %+v, %v, want %+v", last, err, want)
					}
					a.close(t)
				}
			})
		})
	}
	a := newAPI(usage.NewMemory(), &usage.Options{Clients: true, ClientAddr: func(*http.Request) netip.Addr {
		return netip.MustParseAddr("2001:db8::1")
	}}, httpkey.Options{})
	key := httpkeytest.Issue(t, a.Guard, httpkey.Token{})
	get(a, key.Secret, "192.0.2.1:1234", "x")
	if last, err := a.LastClient(t.Context(), key.Token.ID); err != nil || last.Addr.String() != "2001:db8::1" {
		t.Errorf("with a ClientAddr the last client is %+v, %v", last, err)
	}
	a.close(t)
}

// A request counts without an allocation, and a Guard needs none for its event.
func TestAllocations(t *testing.T) {
	// Not parallel: AllocsPerRun counts those of the whole process.
	r := usage.NewRecorder(usage.NewMemory(), &usage.Options{Interval: time.Hour, Clients: true})
	request := httpkeytest.Request(http.MethodGet, "/", "key")
	request.Header.Set("User-Agent", "curl/8.5.0")
	for _, e := range []httpkey.Event{
		{Type: httpkey.EventAdmitted, Cost: 1}, {Type: httpkey.EventRefused, Reason: httpkey.ReasonThrottled},
		{Type: httpkey.EventRefused, Reason: httpkey.ReasonScope, Again: true}, {Type: httpkey.EventCharged, Cost: 3},
		{Type: httpkey.EventDryRun}, {Type: httpkey.EventAdmitted, Request: request},
	} {
		e.Token.ID = "token"
		most := 0.0
		if e.Request != nil {
			most = 1 // the address of the connection
		}
		if n := testing.AllocsPerRun(100, func() { r.Observe(t.Context(), &e) }); n > most {
			t.Errorf("%s %s makes %v allocations", e.Type, e.Reason, n)
		}
	}
	if err := r.Close(t.Context()); err != nil {
		t.Error(err)
	}
	send := func(observers []httpkey.Observer, scopes ...string) float64 {
		guard := httpkey.New(memstore.New(), memstore.NewLimiter(), &httpkey.Options{Observers: observers})
		many := []httpkey.Limit{httpkey.PerSecond(1_000_000)}
		key := httpkeytest.Issue(t, guard, httpkey.Token{Limits: many, Scopes: scopes})
		w, r := httptest.NewRecorder(), httpkeytest.Request(http.MethodGet, "/", key.Secret.Reveal())
		handler := guard.Handler(ok)
		return testing.AllocsPerRun(100, func() { clear(w.Header()); handler.ServeHTTP(w, r) })
	}
	hourly := usage.NewRecorder(usage.NewMemory(), &usage.Options{Interval: time.Hour})
	if without, with := send(nil), send([]httpkey.Observer{hourly}, "a", "b"); with > without {
		t.Errorf("a request makes %v allocations, and %v without the Recorder", with, without)
	}
	if err := hourly.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestOptionsAreValidated(t *testing.T) {
	t.Parallel()
	for field, opts := range map[string]*usage.Options{
		"Interval":  {Interval: -1},
		"KeepHours": {KeepHours: 47 * usage.Hour},
		"KeepDays":  {KeepHours: 90 * usage.Day, KeepDays: 89 * usage.Day},
		"":          {KeepHours: 90 * usage.Day, KeepDays: 90 * usage.Day},
	} {
		err := opts.Validate()
		if (err == nil) != (field == "") || err != nil && (!errors.Is(err, httpkey.ErrInvalidOptions) ||
			!strings.Contains(err.Error(), ": "+field+" is ")) {
			t.Errorf("%s: %v", field, err)
		}
	}
	if err := (*usage.Options)(nil).Validate(); err != nil {
		t.Error(err)
	}
	for name, make := range map[string]func(){
		"no store":    func() { usage.NewRecorder(nil, nil) },
		"bad options": func() { usage.NewRecorder(usage.NewMemory(), &usage.Options{Interval: -1}) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: NewRecorder did not panic", name)
				}
			}()
			make()
		}()
	}
}

// A printed Recorder shows no address.
func TestPrintedRecorder(t *testing.T) {
	t.Parallel()
	a := newAPI(usage.NewMemory(), &usage.Options{Clients: true}, httpkey.Options{})
	key := httpkeytest.Issue(t, a.Guard, httpkey.Token{})
	httpkeytest.Get(a.Handler(ok), key.Secret.Reveal())
	for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
		if text := fmt.Sprintf(verb, a.Recorder); text != "usage.Recorder" {
			t.Errorf("%s prints %s", verb, text)
		}
	}
	a.close(t)
}

// Counts that share reasons do not change each other.
func TestAddCopies(t *testing.T) {
	t.Parallel()
	c := usage.Counts{Refused: 1, Reasons: map[httpkey.Reason]int64{httpkey.ReasonScope: 1}}
	sum := c
	sum.Add(c)
	sum.Add(usage.Counts{Passed: 1})
	if c.Reasons[httpkey.ReasonScope] != 1 || !maps.Equal(sum.Reasons, map[httpkey.Reason]int64{httpkey.ReasonScope: 2}) {
		t.Errorf("the sum is %+v, of twice %+v", sum, c)
	}
	sum.Add(usage.Counts{Passed: -1, Refused: -2, Reasons: map[httpkey.Reason]int64{httpkey.ReasonScope: -2}})
	if !sum.IsZero() || sum.Requests() != 0 || c.Requests() != 1 {
		t.Errorf("what is taken away leaves %+v", sum)
	}
}
