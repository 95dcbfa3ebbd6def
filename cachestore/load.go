package cachestore

import (
	"context"
	"errors"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/internal/pack"
)

// load is one Lookup in the store, for which any number of callers wait. Its goroutine ends
// when the store answers, even if all callers have left. The store must answer by the end of
// Options.Timeout.
type load struct {
	reading reading
	done    chan struct{} // closed once the fields below are set

	token    httpkey.Token
	err      error
	panicked any // the value of the store's panic
}

// load returns the store's answer for d, from a load of its own or one in progress.
func (s *Store) load(ctx context.Context, d httpkey.Digest) (httpkey.Token, error) {
	if s.isAbsent(d) {
		return httpkey.Token{}, httpkey.ErrNotFound
	}
	if errors.Is(ctx.Err(), context.Canceled) { // a caller past its deadline still renews its token
		return httpkey.Token{}, ctx.Err()
	}
	l := s.join(ctx, d)
	select {
	case <-l.done:
	case <-ctx.Done():
		return httpkey.Token{}, ctx.Err()
	}
	switch {
	case l.panicked != nil:
		panic(l.panicked) // in the goroutine of the caller, as without a cache
	case l.err != nil:
		return httpkey.Token{}, l.err
	}
	return l.token.Clone(), nil // other callers get the same load
}

// join returns the load of d in progress, or starts one.
func (s *Store) join(ctx context.Context, d httpkey.Digest) *load {
	s.mu.Lock()
	defer s.mu.Unlock()
	// The answer may have come since the caller looked without holding the mutex.
	if e, ok := s.tokens.GetIfPresent(d); ok && s.isFresh(e) {
		return answered(pack.Token(e.token), nil)
	}
	if s.isAbsent(d) {
		return answered(httpkey.Token{}, httpkey.ErrNotFound)
	}
	// A load that began before a change may bring the token as it was.
	if l := s.loads[d]; l != nil && l.reading.follows(s.changes.ofDigest(d)) && l.reading.follows(&s.changes.byID) {
		return l
	}
	reading := s.read()
	if err := s.outage.refuse(reading.at); err != nil {
		return answered(httpkey.Token{}, err)
	}
	l := &load{reading: reading, done: make(chan struct{})}
	s.loads[d] = l
	go s.run(context.WithoutCancel(ctx), d, l)
	return l
}

// answered returns a finished load.
func answered(t httpkey.Token, err error) *load {
	l := &load{token: t, err: err, done: make(chan struct{})}
	close(l.done)
	return l
}

var errNoAnswer = errors.New("httpkey: the store's Lookup ended its goroutine")

// run asks the store, keeps the answer and passes it to the waiting callers.
func (s *Store) run(ctx context.Context, d httpkey.Digest, l *load) {
	ctx, cancel := context.WithTimeout(ctx, s.options.Timeout)
	defer cancel()
	l.err = errNoAnswer
	defer func() { // deferred, since the store may panic or call runtime.Goexit
		l.panicked = recover()
		change := s.keep(d, l)
		close(l.done)
		switch change {
		case EventStoreDown:
			s.observe(change, l.err)
		case EventStoreUp:
			s.observe(change, nil) // ErrNotFound is an answer
		}
	}()
	l.token, l.err = s.store.Lookup(ctx, d)
}

// keep puts the answer of l into memory, unless a later load has taken its place. If the
// answer begins or ends an outage of the store, keep returns the event.
func (s *Store) keep(d httpkey.Digest, l *load) (change httpkey.EventType) {
	s.mu.Lock()
	defer s.mu.Unlock()
	isAnswer := l.err == nil || errors.Is(l.err, httpkey.ErrNotFound)
	change = s.outage.note(d, isAnswer, l.err, s.now())
	if s.loads[d] != l {
		return change
	}
	delete(s.loads, d)
	switch {
	case !isAnswer:
	case l.err != nil:
		s.tokens.Invalidate(d) // otherwise the next outage would bring it back
		s.absent.Set(d, absence{reading: l.reading, digest: s.changes.ofDigest(d)})
	default:
		s.tokens.Set(d, &entry{
			token:   pack.Copy(l.token),
			reading: l.reading,
			id:      s.changes.ofID(l.token.ID),
			digest:  s.changes.ofDigest(d),
		})
	}
	return change
}

// observe reports a change to the Observer.
func (s *Store) observe(change httpkey.EventType, err error) {
	if s.options.Observer != nil {
		s.options.Observer.Observe(context.Background(), &httpkey.Event{Type: change, Err: err})
	}
}
