package console

import (
	"context"

	"github.com/httpkey/httpkey"
)

// Action is what a person did.
type Action string

// The actions.
const (
	ActionCreate Action = "create"
	ActionUpdate Action = "update" // label, description or expiry
	ActionRotate Action = "rotate"
	ActionRevoke Action = "revoke"
	ActionDelete Action = "delete"
	ActionRead   Action = "read" // told only where it failed
)

// Event is what [Options.Audit] is told: who did what to which token. It holds
// neither a secret nor a digest.
type Event struct {
	Action    Action
	Principal Principal     // who
	Token     httpkey.Token // as it is after the action, or was before a failure; of a rotation, the successor, whose RotatedFrom is the old one
	Err       error         // the store's or the template's error; nil: it was done. A rotation may have both a Token and an Err: then the old key is not ended
}

// audit tells of e.
func (c *console) audit(ctx context.Context, e Event) {
	e.Token.Digest = httpkey.Digest{}
	c.options.Audit(ctx, e)
}
