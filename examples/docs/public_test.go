package docs

import (
	"net/http"
	"testing"
	"testing/synctest"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/httpkeytest"
	"github.com/httpkey/httpkey/memstore"
)

func TestRoutesOutsideTheGuard(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		guard, key := httpkeytest.New(t, nil)
		api := pricesForAll(guard, http.HandlerFunc(hello))
		for _, tt := range []struct {
			path, key string
			want      answer
		}{
			{"/prices/", "", answer{200, "30", "29"}},
			{"/prices/", key, answer{200, "30", "28"}},
			{"/", key, answer{200, "60", "59"}},
			{"/", "", answer{401, "", ""}},
		} {
			if got := answerOf(send(api, http.MethodGet, tt.path, tt.key)); got != tt.want {
				t.Errorf("%s: %v, want %v", tt.path, got, tt.want)
			}
		}
	})
}

func TestPublicRoutes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		guard := withPublicRoutes(memstore.New(), memstore.NewLimiter())
		key := httpkeytest.Issue(t, guard, httpkey.Token{User: "ann"}).Secret.Reveal()
		api := guard.Handler(http.HandlerFunc(search))
		for _, tt := range []struct {
			method, path, key string
			want              answer
			body              string
		}{
			{http.MethodGet, "/search", "", answer{200, "10", "9"}, "10 results. A key shows you all."},
			{http.MethodGet, "/search", key, answer{200, "60", "59"}, "1,000 results for ann."},
			{http.MethodGet, "/search", "hk_k_made_up", answer{401, "", ""}, notValid},
			{http.MethodPost, "/search", "", answer{401, "", ""}, missing},
			{http.MethodGet, "/other", "", answer{401, "", ""}, missing},
		} {
			w := send(api, tt.method, tt.path, tt.key)
			if got := answerOf(w); got != tt.want || w.Body.String() != tt.body {
				t.Errorf("%s %s: %v %s, want %v %s", tt.method, tt.path, got, w.Body, tt.want, tt.body)
			}
		}
		for range 9 {
			send(api, http.MethodGet, "/search", "")
		}
		if got, want := answerOf(send(api, http.MethodGet, "/search", "")), (answer{429, "10", "0"}); got != want {
			t.Errorf("over the limit: %v, want %v", got, want)
		}
	})
}

func TestOnlyFailedLoginsCount(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		guard, _ := httpkeytest.New(t, nil)
		api := login(guard, func(r *http.Request) bool { return r.Header.Get("Password") == "right" })
		for range 20 {
			if w := get(api, "/login", "Password: right"); w.Code != http.StatusOK {
				t.Fatalf("the right password: status %d", w.Code)
			}
		}
		for i := range 7 {
			want := http.StatusUnauthorized
			if i >= 5 {
				want = http.StatusTooManyRequests
			}
			if w := get(api, "/login", "Password: wrong"); w.Code != want {
				t.Errorf("failure %d: status %d, want %d", i, w.Code, want)
			}
		}
	})
}

func TestFailedKeysAreLimited(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		guard := withFailures(memstore.New(), memstore.NewLimiter())
		other := httpkey.New(memstore.New(), httpkey.Unlimited, nil)
		key := httpkeytest.Issue(t, guard, httpkey.Token{}).Secret.Reveal()
		api := guard.Handler(http.HandlerFunc(hello))
		status := make(map[int]int)
		for range 30 {
			unknown := httpkeytest.Issue(t, other, httpkey.Token{}).Secret.Reveal()
			status[httpkeytest.Get(api, unknown).Code]++
		}
		if status[401] != 20 || status[429] != 10 {
			t.Errorf("unknown keys: %v, want 20 times 401 and 10 times 429", status)
		}
		if w := httpkeytest.Get(api, key); w.Code != http.StatusOK {
			t.Errorf("a good key from the same address: status %d", w.Code)
		}
	})
}
