package integration

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"html/template"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/go-chi/chi/v5"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/console"
	"github.com/httpkey/httpkey/httpkeytest"
	"github.com/httpkey/httpkey/memstore"
)

// foreign is a program that mounts the console in its own way, behind its own login.
type foreign struct {
	name  string
	mount func(tokens http.Handler) http.Handler
	path  string // of the console in the program
	frame func(http.ResponseWriter, *http.Request, console.Page)
}

var foreigners = []foreign{
	{"net/http", mountInMux, "/settings/api-tokens/", nil},
	{"chi", mountInChi, "/account/keys/", nil},
	{"gin", mountInGin, "/app/keys/", frameOfGin},
}

func mountInMux(tokens http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/login", signIn)
	mux.Handle("/settings/api-tokens/", http.StripPrefix("/settings/api-tokens", tokens))
	return mux
}

func mountInChi(tokens http.Handler) http.Handler {
	router := chi.NewRouter()
	router.Get("/login", signIn)
	router.Route("/account", func(account chi.Router) {
		account.Handle("/keys/*", http.StripPrefix("/account/keys", tokens))
	})
	return router
}

func mountInGin(tokens http.Handler) http.Handler {
	gin.SetMode(gin.ReleaseMode)
	engine := gin.New()
	engine.GET("/login", gin.WrapF(signIn))
	engine.Any("/app/keys/*path", gin.WrapH(http.StripPrefix("/app/keys", tokens)))
	return engine
}

var ginFrame = template.Must(template.New("").Parse(`<!DOCTYPE html>
<html lang="en"><head><title>{{.Title}} – Weather</title>{{.Head}}</head>
<body><aside><a data-app href="/">Weather</a> <a data-app href="/billing">Billing</a></aside>{{.Body}}</body></html>`))

func frameOfGin(w http.ResponseWriter, _ *http.Request, p console.Page) {
	w.WriteHeader(p.Status)
	_ = ginFrame.Execute(w, p)
}

const session = "session"

// signIn makes a session, without asking who it is for.
func signIn(w http.ResponseWriter, _ *http.Request) {
	http.SetCookie(w, &http.Cookie{
		Name: session, Value: "ada", Path: "/", HttpOnly: true, SameSite: http.SameSiteLaxMode,
	})
	w.WriteHeader(http.StatusUnauthorized) // startCache waits for that
}

func principalOf(r *http.Request) (console.Principal, error) {
	cookie, err := r.Cookie(session)
	if err != nil || cookie.Value != "ada" {
		return console.Principal{}, errors.New("there is no session")
	}
	return console.Principal{
		User: "ada", ServiceTokens: true, Scopes: []string{"read", "write"}, Workspaces: []string{"lab"},
	}, nil
}

// program is a running foreign with its Guard.
type program struct {
	foreign
	*httpkey.Guard
	address string
}

func (f foreign) start(t *testing.T, trusted ...string) *program {
	t.Helper()
	guard := httpkey.New(memstore.New(), memstore.NewLimiter(), nil)
	many := httpkey.PerSecond(10_000)
	tokens := console.New(guard, &console.Options{
		Principal: principalOf, Limit: many, ReadLimit: many, TrustedOrigins: trusted, Layout: f.frame,
	})
	server := httptest.NewServer(f.mount(tokens))
	t.Cleanup(server.Close)
	return &program{f, guard, server.Listener.Addr().String()}
}

// The console works in programs that were not written for it, behind an nginx with a path of its own
// and without one. A browser finds no link that leaves it, and none that leads nowhere.
func TestConsoleInForeignPrograms(t *testing.T) {
	t.Parallel()
	for _, f := range foreigners {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			t.Run("alone", func(t *testing.T) {
				t.Parallel()
				p := f.start(t)
				walk(t, p, newBrowser(t, "http://"+p.address, p.address, f.path))
			})
			for name, front := range map[string]front{
				"nginx":                     {passesHost: true},
				"nginx under a path":        {passesHost: true, path: "/weather"},
				"nginx with TLS":            {passesHost: true, tls: true, path: "/weather"},
				"nginx with TLS, no Host":   {tls: true, path: "/weather"},
				"nginx without Host, named": {path: "/weather"},
			} {
				t.Run(name, func(t *testing.T) {
					t.Parallel()
					front.port = freePort(t)
					var trusted []string
					if name == "nginx without Host, named" {
						trusted = append(trusted, front.origin())
					}
					p := f.start(t, trusted...)
					front.start(t, p.address)
					walk(t, p, newBrowser(t, front.origin(), front.address(), front.path+f.path))
				})
			}
		})
	}
}

