package integration

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/cachestore"
	"github.com/httpkey/httpkey/redisstore"
	"github.com/httpkey/httpkey/streams"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"
)

// liveSite is a site with live streams over HTTP and over gRPC.
type liveSite struct {
	*site
	live *streams.Watcher
	url  string
	rpc  *grpc.ClientConn
}

// newLiveSite serves streams that end with their tokens. The store is the one behind the cache.
func newLiveSite(t *testing.T, s *site, store httpkey.TokenStore, opts *streams.Options) *liveSite {
	t.Helper()
	l := &liveSite{site: s, live: streams.New(store, opts)}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = l.live.Run(ctx) })
	server := httptest.NewServer(s.Handler(l.live.Handler(http.HandlerFunc(sendEvents))))
	rpc := grpc.NewServer(grpc.StreamInterceptor(l.intercept), grpc.UnknownServiceHandler(receive))
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	running.Go(func() { _ = rpc.Serve(listener) })
	l.url = server.URL
	l.rpc, err = grpc.NewClient(listener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = l.rpc.Close()
		rpc.Stop()
		server.CloseClientConnections() // some streams are still open
		server.Close()
		cancel()
		running.Wait()
	})
	return l
}

// sendEvents sends an event, and another when its key is not valid any more.
func sendEvents(w http.ResponseWriter, r *http.Request) {
	stream := http.NewResponseController(w)
	_, _ = fmt.Fprintln(w, "data: begin")
	_ = stream.Flush()
	<-r.Context().Done()
	_, _ = fmt.Fprintln(w, "data:", context.Cause(r.Context()))
}

// receive sends a message, and waits for one that never comes.
func receive(_ any, s grpc.ServerStream) error {
	if err := s.SendMsg(new(emptypb.Empty)); err != nil {
		return err
	}
	return s.RecvMsg(new(emptypb.Empty))
}

// intercept admits a stream of gRPC by the key in its metadata.
func (l *liveSite) intercept(server any, s grpc.ServerStream, _ *grpc.StreamServerInfo, next grpc.StreamHandler) error {
	key := append(metadata.ValueFromIncomingContext(s.Context(), "x-api-key"), "")[0]
	admission, err := l.Admit(s.Context(), key, 1)
	if err != nil {
		return status.Error(codes.Unauthenticated, "Given API token is not valid")
	}
	ctx, stop := l.live.Watch(s.Context(), admission.Token)
	defer stop()
	return next(server, &watchedStream{s, ctx})
}

// watchedStream also ends a RecvMsg that waits, which a context does not interrupt.
type watchedStream struct {
	grpc.ServerStream
	ctx context.Context
}

func (s *watchedStream) Context() context.Context { return s.ctx }

func (s *watchedStream) RecvMsg(message any) error {
	received := make(chan error, 1)
	go func() { received <- s.ServerStream.RecvMsg(message) }() // until the handler returns
	select {
	case err := <-received:
		return err
	case <-s.ctx.Done():
		return status.Error(codes.Unauthenticated, context.Cause(s.ctx).Error())
	}
}

// openStreams opens a stream of each sort, and returns the channels on which their ends come: nil if
// the server has ended the stream because of the token.
func (l *liveSite) openStreams(t *testing.T, key string) (ends []chan error) {
	t.Helper()
	sse, rpc := make(chan error, 1), make(chan error, 1)
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, l.url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("X-Api-Key", key)
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = response.Body.Close() })
	lines := bufio.NewScanner(response.Body)
	if lines.Scan(); lines.Text() != "data: begin" {
		t.Fatalf("the stream begins with %d %q", response.StatusCode, lines.Text())
	}
	go func() {
		if lines.Scan(); lines.Text() != "data: "+streams.ErrEnded.Error() {
			sse <- fmt.Errorf("server-sent events end with %q, %v", lines.Text(), lines.Err())
			return
		}
		sse <- nil
	}()

	ctx := metadata.AppendToOutgoingContext(t.Context(), "x-api-key", key)
	both := &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}
	stream, err := l.rpc.NewStream(ctx, both, "/test.Streams/Both")
	if err == nil {
		err = stream.RecvMsg(new(emptypb.Empty))
	}
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		err := stream.RecvMsg(new(emptypb.Empty))
		if status.Code(err) == codes.Unauthenticated {
			err = nil
		}
		rpc <- err
	}()
	return []chan error{sse, rpc}
}

