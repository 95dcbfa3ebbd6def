package console

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/httpkey/httpkey"
)

const (
	// maxGrace bounds how long a rotated key goes on working. Only tokens that end
	// within it are asked for a successor when they are listed.
	maxGrace = 7 * day

	maxLabel       = 255 // characters, as in httpkey.Token
	maxDescription = 4096
	maxScopes      = 100

	day = 24 * time.Hour
)

// find returns the token of this ID, if p manages it. Any other is not found,
// whether it exists or not.
func (c *console) find(ctx context.Context, p Principal, id string) (httpkey.Token, error) {
	t, err := c.store.Get(ctx, id)
	switch {
	case errors.Is(err, httpkey.ErrNotFound):
		return httpkey.Token{}, errNotFound
	case err != nil:
		return httpkey.Token{}, c.failed(ctx, Event{Action: ActionRead, Principal: p, Err: err})
	case !p.manages(t):
		return httpkey.Token{}, errNotFound
	}
	return t, nil
}

// successor returns the token that t was rotated into, or nil.
func (c *console) successor(ctx context.Context, p Principal, t httpkey.Token) (*httpkey.Token, error) {
	successors, err := c.store.List(ctx, httpkey.Filter{RotatedFrom: t.ID, Limit: 1})
	if err != nil {
		return nil, c.failed(ctx, Event{Action: ActionRead, Principal: p, Token: t, Err: err})
	}
	if len(successors) == 0 {
		return nil, nil
	}
	return &successors[0], nil
}

// create issues a token with the properties of t to p. wrong is what reading t
// has found already.
func (c *console) create(ctx context.Context, p Principal, t httpkey.Token, wrong problems) (httpkey.Created, error) {
	t.Scopes = unique(t.Scopes)
	checkLabel(t.Label, wrong)
	checkDescription(t.Description, wrong)
	checkKind(t.Kind, wrong)
	c.checkExpiry(t.ExpiredAt, time.Now(), wrong)
	if len(t.Scopes) > maxScopes {
		wrong.add("scopes", "Ensure this field has no more than %d elements.", maxScopes)
	}
	if err := wrong.asError(); err != nil {
		return httpkey.Created{}, err
	}
	t.User = p.User
	switch {
	case !p.manages(t):
		return httpkey.Created{}, forbidden("You may not create service tokens.")
	case t.Workspace != "" && !p.manages(httpkey.Token{Workspace: t.Workspace}):
		return httpkey.Created{}, forbidden("You may not create tokens in this workspace.")
	case !p.mayGrant(t.Scopes):
		return httpkey.Created{}, forbidden("You may not create tokens with scopes that you do not have.")
	}
	if err := c.spend(ctx, p, ActionCreate); err != nil {
		return httpkey.Created{}, err
	}
	secret, issued, err := c.guard.Issue(ctx, t)
	if errors.Is(err, httpkey.ErrConflict) {
		return httpkey.Created{}, conflict("This token was created already. Its key was shown then and cannot be shown again.", t.ID)
	}
	if errors.Is(err, httpkey.ErrInvalidToken) {
		return httpkey.Created{}, malformed("No token can have these properties.")
	}
	if err != nil {
		return httpkey.Created{}, c.failed(ctx, Event{Action: ActionCreate, Principal: p, Token: t, Err: err})
	}
	c.audit(ctx, Event{Action: ActionCreate, Principal: p, Token: issued})
	return httpkey.Created{Token: issued, Secret: secret}, nil
}

// change is what may be changed in a token; nil leaves it as it is.
type change struct {
	label, description *string
	isActive           *bool
	expiredAt          *time.Time // zero: never
}

// apply changes t as ch asks for, and nothing else: t may have become another since
// it was checked, as before. An expiry was allowed for the one that it had then.
func (ch change) apply(before httpkey.Token, t *httpkey.Token) error {
	if ch.label != nil {
		t.Label = *ch.label
	}
	if ch.description != nil {
		t.Description = *ch.description
	}
	if ch.expiredAt == nil || ch.expiredAt.Equal(before.ExpiredAt) {
		return nil
	}
	if !t.ExpiredAt.Equal(before.ExpiredAt) {
		return conflict("The expiry of this token was changed by somebody else. Look at it again.", "")
	}
	t.ExpiredAt = *ch.expiredAt
	return nil
}