// On plain HTTP, behind a proxy that replaces the Host header, the console refuses its own page, and
// says so. Nothing is changed.
func TestConsoleBehindAProxyThatReplacesHost(t *testing.T) {
	t.Parallel()
	for _, f := range foreigners {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			p := f.start(t)
			front := front{port: freePort(t)}
			front.start(t, p.address)
			b := newBrowser(t, front.origin(), front.address(), f.path)
			b.want(http.StatusUnauthorized, b.get("/login"))
			form := b.follow(b.want(http.StatusOK, b.get(f.path)), "new")
			refused := b.want(http.StatusForbidden, b.submit(form, map[string]string{"label": "laptop"}))
			if !strings.Contains(refused.text, "another site") {
				t.Errorf("the page does not say why:\n%s", refused.text)
			}
			left, err := p.Store().List(t.Context(), httpkey.Filter{})
			if err != nil || len(left) > 0 {
				t.Errorf("there are %v (%v)", left, err)
			}
		})
	}
}

// hardIDs are what Token.Validate accepts, and URLs and proxies take for something else.
var hardIDs = []string{
	"plain-1", "a/b", "/", "a//b", "..", ".", "../../login", ".hidden", "a:b", "javascript:alert(1)", "100%", "%2F",
	"%2e%2e", "a b", "a+b", "a?b=c", "a#b", "a;b", `a\b`, "~", "~YQ", "new", "openapi.json", "rotate", "日本/ü", "e\u0301",
	"\u202e", "\n", "<script>", `"'&`, strings.Repeat("é", 127) + "x", strings.Repeat("/", 255), strings.Repeat("x", 255),
}

// walk goes through all pages of a console, as a person does.
func walk(t *testing.T, p *program, b *browser) {
	t.Helper()
	b.want(http.StatusUnauthorized, b.get(strings.TrimSuffix(b.prefix, p.path)+"/login"))
	for i, id := range hardIDs {
		token := httpkey.Token{
			ID: id, Kind: httpkey.APIKey, User: "ada", Label: fmt.Sprint("token ", i), IsActive: true,
			CreatedAt: time.Now().UTC().Truncate(time.Microsecond), Digest: httpkey.Digest{1, byte(i)},
		}
		if _, err := p.Store().Create(t.Context(), token); err != nil {
			t.Fatalf("%q: %v", id, err)
		}
	}
	list := b.want(http.StatusOK, b.get(b.prefix))
	b.crawl(list)
	if len(b.seen) < 4*len(hardIDs) {
		t.Errorf("the browser found only %d links", len(b.seen))
	}
	for i, id := range hardIDs {
		b.reaches(p, list, id, fmt.Sprint("token ", i))
	}

	secret := b.want(http.StatusCreated, b.submit(b.follow(list, "new"), map[string]string{
		"label": "laptop", "kind": "api_key", "expiry": "never",
	}))
	key := b.keyOn(secret)
	b.crawl(secret)
	works := func(key string) bool {
		return httpkeytest.Get(p.Handler(http.NotFoundHandler()), key).Code == http.StatusNotFound
	}
	if !works(key) {
		t.Error("the new key does not work")
	}
	old, err := p.Lookup(t.Context(), httpkey.Secret(key))
	if err != nil {
		t.Fatal(err)
	}
	token := b.follow(b.get(b.prefix), old.ID+"/")
	token = b.want(http.StatusOK, b.submit(token, map[string]string{"label": "phone"}))
	if !strings.Contains(token.text, "phone") {
		t.Error("the name was not changed")
	}
	secret = b.want(http.StatusCreated, b.submit(b.follow(token, "rotate/"), map[string]string{"grace": "3600"}))
	next := b.keyOn(secret)
	b.crawl(secret)
	if !works(key) || !works(next) {
		t.Error("in the grace, both keys must work")
	}
	revoked := b.want(http.StatusOK, b.submit(b.follow(token, "revoke/"), map[string]string{"reason": "leaked"}))
	b.crawl(revoked)
	if works(key) || !works(next) {
		t.Error("after the revocation, only the new key must work")
	}
	found, err := p.Lookup(t.Context(), httpkey.Secret(next))
	if err != nil {
		t.Fatal(err)
	}
	remove := b.follow(b.follow(b.get(b.prefix), found.ID+"/"), "delete/")
	b.crawl(b.want(http.StatusOK, b.submit(remove, map[string]string{"name": found.Label})))
	if works(next) {
		t.Error("the deleted key works")
	}
	b.mayNotBeElsewhere(list)
}

