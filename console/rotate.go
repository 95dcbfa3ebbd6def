package console

import (
	"context"
	"errors"
	"time"

	"github.com/httpkey/httpkey"
)

// maxGrace bounds how long a rotated key goes on working.
const maxGrace = 7 * day

// rotation is what p chooses for a rotation.
type rotation struct {
	grace     time.Duration
	expiredAt *time.Time // of the successor; nil: as the old token, zero: never
	condition precondition
}

// rotate issues a successor of p's token of this ID. wrong has the problems of reading ro.
func (c *console) rotate(
	ctx context.Context, p Principal, id string, ro rotation, wrong problems,
) (httpkey.Created, error) {
	if ro.expiredAt != nil {
		c.checkExpiry(*ro.expiredAt, time.Now(), wrong)
	}
	if err := wrong.asError(); err != nil {
		return httpkey.Created{}, err
	}
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
	if err := ro.condition.check(t); err != nil {
		return httpkey.Created{}, err
	}
	if ro.expiredAt != nil && isLater(*ro.expiredAt, t.ExpiredAt) && p.mayGrant(t) != nil {
		return httpkey.Created{}, errMayNotOutliveOld
	}
	rotate := c.guard.RotateOnce
	if t.RotatedTo != "" { // its successor is gone
		rotate = c.guard.Rotate
	}
	created, err := rotate(ctx, id, ro.grace)
	switch {
	case errors.Is(err, httpkey.ErrNotFound):
		return httpkey.Created{}, errNotFound
	case errors.Is(err, httpkey.ErrInactive):
		return httpkey.Created{}, errRotatesEnded
	case errors.Is(err, httpkey.ErrConflict):
		rotated, _ := c.find(ctx, p, id) // after an error the refusal names no successor
		return httpkey.Created{}, rotatedAlready(rotated.RotatedTo)
	case err != nil:
		return httpkey.Created{}, c.failed(ctx, Event{Action: ActionRotate, Principal: p, Token: t, Err: err})
	}
	created.Token, err = c.settle(ctx, created.Token, ro.expiredAt)
	c.audit(ctx, Event{Action: ActionRotate, Principal: p, Token: created.Token, Err: err})
	return created, nil
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
		return errRotatesEnded
	}
	return p.mayRotateAgain(t)
}

// settle gives a successor the expiry that was chosen, or one within the policy: the token may be
// older than that. After an error the successor lives as long as the old key would have. That is
// better than to lose its secret, because the old key may have ended.
func (c *console) settle(ctx context.Context, successor httpkey.Token, chosen *time.Time) (httpkey.Token, error) {
	expiry := successor.ExpiredAt
	if chosen != nil {
		expiry = *chosen
	}
	latest := successor.CreatedAt.Add(c.options.MaxLifetime)
	if c.options.MaxLifetime > 0 && isLater(expiry, latest) {
		expiry = latest
	}
	if expiry.Equal(successor.ExpiredAt) {
		return successor, nil
	}
	settled, err := c.store.Update(ctx, successor.ID, func(t *httpkey.Token) error {
		if t.RotatedTo == "" && t.ExpiredAt.Equal(successor.ExpiredAt) { // or somebody has changed it already
			t.ExpiredAt = expiry
		}
		return nil
	})
	if err != nil {
		return successor, err
	}
	return settled, nil
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
