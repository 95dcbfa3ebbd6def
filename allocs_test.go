package httpkey_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/memstore"
)

// What a request allocates: the context and the copy of the request that carries
// it, if it is let in, and nothing if it is not.
func TestAllocations(t *testing.T) {
	// Not parallel: AllocsPerRun counts those of the whole process.
	guard := httpkey.New(memstore.New(), memstore.NewLimiter(), &httpkey.Options{LastUsedInterval: time.Hour})
	valid, _ := issue(t, guard, httpkey.Token{User: "u-1", Limits: limits(httpkey.Limit{Rate: 1_000_000, Burst: 1000, Period: time.Second})})
	exhausted, _ := issue(t, guard, httpkey.Token{Limits: limits(httpkey.Limit{Rate: 1, Period: 24 * time.Hour})})
	revoked, token := issue(t, guard, httpkey.Token{})
	if err := guard.Revoke(t.Context(), token.ID, ""); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name   string
		key    string
		status int
		want   float64
	}{
		{"admitted", valid, 0, 2},
		{"throttled", exhausted, 429, 0},
		{"malformed", strings.ToUpper(valid), 401, 0},
		{"revoked", revoked, 401, 0},
		{"missing", "", 401, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := &quiet{header: make(http.Header)}
			r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "/", http.NoBody)
			if err != nil {
				t.Fatal(err)
			}
			r.Header["X-Api-Key"] = []string{tt.key}
			handler := guard.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
			got := testing.AllocsPerRun(200, func() {
				clear(w.header)
				handler.ServeHTTP(w, r)
			})
			if got != tt.want || w.status != tt.status {
				t.Errorf("%v allocations and status %d, want %v and %d", got, w.status, tt.want, tt.status)
			}
		})
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
