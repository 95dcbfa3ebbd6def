// Package address finds the address of a client.
//
// The addresses that it returns are canonical: an IPv4-mapped IPv6 address is an IPv4 address,
// and no address has a zone. The invalid address stands for a client whose address is not known.
package address

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// Canonical returns a without a zone, and as IPv4 if it is IPv4-mapped.
func Canonical(a netip.Addr) netip.Addr { return a.Unmap().WithZone("") }

// OfConnection returns the address of the peer. It returns the invalid address if RemoteAddr is
// not an address with a port, as net/http writes it: a middleware may have put there what the
// client wrote into a header. It returns none on a unix socket either, whose peer may be
// bound to a file that is named like an address.
func OfConnection(r *http.Request) netip.Addr {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil || isUnix(r) {
		return netip.Addr{}
	}
	return Canonical(peer.Addr())
}

// isUnix reports whether a server of net/http received r on a unix socket.
func isUnix(r *http.Request) bool {
	local, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	return ok && strings.HasPrefix(local.Network(), "unix")
}

const (
	forwardedFor = "X-Forwarded-For"

	// maxHops bounds the work for a header of which every entry is trusted.
	maxHops = 32
)

// BehindProxies returns a function that returns the address of the client behind the trusted
// proxies. Each of these appends the address of its peer to X-Forwarded-For, or replaces the
// header. So the function reads the header from the right. While an address is trusted, it
// trusts the entry that this address has written. The first address that is not trusted is the
// client's. The function does not reach what the client itself wrote, on the left of it.
//
//   - It ignores the header if the peer is not trusted.
//   - If all addresses are trusted, the leftmost is the client's: a proxy's own request.
//   - An entry that a trusted proxy wrote may be no address: "unknown", or nothing. The client
//     then has the invalid address. It has no other, since it would get the proxy's networks
//     with that of the proxy, and could choose its own with an entry further to the left.
//   - It also returns the invalid address after 32 trusted addresses.
//   - It trusts the peer on a unix socket, since the permissions of the file keep others out.
//
// BehindProxies panics if a prefix is invalid or IPv4-mapped. It also panics if a prefix
// contains every address, because the client would choose its address.
func BehindProxies(trusted []netip.Prefix) func(*http.Request) netip.Addr {
	trusted = slices.Clone(trusted)
	for _, p := range trusted {
		switch {
		case !p.IsValid() || p.Addr().Is4In6():
			panic(fmt.Sprintf("httpkey: the trusted proxy %v must be a prefix of IPv4 or of IPv6", p))
		case p.Bits() == 0:
			panic(fmt.Sprintf("httpkey: the trusted proxies %v are all addresses, so that clients could choose theirs", p))
		}
	}
	isTrusted := func(a netip.Addr) bool {
		return slices.ContainsFunc(trusted, func(p netip.Prefix) bool { return p.Contains(a) })
	}
	return func(r *http.Request) netip.Addr {
		client := OfConnection(r)
		if !isTrusted(client) && !isUnix(r) {
			return client
		}
		entries := entriesOf(r)
		for range maxHops {
			entry, ok := entries.last()
			if !ok {
				return client
			}
			if client = parse(entry); !isTrusted(client) {
				return client
			}
		}
		return netip.Addr{}
	}
}

// entries are those of a header that are not read yet. Its lines are one list.
type entries struct {
	line   string // the last line, as far as it is not read
	isOpen bool   // line has an entry, which may be empty
	lines  []string
}

func entriesOf(r *http.Request) entries { return entries{lines: r.Header[forwardedFor]} }

// last returns the last entry and removes it.
func (e *entries) last() (entry string, ok bool) {
	if !e.isOpen {
		n := len(e.lines)
		if n == 0 {
			return "", false
		}
		e.line, e.lines = e.lines[n-1], e.lines[:n-1]
	}
	comma := strings.LastIndexByte(e.line, ',')
	entry, e.line, e.isOpen = e.line[comma+1:], e.line[:max(0, comma)], comma >= 0
	return entry, true
}

// parse returns the address of an entry, with or without a port and brackets, or the invalid
// address.
func parse(entry string) netip.Addr {
	entry = strings.Trim(entry, " \t")
	if a, err := netip.ParseAddr(entry); err == nil {
		return Canonical(a)
	}
	if a, err := netip.ParseAddrPort(entry); err == nil {
		return Canonical(a.Addr())
	}
	if inner, ok := strings.CutPrefix(entry, "["); ok && strings.HasSuffix(inner, "]") {
		if a, err := netip.ParseAddr(inner[:len(inner)-1]); err == nil && a.Is6() {
			return Canonical(a)
		}
	}
	return netip.Addr{}
}

const anonymous = "anonymous:"

// Payer returns the name of the payer for requests without a key that come from a. An IPv6
// address counts by its /64, because a client has at least all addresses of one.
func Payer(a netip.Addr) string {
	var space [64]byte
	text := append(space[:0], anonymous...)
	switch a = Canonical(a); {
	case !a.IsValid():
		return anonymous + "unknown"
	case a.Is4():
		text = a.AppendTo(text)
	default:
		text = Network(a).AppendTo(text)
	}
	return string(text)
}

// Network returns the network of one client: the /64 of an IPv6 address, and an IPv4 address
// alone. It returns the invalid Prefix for the invalid address.
func Network(a netip.Addr) netip.Prefix {
	a = Canonical(a)
	network, _ := a.Prefix(min(64, a.BitLen())) // the invalid address has no prefix
	return network
}
