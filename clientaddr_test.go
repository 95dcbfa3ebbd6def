package httpkey_test

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/netip"
	"net/url"
	"strings"
	"testing"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/httpkeytest"
)

// A token is good for requests from its networks alone, whatever a client writes into the
// headers that tell addresses.
func TestNetworksBehindProxies(t *testing.T) {
	t.Parallel()
	const (
		office, elsewhere = "203.0.113.7", "192.0.2.1"
		proxy, second     = "10.0.0.1", "10.0.0.2"
	)
	behind := httpkey.TrustedProxies(netip.MustParsePrefix("10.0.0.0/8"))
	networks := []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24"), netip.MustParsePrefix("2001:db8::/32")}
	for _, tt := range []struct {
		name   string
		client func(*http.Request) netip.Addr
		peer   string
		header http.Header
		want   bool
	}{
		{"from the office", nil, office + ":5", nil, true},
		{"from elsewhere", nil, elsewhere + ":5", nil, false},
		{"from elsewhere, as the office", nil, elsewhere + ":5", http.Header{"X-Forwarded-For": {office}}, false},
		{"through a proxy that nobody told of", nil, proxy + ":5", http.Header{"X-Forwarded-For": {office}}, false},
		{"from the office, as elsewhere", nil, office + ":5", http.Header{"X-Forwarded-For": {elsewhere}}, true},

		{"through a proxy", behind, proxy + ":5", http.Header{"X-Forwarded-For": {office}}, true},
		{"through two", behind, proxy + ":5", http.Header{"X-Forwarded-For": {office + ", " + second}}, true},
		{"through two, in lines", behind, proxy + ":5", http.Header{"X-Forwarded-For": {office, second}}, true},
		{"through a proxy, by IPv6", behind, proxy + ":5", http.Header{"X-Forwarded-For": {"2001:db8::1"}}, true},
		{"through a proxy, with a port", behind, proxy + ":5", http.Header{"X-Forwarded-For": {office + ":443"}}, true},
		{"through a proxy, mapped", behind, proxy + ":5", http.Header{"X-Forwarded-For": {"::ffff:" + office}}, true},
		{"from elsewhere through a proxy", behind, proxy + ":5", http.Header{"X-Forwarded-For": {elsewhere}}, false},
		{"past the proxy, from the office", behind, office + ":5", nil, true},
		{"past the proxy, from elsewhere", behind, elsewhere + ":5", nil, false},

		{"forged past the proxy", behind, elsewhere + ":5", http.Header{"X-Forwarded-For": {office}}, false},
		{"forged past the proxy, as if through it", behind, elsewhere + ":5",
			http.Header{"X-Forwarded-For": {office + ", " + proxy}}, false},
		{"forged on the left", behind, proxy + ":5", http.Header{"X-Forwarded-For": {office + ", " + elsewhere}}, false},
		{"forged in a line of its own", behind, proxy + ":5", http.Header{"X-Forwarded-For": {office, elsewhere}}, false},
		{"forged with proxies", behind, proxy + ":5",
			http.Header{"X-Forwarded-For": {office + ", " + second + ", " + elsewhere + ", " + second}}, false},
		{"forged with garbage", behind, proxy + ":5",
			http.Header{"X-Forwarded-For": {office + ",,\x00, [" + elsewhere}}, false},
		{"forged with many commas", behind, proxy + ":5",
			http.Header{"X-Forwarded-For": {office + strings.Repeat(",", 50_000) + elsewhere}}, false},
		{"forged in other headers", behind, proxy + ":5", http.Header{"X-Forwarded-For": {elsewhere},
			"Forwarded": {"for=" + office}, "X-Real-Ip": {office}, "True-Client-Ip": {office}, "X-Client-Ip": {office},
			"Cf-Connecting-Ip": {office}, "X-Cluster-Client-Ip": {office}, "x-forwarded-for": {office}}, false},
		{"unknown to the proxy", behind, proxy + ":5", http.Header{"X-Forwarded-For": {office + ", unknown"}}, false},
		{"nothing from the proxy", behind, proxy + ":5", http.Header{"X-Forwarded-For": {office + ","}}, false},
		{"no header from the proxy", behind, proxy + ":5", nil, false},
		{"a peer without an address", behind, "@", http.Header{"X-Forwarded-For": {office}}, false},
		{"a function without an address", func(*http.Request) netip.Addr { return netip.Addr{} }, office + ":5", nil, false},
		{"a function with a zone", func(*http.Request) netip.Addr { return netip.MustParseAddr("2001:db8::1%eth0") },
			"@", nil, true},
	} {
		for place, in := range places {
			var seen events
			_, store, limiter := in()
			guard := httpkey.New(store, limiter, &httpkey.Options{ClientAddr: tt.client, Observers: observers(&seen)})
			key, token := issue(t, guard, httpkey.Token{Networks: networks})
			r := httptest.NewRequest(http.MethodGet, "/", nil)
			if tt.header != nil {
				r.Header = tt.header.Clone()
			}
			r.Header.Set("X-Api-Key", key)
			r.RemoteAddr = tt.peer
			w := httptest.NewRecorder()
			guard.Handler(ok).ServeHTTP(w, r)
			switch e := seen.last(t); {
			case tt.want && w.Code != 200:
				t.Errorf("%s, %s: %d", place, tt.name, w.Code)
			case !tt.want && (w.Code != 401 || w.Body.String() != invalid || w.Header().Get("X-RateLimit-Limit") != "" ||
				e.Reason != httpkey.ReasonNetwork || e.Token.ID != token.ID):
				t.Errorf("%s, %s: %d %s %v, observed %+v", place, tt.name, w.Code, w.Body, w.Header(), e)
			}
			if err := guard.Close(t.Context()); err != nil {
				t.Error(err)
			}
		}
	}
}

