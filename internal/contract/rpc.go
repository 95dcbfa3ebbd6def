package contract

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/httpkey/httpkey"
)

// The status codes of gRPC in which calls are refused.
const (
	PermissionDenied  = 7  // 403 of HTTP
	ResourceExhausted = 8  // 429
	Overloaded        = 14 // 503, which gRPC calls Unavailable
	Unauthenticated   = 16 // 401
)

// Outcome tells how a call ended. The zero value is success.
type Outcome struct {
	Code       uint32        // of gRPC
	Message    string        // that the client sees
	RetryDelay time.Duration // of google.rpc.RetryInfo among the details
}

// Call makes a call with these keys, each in a line of x-api-key.
type Call func(ctx context.Context, keys ...string) Outcome

// RPC are the calls of a server, by name. Calls with a name that begins with "scoped" demand
// the scope "write".
type RPC map[string]Call

// RunRPC tests the decisions of the contract where calls are refused by a code of gRPC. The
// function serve starts a server behind a guard with these options. Each of its methods calls handler.
func RunRPC(
	t *testing.T, opts *httpkey.Options, serve func(t *testing.T, guard *httpkey.Guard, handler func(context.Context)) RPC,
) {
	twelfth := httpkey.Limit{Rate: 1, Period: 12 * time.Second}
	for _, tt := range []struct {
		name    string
		key     arrange
		admits  int // calls, before it refuses one
		want    Outcome
		onlyFor string // the beginning of names; empty: all calls
	}{
		{"no key", lines(), 0, Outcome{Unauthenticated, detail(Missing), 0}, ""},
		{"blank key", lines(" "), 0, Outcome{Unauthenticated, detail(Missing), 0}, ""},
		{"malformed key", lines("hunter2"), 0, Outcome{Unauthenticated, detail(Invalid), 0}, ""},
		{"mistyped key", lines("{key}0"), 0, Outcome{Unauthenticated, detail(Invalid), 0}, ""},
		{"two lines", lines("{key}", "{key}"), 0, Outcome{Unauthenticated, detail(Invalid), 0}, ""},
		{"unknown key", deleted, 0, Outcome{Unauthenticated, detail(Invalid), 0}, ""},
		{"revoked key", revoked, 0, Outcome{Unauthenticated, detail(Invalid), 0}, ""},
		{"expired key", expired, 0, Outcome{Unauthenticated, detail(Invalid), 0}, ""},
		{"key of another network", elsewhere, 0, Outcome{Unauthenticated, detail(Invalid), 0}, ""},
		{"over the limit", limited(twelfth), 1, Outcome{ResourceExhausted, "Request was throttled.", 12 * time.Second},
			"plain"},
		{"limit of nothing", limited(httpkey.PerMinute(0)), 0, Outcome{PermissionDenied, detail(Forbidden), 0}, ""},
		{"scope", lines("{key}"), 0, Outcome{PermissionDenied, detail(Forbidden), 0}, "scoped"},
		{"store down", outage, 0, Outcome{Overloaded, detail(Unavailable), 0}, ""},
		{"valid key", lines("{key}"), 3, Outcome{}, "plain"},
		{"key with the scope", ofWriter, 3, Outcome{}, "scoped"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			a := newGuarded(opts)
			var reached, withToken atomic.Int64
			calls := serve(t, a.guard, func(ctx context.Context) {
				reached.Add(1)
				if _, isAdmitted := httpkey.FromContext(ctx); isAdmitted {
					withToken.Add(1)
				}
			})
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			want := int64(0)
			for name, call := range calls {
				if !strings.HasPrefix(name, tt.onlyFor) {
					continue
				}
				key := tt.key(t, a)
				for range tt.admits {
					want++
					if got := call(ctx, key...); got != (Outcome{}) {
						t.Errorf("%s ended with %+v, want success", name, got)
					}
				}
				if tt.want != (Outcome{}) {
					got := call(ctx, key...)
					got.RetryDelay = got.RetryDelay.Round(time.Second)
					if got != tt.want {
						t.Errorf("%s ended with %+v, want %+v", name, got, tt.want)
					}
				}
				a.store.Before(nil)
			}
			if n := reached.Load(); n != want || withToken.Load() != want {
				t.Errorf("%d calls came to a handler, %d with a token, want %d", n, withToken.Load(), want)
			}
		})
	}
}

// detail returns the sentence of a body.
func detail(body string) string {
	return strings.TrimSuffix(strings.TrimPrefix(body, `{"detail":"`), `"}`)
}

func ofWriter(t *testing.T, a *api) []string {
	return []string{a.issue(t, httpkey.Token{Scopes: []string{"read", "write"}}).Secret.Reveal()}
}
