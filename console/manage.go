package console

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/httpkey/httpkey"
)

const (
	maxGrace = 7 * day // how long a rotated key may go on working

	changeTimeout = 5 * time.Second // how long a change may take

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

// successor returns the token that t was rotated into, or nil if there is none any more.
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

// rotatedFrom finds the successor of a token that was rotated by a version of httpkey
// which did not note it in the old token.
func (c *console) rotatedFrom(ctx context.Context, t httpkey.Token) (*httpkey.Token, error) {
	successors, err := c.store.List(ctx, httpkey.Filter{RotatedFrom: t.ID, Limit: 1})
	if err != nil || len(successors) == 0 {
		return nil, err
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
	ctx, done, err := c.begin(ctx, p, ActionCreate)
	if err != nil {
		return httpkey.Created{}, err
	}
	defer done()
	created, err := c.guard.Issue(ctx, t)
	switch {
	case errors.Is(err, httpkey.ErrConflict):
		return httpkey.Created{}, conflict("This token was created already. Its key was shown then and cannot be shown again.", t.ID)
	case errors.Is(err, httpkey.ErrInvalidToken):
		return httpkey.Created{}, malformed("No token can have these properties.")
	case err != nil:
		return httpkey.Created{}, c.failed(ctx, Event{Action: ActionCreate, Principal: p, Token: t, Err: err})
	}
	c.audit(ctx, Event{Action: ActionCreate, Principal: p, Token: created.Token})
	return created, nil
}

// change says what becomes of a token; nil leaves it as it is.
type change struct {
	label, description *string
	isActive           *bool
	expiredAt          *time.Time // zero: never
}

// update changes p's token t. wrong is what reading ch has found already.
//
// What has ended stays ended, because its key may be in the wrong hands: nothing
// prolongs a revoked or an expired token, nor one that was rotated. The store applies
// these rules to the token as it is then, in the same step as the change.
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

// errUnchanged says that a change leaves a token as it is.
var errUnchanged = errors.New("httpkey: console: the token is so already")

// apply makes the changes in t that ch asks for, or refuses all of them. seen is the
// token as the sender of ch was shown it.
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

// checkNewExpiry refuses another expiry where before has ended, was rotated, or has got
// one from somebody else since it was seen.
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

// checkUnlinked refuses to prolong a token that was rotated and does not say so itself.
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
	"The expiry of a token that is revoked or expired cannot be changed. Create a new one.", "")

func prolongsRotated(successor string) error {
	return conflict("This token was rotated: it cannot be made to live longer.", successor)
}

// isLater reports whether an expiry comes after another; zero is never.
func isLater(expiry, other time.Time) bool {
	return !other.IsZero() && (expiry.IsZero() || expiry.After(other))
}

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

// checkRotatable refuses to rotate what p may not, what has ended, and what has a successor.
// A token whose successor is gone may be rotated again, also where the first rotation has
// ended it: nobody may have seen that key.
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

// bringIntoPolicy shortens the life of a successor, which has the expiry of a token that
// may be older than the policy. An error leaves it with that: it lives no longer than the
// key that it replaces, and the key of its owner is not lost.
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

// revoke makes p's token t inactive, for ever.
func (c *console) revoke(ctx context.Context, p Principal, t httpkey.Token) error {
	ctx, done, err := c.begin(ctx, p, ActionRevoke)
	if err != nil {
		return err
	}
	defer done()
	_, err = c.end(ctx, p, t)
	return err
}

// end is revoke without a cost. It returns the token as it is then. Revoking twice is no
// error and no event.
func (c *console) end(ctx context.Context, p Principal, t httpkey.Token) (httpkey.Token, error) {
	if !t.IsActive {
		return t, nil
	}
	err := c.guard.Revoke(ctx, t.ID, "") // Audit tells who has done it
	if errors.Is(err, httpkey.ErrNotFound) {
		return httpkey.Token{}, errNotFound
	}
	if err != nil {
		return httpkey.Token{}, c.failed(ctx, Event{Action: ActionRevoke, Principal: p, Token: t, Err: err})
	}
	t.IsActive = false
	if revoked, err := c.store.Get(ctx, t.ID); err == nil { // it is revoked whether this works or not
		t = revoked
	}
	c.audit(ctx, Event{Action: ActionRevoke, Principal: p, Token: t})
	return t, nil
}

// remove deletes p's token t.
func (c *console) remove(ctx context.Context, p Principal, t httpkey.Token) error {
	ctx, done, err := c.begin(ctx, p, ActionDelete)
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

// begin charges p for a change and returns its context; done must be called after it. The
// change goes on if the client hangs up, so that no rotation is left half done.
func (c *console) begin(ctx context.Context, p Principal, action Action) (_ context.Context, done func(), _ error) {
	result, err := c.askLimiter(ctx, p, action)
	if err != nil {
		return nil, nil, c.failed(ctx, Event{Action: action, Principal: p, Err: err})
	}
	if !result.Allowed {
		return nil, nil, throttled(result.RetryAfter)
	}
	change, cancel := context.WithTimeout(context.WithoutCancel(ctx), changeTimeout)
	return change, cancel, nil
}

// limiterTimeout bounds what a change waits for the limiter: a key that has leaked must
// be revoked also while that is down.
const limiterTimeout = 500 * time.Millisecond

// askLimiter asks the limiter, or the one that stands in for it while it fails.
func (c *console) askLimiter(ctx context.Context, p Principal, action Action) (httpkey.Result, error) {
	charge := &httpkey.Charge{Bucket: "console:" + p.User, Limits: []httpkey.Limit{c.options.Limit}, Cost: 1}
	if c.options.Limiter != nil {
		waiting, cancel := context.WithTimeout(ctx, limiterTimeout)
		defer cancel()
		result, err := c.options.Limiter.Allow(waiting, charge)
		if err == nil {
			return result, nil
		}
		c.audit(ctx, Event{Action: action, Principal: p, Err: err})
	}
	return c.standIn.Allow(ctx, charge)
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
