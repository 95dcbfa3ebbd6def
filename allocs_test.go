package httpkey_test

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/memstore"
)

// A request allocates the context and the copy of the request that carries it, if it is let
// in, and nothing if it is not.
func TestAllocations(t *testing.T) {
	// Not parallel: AllocsPerRun counts those of the whole process.
	logger := slog.New(slog.NewTextHandler(io.Discard, &slog.HandlerOptions{Level: slog.LevelError + 1}))
	edit := func(_ *http.Request, token *httpkey.Token, c *httpkey.Charge) { c.Bucket = token.User }
	plan := func(_ *http.Request, token *httpkey.Token, c *httpkey.Charge) {
		if token.Metadata["plan"] == "pro" {
			c.Limits[0].Name = "pro"
		}
	}
	for _, guard := range []struct {
		name                           string
		store                          httpkey.TokenStore
		opts                           httpkey.Options
		metadata                       map[string]string
		admitted, own, denied, refused float64
	}{
		{"plain", memstore.New(), httpkey.Options{}, nil, 2, 2, 0, 0},
		{"observed above its level", memstore.New(), httpkey.Options{Observers: observers(httpkey.SlogObserver(logger))}, nil,
			2, 2, 0, 0},
		{"observed by IDs", memstore.New(), httpkey.Options{Observers: observers(&idObserver{})}, nil, 2, 2, 0, 0},
		{"observed by two", memstore.New(), httpkey.Options{Observers: observers(&idObserver{},
			httpkey.SlogObserver(logger), &idObserver{})}, nil, 2, 2, 0, 0},
		{"with two peppers", memstore.New(), httpkey.Options{Pepper: httpkey.Secret(strings.Repeat("p", 32)),
			PreviousPeppers: []httpkey.Secret{""}}, nil, 2 + forgotten, 2 + forgotten, forgotten, forgotten},
		{"with Options.Charge", memstore.New(), httpkey.Options{Charge: edit}, nil, 2, 3, 0, 0},
		{"with a plan", memstore.New(), httpkey.Options{Charge: plan}, map[string]string{"plan": "pro"}, 2, 3, 0, 0},
		{"wrapped store", wrapped{memstore.New()}, httpkey.Options{}, nil, 4, 5, 2, 2},
	} {
		many := httpkey.PerSecond(1_000_000_000) // full again within a microsecond, so that Remaining stays the same
		guard.opts.Limits = map[httpkey.Kind][]httpkey.Limit{httpkey.APIKey: limits(many),
			httpkey.ServiceToken: limits(httpkey.Limit{Rate: 1, Period: 24 * time.Hour})}
		guard.opts.LastUsedInterval = time.Hour
		g := httpkey.New(guard.store, memstore.NewLimiter(), &guard.opts)
		valid, _ := issue(t, g, httpkey.Token{User: "u-1", Metadata: guard.metadata})
		exhausted, _ := issue(t, g, httpkey.Token{User: "u-2", Kind: httpkey.ServiceToken, Metadata: guard.metadata})
		own, _ := issue(t, g, httpkey.Token{User: "u-3", Limits: limits(many), Metadata: guard.metadata})
		revoked, token := issue(t, g, httpkey.Token{User: "u-4"})
		if err := g.Revoke(t.Context(), token.ID, "leaked"); err != nil {
			t.Fatal(err)
		}
		for _, tt := range []struct {
			name   string
			key    string
			status int
			want   float64
		}{
			{"admitted", valid, 0, guard.admitted},
			{"admitted by a limit of its own", own, 0, guard.own},
			{"throttled", exhausted, 429, guard.denied},
			{"revoked", revoked, 401, guard.refused},
			{"malformed", strings.ToUpper(valid), 401, 0},
			{"missing", "", 401, 0},
		} {
			t.Run(guard.name+", "+tt.name, func(t *testing.T) {
				w := &quiet{header: make(http.Header)}
				r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "/", http.NoBody)
				if err != nil {
					t.Fatal(err)
				}
				r.Header["X-Api-Key"] = []string{tt.key}
				handler := g.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
				got := testing.AllocsPerRun(200, func() {
					clear(w.header)
					handler.ServeHTTP(w, r)
				})
				if t.Logf("%v allocations", got); got > tt.want || w.status != tt.status {
					t.Errorf("%v allocations and status %d, want at most %v and %d", got, w.status, tt.want, tt.status)
				}
			})
		}
	}
}

// forgotten is the allocations of a request whose pooled hashes are gone.
var forgotten float64

