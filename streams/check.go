package streams

import (
	"container/list"
	"context"
	"errors"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/internal/feed"
)

const (
	// maxLookups is the number of lookups at once. Calls of redisstore and sqlstore that coincide
	// share a round trip.
	maxLookups = 16
	// lookupTimeout is the time after which a Lookup counts as failed.
	lookupTimeout = time.Second
	// minRetry is the pause after a failed Lookup. It doubles with each failure, up to the TTL.
	minRetry = 500 * time.Millisecond
)

// Run follows the store's [httpkey.ChangeFeed], so that changes of any process end streams at
// once. It returns the error of ctx when ctx ends. Streams stay open then, and changes end them
// after the TTL.
//
// If the feed breaks, Run follows it again after a pause: of 50 to 100 ms at first, and of up to
// 5 s while it stays broken. When the feed is back, the Watcher looks up the tokens of all open
// streams.
//
// If the store has no feed, Run at once returns an error that matches [errors.ErrUnsupported].
func (w *Watcher) Run(ctx context.Context) error {
	return feed.Run(ctx, w.store, feed.Follower{
		Ready:   w.recheckAll,
		Changed: w.changed,
		Down:    func(err error) { w.observe(&httpkey.Event{Type: EventFeedDown, Err: err}) },
		Up:      func() { w.observe(&httpkey.Event{Type: EventFeedUp}) },
	})
}

// changed looks up a token that the feed reports, before those that only their TTL makes due.
func (w *Watcher) changed(d httpkey.Digest) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if one := w.tokens[d]; one != nil {
		w.enqueue(one, true)
	}
}

// recheckAll looks up all tokens, since the feed may have missed changes.
func (w *Watcher) recheckAll() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, one := range w.tokens {
		w.enqueue(one, false)
	}
}

// recheck looks up a token that is due.
func (w *Watcher) recheck(one *token) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.isOpen(one) {
		w.enqueue(one, false)
	}
}

// queue holds the tokens that wait for a Lookup. Its zero value is empty.
type queue struct {
	urgent, due list.List // of *token
	lookups     int       // in progress
}

// enqueue lets a token wait for its Lookup, and starts a goroutine if there are too few.
func (w *Watcher) enqueue(one *token, isUrgent bool) {
	if one.isAsked {
		one.isStale = true
		return
	}
	if one.place != nil && (one.isUrgent || !isUrgent) {
		return
	}
	w.queue.remove(one)
	w.queue.add(one, isUrgent)
	if w.queue.lookups < maxLookups {
		w.queue.lookups++
		go w.lookUp()
	}
}

func (q *queue) add(one *token, isUrgent bool) {
	one.isUrgent = isUrgent
	one.place = q.of(one).PushBack(one)
}

// remove removes a token, if it waits.
func (q *queue) remove(one *token) {
	if one.place != nil {
		q.of(one).Remove(one.place)
		one.place = nil
	}
}

func (q *queue) of(one *token) *list.List {
	if one.isUrgent {
		return &q.urgent
	}
	return &q.due
}

// next removes the token that is next, or returns nil.
func (q *queue) next() *token {
	first := q.urgent.Front()
	if first == nil {
		first = q.due.Front()
	}
	if first == nil {
		return nil
	}
	one := first.Value.(*token)
	q.remove(one)
	return one
}

// lookUp looks up the tokens that wait, until there is none.
func (w *Watcher) lookUp() {
	for one := w.next(); one != nil; one = w.next() {
		begun := time.Now()
		found, err := w.lookup(one.Digest)
		w.end(one, w.judge(one, found, err, begun))
	}
}

// next returns the next token to look up, or notes that the goroutine ends.
func (w *Watcher) next() *token {
	w.mu.Lock()
	defer w.mu.Unlock()
	one := w.queue.next()
	if one == nil {
		w.queue.lookups--
		return nil
	}
	one.check.Stop()
	one.isAsked, one.isStale = true, false
	return one
}

func (w *Watcher) lookup(d httpkey.Digest) (httpkey.Token, error) {
	ctx, cancel := context.WithTimeout(context.Background(), lookupTimeout)
	defer cancel()
	return w.store.Lookup(ctx, d)
}

// judge returns the streams that end by the answer of a Lookup, and sets the time of the next.
func (w *Watcher) judge(one *token, found httpkey.Token, err error, begun time.Time) (ended []*stream) {
	w.mu.Lock()
	defer w.mu.Unlock()
	one.isAsked = false
	if !w.isOpen(one) {
		return nil
	}
	switch {
	case errors.Is(err, httpkey.ErrNotFound):
		return w.remove(one)
	case err != nil:
		one.pause = min(max(2*one.pause, minRetry), w.ttl)
		one.check.Reset(one.pause)
	case !found.IsActive || found.Digest != one.Digest:
		return w.remove(one)
	default:
		one.pause = 0
		one.check.Reset(w.ttl - time.Since(begun)) // the answer may be as old as its Lookup
		one.Token = found
		one.expiry.Reset(untilExpiry(found)) // at once, if it has expired
	}
	if one.isStale {
		w.enqueue(one, true)
	}
	return nil
}
