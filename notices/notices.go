// Package notices tells the owners of tokens that these expire soon: once for each token and
// threshold, whatever the number of processes.
//
//	notifier := notices.New(guard, mail, nil)
//	for range time.Tick(time.Hour) { // in each process
//		if _, err := notifier.Send(ctx); err != nil {
//			log.Print(err)
//		}
//	}
//
// The function mail is the program's. It gets all that is due for an owner at once, for one mail.
//
// # Once, and at least once
//
// A [Notifier] claims a token, calls mail, and then marks the token as told. Claim and mark are
// compare-and-set updates in the token store, so of all processes one calls mail. The claim of a
// process that is killed ends after a lease, and another process calls mail. So a notice is never
// lost, and is sent once, except in three cases. It may come again if a process is killed after
// the mail and before the mark, if the store fails to mark, or if mail takes longer than its
// context allows. The clocks of the processes may differ by less than the lease.
//
// Claim and mark are a property of [httpkey.Token.More], which every store keeps. They are not in
// the Metadata, which the program may replace, and which has a bound. They need no table, and end
// with their token. They name the expiry: if it changes, there are new notices.
package notices

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/httpkey/httpkey"
)

const (
	day          = 24 * time.Hour
	defaultLease = 10 * time.Minute
	leastLease   = time.Second
	markTimeout  = 5 * time.Second
	mostErrors   = 10 // that Send joins
)

// Options configure a [Notifier]. The zero value, and nil, are the defaults.
type Options struct {
	// Thresholds are the times before the expiry at which owners are told, in any order. Nil: 30
	// days, 7 days and 1 day.
	Thresholds []time.Duration
	// Lease bounds a call of mail, and delays the notices of a process that is killed. It is at
	// least a second. 0: 10 minutes.
	Lease time.Duration
}

// Validate reports the first invalid field of o, in an error that wraps
// [httpkey.ErrInvalidOptions] and names it. [New] panics with that error.
func (o *Options) Validate() error {
	if o == nil {
		return nil
	}
	if o.Thresholds != nil && len(o.Thresholds) == 0 {
		return fmt.Errorf("%w: Thresholds is empty, nil are the defaults", httpkey.ErrInvalidOptions)
	}
	for _, threshold := range o.Thresholds {
		if threshold <= 0 {
			return fmt.Errorf("%w: Thresholds has %v, it must be positive", httpkey.ErrInvalidOptions, threshold)
		}
	}
	if o.Lease != 0 && o.Lease < leastLease {
		return fmt.Errorf("%w: Lease is %v, it must be at least %v", httpkey.ErrInvalidOptions, o.Lease, leastLease)
	}
	return nil
}

// Notice is about a token that expires soon.
type Notice struct {
	Token     httpkey.Token // as it is stored, without its secret
	Threshold time.Duration // the time before the expiry that the token has reached
}

// Notifier sends notices. Make one with [New]. It is safe for concurrent use.
type Notifier struct {
	guard      *httpkey.Guard
	mail       func(ctx context.Context, user string, due []Notice) error
	thresholds []time.Duration // ascending
	lease      time.Duration
}

// New returns a Notifier for the tokens of a Guard's store. Nil opts mean the defaults. It does no
// I/O and starts no goroutine. It panics if guard or mail is nil, and with the error of
// [Options.Validate].
//
// The function mail tells an owner of all notices that are due, oldest token first. The user may be
// empty, as of a token that belongs to a workspace alone. If mail returns an error, the next Send
// calls it again. It should heed its context.
func New(
	guard *httpkey.Guard, mail func(ctx context.Context, user string, due []Notice) error, opts *Options,
) *Notifier {
	switch {
	case guard == nil:
		panic("httpkey: notices.New needs a Guard, as httpkey.New makes one")
	case mail == nil:
		panic("httpkey: notices.New needs a function that mails")
	}
	if err := opts.Validate(); err != nil {
		panic(err.Error())
	}
	n := &Notifier{guard, mail, []time.Duration{day, 7 * day, 30 * day}, defaultLease}
	if opts != nil && opts.Thresholds != nil {
		n.thresholds = slices.Sorted(slices.Values(opts.Thresholds))
	}
	if opts != nil {
		n.lease = cmp.Or(opts.Lease, n.lease)
	}
	return n
}

// String returns the name of the type, which templates print.
func (n *Notifier) String() string { return "notices.Notifier" }

// Format keeps the store of the Guard out of a printed Notifier.
func (n *Notifier) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, n.String()) }

// Send tells the owners of what is due now, and returns the number of notices. Call it every hour or
// so, in any number of processes. It reads all tokens, 1,000 at a time, and holds those that are due.
//
// A token has a notice for each threshold that is shorter than its life: its owner has just chosen
// the expiry of a younger one. If a token has passed several thresholds since the last Send, the
// owner is told of the last one. Tokens that were rotated and those that have ended get none.
//
// A failure for one owner does not keep the others from being told. The error joins up to 10
// failures, and also that of the store's List, which ends Send.
func (n *Notifier) Send(ctx context.Context) (sent int, err error) {
	due, err := n.due(ctx)
	if err != nil {
		return 0, fmt.Errorf("httpkey: notices: %w", err)
	}
	var failed []error
	for user, ids := range due { // in another order in each process, so that they share the work
		if ctx.Err() != nil {
			failed = append(failed, ctx.Err())
			break
		}
		told, err := n.tell(ctx, user, ids)
		sent += told
		if err != nil && len(failed) < mostErrors {
			failed = append(failed, err)
		}
	}
	if err := errors.Join(failed...); err != nil {
		return sent, fmt.Errorf("httpkey: notices: %w", err)
	}
	return sent, nil
}