// A real proxy, a real client with an address of its own, and a forged header.
func TestReverseProxyTellsTheClient(t *testing.T) {
	t.Parallel()
	guard := newGuard(&httpkey.Options{ClientAddr: httpkey.TrustedProxies(netip.MustParsePrefix("127.0.0.1/32"))})
	bound := func(network string) string {
		key, _ := issue(t, guard, httpkey.Token{Networks: []netip.Prefix{netip.MustParsePrefix(network)}})
		return key
	}
	second, err := net.Listen("tcp", "127.0.0.2:0")
	if err != nil {
		t.Skip(err) // on this system, only 127.0.0.1 is a loopback address
	}
	_ = second.Close()
	app := httptest.NewServer(guard.Handler(ok))
	defer app.Close()
	target, err := url.Parse(app.URL)
	if err != nil {
		t.Fatal(err)
	}
	proxies := map[string]*httputil.ReverseProxy{
		"that appends": {Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			r.Out.Header["X-Forwarded-For"] = r.In.Header["X-Forwarded-For"]
			r.SetXForwarded()
		}},
		"that replaces": {Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			r.SetXForwarded()
		}},
		"as it was": httputil.NewSingleHostReverseProxy(target),
	}
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: dialer.DialContext}}
	for name, proxy := range proxies {
		server := httptest.NewServer(proxy)
		defer server.Close()
		for _, tt := range []struct {
			network string
			forged  []string
			want    int
		}{
			{"127.0.0.2/32", nil, 200},
			{"127.0.0.2/32", []string{"203.0.113.7"}, 200},
			{"127.0.0.1/32", nil, 401},
			{"203.0.113.0/24", []string{"203.0.113.7"}, 401},
			{"203.0.113.0/24", []string{"203.0.113.7", "127.0.0.1"}, 401},
			{"203.0.113.0/24", []string{"203.0.113.7, 127.0.0.1,", ", 127.0.0.1"}, 401},
		} {
			r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL, http.NoBody)
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("X-Api-Key", bound(tt.network))
			r.Header["X-Forwarded-For"] = tt.forged
			response, err := client.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			_, _ = io.Copy(io.Discard, response.Body)
			if _ = response.Body.Close(); response.StatusCode != tt.want {
				t.Errorf("a proxy %s: %+v got %d", name, tt, response.StatusCode)
			}
		}
	}
}

// TrustedProxies panics at start, not at a request.
func TestTrustedProxiesNeedNetworks(t *testing.T) {
	t.Parallel()
	for name, networks := range map[string][]netip.Prefix{
		"none": nil, "invalid": {{}}, "mapped": {netip.MustParsePrefix("::ffff:10.0.0.0/104")},
		"all of IPv4": {netip.MustParsePrefix("0.0.0.0/0")}, "all of IPv6": {netip.MustParsePrefix("::/0")},
	} {
		func() {
			defer func() {
				if text, _ := recover().(string); !strings.HasPrefix(text, "httpkey: ") {
					t.Errorf("%s: panicked with %q", name, text)
				}
			}()
			httpkey.TrustedProxies(networks...)
		}()
	}
}

// A function of the program's own sees each request once, and none without a need.
func TestClientAddrIsAskedWhenNeeded(t *testing.T) {
	t.Parallel()
	asked := 0
	guard := newGuard(&httpkey.Options{ClientAddr: func(*http.Request) netip.Addr {
		asked++
		return netip.MustParseAddr("203.0.113.7")
	}})
	plain, _ := issue(t, guard, httpkey.Token{})
	bound, _ := issue(t, guard, httpkey.Token{Networks: []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24")}})
	for _, tt := range []struct {
		key  string
		want int
	}{{plain, 0}, {bound, 1}, {madeUp(), 0}, {"", 0}} {
		asked = 0
		httpkeytest.Get(guard.Handler(ok), tt.key)
		if asked != tt.want {
			t.Errorf("it was asked %d times, want %d", asked, tt.want)
		}
	}
}
