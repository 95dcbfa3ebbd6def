package streams_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/memstore"
	"github.com/httpkey/httpkey/streams"
)

// Server-sent events end when their key is revoked.
func Example() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	store := memstore.New() // redisstore or sqlstore, where there are several processes
	guard := httpkey.New(store, memstore.NewLimiter(), nil)
	live := streams.New(store, nil)
	go live.Run(ctx)

	events := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		stream := http.NewResponseController(w)
		_, _ = fmt.Fprint(w, "data: hello\n\n")
		_ = stream.Flush()
		<-r.Context().Done() // and other events
		if errors.Is(context.Cause(r.Context()), streams.ErrEnded) {
			_, _ = fmt.Fprint(w, "event: end\ndata: the key is not valid any more\n\n")
		}
	}
	server := httptest.NewServer(guard.Handler(live.Handler(http.HandlerFunc(events))))
	defer server.Close()

	created := issue(guard, httpkey.Token{User: "ann"})
	response := send(server.URL, created.Secret, http.NoBody)
	defer func() { _ = response.Body.Close() }()
	for lines := bufio.NewScanner(response.Body); lines.Scan(); {
		fmt.Println(lines.Text())
		if lines.Text() == "data: hello" {
			revoke(guard, created.Token)
		}
	}
	// Output:
	// data: hello
	//
	// event: end
	// data: the key is not valid any more
}

func issue(guard *httpkey.Guard, t httpkey.Token) httpkey.Created {
	created, err := guard.Issue(context.Background(), t)
	if err != nil {
		log.Fatal(err)
	}
	return created
}

func revoke(guard *httpkey.Guard, t httpkey.Token) {
	if err := guard.Revoke(context.Background(), t.ID, "leaked"); err != nil {
		log.Fatal(err)
	}
}

// send sends a request with a key.
func send(url string, key httpkey.Secret, body io.Reader) *http.Response {
	r, err := http.NewRequest(http.MethodPost, url, body)
	if err != nil {
		log.Fatal(err)
	}
	r.Header.Set("X-Api-Key", key.Reveal())
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		log.Fatal(err)
	}
	return response
}

// A context does not interrupt a handler that waits in a Read. A deadline does, and a WebSocket
// closes its connection in the same place.
func ExampleWatcher_Handler_blocked() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	store := memstore.New()
	guard := httpkey.New(store, memstore.NewLimiter(), nil)
	live := streams.New(store, nil)
	go live.Run(ctx)

	begun, ended := make(chan bool), make(chan error)
	upload := func(w http.ResponseWriter, r *http.Request) {
		connection := http.NewResponseController(w)
		stop := context.AfterFunc(r.Context(), func() { _ = connection.SetReadDeadline(time.Now()) })
		defer stop()
		begun <- true
		_, err := io.Copy(io.Discard, r.Body)
		if err != nil {
			err = context.Cause(r.Context())
		}
		ended <- err
	}
	server := httptest.NewServer(guard.Handler(live.Handler(http.HandlerFunc(upload))))
	defer server.Close()

	created := issue(guard, httpkey.Token{User: "ann"})
	body, more := io.Pipe() // whose end never comes
	go func() { _ = send(server.URL, created.Secret, body).Body.Close() }()
	<-begun
	revoke(guard, created.Token)
	fmt.Println(<-ended)
	_ = more.Close()
	// Output:
	// httpkey: the token of this stream is not valid any more
}

// A stream of gRPC, or of a framework with its own handler types, is watched by the token that
// its Guard admitted.
func ExampleWatcher_Watch() {
	store := memstore.New()
	guard := httpkey.New(store, memstore.NewLimiter(), nil)
	live := streams.New(store, nil)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go live.Run(ctx)

	intercept := func(ctx context.Context, secret string, call func(context.Context) error) error {
		admission, err := guard.Admit(ctx, secret, 1)
		if err != nil {
			return err
		}
		ctx, stop := live.Watch(ctx, admission.Token)
		defer stop()
		return call(ctx)
	}

	created := issue(guard, httpkey.Token{User: "ann"})
	err := intercept(ctx, created.Secret.Reveal(), func(ctx context.Context) error {
		if _, err := guard.Rotate(ctx, created.Token.ID, 0); err != nil { // without grace
			return err
		}
		<-ctx.Done()
		return context.Cause(ctx)
	})
	fmt.Println(err)
	// Output:
	// httpkey: the token of this stream is not valid any more
}
