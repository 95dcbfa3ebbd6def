// Command quickstart is a small API behind httpkey to try with curl. It prints a
// key of each kind when it starts, and listens on $ADDR, or else 127.0.0.1:8080.
package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/memstore"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal kills
	if err := run(ctx, cmp.Or(os.Getenv("ADDR"), "127.0.0.1:8080"), os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "quickstart:", err)
		os.Exit(1)
	}
}

// run serves at addr until ctx is over. It listens before all else: keys are
// for a server that is there.
func run(ctx context.Context, addr string, stdout io.Writer) error {
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	defer func() { _ = listener.Close() }()
	return serve(ctx, listener, memstore.New(), stdout)
}

func serve(ctx context.Context, listener net.Listener, store httpkey.TokenStore, stdout io.Writer) error {
	guard := httpkey.New(store, memstore.NewLimiter(), &httpkey.Options{
		Observer: httpkey.SlogObserver(slog.Default()),
	})
	if err := announce(ctx, guard, listener.Addr(), stdout); err != nil {
		return err
	}
	server := &http.Server{Handler: routes(guard), ReadHeaderTimeout: 5 * time.Second}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	var err error
	select {
	case err = <-served:
	case <-ctx.Done():
		err = inTime(server.Shutdown)
	}
	return errors.Join(err, inTime(guard.Close)) // Close comes last: it writes the uses of the last requests
}

// announce issues a key of each kind and prints them, the one time that they
// can be seen.
func announce(ctx context.Context, guard *httpkey.Guard, addr net.Addr, stdout io.Writer) error {
	apiKey, _, err := guard.Issue(ctx, httpkey.Token{Label: "quickstart", User: ada.ID})
	if err != nil {
		return err
	}
	serviceToken, _, err := guard.Issue(ctx, httpkey.Token{Label: "quickstart", User: bot.ID, Kind: httpkey.ServiceToken})
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(stdout, `HTTPKEY_API_KEY=%s
HTTPKEY_SERVICE_TOKEN=%s
curl -i -H 'X-Api-Key: %s' http://%s/api/v1/users/me/
`, apiKey.Reveal(), serviceToken.Reveal(), apiKey.Reveal(), addr)
	return err
}

// inTime gives what has to be done on the way out ten seconds.
func inTime(stop func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return stop(ctx)
}

func routes(guard *httpkey.Guard) http.Handler {
	api := http.NewServeMux()
	api.HandleFunc("GET /api/v1/users/me/{$}", currentUser)

	site := http.NewServeMux()
	site.Handle("/api/", guard.Handler(api))
	site.HandleFunc("GET /{$}", startPage)
	return site
}

func startPage(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	_, _ = fmt.Fprintf(w, `httpkey quickstart

The server has printed an API key and a service token. Try:

    curl -i http://%[1]s/api/v1/users/me/                       401: no key
    curl -i -H 'X-Api-Key: …' http://%[1]s/api/v1/users/me/     200: whose key it is

The X-RateLimit headers say what is left: an API key has 60 requests a minute,
a service token 300. The next one is answered 429.
`, r.Host)
}

// currentUser answers like https://developers.plane.so/api-reference/user/get-current-user.
func currentUser(w http.ResponseWriter, r *http.Request) {
	token, _ := httpkey.FromContext(r.Context())
	user, ok := users[token.User]
	if !ok {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(user) // it can only fail if the client is gone
}
