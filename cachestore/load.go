package cachestore

import (
	"container/list"
	"context"
	"crypto/subtle"
	"errors"
	"fmt"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/internal/pack"
)

// load is one Lookup in the store, for which any number of callers wait. Its goroutine ends
// when the store answers, even if all callers have left. The store must answer by the end of
// Options.Timeout.
type load struct {
	digest    httpkey.Digest
	ctx       context.Context // of the first caller, without its cancellation
	isUnknown bool            // not in memory: it takes a turn in the lane, and its failure begins no outage

	// The mutex of the Store guards these.
	callers int           // that wait
	place   *list.Element // in the lane; nil: the load has started
	reading reading       // once the load has started

	done     chan struct{} // closed once the fields below are set
	token    httpkey.Token
	err      error
	panicked any // the value of the store's panic
}

// load returns the store's answer for d, from a load of its own or one in progress.
func (s *Store) load(ctx context.Context, d httpkey.Digest) (httpkey.Token, error) {
	if s.isAbsent(d, now()) {
		return httpkey.Token{}, httpkey.ErrNotFound
	}
	if errors.Is(ctx.Err(), context.Canceled) { // a caller past its deadline still renews its token
		return httpkey.Token{}, ctx.Err()
	}
	l, waits := s.join(ctx, d)
	if waits {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, s.options.Timeout)
		defer cancel()
	}
	select {
	case <-l.done:
	case <-ctx.Done():
		return httpkey.Token{}, s.leave(l, ctx.Err())
	}
	switch {
	case l.panicked != nil:
		panic(l.panicked) // in the goroutine of the caller, as without a cache
	case l.err != nil:
		return httpkey.Token{}, l.err
	}
	return l.token.Clone(), nil // other callers get the same load
}

// join returns a load of d that has not ended, or a new one, and whether it waits for its turn.
func (s *Store) join(ctx context.Context, d httpkey.Digest) (l *load, waits bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	// The answer may have come since the caller looked without holding the mutex.
	c := s.find(d)
	if s.isFresh(&c, now()) {
		return answered(pack.Token(c.View), nil), false
	}
	if s.isAbsent(d, now()) {
		return answered(httpkey.Token{}, httpkey.ErrNotFound), false
	}
	if l := s.loads[d]; l != nil && s.isGood(l) {
		l.callers++
		s.lane.renew(l)
		return l, l.place != nil
	}
	isProbe, err := s.outage.refuse(now())
	if err != nil {
		return answered(httpkey.Token{}, err), false
	}
	l = &load{
		digest:    d,
		ctx:       context.WithoutCancel(ctx),
		isUnknown: !c.Exists() && !isProbe, // a probe must not wait for other unknown digests
		callers:   1,
		done:      make(chan struct{}),
	}
	s.loads[d] = l
	if !l.isUnknown || s.lane.enter(l) {
		s.start(l)
	}
	return l, l.place != nil
}

// isGood reports whether a new caller may take the answer of l. A load that began
// before a change may bring the token as it was.
func (s *Store) isGood(l *load) bool {
	ofDigest := s.changes.ofDigest((*[32]byte)(&l.digest))
	return l.place != nil || l.reading.follows(ofDigest) && l.reading.follows(&s.changes.byID)
}

// start gives l its goroutine. The caller holds the mutex.
func (s *Store) start(l *load) {
	l.reading = s.changes.read()
	go s.run(l)
}

// leave removes a caller from l. If the last caller leaves before l has started, leave removes l.
func (s *Store) leave(l *load, why error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	l.callers--
	if l.place == nil {
		return why
	}
	if l.callers == 0 {
		s.lane.abandon(l)
		delete(s.loads, l.digest)
	}
	return fmt.Errorf("httpkey: the lookup waited for %d others of unknown keys (cachestore.Options.MaxUnknown): %w",
		s.options.MaxUnknown, why)
}

// answered returns a finished load.
func answered(t httpkey.Token, err error) *load {
	l := &load{token: t, err: err, done: make(chan struct{})}
	close(l.done)
	return l
}

var errNoAnswer = errors.New("httpkey: the store's Lookup ended its goroutine")

// run asks the store, keeps the answer and passes it to the waiting callers.
func (s *Store) run(l *load) {
	ctx, cancel := context.WithTimeout(l.ctx, s.options.Timeout)
	defer cancel()
	l.err = errNoAnswer
	defer func() { // deferred, since the store may panic or call runtime.Goexit
		l.panicked = recover()
		change := s.end(l)
		close(l.done)
		switch change {
		case EventStoreDown:
			s.observe(change, l.err)
		case EventStoreUp:
			s.observe(change, nil) // ErrNotFound is an answer
		}
	}()
	l.token, l.err = s.store.Lookup(ctx, l.digest)
}

// end starts the next load of the lane, and keeps the answer of l. If the answer begins or
// ends an outage of the store, end returns the event.
func (s *Store) end(l *load) (change httpkey.EventType) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if l.isUnknown {
		if next := s.lane.leave(); next != nil {
			s.start(next)
		}
	}
	isAnswer := l.err == nil || errors.Is(l.err, httpkey.ErrNotFound)
	if isAnswer || !l.isUnknown {
		change = s.outage.note(l.digest, isAnswer, l.err, now())
	}
	if s.loads[l.digest] == l {
		delete(s.loads, l.digest)
		s.keep(l, isAnswer)
	}
	return change
}

// keep puts the answer of l into memory. The caller holds the mutex.
func (s *Store) keep(l *load, isAnswer bool) {
	switch {
	case !isAnswer:
	case l.err != nil:
		s.forget(l.digest) // otherwise the next outage would bring it back
		s.absent.add(l.digest, l.reading)
	// A store that folds case may answer with the token of another digest.
	case subtle.ConstantTimeCompare(l.token.Digest[:], l.digest[:]) != 1:
		s.forget(l.digest)
	default:
		s.put(l.token, l.reading)
	}
}

// observe reports a change to the Observers.
func (s *Store) observe(change httpkey.EventType, err error) {
	for _, o := range s.options.Observers {
		o.Observe(context.Background(), &httpkey.Event{Type: change, Err: err})
	}
}
