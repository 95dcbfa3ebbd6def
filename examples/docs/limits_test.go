package docs

import (
	"net/http"
	"net/http/httptest"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/httpkeytest"
	"github.com/httpkey/httpkey/memstore"
)

// answer is the part of a response that a page speaks of.
type answer struct {
	status           int
	limit, remaining string
}

// send sends a request with a key, or without one if it is empty.
func send(handler http.Handler, method, target, key string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, httpkeytest.Request(method, target, key))
	return w
}

func answerOf(w *httptest.ResponseRecorder) answer {
	return answer{w.Code, w.Header().Get("X-RateLimit-Limit"), w.Header().Get("X-RateLimit-Remaining")}
}

func TestSeveralLimits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		guard := several(memstore.New(), memstore.NewLimiter())
		key := httpkeytest.Issue(t, guard, httpkey.Token{}).Secret.Reveal()
		api := guard.Handler(http.HandlerFunc(hello))
		for i := range 5 {
			want := answer{200, "5", strconv.Itoa(4 - i)}
			if got := answerOf(httpkeytest.Get(api, key)); got != want {
				t.Errorf("request %d: %v, want %v", i, got, want)
			}
		}
		if got, want := answerOf(httpkeytest.Get(api, key)), (answer{429, "5", "0"}); got != want {
			t.Errorf("the sixth request in a second: %v, want %v", got, want)
		}
		for range 11_000 {
			httpkeytest.Elapse(time.Second)
			w := httpkeytest.Get(api, key)
			if w.Code == http.StatusOK {
				continue
			}
			got, want := answerOf(w), answer{429, "10000", "0"}
			reset := w.Header().Get("X-RateLimit-Reset")
			february := time.Date(2000, 2, 1, 0, 0, 0, 0, time.UTC) // a bubble begins in January 2000
			if got != want || reset != strconv.FormatInt(february.Unix(), 10) {
				t.Errorf("over the quota: %v until %s, want %v until %d", got, reset, want, february.Unix())
			}
			return
		}
		t.Error("the quota of the month denied nothing")
	})
}

func TestRoutesHaveTheirOwnCharge(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		guard, key := httpkeytest.New(t, &httpkey.Options{Charge: chargeByRoute})
		api := guard.Handler(http.HandlerFunc(hello))
		for _, tt := range []struct {
			method, path string
			want         answer
		}{
			{http.MethodGet, "/", answer{200, "60", "59"}},
			{http.MethodGet, "/healthz", answer{200, "60", "59"}},
			{http.MethodPost, "/", answer{200, "60", "54"}},
			{http.MethodGet, "/exports/1", answer{200, "60", "53"}},
			{http.MethodGet, "/exports/1", answer{200, "10", "8"}},
			{http.MethodGet, "/", answer{200, "60", "51"}},
		} {
			if got := answerOf(send(api, tt.method, tt.path, key)); got != tt.want {
				t.Errorf("%s %s: %v, want %v", tt.method, tt.path, got, tt.want)
			}
		}
		if a, err := guard.Admit(t.Context(), key, 1); err != nil || a.Result.Remaining != 50 {
			t.Errorf("Admit: %d remain (%v), want 50", a.Result.Remaining, err)
		}
	})
}

func TestChargeAfterTheResponse(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		guard, key := httpkeytest.New(t, nil)
		api := guard.Handler(http.HandlerFunc(query))
		for _, want := range []answer{{200, "60", "59"}, {200, "60", "34"}, {200, "60", "9"}, {429, "60", "0"}} {
			if got := answerOf(httpkeytest.Get(api, key)); got != want {
				t.Errorf("%v, want %v", got, want)
			}
		}
	})
}

func TestLimitOnTrial(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		guard := onTrial(memstore.New(), memstore.NewLimiter())
		key := httpkeytest.Issue(t, guard, httpkey.Token{}).Secret.Reveal()
		api := guard.Handler(http.HandlerFunc(hello))
		for i := range 61 {
			want, mark := answer{200, "60", strconv.Itoa(59 - i)}, "allowed"
			switch {
			case i >= 60:
				want, mark = answer{429, "60", "0"}, ""
			case i >= 30:
				mark = "denied"
			}
			w := httpkeytest.Get(api, key)
			if got := w.Header().Get("X-RateLimit-Dry-Run"); answerOf(w) != want || got != mark {
				t.Errorf("request %d: %v %q, want %v %q", i, answerOf(w), got, want, mark)
			}
		}
	})
}

func TestReset(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		limiter := memstore.NewLimiter()
		guard := httpkey.New(memstore.New(), limiter, &httpkey.Options{Charge: chargeByRoute})
		created := httpkeytest.Issue(t, guard, httpkey.Token{})
		api := guard.Handler(http.HandlerFunc(hello))
		for _, want := range []answer{{200, "10", "0"}, {429, "10", "0"}} {
			for range 9 {
				send(api, http.MethodGet, "/exports/1", created.Secret.Reveal())
			}
			if got := answerOf(send(api, http.MethodGet, "/exports/1", created.Secret.Reveal())); got != want {
				t.Errorf("%v, want %v", got, want)
			}
		}
		if err := refill(t.Context(), limiter, created.Token); err != nil {
			t.Fatal(err)
		}
		for _, want := range []answer{{200, "10", "9"}, {200, "10", "8"}} {
			if got := answerOf(send(api, http.MethodGet, "/exports/1", created.Secret.Reveal())); got != want {
				t.Errorf("after the reset: %v, want %v", got, want)
			}
		}
	})
}
