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
		{"observed above its level", memstore.New(), httpkey.Options{Observer: httpkey.SlogObserver(logger)}, nil, 2, 2, 0,
			0},
		{"with two peppers", memstore.New(), httpkey.Options{Pepper: httpkey.Secret(strings.Repeat("p", 32)),
			PreviousPeppers: []httpkey.Secret{""}}, nil, 10, 10, 8, 8},
		{"with Options.Charge", memstore.New(), httpkey.Options{Charge: edit}, nil, 2, 3, 0, 0},
		{"with a plan", memstore.New(), httpkey.Options{Charge: plan}, map[string]string{"plan": "pro"}, 4, 5, 2, 0},
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
