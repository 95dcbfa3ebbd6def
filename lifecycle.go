package httpkey

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"
)

// ErrInactive says that a token is revoked or expired, so that it cannot be
// rotated: issue a new one.
var ErrInactive = errors.New("httpkey: the token is revoked or expired")

// Issue creates a token with the properties of t and returns its secret, which
// nobody can show again, and the token as it is stored.
//
// An empty ID is filled with a new one, and an empty Kind means APIKey. Digest,
// Hint, IsActive, LastUsed, CreatedAt and RotatedFrom are Issue's to set; what t
// has there is not used. ExpiredAt must be zero or in the future. Errors wrap
// [ErrInvalidToken], which names the field, [ErrConflict], or the store's.
func (g *Guard) Issue(ctx context.Context, t Token) (Secret, Token, error) {
	t.CreatedAt, t.RotatedFrom = time.Time{}, ""
	secret := g.format.generate(t.Kind)
	t, err := g.create(ctx, secret, t, EventIssued)
	if err != nil {
		return "", Token{}, fmt.Errorf("httpkey: issue: %w", err)
	}
	return secret, t, nil
}

// Import stores a token for a secret that was issued elsewhere, so that its
// holder need not change it. [Options.ImportedMinLength] must allow its shape,
// unless that is our own. The rest is as with [Guard.Issue], but that CreatedAt
// is kept if it is set.
//
// Where only the SHA-256 of the keys is known, create tokens with that as
// their Digest in the store; with a pepper, put an empty one among
// [Options.PreviousPeppers].
func (g *Guard) Import(ctx context.Context, secret Secret, t Token) (Token, error) {
	if !g.format.accepts(secret.Reveal()) {
		return Token{}, fmt.Errorf("httpkey: import: %w: Options.ImportedMinLength does not allow a secret of this shape", ErrInvalidToken)
	}
	t.RotatedFrom = ""
	t, err := g.create(ctx, secret, t, EventIssued)
	if err != nil {
		return Token{}, fmt.Errorf("httpkey: import: %w", err)
	}
	return t, nil
}

// Rotate creates a successor of the token of this ID and lets the old key live
// for the grace period, 0 for not at all, but never beyond its own expiry. The
// successor has the same kind, label, description, user, workspace, scopes,
// limit and expiry, and the old ID as RotatedFrom.
//
// There is a valid key at every moment. If the successor is stored and then
// the old key's end cannot be, Rotate returns the successor and its secret
// together with the error: both keys are valid until you rotate or revoke
// the old one. Rotating a key once more, after a lost answer, say, makes another
// successor with the expiry that the first one got; if that was deleted, the
// expiry is the end of the old key's grace.
//
// A store has no conditional Update, so that a change to the old token that
// others make in the same instant, a revocation even, can be overwritten. Revoke
// a key that has leaked, rather than rotating it.
//
// Errors wrap [ErrNotFound], [ErrInactive], [ErrInvalidToken] if the store has what no
// Guard would put there, or the store's.
func (g *Guard) Rotate(ctx context.Context, id string, grace time.Duration) (Secret, Token, error) {
	if grace < 0 {
		return "", Token{}, fmt.Errorf("httpkey: rotate: the grace is %v, it must not be negative", grace)
	}
	old, err := g.store.Get(ctx, id)
	if err == nil && (!old.IsActive || old.Expired(time.Now())) {
		err = ErrInactive
	}
	if err != nil {
		return "", Token{}, fmt.Errorf("httpkey: rotate: %w", err)
	}
	expiry, err := g.intendedExpiry(ctx, old)
	if err == nil && (Token{ExpiredAt: expiry}).Expired(time.Now()) {
		err = ErrInactive
	}
	if err != nil {
		return "", Token{}, fmt.Errorf("httpkey: rotate: %w", err)
	}
	secret := g.format.generate(old.Kind)
	successor, err := g.create(ctx, secret, Token{
		Kind:        old.Kind,
		Label:       old.Label,
		Description: old.Description,
		User:        old.User,
		Workspace:   old.Workspace,
		Scopes:      old.Scopes,
		Limit:       old.Limit,
		ExpiredAt:   expiry,
		RotatedFrom: old.ID,
	}, EventRotated)
	if err != nil {
		return "", Token{}, fmt.Errorf("httpkey: rotate: %w", err)
	}
	if err := g.retire(ctx, old.ID, time.Now().Add(grace)); err != nil {
		return secret, successor, fmt.Errorf("httpkey: rotate: %s has its successor %s but is itself not ended: %w", old.ID, successor.ID, err)
	}
	return secret, successor, nil
}

// Revoke makes the token of this ID inactive and keeps it for audit;
// [TokenStore.Delete] removes one. Revoking twice is no error. Errors wrap
// [ErrNotFound] or the store's.
func (g *Guard) Revoke(ctx context.Context, id string) error {
	t, err := g.store.Get(ctx, id)
	if err != nil {
		return fmt.Errorf("httpkey: revoke: %w", err)
	}
	if !t.IsActive {
		return nil
	}
	t.IsActive = false
	if err := g.store.Update(ctx, t); err != nil {
		return fmt.Errorf("httpkey: revoke: %w", err)
	}
	g.observe(ctx, Event{Type: EventRevoked, Token: t})
	return nil
}

