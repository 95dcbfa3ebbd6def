package address_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/httpkey/httpkey/internal/address"
)

// from returns a request of a peer, with lines of X-Forwarded-For.
func from(peer string, lines ...string) *http.Request {
	return &http.Request{RemoteAddr: peer, Header: http.Header{"X-Forwarded-For": lines}}
}

// show returns an address as text, and "" for the invalid one.
func show(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

func prefixes(texts ...string) (all []netip.Prefix) {
	for _, text := range texts {
		all = append(all, netip.MustParsePrefix(text))
	}
	return all
}

var proxies = prefixes("10.0.0.0/8", "2001:db8:aaaa::/48")

func TestOfConnection(t *testing.T) {
	t.Parallel()
	for peer, want := range map[string]string{
		"203.0.113.7:80":             "203.0.113.7",
		"203.0.113.7:0":              "203.0.113.7",
		"[2001:db8::1]:80":           "2001:db8::1",
		"[fe80::1%eth0]:80":          "fe80::1",
		"[::ffff:203.0.113.7]:80":    "203.0.113.7",
		"[::ffff:203.0.113.7%e0]:80": "203.0.113.7",
		"203.0.113.7":                "", // chi's RealIP writes what the client says
		"2001:db8::1":                "",
		"203.0.113.7:":               "",
		"203.0.113.7:70000":          "",
		"203.0.113.007:80":           "",
		"localhost:80":               "",
		"":                           "",
		"@":                          "",
		"pipe":                       "",
		":80":                        "",
	} {
		if got := show(address.OfConnection(from(peer))); got != want {
			t.Errorf("the address of %q is %q, want %q", peer, got, want)
		}
	}
}

// The client is the first address that is not trusted, whatever stands to the left of it.
func TestBehindProxies(t *testing.T) {
	t.Parallel()
	const proxy, client = "10.0.0.1:4000", "203.0.113.7"
	long := strings.Repeat("10.0.0.9, ", 10_000)
	for _, tt := range []struct {
		name  string
		peer  string
		lines []string
		want  string
	}{
		{"no header: the proxy's own request", proxy, nil, "10.0.0.1"},
		{"one proxy", proxy, []string{client}, client},
		{"two proxies", proxy, []string{client + ", 10.0.0.2"}, client},
		{"a line of each proxy", proxy, []string{client, "10.0.0.3", "10.0.0.2"}, client},
		{"two lines of two entries", proxy, []string{"6.6.6.6, " + client, "10.0.0.3, 10.0.0.2"}, client},
		{"proxies of IPv6", "[2001:db8:aaaa::1]:80", []string{client + ",2001:db8:aaaa:7::2"}, client},

		{"forged on the left", proxy, []string{"10.1.1.1, " + client}, client},
		{"forged by a line of its own", proxy, []string{"192.0.2.1", client}, client},
		{"forged by a trusted chain", proxy, []string{"192.0.2.1, 10.0.0.9, 10.0.0.8, " + client + ", 10.0.0.2"}, client},
		{"forged by garbage", proxy, []string{"\x00\xff, ,,[[,%, " + client}, client},
		{"forged by open brackets", proxy, []string{"[2001:db8::1", client + "]", client}, client},
		{"forged by quotes", proxy, []string{`"192.0.2.1`, `", ` + client}, client},
		{"forged by a long header", proxy, []string{long + client}, client},
		{"forged by many lines", proxy, append(strings.Split(strings.Trim(long, ", "), ", "), client), client},
		{"not through a proxy", "203.0.113.7:80", []string{"10.0.0.9"}, client},
		{"not through a proxy, as its address", "203.0.113.7:80", []string{"192.0.2.1, 10.0.0.1"}, client},
		{"another header alone", proxy, []string{}, "10.0.0.1"},

		{"all trusted", proxy, []string{"10.0.0.3, 10.0.0.2"}, "10.0.0.3"},
		{"all trusted, and blank before it", proxy, []string{"", "10.0.0.2"}, ""},
		{"as many as can be", proxy, []string{client + strings.Repeat(",10.0.0.2", 31)}, client},
		{"more than can be", proxy, []string{client + strings.Repeat(",10.0.0.2", 32)}, ""},
		{"only trusted, and long", proxy, []string{long + "10.0.0.2"}, ""},

		{"a port", proxy, []string{client + ":4711"}, client},
		{"a port of a proxy", proxy, []string{client + ", 10.0.0.2:80"}, client},
		{"IPv6", proxy, []string{"2001:db8::1"}, "2001:db8::1"},
		{"IPv6 in capitals", proxy, []string{"2001:DB8:0:0::1"}, "2001:db8::1"},
		{"IPv6 in brackets", proxy, []string{"[2001:db8::1]"}, "2001:db8::1"},
		{"IPv6 with a port", proxy, []string{"[2001:db8::1]:443"}, "2001:db8::1"},
		{"IPv6 with a zone", proxy, []string{"fe80::1%eth0"}, "fe80::1"},
		{"IPv6 of a proxy with a zone", proxy, []string{client + ", 2001:db8:aaaa::2%eth0"}, client},
		{"IPv4-mapped", proxy, []string{"::ffff:203.0.113.7"}, client},
		{"IPv4-mapped proxies", "[::ffff:10.0.0.1]:80", []string{client + ", ::ffff:10.0.0.2"}, client},
		{"IPv4-mapped in brackets with a port", proxy, []string{"[::ffff:203.0.113.7]:80"}, client},
		{"blanks", proxy, []string{" \t" + client + "\t , \t10.0.0.2 "}, client},

		{"unknown", proxy, []string{"192.0.2.1, unknown"}, ""},
		{"obfuscated", proxy, []string{"192.0.2.1, _hidden"}, ""},
		{"a unix socket", proxy, []string{"192.0.2.1, unix:"}, ""},
		{"an empty entry", proxy, []string{"192.0.2.1, "}, ""},
		{"an empty entry inside", proxy, []string{"192.0.2.1,,10.0.0.2"}, ""},
		{"an empty line", proxy, []string{"192.0.2.1", ""}, ""},
		{"an empty header", proxy, []string{""}, ""},
		{"a comma", proxy, []string{","}, ""},
		{"a name", proxy, []string{"192.0.2.1, localhost"}, ""},
		{"a prefix", proxy, []string{"203.0.113.0/24"}, ""},
		{"IPv4 in brackets", proxy, []string{"[203.0.113.7]"}, ""},
		{"half a bracket", proxy, []string{"[2001:db8::1"}, ""},
		{"half a bracket with a port", proxy, []string{"2001:db8::1]:80"}, ""},
		{"IPv4 with a zone", proxy, []string{"203.0.113.7%eth0"}, ""},
		{"an octal number", proxy, []string{"203.0.113.07"}, ""},
		{"a number", proxy, []string{"3405803783"}, ""},
		{"a port without a number", proxy, []string{client + ":"}, ""},
		{"semicolons", proxy, []string{"192.0.2.1; " + client}, ""},
		{"quotes", proxy, []string{`"` + client + `"`}, ""},

		{"a peer without an address", "@", []string{client}, ""},
		{"a peer without a port", "10.0.0.1", []string{client}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := show(address.BehindProxies(proxies)(from(tt.peer, tt.lines...))); got != tt.want {
				t.Errorf("the address is %q, want %q", got, tt.want)
			}
		})
	}
}

