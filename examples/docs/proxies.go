package docs

import (
	"net/http"
	"net/http/httputil"
	"net/netip"
	"net/url"

	"github.com/httpkey/httpkey"
)

func behindProxies(store httpkey.TokenStore, limiter httpkey.Limiter) *httpkey.Guard {
	guard := httpkey.New(store, limiter, &httpkey.Options{
		ClientAddr: httpkey.TrustedProxies(netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")),
	})
	return guard
}

// addrFromCDN reads the header of a proxy that replaces it in every request.
func addrFromCDN(r *http.Request) netip.Addr {
	addr, _ := netip.ParseAddr(r.Header.Get("X-Real-Ip"))
	return addr // the invalid address is in no network
}

func catalog(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "public, max-age=60") // the same for every key
	hello(w, r)
}

func gateway(guard *httpkey.Guard, upstream *url.URL) http.Handler {
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(upstream)
			r.Out.Header.Del("X-Api-Key") // the upstream needs no key
			r.Out.Header.Del("Expect")    // a 1xx response would drop the Guard's headers
		},
		ModifyResponse: func(r *http.Response) error {
			for _, name := range []string{"X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset"} {
				r.Header.Del(name) // the Guard has set its own
			}
			if r.Header.Get("Cache-Control") == "" {
				r.Header.Set("Cache-Control", "private") // in case of a 1xx all the same
			}
			return nil
		},
	}
	return guard.Handler(proxy)
}
