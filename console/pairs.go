package console

import (
	"context"
	"errors"
	"time"

	"github.com/httpkey/httpkey"
)

// pairs finds the tokens that a list shows with their successors. It needs no question to the store,
// because a scan meets the successor first.
type pairs struct {
	now       time.Time
	olderThan map[string]string // the ID of each token that was rotated of late, to that of its successor in the list
}

func newPairs(now time.Time) pairs { return pairs{now, make(map[string]string)} }

// isPart notes t, a token of the list, and reports whether its successor's row shows it.
func (p pairs) isPart(t *httpkey.Token) bool {
	if t.RotatedTo != "" && p.olderThan[t.ID] == t.RotatedTo && !hasEnded(*t, p.now) {
		return true
	}
	if isYoungSuccessor(t, p.now) {
		p.olderThan[t.RotatedFrom] = t.ID
	}
	return false
}

// isYoungSuccessor reports whether the key that t replaces may still work.
func isYoungSuccessor(t *httpkey.Token, now time.Time) bool {
	return t.RotatedFrom != "" && now.Sub(t.CreatedAt) <= maxGrace
}

// replaced returns the token that t was rotated from while that still works, else nil.
func (c *console) replaced(ctx context.Context, p Principal, t *httpkey.Token, now time.Time) (*httpkey.Token, error) {
	if !isYoungSuccessor(t, now) {
		return nil, nil
	}
	old, err := c.store.Get(ctx, t.RotatedFrom)
	switch {
	case errors.Is(err, httpkey.ErrNotFound):
		return nil, nil
	case err != nil:
		return nil, c.failed(ctx, Event{Action: ActionRead, Principal: p, Token: *t, Err: err})
	case !p.manages(old), old.RotatedTo != t.ID, hasEnded(old, now):
		return nil, nil
	}
	return &old, nil
}
