package console

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/httpkey/httpkey"
)

const day = 24 * time.Hour

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
		return httpkey.Token{}, notYours(t)
	}
	return t, nil
}

// begin charges p for a change and returns its context; done must be called after it. The
// change goes on if the client hangs up, so that no rotation is left half done.
func (c *console) begin(ctx context.Context, p Principal, action Action) (_ context.Context, done func(), _ error) {
	if err := c.charge(ctx, p, action, c.options.Limit); err != nil {
		return nil, nil, err
	}
	change, cancel := detached(ctx)
	return change, cancel, nil
}

// detached returns a context with the deadline of ctx, which a client that hangs up does not end.
func detached(ctx context.Context) (context.Context, context.CancelFunc) {
	deadline, ok := ctx.Deadline()
	if !ok {
		deadline = time.Now().Add(timeout)
	}
	return context.WithDeadline(context.WithoutCancel(ctx), deadline)
}

// chargeRead charges p for a request that reads.
func (c *console) chargeRead(r *http.Request, p Principal) error {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return nil
	}
	return c.charge(r.Context(), p, ActionRead, c.options.ReadLimit)
}

// charge takes from a limit of p.
func (c *console) charge(ctx context.Context, p Principal, action Action, limit httpkey.Limit) error {
	result, err := c.askLimiter(ctx, p, action, limit)
	if err != nil {
		return c.failed(ctx, Event{Action: action, Principal: p, Err: err})
	}
	if !result.Allowed {
		return throttled(result.RetryAfter)
	}
	return nil
}

// limiterTimeout bounds how long a request waits for the limiter.
const limiterTimeout = 500 * time.Millisecond

// askLimiter asks the limiter, or the one that stands in for it while it fails.
func (c *console) askLimiter(
	ctx context.Context, p Principal, action Action, limit httpkey.Limit,
) (httpkey.Result, error) {
	charge := &httpkey.Charge{Bucket: "console:" + p.User, Limits: []httpkey.Limit{limit}, Cost: 1}
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

// isLater reports whether an expiry comes after another; zero is never.
func isLater(expiry, other time.Time) bool {
	return !other.IsZero() && (expiry.IsZero() || expiry.After(other))
}

// hasEnded reports whether t's key has stopped working for good.
func hasEnded(t httpkey.Token, now time.Time) bool { return !t.IsActive || t.Expired(now) }

// stored returns t as every store can keep it: to the microsecond, in UTC.
func stored(t time.Time) time.Time { return t.UTC().Truncate(time.Microsecond) }
