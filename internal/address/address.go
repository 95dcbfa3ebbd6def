// Package address finds the address of a client.
package address

import (
	"net/http"
	"net/netip"
)

// OfConnection returns the address of the peer.
func OfConnection(r *http.Request) netip.Addr {
	peer, _ := netip.ParseAddrPort(r.RemoteAddr)
	return peer.Addr()
}

// BehindProxies returns the address of the peer.
func BehindProxies(_ []netip.Prefix) func(*http.Request) netip.Addr { return OfConnection }

// Payer returns the payer of requests from an address.
func Payer(a netip.Addr) string { return "anonymous:" + a.String() }