// Masked returns what may be shown of t's secret, by which people recognize it: the
// beginning that all of its kind have, and its Hint, as in hk_k_…a1B2. Where
// [Options.ImportedMinLength] lets in keys of other shapes, the beginning is not known
// and left out.
func (g *Guard) Masked(t Token) string {
	if g.format.importedMinLength > 0 {
		return "…" + t.Hint
	}
	return g.format.beginning(t.Kind) + "…" + t.Hint
}

// ninetyDays is the customary age at which a key is replaced, or given up if unused.
const ninetyDays = 90 * 24 * time.Hour

// Due yields the valid tokens among those that f selects that are at least
// this old, newest first: they are due for rotation. An age of 0 or less means
// 90 days. It reads pages of f.Limit tokens as the loop goes on; an error of the
// store is yielded last.
func (g *Guard) Due(ctx context.Context, f Filter, age time.Duration) iter.Seq2[Token, error] {
	return g.validSince(ctx, f, age, func(t Token) time.Time { return t.CreatedAt })
}

// Unused yields the valid tokens among those that f selects that nobody has used
// for this long, or at all since they were created that long ago. For the rest
// it is as [Guard.Due].
func (g *Guard) Unused(ctx context.Context, f Filter, idle time.Duration) iter.Seq2[Token, error] {
	return g.validSince(ctx, f, idle, func(t Token) time.Time {
		if t.LastUsed.After(t.CreatedAt) {
			return t.LastUsed
		}
		return t.CreatedAt
	})
}

// validSince yields the valid tokens whose moment lies at least age back.
func (g *Guard) validSince(ctx context.Context, f Filter, age time.Duration, moment func(Token) time.Time) iter.Seq2[Token, error] {
	if age <= 0 {
		age = ninetyDays
	}
	return func(yield func(Token, error) bool) {
		now := time.Now()
		for f := f; ; {
			page, err := g.store.List(ctx, f)
			if err != nil {
				yield(Token{}, fmt.Errorf("httpkey: list: %w", err))
				return
			}
			for _, t := range page {
				if t.IsActive && !t.Expired(now) && now.Sub(moment(t)) >= age && !yield(t, nil) {
					return
				}
			}
			if len(page) < f.PageSize() {
				return
			}
			f.After = page[len(page)-1].Cursor()
		}
	}
}

// create stores t as the token of secret.
func (g *Guard) create(ctx context.Context, secret Secret, t Token, event EventType) (Token, error) {
	now := time.Now()
	if t.ID == "" {
		t.ID = newID(now)
	}
	if t.Kind == "" {
		t.Kind = APIKey
	}
	if t.CreatedAt.IsZero() {
		t.CreatedAt = now
	}
	t.CreatedAt = stored(t.CreatedAt)
	t.ExpiredAt = stored(t.ExpiredAt)
	t.LastUsed = time.Time{}
	t.IsActive = true
	t.Digest = g.digesters[0](secret.Reveal())
	t.Hint = secret.hint()
	t = t.clone()
	if err := t.Validate(); err != nil {
		return Token{}, err
	}
	if t.Expired(now) {
		return Token{}, fmt.Errorf("%w: ExpiredAt is %v, it must be in the future", ErrInvalidToken, t.ExpiredAt)
	}
	if err := g.store.Create(ctx, t); err != nil {
		return Token{}, err
	}
	g.observe(ctx, Event{Type: event, Token: t})
	return t, nil
}

// stored returns t as every store can keep it: to the microsecond, in UTC.
func stored(t time.Time) time.Time { return t.UTC().Truncate(time.Microsecond) }

// maxRotations is how far intendedExpiry follows the successors of a token:
// weekly rotation for nineteen years. A store that holds a circle must not hold us.
const maxRotations = 1000

// intendedExpiry returns the expiry that a successor of t gets. That is t's
// own, unless t was rotated before: then its own was cut short, and the one
// meant is with its latest successor.
func (g *Guard) intendedExpiry(ctx context.Context, t Token) (time.Time, error) {
	for range maxRotations {
		successors, err := g.store.List(ctx, Filter{RotatedFrom: t.ID, Limit: 1})
		if err != nil {
			return time.Time{}, err
		}
		if len(successors) == 0 {
			return t.ExpiredAt, nil
		}
		t = successors[0]
	}
	return time.Time{}, fmt.Errorf("%w: RotatedFrom goes on for more than %d tokens", ErrInvalidToken, maxRotations)
}

// retire ends the token of this ID at a moment, if it does not end before. It
// reads the token anew, right before it writes: since Rotate began, it may have
// been revoked.
func (g *Guard) retire(ctx context.Context, id string, at time.Time) error {
	t, err := g.store.Get(ctx, id)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	at = stored(at)
	if !t.IsActive || t.Expired(at) {
		return nil
	}
	t.ExpiredAt = at
	return g.store.Update(ctx, t)
}
