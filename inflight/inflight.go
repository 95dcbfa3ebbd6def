// Package inflight caps the requests of a token that are in progress at the same moment.
//
// A rate limit counts requests, whatever they cost. A client within its limit can still occupy a
// server with a few slow requests, such as reports, uploads or live streams. A [Cap] bounds
// these, and stands behind a Guard:
//
//	reports := inflight.New(4, nil) // of each token
//	http.Handle("/reports/", guard.Handler(reports.Handler(handler)))
//
// A request over the cap gets 429. Retry-After is a second, because nobody knows when a request
// will end. The request has taken from its rate limit, because the Guard comes first. So a
// client that repeats it without a pause soon meets that limit.
//
// A Cap counts in the memory of one process: in n processes, a token can have n times as many
// requests. If plans differ, make a Cap for each of them.
package inflight

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/httpkey/httpkey"
)

// Options configure a [Cap]. The zero value, and nil, are the defaults.
type Options struct {
	// Payer returns the name that a request counts for, such as that of a workspace or an
	// address. A request with an empty name passes, and does not count. Nil: the
	// [httpkey.Token.Payer], which a rotated token shares with its successors. Requests without
	// a token then pass: anonymous ones, and all requests if no Guard is in front.
	Payer func(*http.Request) string

	// DryRun lets requests pass that are over the cap. The Observers are told of them.
	DryRun bool

	// Observers get an [EventOverCap] for each request over the cap, each as an Event of its own.
	// They may be those of the Guard. Nil: none.
	Observers []httpkey.Observer
}

// EventOverCap says that a request was over a [Cap], and refused unless the Cap is under DryRun.
// It has the Request, and the Token if there is one.
const EventOverCap httpkey.EventType = "over_inflight_cap"

// Cap admits a maximum of requests at the same moment for each payer. Make one with [New]. It
// is safe for concurrent use. It remembers a payer only while a request of it is in progress.
type Cap struct {
	most    int
	options Options

	mu    sync.Mutex
	count map[string]int // of the requests in progress, by payer; never 0
}

// New returns a Cap of so many requests at once. Nil opts mean the defaults. It panics if the
// maximum is less than 1, or an Observer is nil.
func New(most int, opts *Options) *Cap {
	if most < 1 {
		panic(fmt.Errorf("%w: the cap is %d, it must be at least 1", httpkey.ErrInvalidOptions, most))
	}
	c := &Cap{most: most, count: make(map[string]int)}
	if opts != nil {
		c.options = *opts
		c.options.Observers = slices.Clone(opts.Observers)
	}
	if slices.Contains(c.options.Observers, nil) {
		panic(fmt.Errorf("%w: Observers has a nil Observer", httpkey.ErrInvalidOptions))
	}
	if c.options.Payer == nil {
		c.options.Payer = payerOf
	}
	return c
}

func payerOf(r *http.Request) string {
	t, ok := httpkey.FromContext(r.Context())
	if !ok {
		return ""
	}
	return t.Payer()
}

// Handler returns the middleware, which stands behind [httpkey.Guard.Handler]. A request is in
// progress until next returns or panics, also while it streams or after it has hijacked its
// connection. A Cap that is twice around a handler counts its requests twice.
//
// [httpkey.Passes] does not work with Handler, because the request would count as over before
// the framework's handler runs: call Enter there.
func (c *Cap) Handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if leave, ok := c.Enter(w, r); ok {
			defer leave()
			next.ServeHTTP(w, r)
		}
	})
}

// Enter is [Cap.Handler] for frameworks with their own handler types, such as gin and echo. If
// it returns true, continue, and defer leave. If it returns false, [httpkey.Throttle] has answered:
// stop.
func (c *Cap) Enter(w http.ResponseWriter, r *http.Request) (leave func(), ok bool) {
	if leave, ok = c.take(r.Context(), c.options.Payer(r), r); !ok {
		httpkey.Throttle(w, r, retryAfter)
	}
	return leave, ok
}

// Acquire is [Cap.Handler] without HTTP, for gRPC say. It counts one more for a payer, such as
// the [httpkey.Token.Payer] of an Admission, until release is called. It returns false if the
// payer is over the cap. Under DryRun, or if payer is empty, it returns true. It does not wait.
func (c *Cap) Acquire(ctx context.Context, payer string) (release func(), ok bool) {
	return c.take(ctx, payer, nil)
}

// take counts one more for a payer, until leave is called for the first time.
func (c *Cap) take(ctx context.Context, payer string, r *http.Request) (leave func(), ok bool) {
	if payer == "" {
		return func() {}, true
	}
	isOver := c.begin(payer)
	if isOver {
		c.observe(ctx, r)
	}
	if isOver && !c.options.DryRun {
		return func() {}, false
	}
	var once sync.Once
	return func() { once.Do(func() { c.end(payer) }) }, true
}

// begin counts a request, unless the Cap refuses it.
func (c *Cap) begin(payer string) (isOver bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	isOver = c.count[payer] >= c.most
	if !isOver || c.options.DryRun {
		c.count[payer]++
	}
	return isOver
}

func (c *Cap) end(payer string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.count[payer]--
	if c.count[payer] == 0 {
		delete(c.count, payer)
	}
}

func (c *Cap) observe(ctx context.Context, r *http.Request) {
	for _, o := range c.options.Observers {
		t, _ := httpkey.FromContext(ctx)
		t.Digest = httpkey.Digest{}
		o.Observe(ctx, &httpkey.Event{Type: EventOverCap, Token: t, Request: r})
	}
}

// retryAfter is short, so that a client learns soon whether one of its requests has ended.
const retryAfter = time.Second

// String returns the name of the type, which templates print.
func (c *Cap) String() string { return "inflight.Cap" }

// Format keeps the names of payers out of a printed Cap.
func (c *Cap) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, c.String()) }
