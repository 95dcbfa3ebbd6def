package streams

import (
	"container/list"
	"context"
	"time"

	"github.com/httpkey/httpkey"
)

// token is a token with open streams. The lock of its Watcher guards it.
type token struct {
	httpkey.Token // as the store last returned it, or as a Guard admitted it
	streams       []*stream
	expiry        *time.Timer
	check         *time.Timer

	place    *list.Element // in the queue; nil: it does not wait
	isUrgent bool          // where it waits
	isAsked  bool          // a Lookup is in progress
	isStale  bool          // it was changed since that Lookup began
	pause    time.Duration // after the last Lookup, which failed; 0: it did not
}

// stream is a context that a Watcher cancels.
type stream struct {
	token  *token // nil: it is over
	index  int    // in token.streams
	cancel context.CancelCauseFunc
}

// firstCheck is the time after which a token is looked up whose first stream has opened. The
// token may have been revoked after the Guard found it and before the stream was open.
const firstCheck = time.Second

// open adds a stream of a token.
func (w *Watcher) open(s *stream, t httpkey.Token) {
	w.mu.Lock()
	defer w.mu.Unlock()
	one := w.tokens[t.Digest]
	switch {
	case one == nil:
		one = &token{Token: t}
		w.tokens[t.Digest] = one
		one.expiry = time.AfterFunc(untilExpiry(t), func() { w.expire(one) })
		one.check = time.AfterFunc(min(firstCheck, w.ttl), func() { w.recheck(one) })
	case !one.ExpiredAt.Equal(t.ExpiredAt): // one of them is outdated
		w.enqueue(one, true)
	}
	s.token, s.index = one, len(one.streams)
	one.streams = append(one.streams, s)
}

// close removes a stream, and its token with the last one.
func (w *Watcher) close(s *stream) {
	w.mu.Lock()
	defer w.mu.Unlock()
	one := s.token
	if one == nil {
		return
	}
	last := len(one.streams) - 1
	one.streams[s.index] = one.streams[last]
	one.streams[s.index].index = s.index
	one.streams[last] = nil
	one.streams = one.streams[:last]
	s.token = nil
	if last == 0 {
		w.remove(one)
	}
}

// remove removes a token and returns its streams.
func (w *Watcher) remove(one *token) []*stream {
	w.queue.remove(one)
	one.expiry.Stop()
	one.check.Stop()
	delete(w.tokens, one.Digest)
	streams := one.streams
	one.streams = nil
	for _, s := range streams {
		s.token = nil
	}
	return streams
}

// isOpen reports whether a token has open streams. Timers and lookups may outlive them.
func (w *Watcher) isOpen(one *token) bool { return w.tokens[one.Digest] == one }

// untilExpiry returns the time until a token expires. A timer sleeps for no longer than a day, so
// that it follows a wall clock that is set.
func untilExpiry(t httpkey.Token) time.Duration {
	const most = 24 * time.Hour
	if t.ExpiredAt.IsZero() {
		return most
	}
	return min(time.Until(t.ExpiredAt), most)
}

// expire ends the streams of a token that has expired, and otherwise waits for its expiry.
func (w *Watcher) expire(one *token) {
	w.mu.Lock()
	var streams []*stream
	switch {
	case !w.isOpen(one):
	case one.Expired(time.Now()):
		streams = w.remove(one)
	default:
		one.expiry.Reset(untilExpiry(one.Token))
	}
	w.mu.Unlock()
	w.end(one, streams)
}

// end cancels streams that are removed.
func (w *Watcher) end(one *token, streams []*stream) {
	if len(streams) == 0 {
		return
	}
	for _, s := range streams {
		s.cancel(ErrEnded)
	}
	t := one.Clone()
	t.Digest = httpkey.Digest{}
	w.observe(&httpkey.Event{Type: EventEnded, Token: t})
}

func (w *Watcher) observe(e *httpkey.Event) {
	for _, o := range w.observers {
		own := *e
		own.Token = e.Token.Clone()
		o.Observe(context.Background(), &own)
	}
}
