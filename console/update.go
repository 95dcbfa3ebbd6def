package console

import (
	"context"
	"errors"
	"maps"
	"time"

	"github.com/httpkey/httpkey"
)

// change is the new values of a token's fields; a nil field stays as it is.
type change struct {
	label, description *string
	expiredAt          *time.Time // zero: never
	isActive           *bool      // false: revoke the token
	reason             string     // of the revocation

	condition precondition
}

// update changes t, a token of p as it was seen. wrong has the problems of reading ch.
//
// An ended token stays ended, because its key may be in the wrong hands: nothing prolongs
// a revoked, expired or rotated token. The store applies these rules to the token as it is
// then, in one step with the change.
func (c *console) update(
	ctx context.Context, p Principal, t httpkey.Token, ch change, wrong problems,
) (httpkey.Token, error) {
	if ch.isRevocation() && len(wrong) == 0 {
		if err := ch.condition.check(t); err != nil {
			return httpkey.Token{}, err
		}
		return c.revoke(ctx, p, t, ch.reason)
	}
	ctx, done, err := c.begin(ctx, p, ActionUpdate)
	if err != nil {
		return httpkey.Token{}, err
	}
	defer done()
	if err := c.checkUnlinked(ctx, p, t, ch); err != nil {
		return httpkey.Token{}, err
	}
	var current httpkey.Token
	updated, err := c.store.Update(ctx, t.ID, func(now *httpkey.Token) error {
		current = *now
		return c.apply(p, ch, t, now, maps.Clone(wrong))
	})
	var refused *failure
	switch {
	case errors.Is(err, errUnchanged):
		updated = current
	case errors.As(err, &refused):
		return httpkey.Token{}, refused
	case errors.Is(err, httpkey.ErrInactive): // it ended just now
		return httpkey.Token{}, errEnded
	case errors.Is(err, httpkey.ErrNotFound):
		return httpkey.Token{}, errNotFound
	case err != nil:
		return httpkey.Token{}, c.failed(ctx, Event{Action: ActionUpdate, Principal: p, Token: t, Err: err})
	default:
		c.audit(ctx, Event{Action: ActionUpdate, Principal: p, Token: updated})
	}
	if ch.isActive != nil && !*ch.isActive {
		return c.revoke(ctx, p, updated, ch.reason)
	}
	return updated, nil
}

// isRevocation reports whether ch revokes the token and does nothing else.
func (ch change) isRevocation() bool {
	return ch.isActive != nil && !*ch.isActive && ch.label == nil && ch.description == nil && ch.expiredAt == nil
}

// errUnchanged says that a change has no effect on a token.
var errUnchanged = errors.New("httpkey: console: the token is so already")

// apply changes t, or refuses to. seen is the token as it was before ch was checked. An
// expiry that ch repeats from there changes nothing.
func (c *console) apply(p Principal, ch change, seen httpkey.Token, t *httpkey.Token, wrong problems) error {
	before := *t
	if err := ch.condition.check(before); err != nil {
		return err
	}
	if ch.label != nil && *ch.label != t.Label {
		t.Label = *ch.label
		checkLabel(t.Label, wrong)
	}
	if ch.description != nil && *ch.description != t.Description {
		t.Description = *ch.description
		checkDescription(t.Description, wrong)
	}
	if ch.expiredAt != nil && !ch.expiredAt.Equal(seen.ExpiredAt) {
		t.ExpiredAt = *ch.expiredAt
		c.checkExpiry(t.ExpiredAt, t.CreatedAt, wrong)
	}
	if err := wrong.asError(); err != nil {
		return err
	}
	if ch.isActive != nil && *ch.isActive && !before.IsActive {
		return errStaysRevoked
	}
	if !t.ExpiredAt.Equal(before.ExpiredAt) {
		return checkNewExpiry(p, seen, before, *t)
	}
	if t.Label == before.Label && t.Description == before.Description {
		return errUnchanged
	}
	return nil
}

// checkNewExpiry refuses a new expiry for a token that has ended, that was rotated, or that
// got another expiry after it was seen. A later expiry is a grant.
func checkNewExpiry(p Principal, seen, before, after httpkey.Token) error {
	isLonger := isLater(after.ExpiredAt, before.ExpiredAt)
	switch {
	case hasEnded(before, time.Now()):
		return errEnded
	case before.RotatedTo != "" && isLonger:
		return prolongsRotated(before.RotatedTo)
	case isLonger && p.mayGrant(after) != nil:
		return errMayOnlyShorten
	case !before.ExpiredAt.Equal(seen.ExpiredAt):
		return errChanged
	}
	return nil
}

// checkUnlinked refuses to prolong a token that was rotated and has no RotatedTo.
func (c *console) checkUnlinked(ctx context.Context, p Principal, t httpkey.Token, ch change) error {
	if t.RotatedTo != "" || ch.expiredAt == nil || !isLater(*ch.expiredAt, t.ExpiredAt) {
		return nil
	}
	successor, err := c.successor(ctx, p, t)
	if err == nil && successor != nil {
		err = prolongsRotated(successor.ID)
	}
	return err
}