// due returns the IDs of the tokens with a notice that is due, by their owners. Those of an owner
// are in one order in all processes, so that the first claim decides who tells the owner.
func (n *Notifier) due(ctx context.Context) (map[string][]string, error) {
	due := make(map[string][]string)
	now := time.Now()
	for t, err := range n.guard.Expiring(ctx, httpkey.Filter{Limit: 1000}, n.thresholds[len(n.thresholds)-1]) {
		if err != nil {
			return nil, err
		}
		if n.reached(&t, now) == 0 {
			continue
		}
		m, err := read(&t)
		if err != nil || n.owes(&t, m, now) { // the claim reports the error
			due[t.User] = append(due[t.User], t.ID)
		}
	}
	for _, ids := range due {
		slices.Reverse(ids) // oldest first
	}
	return due, nil
}

// reached returns the shortest threshold that t has reached, or 0.
func (n *Notifier) reached(t *httpkey.Token, now time.Time) time.Duration {
	for _, threshold := range n.thresholds {
		if t.ExpiredAt.Sub(now) <= threshold && threshold < t.ExpiredAt.Sub(t.CreatedAt) {
			return threshold
		}
	}
	return 0
}

// owes reports whether the owner of t is to be told.
func (n *Notifier) owes(t *httpkey.Token, m mark, now time.Time) bool {
	ends := !t.IsActive || t.Expired(now) || t.ExpiredAt.IsZero() || t.RotatedTo != ""
	threshold := n.reached(t, now)
	return !ends && threshold != 0 && (m.Told == 0 || threshold < m.Told)
}

// tell claims tokens of an owner, calls mail, and marks the tokens. It returns the number of notices.
func (n *Notifier) tell(ctx context.Context, user string, ids []string) (told int, err error) {
	claim := claim{by: rand.Text(), until: time.Now().Add(n.lease)}
	notices, err := n.claimAll(ctx, ids, claim)
	if len(notices) == 0 {
		return 0, err
	}
	mailing, cancel := context.WithDeadline(ctx, claim.until)
	defer cancel()
	failed := n.mail(mailing, user, notices)
	if failed == nil {
		told = len(notices)
	} else {
		err = fmt.Errorf("tell %q: %w", user, failed)
	}
	for _, notice := range notices {
		err = cmp.Or(err, n.settle(ctx, notice, claim, failed == nil))
	}
	return told, err
}

// claimAll claims tokens of an owner. It stops at one that another process has claimed, which also
// has the owner's other tokens, or will have them. The error is the first of a token.
func (n *Notifier) claimAll(ctx context.Context, ids []string, c claim) (notices []Notice, err error) {
	for _, id := range ids {
		notice, failed := n.claim(ctx, id, c)
		switch {
		case failed == nil:
			notices = append(notices, notice)
		case errors.Is(failed, errClaimed):
			return notices, err
		case !errors.Is(failed, errNotDue) && !errors.Is(failed, httpkey.ErrNotFound):
			err = cmp.Or(err, fmt.Errorf("claim %q: %w", id, failed))
		}
	}
	return notices, err
}

var (
	errNotDue  = errors.New("nothing is due")
	errClaimed = errors.New("another process has claimed it")
)

// claim claims a token, if it still has a notice that is due.
func (n *Notifier) claim(ctx context.Context, id string, c claim) (Notice, error) {
	var threshold time.Duration
	t, err := n.guard.Store().Update(ctx, id, func(t *httpkey.Token) error {
		m, err := read(t)
		now := time.Now()
		switch {
		case err != nil:
			return err
		case !n.owes(t, m, now):
			return errNotDue
		case m.By != "" && m.By != c.by && now.Before(m.Until):
			return errClaimed
		}
		m.By, m.Until = c.by, c.until
		threshold = n.reached(t, now)
		return m.write(t)
	})
	return Notice{t, threshold}, err
}

// settle ends a claim, and marks the token if its owner was told, also if ctx has ended.
func (n *Notifier) settle(ctx context.Context, notice Notice, c claim, told bool) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), markTimeout)
	defer cancel()
	_, err := n.guard.Store().Update(ctx, notice.Token.ID, func(t *httpkey.Token) error {
		m, err := read(t)
		switch {
		case err != nil:
			return err
		case !t.ExpiredAt.Equal(notice.Token.ExpiredAt), m.By != c.by && !told:
			return errNotDue
		}
		if m.By == c.by {
			m.By, m.Until = "", time.Time{}
		}
		if told && (m.Told == 0 || notice.Threshold < m.Told) {
			m.Told = notice.Threshold
		}
		return m.write(t)
	})
	if err == nil || errors.Is(err, errNotDue) || errors.Is(err, httpkey.ErrNotFound) {
		return nil
	}
	if !told {
		return fmt.Errorf("end the claim of %q: %w", notice.Token.ID, err)
	}
	return fmt.Errorf("mark %q, whose owner was told and may be told again: %w", notice.Token.ID, err)
}