// wantOpen checks that streams go on.
func wantOpen(t *testing.T, ends []chan error) {
	t.Helper()
	for _, end := range ends {
		if len(end) > 0 {
			t.Errorf("a stream of another token has ended: %v", <-end)
		}
	}
}

// wantEnds waits for the ends of streams and notes how long after start they came.
func wantEnds(t *testing.T, ends []chan error, start time.Time, took *timings) {
	t.Helper()
	for _, end := range ends {
		select {
		case err := <-end:
			if err != nil {
				t.Error(err)
			}
			took.add(time.Since(start))
		case <-time.After(slow):
			t.Fatalf("%v after the revocation, a stream is open", slow)
		}
	}
}

// Streams end within moments after another process has revoked their token, and no others.
func TestRedisStreamsEndElsewhere(t *testing.T) {
	server := startRedis(t)
	s := newSite(t, server.address(), redisLimiters[0].new, cachestore.Options{})
	s.follow(t)
	l := newLiveSite(t, s, redisstore.New(server.client(t), nil), nil)
	revoke := startRevoker(t, server.address())
	holders := s.issue(t, 51, slowly)
	other := l.openStreams(t, holders[50].key)
	var took timings
	for _, h := range holders[:50] {
		ends := l.openStreams(t, h.key)
		start := time.Now()
		if _, err := fmt.Fprintln(revoke, h.id); err != nil {
			t.Fatal(err)
		}
		wantEnds(t, ends, start, &took)
	}
	wantOpen(t, other)
	t.Logf("quote | from the order to revoke to the end of a stream: %v", &took)
}

// While the feed is cut, streams end within the TTL.
func TestRedisStreamsEndWithoutFeed(t *testing.T) {
	t.Parallel()
	const ttl = time.Second
	server := startRedis(t)
	p := startProxy(t, server.address())
	elsewhere := newSite(t, server.address(), redisLimiters[0].new, cachestore.Options{})
	s := newSite(t, server.address(), redisLimiters[0].new, cachestore.Options{})
	store := feedApart{
		Store: redisstore.New(server.client(t), nil), feed: redisstore.New(connect(t, p.address(), advisedDial), nil),
	}
	down := make(chan error, 100)
	l := newLiveSite(t, s, store, &streams.Options{TTL: ttl, Observers: []httpkey.Observer{feedObserver(down)}})
	holders := elsewhere.issue(t, 11, slowly)
	var ends []chan error
	for _, h := range holders[:10] {
		ends = append(ends, l.openStreams(t, h.key)...)
	}
	other := l.openStreams(t, holders[10].key)
	_ = p.listener.Close() // the feed cannot come back
	p.cut()
	if err := next(t, down); err == nil || errors.Is(err, context.Canceled) {
		t.Errorf("the feed is down because of %v", err)
	}
	start := time.Now()
	for _, h := range holders[:10] {
		if err := elsewhere.Revoke(t.Context(), h.id, "lost"); err != nil {
			t.Fatal(err)
		}
	}
	var took timings
	wantEnds(t, ends, start, &took)
	wantOpen(t, other)
	t.Logf("quote | feed cut, TTL %v: from the revocation to the end of a stream: %v", ttl, &took)
}

// feedObserver receives the errors of feeds that go down.
type feedObserver chan error

func (f feedObserver) Observe(_ context.Context, e *httpkey.Event) {
	if e.Type == streams.EventFeedDown {
		f <- e.Err
	}
}
