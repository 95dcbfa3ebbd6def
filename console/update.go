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
	isActive           *bool
	expiredAt          *time.Time // zero: never
}

// update changes t, a token of p as it was seen. wrong has the problems of reading ch.
//
// An ended token stays ended, because its key may be in the wrong hands: nothing prolongs
// a revoked, expired or rotated token. The store applies these rules to the token as it is
// then, in one step with the change.
func (c *console) update(
	ctx context.Context, p Principal, t httpkey.Token, ch change, wrong problems,
) (httpkey.Token, error) {
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
		return c.apply(ch, t, now, maps.Clone(wrong))
	})
	var refused *failure
	switch {
	case errors.Is(err, errUnchanged):
		updated = current
	case errors.As(err, &refused):
		return httpkey.Token{}, refused
	case errors.Is(err, httpkey.ErrInactive): // it ended just now
		return httpkey.Token{}, errProlongsEnded
	case errors.Is(err, httpkey.ErrNotFound):
		return httpkey.Token{}, errNotFound
	case err != nil:
		return httpkey.Token{}, c.failed(ctx, Event{Action: ActionUpdate, Principal: p, Token: t, Err: err})
	default:
		c.audit(ctx, Event{Action: ActionUpdate, Principal: p, Token: updated})
	}
	if ch.isActive != nil && !*ch.isActive {
		return c.end(ctx, p, updated)
	}
	return updated, nil
}

// errUnchanged says that a change has no effect on a token.
var errUnchanged = errors.New("httpkey: console: the token is so already")

// apply changes t, or refuses to. seen is the token as it was before ch was checked. An
// expiry that ch repeats from there changes nothing.
func (c *console) apply(ch change, seen httpkey.Token, t *httpkey.Token, wrong problems) error {
	before := *t
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
		return conflict("A revoked token cannot be made active again. Create a new one.", "")
	}
	if !t.ExpiredAt.Equal(before.ExpiredAt) {
		return checkNewExpiry(seen, before, *t)
	}
	if t.Label == before.Label && t.Description == before.Description {
		return errUnchanged
	}
	return nil
}

// checkNewExpiry refuses a new expiry for a token that has ended, that was rotated, or that
// got another expiry after it was seen.
func checkNewExpiry(seen, before, after httpkey.Token) error {
	switch {
	case hasEnded(before, time.Now()):
		return errProlongsEnded
	case before.RotatedTo != "" && isLater(after.ExpiredAt, before.ExpiredAt):
		return prolongsRotated(before.RotatedTo)
	case !before.ExpiredAt.Equal(seen.ExpiredAt):
		return conflict("The expiry of this token was changed by somebody else. Look at it again.", "")
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

var errProlongsEnded = conflict(
	"The expiry of a token that is revoked or expired cannot be changed. Create a new one.", "",
)

func prolongsRotated(successor string) error {
	return conflict("This token was rotated: it cannot be made to live longer.", successor)
}
