package console

import (
	"context"
	"errors"

	"github.com/httpkey/httpkey"
)

// revoke makes t, a token of p, inactive for ever, and returns it as it is then. Revoking twice is
// no error and no event. No limit stops a revocation: a leaked key must end.
func (c *console) revoke(ctx context.Context, p Principal, t httpkey.Token, reason string) (httpkey.Token, error) {
	if !t.IsActive {
		return t, nil
	}
	ctx, done := detached(ctx)
	defer done()
	err := c.guard.RevokeBy(ctx, t.ID, p.User, reason)
	if errors.Is(err, httpkey.ErrNotFound) {
		return httpkey.Token{}, errNotFound
	}
	if err != nil {
		return httpkey.Token{}, c.failed(ctx, Event{Action: ActionRevoke, Principal: p, Token: t, Err: err})
	}
	t.IsActive = false
	if revoked, err := c.store.Get(ctx, t.ID); err == nil { // if not, it is revoked all the same
		t = revoked
	}
	c.audit(ctx, Event{Action: ActionRevoke, Principal: p, Token: t})
	return t, nil
}

// remove deletes t, a token of p. No store deletes under a condition, so the condition is checked
// right before.
func (c *console) remove(ctx context.Context, p Principal, t httpkey.Token, condition precondition) error {
	ctx, done, err := c.begin(ctx, p, ActionDelete)
	if err != nil {
		return err
	}
	defer done()
	if condition != nil {
		if t, err = c.find(ctx, p, t.ID); err != nil {
			return err
		}
		if err := condition.check(t); err != nil {
			return err
		}
	}
	if err := c.store.Delete(ctx, t.ID); err != nil {
		return c.failed(ctx, Event{Action: ActionDelete, Principal: p, Token: t, Err: err})
	}
	c.audit(ctx, Event{Action: ActionDelete, Principal: p, Token: t})
	return nil
}
