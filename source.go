package httpkey

import (
	"net/http"
	"net/netip"

	"github.com/httpkey/httpkey/internal/address"
	"github.com/httpkey/httpkey/internal/bearer"
	"github.com/httpkey/httpkey/internal/name"
)

// Source returns the keys that a request carries in one place. A Guard trims blanks around a
// key, and takes an empty one for none. It refuses a request with two keys in one Source, or
// with different keys in two, by a 401. A Source runs on the path of every request, so it must be
// quick. It must not change the request. [New] calls each Source with a made-up request, whose
// only header is Authorization, to learn whether it reads keys of the scheme Bearer.
//
// A Source of your own may tell keys from other credentials in the same header:
//
//	bearer := httpkey.FromBearer()
//	source := func(r *http.Request) []string {
//		if keys := bearer(r); len(keys) != 1 || strings.HasPrefix(keys[0], "hk_") {
//			return keys
//		}
//		return nil // a JSON Web Token, which other code checks
//	}
type Source func(*http.Request) []string

// FromHeader returns the Source of the lines of a header. It panics if header is not a field name
// of RFC 9110, section 5.1.
func FromHeader(header string) Source {
	if header == "" || !name.IsHeader(header) {
		panic("httpkey: FromHeader needs the name of a header, as X-Api-Key")
	}
	header = http.CanonicalHeaderKey(header)
	return func(r *http.Request) []string { return r.Header[header] }
}

// FromBearer returns the Source of keys in an Authorization header of the scheme Bearer (RFC
// 6750, section 2.1). It ignores other schemes. A Guard with such a Source names the scheme in
// the WWW-Authenticate header of a 401, and the scopes in that of a 403.
func FromBearer() Source { return bearer.Keys }

// TrustedProxies returns an [Options.ClientAddr] for a program behind proxies. It reads
// X-Forwarded-For from the right: the client is the first address that is in none of the
// networks. So a client cannot choose its address, whatever it sends. A connection from outside
// the networks is the client's own.
//
// The proxies must append to the header, as most do, and nobody else may connect from their
// networks. If a trusted proxy names no address, the client has the invalid address. The peer on a
// unix socket is trusted, because the permissions of the file keep others out. TrustedProxies
// panics without a network, and if one is invalid, IPv4-mapped, or contains every address.
func TrustedProxies(networks ...netip.Prefix) func(*http.Request) netip.Addr {
	if len(networks) == 0 {
		panic("httpkey: TrustedProxies needs the networks of the proxies")
	}
	return address.BehindProxies(networks)
}
