package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/httpkey/httpkey"
)

// simulation sends requests with the keys of two samples, so that there is something to see.
type simulation struct {
	guard *httpkey.Guard // its events are counted, and not logged
	keys  map[string]httpkey.Secret
}

// newSimulation gives the two samples new keys, because no store has the keys of an earlier
// start. A sample that has ended, or that a person has deleted, gets none.
func newSimulation(ctx context.Context, b *backend, counter httpkey.Observer) (*simulation, error) {
	s := &simulation{
		guard: httpkey.New(b.store, b.limiter, &httpkey.Options{Observers: []httpkey.Observer{counter}}),
		keys:  make(map[string]httpkey.Secret),
	}
	for _, id := range []string{website, cardReader} {
		t, err := b.store.Get(ctx, id)
		if errors.Is(err, httpkey.ErrNotFound) || err == nil && (!t.IsActive || t.Expired(time.Now())) {
			continue
		}
		if err == nil {
			err = b.store.Delete(ctx, id)
		}
		if err == nil {
			s.keys[id], err = createWithKey(ctx, b.store, t)
		}
		if err != nil {
			return nil, fmt.Errorf("the sample %s: %w", id, err)
		}
	}
	return s, nil
}

// run sends requests until ctx is over. Once a minute the card reader sends more than its limit.
func (s *simulation) run(ctx context.Context) {
	tick := time.NewTicker(5 * time.Second)
	defer tick.Stop()
	for i := 0; ctx.Err() == nil; i++ {
		s.send(ctx, website, 1)
		if i%12 == 6 {
			s.send(ctx, cardReader, 16)
		} else {
			s.send(ctx, cardReader, 1)
		}
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
}

// send sends n requests with the key of a sample. It looks at no answer: the page tells them.
func (s *simulation) send(ctx context.Context, id string, n int) {
	key, ok := s.keys[id]
	if !ok {
		return
	}
	for range n {
		_, _ = s.guard.Admit(ctx, key.Reveal(), 1)
	}
}
