package console

import (
	"context"
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

// A person who hangs up while the store or the limiter is slow causes no failure in the audit.
func TestHangUpsAreNoFailures(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ method, path, body string }{
		{http.MethodGet, "/", ""},
		{http.MethodGet, "/?order_by=label", ""},
		{http.MethodGet, "/id/", ""},
		{http.MethodPatch, "/id/", `{"label":"y"}`},
		{http.MethodDelete, "/id/", ""},
		{http.MethodPost, "/", `{"label":"x"}`},
		{http.MethodPost, "/id/rotate/", `{"grace":60}`},
	} {
		t.Run(tt.method+tt.path, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				store, limiter := httpkeytest.NewStore(memstore.New()), httpkeytest.NewLimiter(memstore.NewLimiter())
				s := newSiteOn(t, store, Options{Limiter: limiter})
				s.issue(httpkey.Token{ID: "id", Label: "x", User: "ada"})
				ctx, hangUp := context.WithCancel(t.Context())
				store.Before(func(call context.Context, _ string) error {
					<-ctx.Done()
					return call.Err() // nil for a change, which goes on
				})
				limiter.Before(httpkeytest.Stall())
				defer time.AfterFunc(100*time.Millisecond, hangUp).Stop()
				r := httptest.NewRequestWithContext(ctx, tt.method, tt.path, strings.NewReader(tt.body))
				r.Header.Set("Login", "ada")
				r.Header.Set("Content-Type", "application/json")
				s.serve(r)
				for _, e := range s.told() {
					if e.Err != nil {
						t.Errorf("the audit has %s: %v", e.Action, e.Err)
					}
				}
			})
		})
	}
}

// A person who hangs up ends no call to the limiter: that would cost a connection of its pool.
func TestHangUpsEndNoCallToTheLimiter(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		limiter := httpkeytest.NewLimiter(memstore.NewLimiter())
		s := newSiteOn(t, memstore.New(), Options{Limiter: limiter})
		ctx, hangUp := context.WithCancel(t.Context())
		asked := false
		limiter.Before(func(call context.Context, _ string) error {
			asked = true
			hangUp()
			if call.Err() != nil {
				t.Errorf("the call ends with %v", call.Err())
			}
			return nil
		})
		r := httptest.NewRequestWithContext(ctx, http.MethodPost, "/", strings.NewReader(`{"label":"x"}`))
		r.Header.Set("Login", "ada")
		r.Header.Set("Content-Type", "application/json")
		if w := s.serve(r); w.Code != http.StatusCreated || !asked {
			t.Errorf("status %d, the limiter was asked: %v", w.Code, asked)
		}
	})
}
