package console

import (
	"context"

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
	ActionRead   Action = "read"   // it was looked at; told only if that failed
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

	// Err is why the act failed: an error of the login, the store, the limiter or a
	// template. Nil: it was done.
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
