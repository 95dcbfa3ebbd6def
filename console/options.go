package console

import (
	"context"
	"fmt"
	"io/fs"
	"net/http"
	"time"

	"github.com/httpkey/httpkey"
)

// Options configure a [New] console. Principal is required; each other field has a default
// as its zero value.
type Options struct {
	// Principal is your login. It returns the person who sent a request, with their rights.
	// The console answers 401 to an error, and to a Principal without a User. An error that
	// wraps [httpkey.ErrUnavailable] says that sessions cannot be read now: the console
	// answers 503, and reports it to Audit.
	//
	// Every request except those for the stylesheet, the script and the icon calls it, from
	// many goroutines at once. It is required.
	Principal func(*http.Request) (Principal, error)

	// Limiter limits how often one user may change tokens: create, edit, rotate, revoke
	// and delete together. The payer is "console:" and the user. Nil: a limiter in the
	// memory of this process, which also stands in for one that fails, or takes longer
	// than half a second.
	Limiter httpkey.Limiter
	// Limit is the limit that Limiter applies. Zero: 30 a minute.
	Limit httpkey.Limit

	// MaxLifetime bounds how long a token lives from its creation on: no token gets a
	// later expiry, or none. A token from before may outlive it; its successor may not.
	// 0: tokens may live for ever.
	MaxLifetime time.Duration

	// Audit receives every change after it was made, and every failure that is not the
	// request's fault. It runs on the path of the request, from many goroutines at once.
	// Nil: none. The Guard's [httpkey.Observer] also gets an event when a token is issued,
	// rotated or revoked, but without the person.
	Audit func(context.Context, Event)

	// Files override the console's own. Their template definitions, which hold every text,
	// replace the console's one by one, and the rules of their style.css follow the
	// console's. See the package documentation. New reads them once. Nil: no overrides.
	Files fs.FS
}

// Validate reports the first invalid field of o, in an error that wraps
// [httpkey.ErrInvalidOptions] and names it. [New] panics with that error.
func (o *Options) Validate() error {
	invalid := func(field, format string, args ...any) error {
		return fmt.Errorf("%w: %s "+format, append([]any{httpkey.ErrInvalidOptions, field}, args...)...)
	}
	switch {
	case o == nil || o.Principal == nil:
		return invalid("Principal", "is nil: there is no console without a login")
	case o.MaxLifetime < 0:
		return invalid("MaxLifetime", "is %v, it must not be negative", o.MaxLifetime)
	}
	if o.Limit != (httpkey.Limit{}) {
		if err := o.Limit.Validate(); err != nil {
			return invalid("Limit", "is of no use: %w", err)
		}
	}
	if _, err := lookOf(o.Files); err != nil {
		return invalid("Files", "cannot be used: %w", err)
	}
	return nil
}

// withDefaults returns a copy of o with the defaults filled in, except for Limiter.
func (o *Options) withDefaults() Options {
	d := *o
	if d.Limit == (httpkey.Limit{}) {
		d.Limit = httpkey.PerMinute(30)
	}
	if d.Audit == nil {
		d.Audit = func(context.Context, Event) {}
	}
	return d
}
