package main

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// An attacker points the name of another site at this machine. A page of that site then gets no
// page, no session and no token of the demo.
func TestOtherHostsAreMisdirected(t *testing.T) {
	t.Parallel()
	demo, _ := start(t, onAnyPort)
	_, port, _ := strings.Cut(strings.TrimPrefix(demo.url, "http://"), ":")
	for host, isHere := range map[string]bool{
		"127.0.0.1:" + port: true, "127.0.0.1": true, "localhost:" + port: true, "LOCALHOST": true, "[::1]:" + port: true,
		"[::1]": true, "localhost:9": true, // a tunnel
		"evil.example": false, "evil.example:" + port: false, "localhost.evil.example": false,
		"127.0.0.1.evil.example": false,
		"192.0.2.1:" + port:      false, "127.0.0.1@evil.example": false, "0.0.0.0:" + port: false,
		"[::]": false, "a:b:c": false,
	} {
		for path, want := range map[string]int{
			"/": 200, "/api/v1/users/me/": 200, "/sign-in": 200, "/settings/api-tokens/": 401,
		} {
			r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, demo.url+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			r.Host = host
			r.Header.Set("X-Api-Key", demo.apiKey)
			response, err := http.DefaultClient.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			var body strings.Builder
			_ = response.Write(&body)
			_ = response.Body.Close()
			if !isHere {
				want = http.StatusMisdirectedRequest
				if !strings.Contains(body.String(), "open "+demo.url+"/") || strings.Contains(body.String(), host) {
					t.Errorf("%s%s: %s", host, path, &body)
				}
			}
			if response.StatusCode != want {
				t.Errorf("%s%s: status %d, want %d", host, path, response.StatusCode, want)
			}
		}
	}
}

// The demo answers requests for the address that the client connects to, whichever address that is.
func TestHostIsTheAddressOfTheConnection(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Host = r.Header.Get("Of")
		onlyHere(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})).ServeHTTP(w, r)
	}))
	defer server.Close()
	local := strings.TrimPrefix(server.URL, "http://")
	for host, want := range map[string]int{local: 200, "[::ffff:127.0.0.1]": 200, "192.0.2.1": 421} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Of", host)
		response, err := server.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		if response.StatusCode != want {
			t.Errorf("%s: status %d, want %d", host, response.StatusCode, want)
		}
	}
}
