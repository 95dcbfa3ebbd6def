package cachestore

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/httpkey/httpkey"
)

// The pauses before Run follows a broken feed again.
const (
	minFeedPause = 100 * time.Millisecond
	maxFeedPause = 5 * time.Second
)

// Run follows the store's [httpkey.ChangeFeed], so that changes of other processes show
// soon. It returns the error of ctx when ctx ends.
//
// If the feed breaks, Run follows it again after a pause: of 50 to 100 ms at first, and of
// up to 5 s while it stays broken. When the feed is back, Run outdates all tokens in memory.
// Meanwhile, and without Run, changes show after the TTL.
//
// If the store has no feed, Run at once returns an error that matches
// [errors.ErrUnsupported].
func (s *Store) Run(ctx context.Context) error {
	feed, ok := s.store.(httpkey.ChangeFeed)
	if !ok {
		return fmt.Errorf("httpkey: %T has no change feed, do not call Run: %w", s.store, errors.ErrUnsupported)
	}
	pause, isDown := minFeedPause, false
	for {
		err := feed.Changes(ctx,
			func() {
				s.changes.noteAll()
				pause = minFeedPause
				if isDown {
					isDown = false
					s.observe(EventFeedUp, nil)
				}
			},
			s.changes.noteDigest)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if !isDown {
			isDown = true
			s.observe(EventFeedDown, err)
		}
		select {
		// The pause is random, because all processes lose the feed at the same moment.
		case <-time.After(pause/2 + rand.N(pause/2)):
		case <-ctx.Done():
			return ctx.Err()
		}
		pause = min(2*pause, maxFeedPause)
	}
}
