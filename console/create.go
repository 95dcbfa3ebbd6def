package console

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"github.com/httpkey/httpkey"
)

// create issues a token with the properties of t to p, or to a workspace of p. wrong has the
// problems of reading t.
func (c *console) create(ctx context.Context, p Principal, t httpkey.Token, wrong problems) (httpkey.Created, error) {
	t.Scopes = unique(t.Scopes)
	checkLabel(t.Label, wrong)
	checkDescription(t.Description, wrong)
	checkKind(t.Kind, wrong)
	c.checkExpiry(t.ExpiredAt, time.Now(), wrong)
	if len(t.Scopes) > maxScopes {
		wrong.add("scopes", tooMany(maxScopes))
	}
	if t.Kind == httpkey.ServiceToken && t.Workspace == "" && len(p.Workspaces) > 0 {
		wrong.add("workspace", requiredWorkspace)
	}
	if err := wrong.asError(); err != nil {
		return httpkey.Created{}, err
	}
	t.User = p.User
	if t.Kind == httpkey.ServiceToken { // it acts for no person
		t.User, t.CreatedBy = "", p.User
	}
	if err := p.mayGrant(t); err != nil {
		return httpkey.Created{}, err
	}
	ctx, done, err := c.begin(ctx, p, ActionCreate)
	if err != nil {
		return httpkey.Created{}, err
	}
	defer done()
	if err := c.checkRoom(ctx, p, t); err != nil {
		return httpkey.Created{}, err
	}
	created, err := c.guard.Issue(ctx, t)
	switch {
	case errors.Is(err, httpkey.ErrConflict):
		return httpkey.Created{}, createdAlready(t.ID)
	case errors.Is(err, httpkey.ErrInvalidToken):
		return httpkey.Created{}, errNoSuchToken
	case err != nil:
		return httpkey.Created{}, c.failed(ctx, Event{Action: ActionCreate, Principal: p, Token: t, Err: err})
	}
	c.audit(ctx, Event{Action: ActionCreate, Principal: p, Token: created.Token})
	return created, nil
}

// checkRoom refuses another token to an owner who has Options.MaxTokens that work. Two requests at
// once may each find the last place.
func (c *console) checkRoom(ctx context.Context, p Principal, t httpkey.Token) error {
	if _, err := c.store.Get(ctx, t.ID); t.ID != "" && err == nil {
		return nil // a form that is sent again is told so, and makes no token
	}
	owned := httpkey.Filter{User: t.User, Limit: scanPage}
	if t.User == "" {
		owned.Workspace, owned.Kind = t.Workspace, httpkey.ServiceToken
	}
	now, alive := time.Now(), 0
	for range maxScan / scanPage {
		tokens, err := c.store.List(ctx, owned)
		if err != nil {
			return c.failed(ctx, Event{Action: ActionCreate, Principal: p, Token: t, Err: err})
		}
		for _, other := range tokens {
			if !hasEnded(other, now) && other.User == t.User {
				alive++
			}
		}
		if alive >= c.options.MaxTokens {
			return tooManyTokens(c.options.MaxTokens)
		}
		if len(tokens) < owned.PageSize() {
			return nil
		}
		owned.After = tokens[len(tokens)-1].Cursor()
	}
	return nil
}

// idOf returns the ID of the token that a user's form creates. A form that is sent again makes the
// same ID, and so no second token.
func idOf(user, nonce string) string { return derivedID("httpkey console", user, nonce) }

// idOfRequest does so for a request with an Idempotency-Key; without one, the Guard chooses an ID.
func idOfRequest(user, key string) string {
	if key == "" {
		return ""
	}
	return derivedID("httpkey console Idempotency-Key", user, key)
}

// derivedID returns a UUID of version 8 (RFC 9562, section 5.8). No user can make an ID of
// another's.
func derivedID(domain, user, nonce string) string {
	id := sha256.Sum256([]byte(domain + "\x00" + user + "\x00" + nonce))
	id[6] = id[6]&0x0f | 0x80
	id[8] = id[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", id[0:4], id[4:6], id[6:8], id[8:10], id[10:16])
}