// update changes p's token of this ID. wrong is what reading ch has found already.
//
// What has ended stays ended: neither a revoked nor an expired token can be brought
// back, as its key may be in the wrong hands, and one that was rotated cannot
// outlive its grace. All of it is looked at after the limiter was asked, which takes
// its time.
func (c *console) update(ctx context.Context, p Principal, id string, ch change, wrong problems) (httpkey.Token, error) {
	if err := c.spend(ctx, p, ActionUpdate); err != nil {
		return httpkey.Token{}, err
	}
	ctx, done, err := c.begin(ctx, id, Event{Action: ActionUpdate, Principal: p})
	if err != nil {
		return httpkey.Token{}, err
	}
	defer done()
	t, err := c.find(ctx, p, id)
	if err != nil {
		return httpkey.Token{}, err
	}
	before := t
	if err := ch.apply(before, &t); err != nil {
		return httpkey.Token{}, err
	}
	if t.Label != before.Label {
		checkLabel(t.Label, wrong)
	}
	if t.Description != before.Description {
		checkDescription(t.Description, wrong)
	}
	if !t.ExpiredAt.Equal(before.ExpiredAt) {
		c.checkExpiry(t.ExpiredAt, t.CreatedAt, wrong)
	}
	if err := wrong.asError(); err != nil {
		return httpkey.Token{}, err
	}
	if err := c.checkEnded(ctx, p, before, t, ch); err != nil {
		return httpkey.Token{}, err
	}
	if ch.isActive != nil && !*ch.isActive {
		if err := c.end(ctx, p, before); err != nil {
			return httpkey.Token{}, err
		}
		t.IsActive = false
	}
	if t.Label == before.Label && t.Description == before.Description && t.ExpiredAt.Equal(before.ExpiredAt) {
		return t, nil
	}
	t, err = c.amend(ctx, id, func(now *httpkey.Token) error { return ch.apply(before, now) })
	if err != nil {
		return httpkey.Token{}, c.unchanged(ctx, Event{Action: ActionUpdate, Principal: p, Token: before, Err: err})
	}
	c.audit(ctx, Event{Action: ActionUpdate, Principal: p, Token: t})
	return t, nil
}

// amend changes the token of this ID in the store. It reads it anew, right before it
// writes: since we looked at it, somebody may have revoked it, or ended it. change
// refuses with a *failure.
func (c *console) amend(ctx context.Context, id string, change func(*httpkey.Token) error) (httpkey.Token, error) {
	t, err := c.store.Get(ctx, id)
	if err == nil {
		err = change(&t)
	}
	if err != nil {
		return httpkey.Token{}, err
	}
	return t, c.store.Update(ctx, t)
}

// unchanged is the answer where amend has failed, with e's error.
func (c *console) unchanged(ctx context.Context, e Event) error {
	var refused *failure
	switch {
	case errors.As(e.Err, &refused):
		return refused
	case errors.Is(e.Err, httpkey.ErrNotFound):
		return errNotFound
	}
	return c.failed(ctx, e)
}

// checkEnded refuses to bring back what has ended.
func (c *console) checkEnded(ctx context.Context, p Principal, before, after httpkey.Token, ch change) error {
	if ch.isActive != nil && *ch.isActive && !before.IsActive {
		return conflict("A revoked token cannot be made active again. Create a new one.", "")
	}
	if after.ExpiredAt.Equal(before.ExpiredAt) {
		return nil
	}
	if hasEnded(before, time.Now()) {
		return conflict("The expiry of a token that is revoked or expired cannot be changed. Create a new one.", "")
	}
	if !after.ExpiredAt.IsZero() && (before.ExpiredAt.IsZero() || after.ExpiredAt.Before(before.ExpiredAt)) {
		return nil
	}
	successor, err := c.successor(ctx, p, before)
	if err == nil && successor != nil {
		err = conflict("This token was rotated: it cannot be made to live longer.", successor.ID)
	}
	return err
}

