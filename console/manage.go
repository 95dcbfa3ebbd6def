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
	maxLabel       = 255 // characters, as in httpkey.Token
	maxDescription = 4096
	maxScopes      = 100

	day = 24 * time.Hour
)

// find returns the token of this ID if p manages it. Any other is not found, even if it
// exists.
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

// create issues a token with the properties of t to p. wrong has the problems of reading t.
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
		return httpkey.Created{}, conflict(
			"This token was created already. Its key was shown then and cannot be shown again.", t.ID)
	case errors.Is(err, httpkey.ErrInvalidToken):
		return httpkey.Created{}, malformed("No token can have these properties.")
	case err != nil:
		return httpkey.Created{}, c.failed(ctx, Event{Action: ActionCreate, Principal: p, Token: t, Err: err})
	}
	c.audit(ctx, Event{Action: ActionCreate, Principal: p, Token: created.Token})
	return created, nil
}

// revoke makes t, a token of p, inactive for ever.
func (c *console) revoke(ctx context.Context, p Principal, t httpkey.Token) error {
	ctx, done, err := c.begin(ctx, p, ActionRevoke)
	if err != nil {
		return err
	}
	defer done()
	_, err = c.end(ctx, p, t)
	return err
}

// end is revoke without a charge. It returns the token as it is then. Revoking twice is no
// error and no event.
func (c *console) end(ctx context.Context, p Principal, t httpkey.Token) (httpkey.Token, error) {
	if !t.IsActive {
		return t, nil
	}
	err := c.guard.Revoke(ctx, t.ID, "") // the audit has the person
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

// remove deletes t, a token of p.
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

// changeTimeout bounds how long a change takes.
const changeTimeout = 5 * time.Second

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

// limiterTimeout bounds how long a change waits for the limiter: while that is down, a
// leaked key must be revoked all the same.
const limiterTimeout = 500 * time.Millisecond

// askLimiter asks the limiter, or the one that stands in for it while it fails.
func (c *console) askLimiter(ctx context.Context, p Principal, action Action) (httpkey.Result, error) {
	charge := &httpkey.Charge{Bucket: "console:" + p.User, Limits: []httpkey.Limit{c.options.Limit}, Cost: 1}
	if c.options.Limiter != nil {
		waiting, cancel := context.WithTimeout(context.WithoutCancel(ctx), limiterTimeout)
		defer cancel()
		result, err := c.options.Limiter.Allow(waiting, charge)
		if err == nil {
			return result, nil
		}
		_ = c.failed(ctx, Event{Action: action, Principal: p, Err: err})
	}
	return c.standIn.Allow(ctx, charge)
}

// failed reports an error to the audit, unless the client hung up, which is no failure. The
// client learns nothing of the error.
func (c *console) failed(ctx context.Context, e Event) error {
	if !errors.Is(ctx.Err(), context.Canceled) {
		c.audit(ctx, e)
	}
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

// checkKind admits an empty kind, which means an API key.
func checkKind(kind httpkey.Kind, wrong problems) {
	if kind != "" && kind != httpkey.APIKey && kind != httpkey.ServiceToken {
		wrong.add("kind", "%q is not a valid choice.", kind)
	}
}

// unique returns the scopes in the same order, each once. Of more than maxScopes it returns
// one too many, which shows that there are.
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
	latestText := latest.UTC().Format(time.RFC3339)
	switch limited := c.options.MaxLifetime > 0; {
	case wrong["expired_at"] != nil:
	case at.IsZero() && limited:
		wrong.add("expired_at", "A token may not live for ever. Give a time no later than %s.", latestText)
	case at.IsZero():
	case !at.After(time.Now()):
		wrong.add("expired_at", notInFuture)
	case limited && at.After(latest):
		wrong.add("expired_at", "The expiry must be no later than %s.", latestText)
	}
}

// isLater reports whether an expiry comes after another; zero is never.
func isLater(expiry, other time.Time) bool {
	return !other.IsZero() && (expiry.IsZero() || expiry.After(other))
}

// hasEnded reports whether t's key has stopped working for good.
func hasEnded(t httpkey.Token, now time.Time) bool { return !t.IsActive || t.Expired(now) }

// stored returns t as every store can keep it: to the microsecond, in UTC.
func stored(t time.Time) time.Time { return t.UTC().Truncate(time.Microsecond) }

// idOf returns the ID of the token that a user's form creates: a UUID of version 8
// (RFC 9562, section 5.8). A form that is sent again makes the same ID, and so no second
// token. No user can make an ID of another's.
func idOf(user, nonce string) string {
	id := sha256.Sum256([]byte("httpkey console\x00" + user + "\x00" + nonce))
	id[6] = id[6]&0x0f | 0x80
	id[8] = id[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", id[0:4], id[4:6], id[6:8], id[8:10], id[10:16])
}
