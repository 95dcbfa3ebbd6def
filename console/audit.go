package console

import (
	"context"
	"net/http"

	"github.com/httpkey/httpkey"
)

// Action names an act of a person.
type Action string

// The actions.
const (
	ActionCreate Action = "create" // a token was issued
	ActionUpdate Action = "update" // its label, description or expiry was changed
	ActionRotate Action = "rotate" // a successor was issued
	ActionRevoke Action = "revoke" // it was made inactive
	ActionDelete Action = "delete" // it was removed
	ActionRead   Action = "read"   // it was looked at; told only if that failed or was refused
)

// Event tells [Options.Audit] of an act: who did what to which token. It holds neither a
// secret nor a digest.
type Event struct {
	Action    Action    // the act
	Principal Principal // the person

	// Token is the token as it is after the act, or was before a failure. Of a rotation
	// it is the successor, whose RotatedFrom names the old one. It is zero if none is
	// known.
	Token httpkey.Token

	// Refusal is why the act was refused, as the code of the JSON API: not_authenticated,
	// cross_site, forbidden, not_found (the token of another person), or throttled. Empty: it
	// was not refused.
	Refusal string

	// Err is why the act failed: an error of the login, the store, the limiter or a
	// template. If Refusal is empty too, the act was done.
	//
	// A rotation that has both an Err and a successor was done, but the successor
	// outlives [Options.MaxLifetime]. An Err of the limiter comes with the action that
	// asked it. The limiter in memory then decides, and a further Event tells the outcome.
	Err error
}

// audit tells Options.Audit of e.
func (c *console) audit(ctx context.Context, e Event) {
	e.Token.Digest = httpkey.Digest{}
	c.options.Audit(ctx, e)
}

// auditRefusal tells Options.Audit of a refusal that shows what a person, or an attacker, tried.
func (c *console) auditRefusal(ctx context.Context, action Action, p Principal, f *failure) {
	switch {
	case f.status == http.StatusNotFound && f.token.ID == "":
	case f.status == http.StatusUnauthorized, f.status == http.StatusForbidden, f.status == http.StatusNotFound,
		f.status == http.StatusTooManyRequests:
		c.audit(ctx, Event{Action: action, Principal: p, Token: f.token, Refusal: f.code})
	}
}
