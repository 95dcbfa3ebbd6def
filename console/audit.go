package console

import (
	"context"

	"github.com/httpkey/httpkey"
)

// Action is what a person did.
type Action string

// The actions.
const (
	ActionCreate Action = "create" // a token was issued
	ActionUpdate Action = "update" // its label, description or expiry was changed
	ActionRotate Action = "rotate" // a successor was issued
	ActionRevoke Action = "revoke" // it was made inactive
	ActionDelete Action = "delete" // it was removed
	ActionRead   Action = "read"   // it was looked at; told only where that failed
)

// Event is what [Options.Audit] is told: who did what to which token. It holds
// neither a secret nor a digest.
type Event struct {
	Action    Action    // what
	Principal Principal // who

	// Token is what it was done to, as it is after it, or was before a failure.
	// Of a rotation it is the successor, whose RotatedFrom is the old one. It is zero
	// where none is known.
	Token httpkey.Token

	// Err is why it failed: an error of the login, the store, the limiter or a template. Nil:
	// it was done. A rotation with an Err and a successor is done, but that the
	// old key could not be ended. An Err of the limiter is told with the action that
	// asked it, which goes on with the limiter in memory: what becomes of it is told after.
	Err error
}

// audit tells of e.
func (c *console) audit(ctx context.Context, e Event) {
	e.Token.Digest = httpkey.Digest{}
	c.options.Audit(ctx, e)
}
