package main

import (
	"net"
	"net/http"
	"testing"

	"github.com/gofiber/fiber/v3"
	"github.com/gofiber/fiber/v3/middleware/adaptor"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/httpkeytest"
	"github.com/httpkey/httpkey/internal/contract"
)

func TestContract(t *testing.T) {
	t.Parallel()
	contract.RunServer(t, contract.Lacks{
		contract.LongHeaders:    "fiber answers 431 to a request whose headers exceed ReadBufferSize, by default 4096 bytes",
		contract.Panics:         "a panic ends the program, unless the recover middleware of fiber answers 500",
		contract.OtherHeaders:   "the adaptor of fiber adds header lines of a handler of net/http to those of the Guard",
		contract.WriteDeadlines: "the adaptor of fiber has none",
	}, func(t *testing.T, guard *httpkey.Guard, added []contract.Route) string {
		app := routes(guard)
		for _, route := range added {
			app.All(route.Colons(), through(route.Require), handle(route.Handler))
		}
		return serve(t, app)
	})
}

// A key without the scope that a route demands is answered 403, as everywhere.
func TestScope(t *testing.T) {
	t.Parallel()
	guard, without := httpkeytest.New(t, nil)
	with := httpkeytest.Issue(t, guard, httpkey.Token{Scopes: []string{"reports:read"}}).Secret.Reveal()
	for key, want := range map[string]int{with: 200, without: 403, "": 401} {
		if got, _ := answer(t, routes(guard), "/api/v1/reports/", key); got != want {
			t.Errorf("status %d, want %d", got, want)
		}
	}
}

// The warning at through is true: a handler behind the adaptor of fiber finds no token.
func TestHTTPMiddlewareLosesTheToken(t *testing.T) {
	t.Parallel()
	guard, key := httpkeytest.New(t, nil)
	for name, tt := range map[string]struct {
		middleware fiber.Handler
		finds      bool
	}{
		"adaptor.HTTPMiddleware": {adaptor.HTTPMiddleware(guard.Handler), false},
		"through":                {through(guard.Handler), true},
	} {
		finds := !tt.finds
		app := fiber.New()
		app.Use(tt.middleware)
		app.Get("/", func(c fiber.Ctx) error {
			_, finds = httpkey.FromContext(c.Context())
			return nil
		})
		if status, _ := answer(t, app, "/", key); status != http.StatusOK || finds != tt.finds {
			t.Errorf("%s answered %d, and the handler found the token: %t, want %t", name, status, finds, tt.finds)
		}
	}
}

// A handler of fiber replaces the Cache-Control of the Guard, and the Guard leaves that of a
// handler before it.
func TestCacheControl(t *testing.T) {
	t.Parallel()
	guard, key := httpkeytest.New(t, nil)
	const public = "public, max-age=60"
	set := func(c fiber.Ctx) error {
		c.Set("Cache-Control", public)
		return c.Next()
	}
	for name, handlers := range map[string][]any{
		"before": {set, through(guard.Handler)},
		"behind": {through(guard.Handler), set},
	} {
		app := fiber.New()
		app.Use(handlers...)
		app.Get("/", func(c fiber.Ctx) error { return c.SendStatus(http.StatusOK) })
		_, header := answer(t, app, "/", key)
		if got := header.Values("Cache-Control"); len(got) != 1 || got[0] != public {
			t.Errorf("Cache-Control set %s the Guard: %q, want %q", name, got, public)
		}
	}
}

// The Guard sees a copy of a request, since fiber reuses the memory of its own.
func TestRequestIsACopy(t *testing.T) {
	t.Parallel()
	var kept []*http.Request
	app := fiber.New()
	app.Get("/:slug", through(func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			kept = append(kept, r)
			next.ServeHTTP(w, r)
		})
	}), func(c fiber.Ctx) error { return nil })
	for _, slug := range []string{"first", "other"} {
		answer(t, app, "/"+slug, "key-"+slug)
	}
	r := kept[0]
	if r.URL.Path != "/first" || r.PathValue("slug") != "first" || r.Header.Get("X-Api-Key") != "key-first" {
		t.Errorf("the first request became %v %v", r.URL, r.Header)
	}
}

func answer(t *testing.T, app *fiber.App, path, key string) (status int, header http.Header) {
	t.Helper()
	response, err := app.Test(httpkeytest.Request(http.MethodGet, path, key))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	return response.StatusCode, response.Header
}

func serve(t *testing.T, app *fiber.App) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = app.Listener(listener, fiber.ListenConfig{DisableStartupMessage: true})
	}()
	t.Cleanup(func() {
		_ = listener.Close() // Shutdown would wait for connections that the client has opened in vain
		<-served
	})
	return "http://" + listener.Addr().String()
}

// handle makes a fiber handler of one of net/http, which finds the token in its request.
func handle(handler http.Handler) fiber.Handler {
	return adaptor.HTTPHandlerWithContext(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, _ := adaptor.LocalContextFromHTTPRequest(r)
		handler.ServeHTTP(w, r.WithContext(ctx))
	}))
}
