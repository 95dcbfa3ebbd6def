// Command quickstart is a small API behind httpkey to try with curl. It listens on
// $ADDR, or else 127.0.0.1:8080. It keeps keys in $HTTPKEY_DSN, or else in the SQLite
// file httpkey.db. Where there are none it issues one of each kind and prints them.
// It answers only requests for localhost or for the address that the client connects to.
//
//	quickstart -issue LABEL
//
// prints one more, also while the server runs.
package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"html/template"
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
	label := flag.String("issue", "", "print a new API key with this `label`, and do not serve")
	flag.Parse()
	dsn := cmp.Or(os.Getenv("HTTPKEY_DSN"), defaultDSN)
	var err error
	if *label != "" {
		err = issue(ctx, dsn, *label, os.Stdout)
	} else {
		err = run(ctx, cmp.Or(os.Getenv("ADDR"), "127.0.0.1:8080"), dsn, os.Stdout)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "quickstart:", err)
		os.Exit(1)
	}
}

// issue prints a new API key of ada's.
func issue(ctx context.Context, dsn, label string, stdout io.Writer) error {
	b, err := open(ctx, dsn)
	if err != nil {
		return err
	}
	defer func() { _ = b.Close() }()
	if _, ok := b.store.(*memstore.Store); ok {
		return errors.New("HTTPKEY_DSN=memory: keeps keys in the server's own memory, where -issue cannot put one")
	}
	created, err := newGuard(b).Issue(ctx, httpkey.Token{Label: label, User: ada.ID})
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(stdout, "HTTPKEY_API_KEY=%s\n", created.Secret.Reveal())
	return err
}

// run serves at addr until ctx is over. It listens before all else: keys are
// for a server that is there.
func run(ctx context.Context, addr, dsn string, stdout io.Writer) error {
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	defer func() { _ = listener.Close() }()
	b, err := open(ctx, dsn)
	if err != nil {
		return err
	}
	return errors.Join(serve(ctx, listener, b, stdout), b.Close())
}

func newGuard(b *backend) *httpkey.Guard {
	return httpkey.New(b.store, b.limiter, &httpkey.Options{Observer: httpkey.SlogObserver(slog.Default())})
}

func serve(ctx context.Context, listener net.Listener, b *backend, stdout io.Writer) error {
	guard := newGuard(b)
	if err := announce(ctx, guard, listener.Addr(), stdout); err != nil {
		return err
	}
	server := &http.Server{Handler: onlyHere(routes(guard)), ReadHeaderTimeout: 5 * time.Second}
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
// can be seen. If there are keys already, it says how to make another.
func announce(ctx context.Context, guard *httpkey.Guard, addr net.Addr, stdout io.Writer) error {
	tokens, err := guard.Store().List(ctx, httpkey.Filter{Limit: 1})
	if err != nil {
		return fmt.Errorf("the store of HTTPKEY_DSN: %w", err)
	}
	if len(tokens) > 0 {
		_, err := fmt.Fprintf(stdout, `The keys are those that were printed before. `+
			`For another, with the same HTTPKEY_DSN: %s -issue LABEL
curl -i -H 'X-Api-Key: …' http://%s/api/v1/users/me/
`, os.Args[0], addr)
		return err
	}
	apiKey, err := guard.Issue(ctx, httpkey.Token{Label: "quickstart", User: ada.ID})
	if err != nil {
		return err
	}
	serviceToken, err := guard.Issue(ctx, httpkey.Token{Label: "quickstart", User: bot.ID, Kind: httpkey.ServiceToken})
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(stdout, `HTTPKEY_API_KEY=%s
HTTPKEY_SERVICE_TOKEN=%s
curl -i -H 'X-Api-Key: %s' http://%s/api/v1/users/me/
`, apiKey.Secret.Reveal(), serviceToken.Secret.Reveal(), apiKey.Secret.Reveal(), addr)
	return err
}

// inTime gives a step on the way out ten seconds.
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
	addConsole(site, guard)
	return site
}

var startTemplate = template.Must(template.New("start").Parse(`<!DOCTYPE html>
<html lang="en">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>httpkey quickstart</title>
<h1>httpkey quickstart</h1>
<p>The server printed an API key and a service token when it first started. Make, rotate and revoke
keys on the page <a href="/settings/api-tokens/">API tokens</a>. Try them:</p>
<pre>
curl -i http://{{.}}/api/v1/users/me/                       401: no key
curl -i -H 'X-Api-Key: …' http://{{.}}/api/v1/users/me/     200: whose key it is
</pre>
<p>The X-RateLimit headers say what is left: an API key has 60 requests a minute,
a service token 300. The next one is answered 429.</p>
</html>
`))

func startPage(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	_ = startTemplate.Execute(w, r.Host) // it can only fail if the client is gone
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
