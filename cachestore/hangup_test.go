package cachestore

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/httpkeytest"
	"github.com/httpkey/httpkey/memstore"
)

// A client that hangs up ends no load, and the Guard decides on its request after the load.
func TestGuardWaitsForTheLoadOfAClientThatHangsUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := httpkeytest.NewStore(memstore.New())
		key := httpkeytest.Issue(t, httpkey.New(store, httpkey.Unlimited, nil), httpkey.Token{}).Secret.Reveal()
		store.Before(httpkeytest.Lag(20*time.Millisecond, "Lookup"))
		_, handler := guarded(t, New(store, nil), nil)
		for _, took := range []time.Duration{20 * time.Millisecond, 0} { // the second is in memory
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(2*time.Millisecond, cancel)
			w, begun := httptest.NewRecorder(), time.Now()
			handler.ServeHTTP(w, httpkeytest.Request(http.MethodGet, "/", key).WithContext(ctx))
			if w.Code != http.StatusOK || time.Since(begun) != took {
				t.Errorf("%d after %v, want 200 after %v", w.Code, time.Since(begun), took)
			}
			httpkeytest.Elapse(time.Second)
		}
		if n := store.Calls("Lookup"); n != 1 {
			t.Errorf("%d lookups, want 1", n)
		}
	})
}
