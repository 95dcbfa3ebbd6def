package console

import (
	"context"
	"errors"
	"time"

	"github.com/httpkey/httpkey"
)

// maxGrace bounds how long a rotated key goes on working.
const maxGrace = 7 * day

// rotate issues a successor of p's token of this ID.
func (c *console) rotate(ctx context.Context, p Principal, id string, grace time.Duration) (httpkey.Created, error) {
	ctx, done, err := c.begin(ctx, p, ActionRotate)
	if err != nil {
		return httpkey.Created{}, err
	}
	defer done()
	t, err := c.find(ctx, p, id)
	if err != nil {
		return httpkey.Created{}, err
	}
	if err := c.checkRotatable(ctx, p, t); err != nil {
		return httpkey.Created{}, err
	}
	created, err := c.guard.Rotate(ctx, id, grace)
	switch {
	case errors.Is(err, httpkey.ErrNotFound):
		return httpkey.Created{}, errNotFound
	case errors.Is(err, httpkey.ErrInactive):
		return httpkey.Created{}, errEnded
	case errors.Is(err, httpkey.ErrConflict):
		return httpkey.Created{}, rotatedAlready("")
	case err != nil:
		return httpkey.Created{}, c.failed(ctx, Event{Action: ActionRotate, Principal: p, Token: t, Err: err})
	}
	created.Token, err = c.bringIntoPolicy(ctx, created.Token)
	c.audit(ctx, Event{Action: ActionRotate, Principal: p, Token: created.Token, Err: err})
	return created, nil
}

var errEnded = conflict("A token that is revoked or expired cannot be rotated. Create a new one.", "")

func rotatedAlready(successor string) error {
	return conflict("This token was rotated already. Rotate its successor.", successor)
}

// checkRotatable refuses to rotate a token that p may not rotate, that has ended, or that has
// a successor. A token whose successor is gone may be rotated again, even if the first
// rotation has ended it: that rotation may have failed.
func (c *console) checkRotatable(ctx context.Context, p Principal, t httpkey.Token) error {
	if err := p.mayRotate(t); err != nil {
		return err
	}
	successor, err := c.successor(ctx, p, t)
	switch {
	case err != nil:
		return err
	case successor != nil:
		return rotatedAlready(successor.ID)
	case !t.IsActive, t.RotatedTo == "" && t.Expired(time.Now()):
		return errEnded
	}
	return nil
}

// bringIntoPolicy shortens the life of a successor of a token that is older than the policy.
// After an error the successor lives as long as the old key would have. That is better than
// to lose its secret, because the old key may have ended.
func (c *console) bringIntoPolicy(ctx context.Context, successor httpkey.Token) (httpkey.Token, error) {
	latest := successor.CreatedAt.Add(c.options.MaxLifetime)
	if c.options.MaxLifetime == 0 || !isLater(successor.ExpiredAt, latest) {
		return successor, nil
	}
	shortened, err := c.store.Update(ctx, successor.ID, func(t *httpkey.Token) error {
		if isLater(t.ExpiredAt, latest) {
			t.ExpiredAt = latest
		}
		return nil
	})
	if err != nil {
		return successor, err
	}
	return shortened, nil
}

// successor returns the token that t was rotated into, or nil if there is none, or none any
// more.
func (c *console) successor(ctx context.Context, p Principal, t httpkey.Token) (*httpkey.Token, error) {
	find := c.rotatedTo
	if t.RotatedTo == "" {
		find = c.rotatedFrom
	}
	successor, err := find(ctx, t)
	if err != nil {
		return nil, c.failed(ctx, Event{Action: ActionRead, Principal: p, Token: t, Err: err})
	}
	return successor, nil
}

func (c *console) rotatedTo(ctx context.Context, t httpkey.Token) (*httpkey.Token, error) {
	successor, err := c.store.Get(ctx, t.RotatedTo)
	if errors.Is(err, httpkey.ErrNotFound) {
		return nil, nil
	}
	return &successor, err
}

// rotatedFrom finds the successor of a token without RotatedTo: an older version of httpkey
// noted a rotation in the successor alone.
func (c *console) rotatedFrom(ctx context.Context, t httpkey.Token) (*httpkey.Token, error) {
	successors, err := c.store.List(ctx, httpkey.Filter{RotatedFrom: t.ID, Limit: 1})
	if err != nil || len(successors) == 0 {
		return nil, err
	}
	return &successors[0], nil
}
