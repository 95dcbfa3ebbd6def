package docs

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/httpkeytest"
	"github.com/httpkey/httpkey/memstore"
	"github.com/httpkey/httpkey/streams"
)

func TestStreamsEndWithTheirKey(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	store := memstore.New()
	guard := httpkey.New(store, httpkey.Unlimited, nil)
	created := httpkeytest.Issue(t, guard, httpkey.Token{})
	server := httptest.NewServer(live(ctx, store, memstore.NewLimiter()))
	defer server.Close()
	open := func() *http.Response {
		t.Helper()
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("X-Api-Key", created.Secret.Reveal())
		response, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = response.Body.Close() })
		return response
	}
	var streams []*http.Response
	for i := range 4 {
		streams = append(streams, open()) //nolint:bodyclose // a Cleanup of open closes it
		if line, err := bufio.NewReader(streams[i].Body).ReadString('\n'); line != "data: 1\n" {
			t.Fatalf("stream %d: %q %v", i, line, err)
		}
	}
	fifth := open() //nolint:bodyclose // a Cleanup of open closes it
	if fifth.StatusCode != http.StatusTooManyRequests || fifth.Header.Get("Retry-After") != "1" {
		t.Errorf("a fifth stream: %s, Retry-After %q", fifth.Status, fifth.Header.Get("Retry-After"))
	}
	if err := guard.Revoke(ctx, created.Token.ID, "leaked"); err != nil {
		t.Fatal(err)
	}
	for i, stream := range streams { // the test would not end if a stream did not
		if _, err := io.Copy(io.Discard, stream.Body); err != nil {
			t.Errorf("stream %d: %v", i, err)
		}
	}
}

func TestConnectionsEndWithTheirKey(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	store := memstore.New()
	guard := httpkey.New(store, memstore.NewLimiter(), nil)
	created := httpkeytest.Issue(t, guard, httpkey.Token{})
	watcher := streams.New(store, nil)
	go watcher.Run(ctx)
	server := httptest.NewServer(guard.Handler(watcher.Handler(http.HandlerFunc(echoLines))))
	defer server.Close()
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", strings.TrimPrefix(server.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: api.example\r\nX-Api-Key: %s\r\n\r\nhello\n", created.Secret.Reveal())
	answers := bufio.NewReader(conn)
	if line, err := answers.ReadString('\n'); line != "hello\n" {
		t.Fatalf("%q %v", line, err)
	}
	if err := guard.Revoke(ctx, created.Token.ID, "leaked"); err != nil {
		t.Fatal(err)
	}
	if _, err := answers.ReadString('\n'); err == nil {
		t.Error("the connection is open")
	}
}
