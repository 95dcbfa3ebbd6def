package contract

import (
	"context"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/httpkeytest"
	"github.com/httpkey/httpkey/memstore"
)

// api is a guarded router as a client sees it, with its store and handlers.
type api struct {
	client *http.Client
	url    string
	query  string // of every request

	guard *httpkey.Guard
	store *httpkeytest.Store
	lacks Lacks

	reached   atomic.Int64  // the requests that reached a handler
	chunkRead chan struct{} // closed when the client has read the first chunk of a stream
	streamed  chan error    // the failure of a stream's handler, nil for none
}

// errPanic is the value with which the handler of /panic panics.
var errPanic = errors.New("contract: a handler panics")

// newGuarded returns an api without a client.
func newGuarded(opts *httpkey.Options) *api {
	a := &api{
		store:     httpkeytest.NewStore(memstore.New()),
		chunkRead: make(chan struct{}),
		streamed:  make(chan error, 1),
	}
	var patient httpkey.Options
	if opts != nil {
		patient = *opts
	}
	patient.Timeout = 10 * time.Second // a busy machine must not turn an answer into a 503
	a.guard = httpkey.New(a.store, slowMotion{memstore.NewLimiter()}, &patient)
	return a
}

// server serves routes behind a guard, and returns a client for them.
type server func(t *testing.T, guard *httpkey.Guard, routes []Route) (client *http.Client, url string)

// newAPI serves a router of the kind under test.
func newAPI(t *testing.T, lacks Lacks, serve server, opts *httpkey.Options) *api {
	t.Helper()
	a := newGuarded(opts)
	a.lacks = lacks
	whoami := http.HandlerFunc(a.whoami)
	nothing := func(next http.Handler) http.Handler { return next }
	inPath := func(r *http.Request) string { return r.PathValue("slug") }
	a.client, a.url = serve(t, a.guard, []Route{
		{"/whoami", nothing, whoami},
		{"/scope", httpkey.RequireScope("write"), whoami},
		{"/any-scope", httpkey.RequireAnyScope("admin", "write"), whoami},
		{"/kind", httpkey.RequireKind(httpkey.ServiceToken), whoami},
		{"/workspace/{slug}", httpkey.RequireWorkspace(inPath), whoami},
		{"/missing", nothing, http.NotFoundHandler()},
		{"/broken", nothing, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, "broken", http.StatusInternalServerError)
		})},
		{"/public", nothing, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Cache-Control", public)
		})},
		{"/panic", nothing, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(errPanic) })},
		{"/stream", nothing, http.HandlerFunc(a.stream)},
	})
	t.Cleanup(func() {
		if err := a.guard.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	return a
}

// needs skips a test of a part that the framework lacks.
func (a *api) needs(t *testing.T, part string) {
	t.Helper()
	if why, isLacking := a.lacks[part]; isLacking {
		t.Skipf("%s: %s", part, why)
	}
}

// public lets every cache keep a response.
const public = "public, max-age=60"

// whoami writes the user of the key.
func (a *api) whoami(w http.ResponseWriter, r *http.Request) {
	a.reached.Add(1)
	token, _ := httpkey.FromContext(r.Context())
	_, _ = io.WriteString(w, token.User)
}

// stream writes the second chunk after the client has read the first one.
func (a *api) stream(w http.ResponseWriter, r *http.Request) {
	var notFlusher error
	if _, ok := w.(http.Flusher); !ok {
		notFlusher = errors.New("the ResponseWriter is no http.Flusher")
	}
	control := http.NewResponseController(w)
	var deadlineErr error
	if a.lacks[WriteDeadlines] == "" {
		deadlineErr = control.SetWriteDeadline(time.Now().Add(time.Minute))
	}
	_, _ = io.WriteString(w, "first")
	a.streamed <- errors.Join(notFlusher, deadlineErr, control.Flush())
	select {
	case <-a.chunkRead:
	case <-r.Context().Done(): // the client got nothing and gave up
	}
	_, _ = io.WriteString(w, " second")
}

func (a *api) issue(t *testing.T, token httpkey.Token) httpkey.Created {
	t.Helper()
	return httpkeytest.Issue(t, a.guard, token)
}

// start sends a request with these X-Api-Key lines and returns the response,
// its body unread. The response must have come within ten seconds.
func (a *api) start(t *testing.T, method, path string, lines ...string) (*http.Response, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	t.Cleanup(cancel)
	r, err := http.NewRequestWithContext(ctx, method, a.url+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header["X-Api-Key"] = lines
	return a.client.Do(r)
}

// send returns a whole response.
func (a *api) send(t *testing.T, method, path string, lines ...string) (response *http.Response, body string) {
	t.Helper()
	response, err := a.start(t, method, path, lines...)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	all, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response, string(all)
}

// slowMotion is a limiter for which an hour passes like a second, so that no response
// depends on the duration of the test.
type slowMotion struct{ httpkey.Limiter }

func (s slowMotion) Allow(ctx context.Context, c *httpkey.Charge) (httpkey.Result, error) {
	slow := *c
	slow.Limits = slices.Clone(c.Limits)
	for i := range slow.Limits {
		slow.Limits[i].Period *= 3600
	}
	result, err := s.Limiter.Allow(ctx, &slow)
	quicken(&result)
	for i := range result.Each {
		quicken(&result.Each[i])
	}
	return result, err
}

func quicken(r *httpkey.Result) {
	r.Limit.Period /= 3600
	r.ResetAfter /= 3600
	r.RetryAfter /= 3600
}

// transport connects a client to a router.
type transport func(t *testing.T, router http.Handler) (client *http.Client, url string)

func inMemory(_ *testing.T, router http.Handler) (*http.Client, string) {
	return &http.Client{Transport: recorder{router}}, "http://api.test"
}

func overHTTP1(t *testing.T, router http.Handler) (*http.Client, string) {
	return serve(t, router, (*httptest.Server).Start)
}

func overHTTP2(t *testing.T, router http.Handler) (*http.Client, string) {
	return serve(t, router, func(s *httptest.Server) {
		s.EnableHTTP2 = true
		s.StartTLS()
	})
}

func serve(t *testing.T, router http.Handler, start func(*httptest.Server)) (*http.Client, string) {
	server := httptest.NewUnstartedServer(router)
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // panics are part of the test
	start(server)
	t.Cleanup(server.Close)
	return server.Client(), server.URL
}

// recorder is a RoundTripper without a network.
type recorder struct{ handler http.Handler }

func (rec recorder) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	r = r.Clone(r.Context())
	r.RemoteAddr = "127.0.0.1:1234"
	rec.handler.ServeHTTP(w, r)
	return w.Result(), nil
}
