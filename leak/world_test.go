package leak

import (
	"bytes"
	"cmp"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/httpkeytest"
	"github.com/httpkey/httpkey/memstore"
)

var errDown = errors.New("the store is down")

// fakeGitHub publishes keys and signs reports with them. As a RoundTripper it is the network.
type fakeGitHub struct {
	mu          sync.Mutex
	names       []string // of the published keys
	private     map[string]*ecdsa.PrivateKey
	list        string // instead of the published keys
	status      int    // instead of 200
	err         error  // of the network
	fetches     int
	notModified int
}

func newFakeGitHub(t *testing.T, names ...string) *fakeGitHub {
	t.Helper()
	f := &fakeGitHub{private: make(map[string]*ecdsa.PrivateKey)}
	f.publish(t, names...)
	return f
}

// publish replaces the published keys. A name that was published before has its key again.
func (f *fakeGitHub) publish(t *testing.T, names ...string) {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.names = names
	for _, name := range names {
		if f.private[name] != nil {
			continue
		}
		private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		f.private[name] = private
	}
}

func (f *fakeGitHub) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

// counts returns the numbers of fetches, and of those that were answered with 304.
func (f *fakeGitHub) counts() (fetches, notModified int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.fetches, f.notModified
}

func pemOf(public any) string {
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		panic(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

func (f *fakeGitHub) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fetches++
	if r.Method != http.MethodGet || r.Header.Get("User-Agent") == "" {
		w.WriteHeader(http.StatusForbidden)
		return
	}
	type publicKey struct {
		KeyIdentifier string `json:"key_identifier"`
		Key           string `json:"key"`
		IsCurrent     bool   `json:"is_current"`
	}
	var list struct {
		PublicKeys []publicKey `json:"public_keys"`
	}
	for i, name := range f.names {
		list.PublicKeys = append(list.PublicKeys,
			publicKey{name, pemOf(&f.private[name].PublicKey), i == len(f.names)-1})
	}
	body, err := json.Marshal(list)
	if err != nil {
		panic(err)
	}
	if f.list != "" {
		body = []byte(f.list)
	}
	etag := `W/"` + base64.RawURLEncoding.EncodeToString(hash(body)) + `"`
	w.Header().Set("ETag", etag)
	switch {
	case f.status != 0:
		w.Header().Set("Location", "https://elsewhere.example/")
		w.WriteHeader(f.status)
		return
	case r.Header.Get("If-None-Match") == etag:
		f.notModified++
		w.WriteHeader(http.StatusNotModified)
		return
	}
	_, _ = w.Write(body)
}

func hash(body []byte) []byte {
	sum := sha256.Sum256(body)
	return sum[:]
}

// RoundTrip is a network without sockets, which would stop the clock of a bubble.
func (f *fakeGitHub) RoundTrip(r *http.Request) (*http.Response, error) {
	f.mu.Lock()
	err := cmp.Or(f.err, r.Context().Err())
	if err != nil {
		f.fetches++
	}
	f.mu.Unlock()
	if err != nil {
		return nil, err
	}
	w := httptest.NewRecorder()
	f.ServeHTTP(w, r)
	return w.Result(), nil
}

// report returns a report that is signed with a key of GitHub.
func (f *fakeGitHub) report(name, body string) *http.Request {
	f.mu.Lock()
	defer f.mu.Unlock()
	signature, err := ecdsa.SignASN1(rand.Reader, f.private[name], hash([]byte(body)))
	if err != nil {
		panic(err)
	}
	r := httptest.NewRequest(http.MethodPost, "/leaks", strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Github-Public-Key-Identifier", name)
	r.Header.Set("Github-Public-Key-Signature", base64.StdEncoding.EncodeToString(signature))
	return r
}

// world is a Guard whose handler gets reports, and what it told.
type world struct {
	github  *fakeGitHub
	store   *httpkeytest.Store
	guard   *httpkey.Guard
	handler http.Handler
	log     *lockedBuffer

	mu      sync.Mutex
	reports []Report
}

type lockedBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// newWorld returns a world over a store in memory. GitHub publishes a key "one".
func newWorld(t *testing.T, opts *httpkey.Options) *world {
	t.Helper()
	w := &world{
		github: newFakeGitHub(t, "one"),
		store:  httpkeytest.NewStore(memstore.New()),
		log:    &lockedBuffer{},
	}
	var o httpkey.Options
	if opts != nil {
		o = *opts
	}
	logger := slog.New(slog.NewTextHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	o.Observers = []httpkey.Observer{httpkey.SlogObserver(logger)}
	w.guard = httpkey.New(w.store, memstore.NewLimiter(), &o)
	t.Cleanup(func() { _ = w.guard.Close(context.Background()) })
	w.handler = GitHub(w.guard, &GitHubOptions{Client: &http.Client{Transport: w.github}, OnLeak: w.onLeak})
	return w
}

func (w *world) onLeak(_ context.Context, r Report) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.reports = append(w.reports, r)
}

// told returns the reports that OnLeak got since the last call.
func (w *world) told() []Report {
	w.mu.Lock()
	defer w.mu.Unlock()
	told := w.reports
	w.reports = nil
	return told
}

// post sends a request to the handler of reports.
func (w *world) post(r *http.Request) *httptest.ResponseRecorder {
	response := httptest.NewRecorder()
	w.handler.ServeHTTP(response, r)
	return response
}

// send sends a good report.
func (w *world) send(body string) *httptest.ResponseRecorder {
	return w.post(w.github.report("one", body))
}

// token returns a token as the store has it.
func (w *world) token(t *testing.T, id string) httpkey.Token {
	t.Helper()
	token, err := w.guard.Store().Get(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// found returns a match of a report.
func found(key, source, url string) map[string]string {
	return map[string]string{"token": key, "type": "httpkey_key", "url": url, "source": source}
}

// reportOf returns the body of a report.
func reportOf(matches ...map[string]string) string {
	body, err := json.Marshal(matches)
	if err != nil {
		panic(err)
	}
	return string(body)
}

// wantStatus checks the status of a response.
func wantStatus(t *testing.T, what string, w *httptest.ResponseRecorder, status int) {
	t.Helper()
	if w.Code != status {
		t.Errorf("%s: %d %s, want %d", what, w.Code, w.Body, status)
	}
	if cache := w.Header().Get("Cache-Control"); cache != "no-store" {
		t.Errorf("%s: Cache-Control is %q", what, cache)
	}
}