// Without a trusted proxy, no peer of a network can name an address.
func TestWithoutTrustedProxies(t *testing.T) {
	t.Parallel()
	if got := show(address.BehindProxies(nil)(from("10.0.0.1:80", "192.0.2.1"))); got != "10.0.0.1" {
		t.Errorf("the address is %q", got)
	}
}

func TestTrustedProxiesAreChecked(t *testing.T) {
	t.Parallel()
	for _, prefix := range []netip.Prefix{
		{}, netip.PrefixFrom(netip.MustParseAddr("10.0.0.0"), 33), netip.MustParsePrefix("::ffff:10.0.0.0/104"),
		netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0"), netip.MustParsePrefix("10.0.0.1/0"),
	} {
		func() {
			defer func() {
				if text, _ := recover().(string); !strings.HasPrefix(text, "httpkey: the trusted prox") {
					t.Errorf("%v: panicked with %q", prefix, text)
				}
			}()
			address.BehindProxies([]netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), prefix})
		}()
	}
}

// A later change of the caller's prefixes has no effect.
func TestTrustedProxiesAreCopied(t *testing.T) {
	t.Parallel()
	trusted := prefixes("10.0.0.0/8")
	of := address.BehindProxies(trusted)
	trusted[0] = netip.MustParsePrefix("203.0.113.0/24")
	if got := show(of(from("203.0.113.7:80", "192.0.2.1"))); got != "203.0.113.7" {
		t.Errorf("the address is %q", got)
	}
}

