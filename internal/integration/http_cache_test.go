package integration

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/httpkeytest"
	"github.com/httpkey/httpkey/memstore"
)

// A shared cache in front of an API gives no client the response to another client's key.
func TestSharedCaches(t *testing.T) {
	t.Parallel()
	for _, cache := range []struct {
		name  string
		start func(t *testing.T, origin string) (address string)
	}{
		{"Varnish", startVarnish},
		{"nginx", startNginx},
	} {
		t.Run(cache.name, func(t *testing.T) {
			t.Parallel()
			guard := httpkey.New(memstore.New(), memstore.NewLimiter(), nil)
			key := func(token httpkey.Token) string { return httpkeytest.Issue(t, guard, token).Secret.Reveal() }
			ada, bob := key(httpkey.Token{User: "ada", Scopes: []string{"write"}}), key(httpkey.Token{User: "bob"})
			gone := httpkeytest.Issue(t, guard, httpkey.Token{User: "gone"})
			once := key(httpkey.Token{User: "once", Limits: []httpkey.Limit{httpkey.PerHour(1)}})
			never := key(httpkey.Token{User: "never", Limits: []httpkey.Limit{httpkey.PerHour(0)}})
			origin := httptest.NewServer(guard.Handler(apiOfUsers()))
			t.Cleanup(origin.Close)
			address := cache.start(t, origin.Listener.Addr().String())
			revoke := func() {
				if err := guard.Revoke(t.Context(), gone.Token.ID, "leaked"); err != nil {
					t.Fatal(err)
				}
			}
			for _, tt := range []struct {
				name   string
				path   string
				key    string
				before func()
				status int
				body   string // empty: any
			}{
				{"the first one", "/me", ada, nil, 200, "ada"},
				{"no key", "/me", "", nil, 401, ""},
				{"another key", "/me", bob, nil, 200, "bob"},
				{"the same key", "/me", ada, nil, 200, "ada"},
				{"a key", "/revoked", gone.Secret.Reveal(), nil, 200, "gone"},
				{"the key, revoked", "/revoked", gone.Secret.Reveal(), revoke, 401, ""},
				{"another key for that", "/revoked", bob, nil, 200, "bob"},
				{"no key at first", "/later", "", nil, 401, ""},
				{"then a key", "/later", ada, nil, 200, "ada"},
				{"within the limit", "/limit", once, nil, 200, "once"},
				{"over the limit", "/limit", once, nil, 429, ""},
				{"another's limit", "/limit", bob, nil, 200, "bob"},
				{"a limit of nothing", "/never", never, nil, 403, ""},
				{"another's limit than that", "/never", bob, nil, 200, "bob"},
				{"without the scope", "/scope", bob, nil, 403, ""},
				{"with the scope", "/scope", ada, nil, 200, "ada"},
				{"without it again", "/scope", bob, nil, 403, ""},
				{"a handler's error", "/teapot", ada, nil, 418, "ada"},
				{"a handler's error, without a key", "/teapot", "", nil, 401, ""},
				{"no-store", "/no-store", ada, nil, 200, "ada"},
				{"no-store, for another", "/no-store", bob, nil, 200, "bob"},
				// The handler makes this response public. If the cache returns it, the cache works.
				{"public", "/public", ada, nil, 200, "ada"},
				{"public, without a key", "/public", "", nil, 200, "ada"},
				{"public, for another", "/public", bob, nil, 200, "ada"},
			} {
				if tt.before != nil {
					tt.before()
				}
				status, body := ask(t, "http://"+address+tt.path, tt.key)
				if status != tt.status || tt.body != "" && body != tt.body {
					t.Errorf("%s: %d %q, want %d %q", tt.name, status, body, tt.status, tt.body)
				}
			}
		})
	}
}

// apiOfUsers answers each path with the user of the key.
func apiOfUsers() http.Handler {
	name := func(w http.ResponseWriter, r *http.Request) {
		token, _ := httpkey.FromContext(r.Context())
		_, _ = io.WriteString(w, token.User)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/", name)
	mux.Handle("/scope", httpkey.RequireScope("write")(http.HandlerFunc(name)))
	mux.HandleFunc("/teapot", func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusTeapot)
		name(w, r)
	})
	for path, value := range map[string]string{"/public": "public, max-age=60", "/no-store": "no-store"} {
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Cache-Control", value)
			name(w, r)
		})
	}
	return mux
}

// ask sends a GET request and returns the status and the body.
func ask(t *testing.T, url, key string) (int, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	if key != "" {
		r.Header.Set("X-Api-Key", key)
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(body)
}

// startVarnish starts Varnish with its own rules in front of an origin.
func startVarnish(t *testing.T, origin string) string {
	t.Helper()
	address := fmt.Sprintf("127.0.0.1:%d", freePort(t))
	startCache(t, address, "varnishd", "varnish",
		"-F", "-j", "none", "-a", address, "-b", origin, "-n", t.TempDir(), "-s", "malloc,16m")
	return address
}

// startNginx starts an nginx that caches every answer for a minute.
func startNginx(t *testing.T, origin string) string {
	t.Helper()
	dir := t.TempDir()
	address := fmt.Sprintf("127.0.0.1:%d", freePort(t))
	config := fmt.Sprintf(`
daemon off;
master_process off;
pid %[1]s/pid;
error_log stderr;
events {}
http {
	access_log off;
	client_body_temp_path %[1]s/body;
	proxy_temp_path %[1]s/proxy;
	fastcgi_temp_path %[1]s/fastcgi;
	uwsgi_temp_path %[1]s/uwsgi;
	scgi_temp_path %[1]s/scgi;
	proxy_cache_path %[1]s/cache keys_zone=api:1m;
	server {
		listen %[2]s;
		location / {
			proxy_pass http://%[3]s;
			proxy_cache api;
			proxy_cache_valid any 1m;
		}
	}
}
`, dir, address, origin)
	file := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	startCache(t, address, "nginx", "nginx-light", "-c", file, "-e", "stderr")
	return address
}

// startCache starts a program and waits until it listens. The program ends with the test.
func startCache(t *testing.T, address, program, debianPackage string, args ...string) {
	t.Helper()
	var log bytes.Buffer
	command := exec.Command(tool(t, program, debianPackage), args...)
	command.Stdout, command.Stderr = &log, &log
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = command.Process.Signal(os.Interrupt) // Varnish ends its child
		_ = command.Wait()
		if t.Failed() {
			t.Logf("the log of %s:\n%s", program, log.String())
		}
	})
	eventually(t, 30*time.Second, func() error {
		response, err := http.Get("http://" + address + "/up")
		if err != nil {
			return err
		}
		_ = response.Body.Close()
		if response.StatusCode != http.StatusUnauthorized {
			return fmt.Errorf("status %d", response.StatusCode)
		}
		return nil
	})
}
