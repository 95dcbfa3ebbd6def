package docs

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"slices"
	"testing"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/httpkeytest"
	"github.com/httpkey/httpkey/memstore"
)

func TestAddressBehindProxies(t *testing.T) {
	t.Parallel()
	office := []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24")}
	guard := behindProxies(memstore.New(), memstore.NewLimiter())
	key := httpkeytest.Issue(t, guard, httpkey.Token{Networks: office}).Secret.Reveal()
	cdn := httpkey.New(guard.Store(), memstore.NewLimiter(), &httpkey.Options{ClientAddr: addrFromCDN})
	for _, tt := range []struct {
		name         string
		guard        *httpkey.Guard
		peer, header string
		want         int
	}{
		{"in the office", guard, "10.0.0.1:1", "X-Forwarded-For: 203.0.113.7", 200},
		{"in the office, behind two proxies", guard, "10.0.0.1:1", "X-Forwarded-For: 203.0.113.7, 10.0.0.2", 200},
		{"elsewhere", guard, "10.0.0.1:1", "X-Forwarded-For: 198.51.100.7", 401},
		{"elsewhere, with a forged address", guard, "10.0.0.1:1", "X-Forwarded-For: 203.0.113.7, 198.51.100.7", 401},
		{"past the proxy, with a forged header", guard, "198.51.100.7:1", "X-Forwarded-For: 203.0.113.7", 401},
		{"in the office, past the proxy", guard, "203.0.113.7:1", "", 200},
		{"in the office, behind a CDN", cdn, "198.51.100.1:1", "X-Real-Ip: 203.0.113.7", 200},
		{"elsewhere, behind a CDN", cdn, "198.51.100.1:1", "X-Real-Ip: 198.51.100.7", 401},
		{"without the header of the CDN", cdn, "198.51.100.1:1", "", 401},
	} {
		handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			r.RemoteAddr = tt.peer
			tt.guard.Handler(http.HandlerFunc(hello)).ServeHTTP(w, r)
		})
		lines := []string{"X-Api-Key: " + key}
		if tt.header != "" {
			lines = append(lines, tt.header)
		}
		if w := get(handler, "/", lines...); w.Code != tt.want {
			t.Errorf("%s: status %d, want %d", tt.name, w.Code, tt.want)
		}
	}
}

func TestCacheControl(t *testing.T) {
	t.Parallel()
	guard, key := httpkeytest.New(t, nil)
	for _, tt := range []struct {
		handler http.HandlerFunc
		key     string
		want    string
	}{
		{hello, key, "private"},
		{hello, "", "no-store"},
		{catalog, key, "public, max-age=60"},
		{catalog, "", "no-store"},
	} {
		if got := httpkeytest.Get(guard.Handler(tt.handler), tt.key).Header().Get("Cache-Control"); got != tt.want {
			t.Errorf("Cache-Control: %s, want %s", got, tt.want)
		}
	}
}

func TestGateway(t *testing.T) {
	t.Parallel()
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Expect") != "" || r.Header.Get("X-Api-Key") != "" {
			t.Errorf("the upstream got %v", r.Header)
		}
		w.Header().Set("X-RateLimit-Limit", "1000")
		_, _ = io.WriteString(w, "from upstream")
	}))
	defer upstream.Close()
	target, err := url.Parse(upstream.URL)
	if err != nil {
		t.Fatal(err)
	}
	guard, key := httpkeytest.New(t, nil)
	w := get(gateway(guard, target), "/", "X-Api-Key: "+key, "Expect: 100-continue")
	if limits := w.Header().Values("X-RateLimit-Limit"); w.Code != 200 || len(limits) != 1 || limits[0] != "60" {
		t.Errorf("status %d, X-RateLimit-Limit %q", w.Code, limits)
	}
	if w.Body.String() != "from upstream" || !slices.Contains(w.Header().Values("Cache-Control"), "private") {
		t.Errorf("%s %v", w.Body, w.Header())
	}
}
