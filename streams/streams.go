// Package streams ends live streams when their token does: server-sent events, WebSockets,
// streams of gRPC, long polls and downloads.
//
// A Guard decides on a request once, when it begins. A stream that goes on for hours would
// outlive a revocation. A [Watcher] cancels the context of a request when its token is revoked,
// deleted or expired, in every process:
//
//	live := streams.New(store, nil) // the store with the feed, not a cache in front of it
//	go live.Run(ctx)                // hears of changes in other processes
//	http.Handle("/events", guard.Handler(live.Handler(events)))
//
// The handler has to end when its context does. [context.Cause] then returns [ErrEnded]:
//
//	func events(w http.ResponseWriter, r *http.Request) {
//		for {
//			select {
//			case <-r.Context().Done():
//				return
//			case e := <-subscribed:
//				fmt.Fprintf(w, "data: %s\n\n", e)
//				http.NewResponseController(w).Flush()
//			}
//		}
//	}
//
// A context does not interrupt a Read or a Write. A handler that waits in one passes a function
// to [context.AfterFunc] that closes the connection or sets its deadline.
//
// The Watcher learns of a change from the store's [httpkey.ChangeFeed]: at once from memstore,
// within milliseconds from redisstore, and within a second from sqlstore. While the feed is
// broken, and without Run or a feed, it learns within [Options.TTL]. An expiry ends a stream at
// its very moment, and so does the end of a grace period of [httpkey.Guard.Rotate]. Other
// changes, such as of scopes or networks, end no stream.
package streams

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/internal/ram"
)

// ErrEnded is the cause of a context whose token is revoked, deleted or expired. See
// [context.Cause].
var ErrEnded = errors.New("httpkey: the token of this stream is not valid any more")

// Options configure a [Watcher]. The zero value, and nil, are the defaults.
type Options struct {
	// TTL is the time after which the Watcher looks up the token of an open stream again. While
	// no feed reports changes, a stream ends that long after its token at the latest, and the
	// time of a Lookup later. Each token with open streams costs one Lookup in each TTL, however
	// many streams it has. 0: 30 seconds.
	TTL time.Duration

	// Observers get the events of this package, each as an Event of its own. They may be those of
	// the Guard. Nil: none.
	Observers []httpkey.Observer
}

// The types of events that a [Watcher] sends to its Observers, with their fields.
const (
	EventEnded    httpkey.EventType = "streams_ended"     // all streams of a token were ended; Token
	EventFeedDown httpkey.EventType = "streams_feed_down" // changes end streams after the TTL; Err
	EventFeedUp   httpkey.EventType = "streams_feed_up"   // changes end streams at once again
)

// Watcher cancels the contexts of streams whose token is no longer valid. Make one with [New].
// It is safe for concurrent use.
//
// A Watcher has no goroutine of its own beside Run. Timers and goroutines for lookups exist only
// while streams are open. The goroutines are at most 16, and end within a second if the store
// heeds its context.
type Watcher struct {
	store     httpkey.TokenStore
	ttl       time.Duration
	observers []httpkey.Observer

	mu     sync.Mutex // guards the fields below, and the tokens; not held over a call
	tokens map[httpkey.Digest]*token
	queue  queue
}

// New returns a Watcher over a store. Nil opts mean the defaults. If a cachestore is in front of
// the store, pass the store behind it: a cache has no feed, and may return an old token. New
// does no I/O and starts no goroutine. It panics if store is nil or a cache, or opts are
// invalid.
func New(store httpkey.TokenStore, opts *Options) *Watcher {
	if store == nil {
		panic("httpkey: streams.New needs a store")
	}
	if memory := ram.SourceOf[httpkey.Token](store); memory != nil && memory.IsCopy() {
		panic("httpkey: streams.New needs the store behind the cache, which has the feed and the present tokens")
	}
	if opts == nil {
		opts = &Options{}
	}
	if opts.TTL < 0 {
		panic(fmt.Errorf("%w: TTL is %v, it must not be negative", httpkey.ErrInvalidOptions, opts.TTL))
	}
	if slices.Contains(opts.Observers, nil) {
		panic(fmt.Errorf("%w: Observers has a nil Observer", httpkey.ErrInvalidOptions))
	}
	w := &Watcher{store: store, ttl: opts.TTL, observers: slices.Clone(opts.Observers),
		tokens: make(map[httpkey.Digest]*token)}
	if w.ttl == 0 {
		w.ttl = 30 * time.Second
	}
	return w
}

// Handler returns a middleware that cancels the context of a request when its token is no longer
// valid. It stands behind [httpkey.Guard.Handler]. It passes a request without a token, such as
// an anonymous one, and one whose token has no Digest, such as a session.
//
// A token is looked up only if its request takes longer than a second, so Handler may also stand
// in front of routes that are no streams.
//
// [httpkey.Passes] does not work with Handler, because the request would count as over before
// the framework's handler runs: call Watch there.
func (w *Watcher) Handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		t, ok := httpkey.FromContext(r.Context())
		if !ok {
			next.ServeHTTP(rw, r)
			return
		}
		ctx, stop := w.Watch(r.Context(), t)
		defer stop()
		next.ServeHTTP(rw, r.WithContext(ctx))
	})
}

// Watch is [Watcher.Handler] for gRPC and for frameworks with their own handler types. It
// returns a context that is canceled when t is no longer valid, or when ctx is. The token comes
// from [httpkey.FromContext] or an [httpkey.Admission]. If t has no Digest, only ctx ends the
// returned context.
//
// Call stop when the stream is over. Until then, the Watcher keeps it.
func (w *Watcher) Watch(ctx context.Context, t httpkey.Token) (watched context.Context, stop context.CancelFunc) {
	watched, cancel := context.WithCancelCause(ctx)
	if t.Digest == (httpkey.Digest{}) {
		return watched, func() { cancel(nil) }
	}
	s := &stream{cancel: cancel}
	w.open(s, t)
	return watched, func() {
		w.close(s)
		cancel(nil)
	}
}

// String returns the name of the type, which templates print.
func (w *Watcher) String() string { return "streams.Watcher" }

// Format keeps the digests out of a printed Watcher.
func (w *Watcher) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, w.String()) }
