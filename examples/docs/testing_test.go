package docs

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/httpkeytest"
	"github.com/httpkey/httpkey/memstore"
	"github.com/httpkey/httpkey/storetest"
)

func TestHello(t *testing.T) {
	r := httptest.NewRequest(http.MethodGet, "/", http.NoBody)
	r = r.WithContext(httpkey.NewContext(r.Context(), httpkey.Token{User: "ann"}))
	w := httptest.NewRecorder()
	hello(w, r)
	if got := w.Body.String(); got != "hello ann" {
		t.Errorf("the body is %q", got)
	}
}

func TestLimitRefills(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		guard, _ := httpkeytest.New(t, nil)
		key := httpkeytest.Issue(t, guard, httpkey.Token{Limits: []httpkey.Limit{httpkey.PerMinute(1)}}).Secret.Reveal()
		api := guard.Handler(http.HandlerFunc(hello))
		for _, want := range []int{200, 429} {
			if got := httpkeytest.Get(api, key).Code; got != want {
				t.Errorf("status %d, want %d", got, want)
			}
		}
		httpkeytest.Elapse(time.Minute)
		if got := httpkeytest.Get(api, key).Code; got != 200 {
			t.Errorf("after a minute, status %d, want 200", got)
		}
	})
}

func TestKeyExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		guard, _ := httpkeytest.New(t, nil)
		tomorrow := time.Now().Add(24 * time.Hour)
		key := httpkeytest.Issue(t, guard, httpkey.Token{ExpiredAt: tomorrow}).Secret.Reveal()
		httpkeytest.Elapse(24 * time.Hour)
		if got := httpkeytest.Get(guard.Handler(http.HandlerFunc(hello)), key).Code; got != 401 {
			t.Errorf("status %d, want 401", got)
		}
	})
}

func TestStoreIsDown(t *testing.T) {
	store := httpkeytest.NewStore(memstore.New())
	guard := httpkey.New(store, memstore.NewLimiter(), nil)
	key := httpkeytest.Issue(t, guard, httpkey.Token{}).Secret.Reveal()
	store.Before(httpkeytest.Fail(errors.New("connection refused"), "Lookup"))
	w := httpkeytest.Get(guard.Handler(http.HandlerFunc(hello)), key)
	if w.Code != 503 || w.Header().Get("Retry-After") != "1" {
		t.Errorf("status %d, Retry-After %s", w.Code, w.Header().Get("Retry-After"))
	}
}

func TestLimiterIsDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		limiter := httpkeytest.NewLimiter(memstore.NewLimiter())
		guard := httpkey.New(memstore.New(), limiter, &httpkey.Options{Fallback: httpkey.FailClosed})
		key := httpkeytest.Issue(t, guard, httpkey.Token{}).Secret.Reveal()
		limiter.Before(httpkeytest.Stall())
		start := time.Now()
		w := httpkeytest.Get(guard.Handler(http.HandlerFunc(hello)), key)
		if waited := time.Since(start); w.Code != 503 || waited != 100*time.Millisecond {
			t.Errorf("status %d after %v", w.Code, waited)
		}
	})
}

func TestMyStore(t *testing.T) {
	storetest.Run(t, func(*testing.T) func() httpkey.TokenStore {
		backend := memstore.New() // yours: a new and empty one for each rule
		return func() httpkey.TokenStore { return backend }
	})
}
