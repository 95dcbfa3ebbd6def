package cachestore

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/httpkey/httpkey"
)

// How long Run waits before it follows a broken feed again.
const (
	minFeedPause = 100 * time.Millisecond
	maxFeedPause = 5 * time.Second
)

// Run follows the store's [httpkey.ChangeFeed], so that changes that are made
// elsewhere show soon. It returns the error of ctx when that ends.
//
// Run follows a feed that broke again after a pause, of 50 to 100 ms at first and of up to
// 5 s if it does not come back. All tokens in memory are outdated when it does. Meanwhile,
// and where nobody calls Run, changes show after the TTL.
//
// If the store has no feed, Run returns an error that matches
// [errors.ErrUnsupported], at once.
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
		// Not all at once: every process loses the feed at the same moment.
		case <-time.After(pause/2 + rand.N(pause/2)):
		case <-ctx.Done():
			return ctx.Err()
		}
		pause = min(2*pause, maxFeedPause)
	}
}
