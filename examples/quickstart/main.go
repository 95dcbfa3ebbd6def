// Command quickstart is a small API behind httpkey to try with curl, and a site with the page
// "API tokens" to try in a browser. It listens on $ADDR, or else 127.0.0.1:8080. It keeps keys in
// $HTTPKEY_DSN, or else in the SQLite file httpkey.db. Where there are none it issues one of each
// kind and prints them. It also makes tokens in every state, whose keys nobody knows. It answers
// only requests for localhost or for the address that the client connects to.
//
//	quickstart -issue LABEL
//
// prints one more key, also while the server runs.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/memstore"
	"github.com/httpkey/httpkey/usage"
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

func newGuard(b *backend, more ...httpkey.Observer) *httpkey.Guard {
	all := append([]httpkey.Observer{httpkey.SlogObserver(slog.Default())}, more...)
	return httpkey.New(b.store, b.limiter, &httpkey.Options{Observers: all})
}

func serve(ctx context.Context, listener net.Listener, b *backend, stdout io.Writer) error {
	counts := usage.NewMemory()
	recorder := usage.NewRecorder(counts, nil)
	guard := newGuard(b, recorder)
	text, err := announcement(ctx, guard, listener.Addr())
	if err != nil {
		return err
	}
	if err := addHistory(ctx, b.store, counts, time.Now()); err != nil {
		return err
	}
	owners, err := newSimulation(ctx, b, recorder)
	if err != nil {
		return err
	}
	if _, err := io.WriteString(stdout, text); err != nil {
		return err
	}
	simulating, cancel := context.WithCancel(ctx)
	defer cancel()
	var simulated sync.WaitGroup
	simulated.Go(func() { owners.run(simulating) })

	demo := &site{guard: guard, usage: recorder, url: "http://" + listener.Addr().String()}
	err = serveUntil(ctx, listener, onlyHere(demo.routes()))
	cancel()
	simulated.Wait()
	// Close comes last: it writes the uses of the last requests.
	return errors.Join(err, inTime(owners.guard.Close), inTime(guard.Close), inTime(recorder.Close))
}

// serveUntil serves until ctx is over, and the requests of that moment are answered.
func serveUntil(ctx context.Context, listener net.Listener, handler http.Handler) error {
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 5 * time.Second}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
		return inTime(server.Shutdown)
	}
}

// inTime gives a step on the way out ten seconds.
func inTime(stop func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return stop(ctx)
}
