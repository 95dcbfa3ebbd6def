package cachestore

import (
	"context"

	"github.com/httpkey/httpkey/internal/feed"
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
	return feed.Run(ctx, s.store, feed.Follower{
		Ready:   s.changes.noteAll,
		Changed: s.changes.noteDigest,
		Down:    func(err error) { s.observe(EventFeedDown, err) },
		Up:      func() { s.observe(EventFeedUp, nil) },
	})
}