// rotate issues a successor of p's token of this ID. The successor comes with
// an error only in the Event: the old key then works on, as its expiry tells.
func (c *console) rotate(ctx context.Context, p Principal, id string, grace time.Duration) (httpkey.Created, error) {
	if err := c.spend(ctx, p, ActionRotate); err != nil {
		return httpkey.Created{}, err
	}
	ctx, done, err := c.begin(ctx, id, Event{Action: ActionRotate, Principal: p})
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
	if err := c.bringIntoPolicy(ctx, p, t); err != nil {
		return httpkey.Created{}, c.unchanged(ctx, Event{Action: ActionRotate, Principal: p, Token: t, Err: err})
	}
	secret, successor, err := c.guard.Rotate(ctx, id, grace)
	switch {
	case secret != "":
		c.audit(ctx, Event{Action: ActionRotate, Principal: p, Token: successor, Err: err})
		return httpkey.Created{Token: successor, Secret: secret}, nil
	case errors.Is(err, httpkey.ErrNotFound):
		return httpkey.Created{}, errNotFound
	case errors.Is(err, httpkey.ErrInactive):
		return httpkey.Created{}, errEnded
	}
	return httpkey.Created{}, c.failed(ctx, Event{Action: ActionRotate, Principal: p, Token: t, Err: err})
}

var errEnded = conflict("A token that is revoked or expired cannot be rotated. Create a new one.", "")

// checkRotatable refuses to rotate what p may not, what has ended, and what was rotated
// before.
func (c *console) checkRotatable(ctx context.Context, p Principal, t httpkey.Token) error {
	if err := p.mayRotate(t); err != nil {
		return err
	}
	if hasEnded(t, time.Now()) {
		return errEnded
	}
	successor, err := c.successor(ctx, p, t)
	if err == nil && successor != nil {
		err = conflict("This token was rotated already. Rotate its successor.", successor.ID)
	}
	return err
}

// bringIntoPolicy sees to it that a successor of t, which gets its expiry, does
// not live for longer than the policy has it: t may be older than that. It is a change
// of its own, as the rotation may yet fail.
func (c *console) bringIntoPolicy(ctx context.Context, p Principal, t httpkey.Token) error {
	if c.options.MaxLifetime == 0 {
		return nil
	}
	latest := stored(time.Now().Add(c.options.MaxLifetime))
	livesTooLong := func(t httpkey.Token) bool { return t.ExpiredAt.IsZero() || t.ExpiredAt.After(latest) }
	if !livesTooLong(t) {
		return nil
	}
	t, err := c.amend(ctx, t.ID, func(t *httpkey.Token) error {
		if livesTooLong(*t) {
			t.ExpiredAt = latest
		}
		return nil
	})
	if err != nil {
		return err
	}
	c.audit(ctx, Event{Action: ActionUpdate, Principal: p, Token: t})
	return nil
}

// revoke makes p's token of this ID inactive, for ever.
func (c *console) revoke(ctx context.Context, p Principal, t httpkey.Token) error {
	if err := c.spend(ctx, p, ActionRevoke); err != nil {
		return err
	}
	ctx, done, err := c.begin(ctx, t.ID, Event{Action: ActionRevoke, Principal: p, Token: t})
	if err != nil {
		return err
	}
	defer done()
	return c.end(ctx, p, t)
}

// end is revoke without a cost, in a turn that was taken. Revoking twice is no error and no event.
func (c *console) end(ctx context.Context, p Principal, t httpkey.Token) error {
	if !t.IsActive {
		return nil
	}
	err := c.guard.Revoke(ctx, t.ID)
	if errors.Is(err, httpkey.ErrNotFound) {
		return errNotFound
	}
	if err != nil {
		return c.failed(ctx, Event{Action: ActionRevoke, Principal: p, Token: t, Err: err})
	}
	t.IsActive = false
	c.audit(ctx, Event{Action: ActionRevoke, Principal: p, Token: t})
	return nil
}

// remove deletes p's token t.
func (c *console) remove(ctx context.Context, p Principal, t httpkey.Token) error {
	if err := c.spend(ctx, p, ActionDelete); err != nil {
		return err
	}
	ctx, done, err := c.begin(ctx, t.ID, Event{Action: ActionDelete, Principal: p, Token: t})
	if err != nil {
		return err
	}
	defer done()
	if err := c.store.Delete(ctx, t.ID); err != nil {
		return c.failed(ctx, Event{Action: ActionDelete, Principal: p, Token: t, Err: err})
	}
	c.audit(ctx, Event{Action: ActionDelete, Principal: p, Token: t})
	return nil
}