// Header values of any size, which may never come again, add no allocation. Only IETFHeaders
// adds two.
func TestAllocationsOfHeaders(t *testing.T) {
	// Not parallel: AllocsPerRun counts those of the whole process.
	const runs = 300
	edit := func(r *http.Request, _ *httpkey.Token, c *httpkey.Charge) {
		if r != nil && r.Method == http.MethodPost {
			c.Cost = 5
		}
	}
	perDay := httpkey.Limit{Rate: 1000, Period: 24 * time.Hour}
	for _, guard := range []struct {
		name             string
		opts             httpkey.Options
		admitted, denied float64
	}{
		{"plain", httpkey.Options{}, 2, 0},
		{"with Options.Charge", httpkey.Options{Charge: edit}, 2, 1}, // a copy of the token has limits
		{"with IETFHeaders", httpkey.Options{IETFHeaders: true}, 4, 2},
	} {
		for _, tt := range []struct {
			name  string
			kind  httpkey.Kind
			limit httpkey.Limit
		}{
			{"Remaining never comes again", httpkey.APIKey, httpkey.PerHour(1_000_000)},
			{"service token", httpkey.ServiceToken, httpkey.PerHour(1_000_000)},
			{"limit of two billion", httpkey.APIKey, httpkey.PerSecond(2_000_000_000)},
			{"resets of an hour", httpkey.APIKey, httpkey.PerHour(1000)},
			{"resets of a day", httpkey.APIKey, perDay},
		} {
			t.Run(guard.name+", admitted, "+tt.name, func(t *testing.T) {
				opts := guard.opts
				opts.Limits = map[httpkey.Kind][]httpkey.Limit{tt.kind: limits(tt.limit)}
				g := newGuard(&opts)
				send := sender(t, g)
				used := func(cost int) string {
					key, _ := issue(t, g, httpkey.Token{Kind: tt.kind})
					if _, err := g.Admit(t.Context(), key, cost); err != nil {
						t.Fatal(err)
					}
					return key
				}
				var keys []string
				step := tt.limit.Resolve().Burst / (runs + 3)
				for i := range runs + 2 {
					send(used(i*step + step/3)) // others have had about that reset
					keys = append(keys, used(i*step+1))
				}
				i := 0
				got := testing.AllocsPerRun(runs, func() { send(keys[i]); i++ })
				if status := send(keys[i]); got > guard.admitted || status != 0 {
					t.Errorf("%v allocations and status %d, want at most %v and none", got, status, guard.admitted)
				}
			})
		}
		t.Run(guard.name+", denied for up to 36 hours", func(t *testing.T) {
			g := newGuard(&guard.opts)
			send := sender(t, g)
			exhausted := func(wait time.Duration) string {
				key, _ := issue(t, g, httpkey.Token{Limits: limits(httpkey.Limit{Rate: 1, Period: wait})})
				send(key)
				return key
			}
			var keys []string
			for i := range runs + 2 {
				wait := time.Duration(i) * 36 * time.Hour / (runs + 2)
				send(exhausted(wait + time.Minute)) // others have waited about that long
				keys = append(keys, exhausted(wait+time.Minute+17*time.Second))
			}
			i := 0
			got := testing.AllocsPerRun(runs, func() { send(keys[i]); i++ })
			if status := send(keys[i]); got > guard.denied || status != 429 {
				t.Errorf("%v allocations and status %d, want at most %v and 429", got, status, guard.denied)
			}
		})
	}
}

// sender returns a function that sends a request with a key and returns the status, or 0 if the
// request is admitted.
func sender(t *testing.T, g *httpkey.Guard) func(key string) int {
	t.Helper()
	w := &quiet{header: make(http.Header)}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "/", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	line := make([]string, 1)
	r.Header["X-Api-Key"] = line
	handler := g.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	return func(key string) int {
		line[0], w.status = key, 0
		clear(w.header)
		handler.ServeHTTP(w, r)
		return w.status
	}
}

// quiet is a response that allocates nothing itself.
type quiet struct {
	header http.Header
	status int
}

func (q *quiet) Header() http.Header         { return q.header }
func (q *quiet) WriteHeader(status int)      { q.status = status }
func (q *quiet) Write(p []byte) (int, error) { return len(p), nil }

// wrapped is a store of another type, with a Lookup of its own.
type wrapped struct{ *memstore.Store }

func (w wrapped) Lookup(ctx context.Context, d httpkey.Digest) (httpkey.Token, error) {
	return w.Store.Lookup(ctx, d)
}
