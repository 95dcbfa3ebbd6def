// Package feed follows the change feed of a store for as long as a program runs.
package feed

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/httpkey/httpkey"
)

// The pauses before a broken feed is followed again.
const (
	MinPause = 100 * time.Millisecond // after a feed that was ready; half of it at least
	MaxPause = 5 * time.Second        // after a feed that stays broken
)

// Follower has the functions that Run calls, one at a time. None is nil.
type Follower struct {
	Ready   func()               // the feed reports every change from now on
	Changed func(httpkey.Digest) // a token was changed
	Down    func(error)          // the feed broke; not called again before Up
	Up      func()               // a feed that was down is ready
}

// Run follows the store's feed, and returns the error of ctx when ctx ends. If the feed breaks,
// Run follows it again after a pause, which doubles while it stays broken. If the store has no
// feed, Run at once returns an error that matches [errors.ErrUnsupported].
func Run(ctx context.Context, store httpkey.TokenStore, f Follower) error {
	changes, ok := store.(httpkey.ChangeFeed)
	if !ok {
		return fmt.Errorf("httpkey: %T has no change feed, do not call Run: %w", store, errors.ErrUnsupported)
	}
	pause, isDown := MinPause, false
	ready := func() {
		pause = MinPause
		f.Ready()
		if isDown {
			isDown = false
			f.Up()
		}
	}
	for {
		err := changes.Changes(ctx, ready, f.Changed)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if !isDown {
			isDown = true
			f.Down(err)
		}
		select {
		// The pause is random, because all processes lose the feed at the same moment.
		case <-time.After(pause/2 + rand.N(pause/2)):
		case <-ctx.Done():
			return ctx.Err()
		}
		pause = min(2*pause, MaxPause)
	}
}