// limiterTimeout is what a person may wait for a limiter. A key that has leaked must
// be revoked while the limiter is down, too.
const limiterTimeout = 500 * time.Millisecond

// spend takes a change from what p may do.
func (c *console) spend(ctx context.Context, p Principal, action Action) error {
	result, err := c.askLimiter(ctx, p, action)
	if err != nil {
		return c.failed(ctx, Event{Action: action, Principal: p, Err: err})
	}
	if !result.Allowed {
		return throttled(result.RetryAfter)
	}
	return nil
}

// askLimiter asks the stand-in where the limiter fails, and tells of that.
func (c *console) askLimiter(ctx context.Context, p Principal, action Action) (httpkey.Result, error) {
	key := "console:" + p.User
	if c.options.Limiter != nil {
		waiting, cancel := context.WithTimeout(ctx, limiterTimeout)
		defer cancel()
		result, err := c.options.Limiter.Allow(waiting, key, c.options.Limit, 1)
		if err == nil {
			return result, nil
		}
		c.audit(ctx, Event{Action: action, Principal: p, Err: err})
	}
	return c.standIn.Allow(ctx, key, c.options.Limit, 1)
}

// failed tells of an error, which the sender of the request is not told.
func (c *console) failed(ctx context.Context, e Event) error {
	c.audit(ctx, e)
	return errUnavailable
}

func checkLabel(label string, wrong problems) {
	if strings.TrimSpace(label) == "" && wrong["label"] == nil {
		wrong.add("label", "This field may not be blank.")
	}
	checkText("label", label, maxLabel, wrong)
}

func checkDescription(description string, wrong problems) {
	checkText("description", description, maxDescription, wrong)
}

func checkText(field, text string, most int, wrong problems) {
	switch {
	case !utf8.ValidString(text):
		wrong.add(field, "Not a valid string.")
	case strings.ContainsRune(text, 0):
		wrong.add(field, "Null characters are not allowed.")
	case utf8.RuneCountInString(text) > most:
		wrong.add(field, "Ensure this field has no more than %d characters.", most)
	}
}

// checkKind lets none be given, which is an API key.
func checkKind(kind httpkey.Kind, wrong problems) {
	if kind != "" && kind != httpkey.APIKey && kind != httpkey.ServiceToken {
		wrong.add("kind", "%q is not a valid choice.", kind)
	}
}

// unique returns the scopes in the same order, each once; of too many, no more than
// show that they are.
func unique(scopes []string) []string {
	var once []string
	for _, scope := range scopes {
		if len(once) <= maxScopes && !slices.Contains(once, scope) {
			once = append(once, scope)
		}
	}
	return once
}

const notInFuture = "The expiry must be in the future."

// checkExpiry checks the expiry of a token that is created at a moment.
func (c *console) checkExpiry(at, created time.Time, wrong problems) {
	latest := created.Add(c.options.MaxLifetime)
	switch limited := c.options.MaxLifetime > 0; {
	case wrong["expired_at"] != nil:
	case at.IsZero() && limited:
		wrong.add("expired_at", "A token may not live for ever. Give a time no later than %s.", latest.UTC().Format(time.RFC3339))
	case at.IsZero():
	case !at.After(time.Now()):
		wrong.add("expired_at", notInFuture)
	case limited && at.After(latest):
		wrong.add("expired_at", "The expiry must be no later than %s.", latest.UTC().Format(time.RFC3339))
	}
}

// hasEnded reports whether t's key has stopped working for good.
func hasEnded(t httpkey.Token, now time.Time) bool { return !t.IsActive || t.Expired(now) }

// stored returns t as every store can keep it: to the microsecond, in UTC.
func stored(t time.Time) time.Time { return t.UTC().Truncate(time.Microsecond) }

// idOf is the ID of the token that a user's form creates: a UUID of version 8
// (RFC 9562, section 5.8). Sending the same form again makes the same ID, and no
// second token; nobody can make the ID of another user's.
func idOf(user, nonce string) string {
	id := sha256.Sum256([]byte("httpkey console\x00" + user + "\x00" + nonce))
	id[6] = id[6]&0x0f | 0x80
	id[8] = id[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", id[0:4], id[4:6], id[6:8], id[8:10], id[10:16])
}