// A peer on a unix socket has no address, though it is bound to a file that is named like one.
// BehindProxies trusts it.
func TestUnixSockets(t *testing.T) {
	t.Chdir(t.TempDir())
	listener, err := net.Listen("unix", "server")
	if err != nil {
		t.Skip(err) // a system without unix sockets
	}
	server := &httptest.Server{Listener: listener, Config: &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprintf(w, "%s, %s, %s", show(address.OfConnection(r)), show(address.BehindProxies(nil)(r)),
				show(address.BehindProxies(proxies)(r)))
		}),
	}}
	server.Start()
	defer server.Close()
	for i, tt := range []struct{ name, forwarded, want string }{
		{"", "", ", , "},
		{"", "203.0.113.7", ", 203.0.113.7, 203.0.113.7"},
		{"", "203.0.113.7, 10.0.0.1", ", 10.0.0.1, 203.0.113.7"},
		{"192.0.2.1:80", "", ", , "},
		{"10.0.0.1:80", "203.0.113.7", ", 203.0.113.7, 203.0.113.7"},
	} {
		dialer := net.Dialer{}
		if tt.name != "" {
			dialer.LocalAddr = &net.UnixAddr{Name: tt.name, Net: "unix"}
		}
		client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true,
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return dialer.DialContext(ctx, "unix", "server")
			}}}
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://server/", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		if tt.forwarded != "" {
			r.Header.Set("X-Forwarded-For", tt.forwarded)
		}
		response, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(response.Body)
		if _ = response.Body.Close(); err != nil || string(got) != tt.want {
			t.Errorf("%d: the addresses are %q, want %q (%v)", i, got, tt.want, err)
		}
		_ = os.Remove(tt.name)
	}
}

func TestPayers(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"203.0.113.7":                         "anonymous:203.0.113.7",
		"255.255.255.255":                     "anonymous:255.255.255.255",
		"::ffff:203.0.113.7":                  "anonymous:203.0.113.7",
		"2001:db8:1:2::":                      "anonymous:2001:db8:1:2::/64",
		"2001:db8:1:2:3:4:5:6":                "anonymous:2001:db8:1:2::/64",
		"2001:db8:1:3::1":                     "anonymous:2001:db8:1:3::/64",
		"fe80::1%eth0":                        "anonymous:fe80::/64",
		"::1":                                 "anonymous:::/64",
		"ffff:ffff:ffff:ffff::":               "anonymous:ffff:ffff:ffff:ffff::/64",
		"fe80::1%" + strings.Repeat("e", 100): "anonymous:fe80::/64",
	} {
		if got := address.Payer(netip.MustParseAddr(text)); got != want {
			t.Errorf("the payer at %s is %q, want %q", text, got, want)
		}
	}
	if got := address.Payer(netip.Addr{}); got != "anonymous:unknown" {
		t.Errorf("the payer at no address is %q", got)
	}
}