// reaches opens the page of a token, as from the list, and changes its name there.
func (b *browser) reaches(p *program, list *page, id, label string) {
	b.t.Helper()
	for n := range list.root.Descendants() {
		link, _ := attribute(n, "href")
		if n.Data != "a" || textOf(n) != label {
			continue
		}
		target, err := list.url.Parse(link)
		if err != nil {
			b.t.Fatal(err)
		}
		token := b.want(http.StatusOK, b.navigate(list, http.MethodGet, target.String(), nil))
		b.want(http.StatusOK, b.submit(token, map[string]string{"label": label + " of ada"}))
		if changed, err := p.Store().Get(b.t.Context(), id); err != nil || changed.Label != label+" of ada" {
			b.t.Errorf("the page of %q changed another token: %+v (%v)", id, changed, err)
		}
		return
	}
	b.t.Errorf("the list has no link to %q", id)
}

// keyOn returns the key that a page shows.
func (b *browser) keyOn(p *page) string {
	b.t.Helper()
	key, err := p.element("secret")
	if err != nil || !strings.HasPrefix(key, "hk_") {
		b.t.Fatalf("%q (%v)\n%s", key, err, p.text)
	}
	return key
}

// mayNotBeElsewhere sends a form as a page of another site makes a browser do.
func (b *browser) mayNotBeElsewhere(list *page) {
	b.t.Helper()
	r, err := http.NewRequestWithContext(b.t.Context(), http.MethodPost, list.url.String(),
		strings.NewReader(url.Values{"label": {"theirs"}, "nonce": {"n"}, "expiry": {"never"}}.Encode()))
	if err != nil {
		b.t.Fatal(err)
	}
	r.Header.Set("Accept", "text/html")
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Origin", "https://evil.example")
	if strings.HasPrefix(b.origin, "https:") {
		r.Header.Set("Sec-Fetch-Site", "cross-site")
	}
	response, err := b.client.Do(r)
	if err != nil {
		b.t.Fatal(err)
	}
	_ = response.Body.Close()
	if response.StatusCode != http.StatusForbidden {
		b.t.Errorf("a form of another site got %d", response.StatusCode)
	}
}

// front is an nginx in front of a program, as https://app.example or http://app.example.
type front struct {
	port       int
	tls        bool
	path       string // where the program is, if not at the top
	passesHost bool   // with the Host header of the client
}

func (f front) address() string { return fmt.Sprintf("127.0.0.1:%d", f.port) }

func (f front) origin() string {
	scheme := "http"
	if f.tls {
		scheme = "https"
	}
	return fmt.Sprintf("%s://app.example:%d", scheme, f.port)
}

func (f front) start(t *testing.T, upstream string) {
	t.Helper()
	dir := t.TempDir()
	var settings strings.Builder
	if f.tls {
		writeCertificate(t, dir)
		fmt.Fprintf(&settings, "listen %s ssl; ssl_certificate %s/pem; ssl_certificate_key %[2]s/pem;\n", f.address(), dir)
		f.port = freePort(t) // of plain HTTP, by which startCache sees that it is up
	}
	fmt.Fprintf(&settings, "listen %s;\nlocation %s/ {\n", f.address(), f.path)
	if fmt.Fprintf(&settings, "proxy_pass http://%s/;\n", upstream); f.passesHost {
		settings.WriteString("proxy_set_header Host $http_host;\n")
	}
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
	server {
		%[2]s
		}
		location = /up { return 401; }
	}
}
`, dir, settings.String())
	file := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	startCache(t, f.address(), "nginx", "nginx-light", "-c", file, "-e", "stderr")
}

// writeCertificate writes a certificate for app.example with its key to dir/pem.
func writeCertificate(t *testing.T, dir string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	like := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{"app.example"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	certificate, err := x509.CreateCertificate(rand.Reader, like, like, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	var text bytes.Buffer
	for _, block := range []*pem.Block{{Type: "CERTIFICATE", Bytes: certificate}, {Type: "PRIVATE KEY", Bytes: private}} {
		if err := pem.Encode(&text, block); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "pem"), text.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
}
