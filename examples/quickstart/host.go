package main

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
)

// onlyHere passes requests whose Host is localhost or an address of this machine. An attacker
// can point a domain at 127.0.0.1. Without onlyHere, a page of that domain could read the
// answers of the demo (DNS rebinding).
func onlyHere(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		local, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
		if !isHere(r.Host, local) {
			http.Error(w, fmt.Sprintf("This demo answers only to localhost and to its address: open http://%v/", local),
				http.StatusMisdirectedRequest)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// isHere reports whether a Host names localhost, a loopback address, or the address local, to
// which the client has connected. The port may be that of a tunnel.
func isHere(host string, local net.Addr) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	addr, err := netip.ParseAddr(strings.Trim(host, "[]"))
	if err != nil {
		return strings.EqualFold(host, "localhost")
	}
	tcp, ok := local.(*net.TCPAddr)
	return addr.Unmap().IsLoopback() || ok && tcp.AddrPort().Addr().Unmap() == addr.Unmap()
}