func TestNetworks(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"203.0.113.7":        "203.0.113.7/32",
		"::ffff:203.0.113.7": "203.0.113.7/32",
		"2001:db8:1:2::7%e0": "2001:db8:1:2::/64",
	} {
		if got := address.Network(netip.MustParseAddr(text)).String(); got != want {
			t.Errorf("the network of %s is %s, want %s", text, got, want)
		}
	}
	if got := address.Network(netip.Addr{}); got.IsValid() {
		t.Errorf("the network of no address is %v", got)
	}
}

func TestAllocations(t *testing.T) {
	// Not parallel: AllocsPerRun counts those of the whole process.
	of := address.BehindProxies(proxies)
	for name, tt := range map[string]struct {
		do   func()
		most float64
	}{
		"a payer of IPv4":     {func() { address.Payer(netip.AddrFrom4([4]byte{255, 255, 255, 255})) }, 1},
		"a payer of IPv6":     {func() { address.Payer(netip.AddrFrom16([16]byte{0: 0xff, 7: 0xff, 15: 1})) }, 1},
		"the unknown payer":   {func() { address.Payer(netip.Addr{}) }, 0},
		"a connection":        {func() { address.OfConnection(plain) }, 0},
		"a client of proxies": {func() { of(forwarded) }, 0},
		"a forged header":     {func() { of(forged) }, 0},
	} {
		if got := testing.AllocsPerRun(100, tt.do); got > tt.most {
			t.Errorf("%s: %v allocations, want at most %v", name, got, tt.most)
		}
	}
}

var (
	plain     = from("203.0.113.7:80")
	forwarded = from("10.0.0.1:80", "192.0.2.1, 2001:db8::1", "10.0.0.3, ::ffff:10.0.0.2")
	forged    = from("10.0.0.1:80", strings.Repeat("x", 100_000)+",203.0.113.7, 10.0.0.2", "10.0.0.3")
)

// The address of a client is the one that the first proxy wrote. The client's own header changes
// nothing.
func FuzzBehindProxies(f *testing.F) {
	for _, seed := range []string{"", ",", "10.0.0.1", "192.0.2.1, 10.0.0.9", "10.0.0.8\n10.0.0.9", "unknown", "[", "::1%",
		"\n", " , \n,", strings.Repeat("10.0.0.9,", 100)} {
		f.Add(seed, []byte{203, 0, 113, 7}, uint8(1), uint8(0))
		f.Add(seed, []byte("\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01"), uint8(3), uint8(0xff))
	}
	of := address.BehindProxies(proxies)
	f.Fuzz(func(t *testing.T, forged string, client []byte, hops, form uint8) {
		want, ok := netip.AddrFromSlice(client)
		if want = address.Canonical(want); !ok || isAny(proxies, want) {
			return
		}
		r := from(netip.AddrPortFrom(want, 80).String(), strings.Split(forged, "\n")...)
		if got := of(r); got != want {
			t.Fatalf("without a proxy, the client of %q has the address %v, want %v", r.Header, got, want)
		}
		for hop := range hops % 30 {
			peer, _ := netip.ParseAddrPort(r.RemoteAddr)
			entry := peer.Addr().String()
			switch {
			case form&1 != 0:
				entry = peer.String()
			case form&2 != 0 && peer.Addr().Is6():
				entry = "[" + entry + "]"
			}
			lines := r.Header["X-Forwarded-For"]
			if form>>(2+hop%6)&1 != 0 && len(lines) > 0 {
				lines[len(lines)-1] += ", " + entry
			} else {
				r.Header["X-Forwarded-For"] = append(lines, entry)
			}
			r.RemoteAddr = []string{"10.0.0.1:80", "[2001:db8:aaaa::1]:80", "[::ffff:10.0.0.2]:80"}[hop%3]
			if got := of(r); got != want {
				t.Fatalf("the client of %q has the address %v, want %v", r.Header, got, want)
			}
		}
	})
}

func isAny(networks []netip.Prefix, a netip.Addr) bool {
	for _, n := range networks {
		if n.Contains(a) {
			return true
		}
	}
	return false
}
