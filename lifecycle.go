package httpkey

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"time"

	"github.com/httpkey/httpkey/internal/adoption"
	"github.com/httpkey/httpkey/internal/bounds"
	"github.com/httpkey/httpkey/internal/keyformat"
	"github.com/httpkey/httpkey/internal/name"
	"github.com/httpkey/httpkey/internal/paging"
)

// ErrInactive says that a token is revoked or expired. It can neither be rotated nor be
// made valid again: issue a new one.
var ErrInactive = errors.New("httpkey: the token is revoked or expired")

// Issue creates a token with the properties of t and returns the stored token with its
// secret. The secret cannot be recovered later.
//
// An empty ID gets a new one, and an empty Kind means APIKey. Issue sets Digest, Hint,
// IsActive, LastUsed, CreatedAt and the fields of rotation and revocation itself.
// ExpiredAt must be zero or in the future. An error comes without a secret. It wraps
// [ErrInvalidToken] and names the field, or wraps [ErrConflict] or the store's error.
func (g *Guard) Issue(ctx context.Context, t Token) (Created, error) {
	t.IsActive, t.CreatedAt, t.LastUsed, t.RotatedFrom, t.rest = true, time.Time{}, time.Time{}, "", rest{}
	t.RevokedAt, t.RevokedFor, t.RevokedBy = time.Time{}, "", ""
	if (Token{ExpiredAt: stored(t.ExpiredAt)}).Expired(time.Now()) {
		return Created{}, fmt.Errorf("httpkey: issue: %w: ExpiredAt is %v, it must be in the future",
			ErrInvalidToken, t.ExpiredAt)
	}
	secret := g.newSecret(t.Kind)
	t, err := g.create(ctx, secret, t)
	if err != nil {
		return Created{}, fmt.Errorf("httpkey: issue: %w", err)
	}
	g.observe(ctx, &Event{Type: EventIssued, Token: t})
	return Created{Token: t, Secret: secret}, nil
}

func (g *Guard) newSecret(kind Kind) Secret { return Secret(g.format.Generate(kind == ServiceToken)) }

// Import stores a token for a secret that was issued elsewhere, so that its
// holder need not change it. [Options.ImportedMinLength] must allow the secret's shape,
// unless Issue makes secrets of that shape.
//
// Import keeps t's IsActive, LastUsed, CreatedAt and ExpiredAt, and RevokedAt, RevokedFor
// and RevokedBy of an inactive token. Set IsActive for a key that is to work. A key that has
// ended elsewhere may be imported for audit. It does not work. The error wraps [ErrConflict] if
// a token has this secret, also under one of [Options.PreviousPeppers].
//
// A secret of fewer than 32 characters gets no Hint, which would reveal much of it. Without
// [Options.Pepper], Import also reports [EventWeakKey]: 16 hexadecimal digits have 64 random
// bits, so a thief of the store can find such a key by trying. Otherwise Import behaves as
// [Guard.Issue].
//
// If only the SHA-256 of a key is known, create a token with that Digest in the
// store. If there is a pepper, add an empty one to [Options.PreviousPeppers].
func (g *Guard) Import(ctx context.Context, secret Secret, t Token) (Token, error) {
	t, err := g.importToken(ctx, secret, t)
	if err != nil {
		return Token{}, fmt.Errorf("httpkey: import: %w", err)
	}
	g.observe(ctx, &Event{Type: EventIssued, Token: t})
	if keyformat.IsShort(secret.Reveal()) && !g.hasPepper {
		g.observe(ctx, &Event{Type: EventWeakKey, Token: t})
	}
	return t, nil
}

// Ensure is a [Guard.Import] that may be repeated, for keys that come from the environment or
// belong to a test. It returns the token that has the secret already, as it is stored: later
// changes of t change nothing. Ensure sets IsActive itself. The error wraps [ErrInactive] if
// that token is revoked or expired, and [ErrConflict] if another token has the ID of t.
func (g *Guard) Ensure(ctx context.Context, secret Secret, t Token) (Token, error) {
	t.IsActive = true
	created, err := g.Import(ctx, secret, t)
	if !errors.Is(err, ErrConflict) {
		return created, err
	}
	known, findErr := g.find(ctx, g.digesters, secret.Reveal())
	switch {
	case errors.Is(findErr, ErrNotFound):
		return Token{}, err
	case findErr != nil:
		return Token{}, fmt.Errorf("httpkey: ensure: %w", findErr)
	case !known.IsActive || known.Expired(time.Now()):
		return Token{}, fmt.Errorf("httpkey: ensure: %w", ErrInactive)
	}
	return known, nil
}

// adopt asks Options.Adopt for a key that the store does not have, and imports the token.
func (g *Guard) adopt(ctx context.Context, key string) (Token, error) {
	digest := g.digesters[0](key)
	ctx, cancel := detached(ctx)
	defer cancel()
	done, err := g.adoptions.Wait(ctx, digest)
	switch {
	case errors.Is(err, adoption.ErrRefused):
		return Token{}, ErrNotFound
	case err != nil:
		return Token{}, err
	}
	defer done()
	known, err := g.find(ctx, g.digesters, key)
	if !errors.Is(err, ErrNotFound) {
		return known, err
	}
	t, err := g.options.Adopt(ctx, key)
	switch {
	case errors.Is(err, ErrNotFound):
		g.adoptions.Refuse(digest)
		return Token{}, ErrNotFound
	case err != nil:
		return Token{}, fmt.Errorf("httpkey: Options.Adopt: %w", err)
	}
	t, err = g.Import(ctx, Secret(key), t)
	if errors.Is(err, ErrConflict) { // another process has imported it, or its ID is taken
		known, findErr := g.find(ctx, g.digesters, key)
		if !errors.Is(findErr, ErrNotFound) {
			return known, findErr
		}
	}
	return t, err
}

// importToken stores t as the token of secret, unless a token has the secret already.
func (g *Guard) importToken(ctx context.Context, secret Secret, t Token) (Token, error) {
	if !g.format.Accepts(secret.Reveal()) {
		return Token{}, fmt.Errorf("%w: Options.ImportedMinLength does not allow a secret of this shape", ErrInvalidToken)
	}
	t.RotatedFrom, t.rest = "", rest{}
	if t.IsActive {
		t.RevokedFor, t.RevokedBy = "", ""
	}
	_, err := g.find(ctx, g.digesters[1:], secret.Reveal()) // Create checks the current digest
	switch {
	case err == nil:
		return Token{}, ErrConflict
	case !errors.Is(err, ErrNotFound):
		return Token{}, err
	}
	return g.create(ctx, secret, t)
}

// create stores t as the token of secret.
func (g *Guard) create(ctx context.Context, secret Secret, t Token) (Token, error) {
	now := time.Now()
	if t.ID == "" {
		t.ID = name.NewID(now)
	}
	if t.Kind == "" {
		t.Kind = APIKey
	}
	if t.CreatedAt.IsZero() {
		t.CreatedAt = now
	}
	t.RotatedTo = ""
	t.CreatedAt, t.ExpiredAt = stored(t.CreatedAt), stored(t.ExpiredAt)
	t.LastUsed, t.RevokedAt = stored(t.LastUsed), stored(t.RevokedAt)
	t.Digest = g.digesters[0](secret.Reveal())
	t.Hint = keyformat.Hint(secret.Reveal())
	t = t.Clone()
	if err := t.Validate(); err != nil {
		return Token{}, err
	}
	if !name.IsSegment(t.ID) { // Validate accepts it, because earlier versions stored such IDs
		return Token{}, fmt.Errorf("%w: ID is %q, it must be a segment of a URL path", ErrInvalidToken, t.ID)
	}
	return g.store.Create(ctx, t)
}

// Rotate creates a successor of the token with this ID. The old key stays valid for the
// grace period, but never beyond its own expiry; a grace of 0 ends it at once. The
// successor has the same kind, label, description, user, workspace, scopes, limits,
// networks, metadata and expiry. It has the old ID as RotatedFrom, and pays from the same
// bucket. The old token has the successor's ID as RotatedTo.
//
// An error comes without a secret, and says whether the old key's expiry has changed.
// After an error, or a lost response, call Rotate again with the same ID, even if the
// rotation has ended the old key. That creates another successor with the original expiry.
//
// Errors wrap [ErrNotFound], [ErrInactive], [ErrConflict] if another rotation of the token
// came in between, [ErrInvalidToken] if the stored token is invalid, or the store's error.
func (g *Guard) Rotate(ctx context.Context, id string, grace time.Duration) (Created, error) {
	return rotated(g.rotate(ctx, id, grace, false))
}

// RotateOnce is [Guard.Rotate] for a token without a successor. So of several calls, one at most
// creates a key, whatever process makes them. The error wraps [ErrConflict] if the token was
// rotated before, even if its successor was deleted. After another error, another call may find
// the token rotated although nobody has the new key; Rotate then creates one.
func (g *Guard) RotateOnce(ctx context.Context, id string, grace time.Duration) (Created, error) {
	return rotated(g.rotate(ctx, id, grace, true))
}

func rotated(created Created, err error) (Created, error) {
	if err != nil {
		return Created{}, fmt.Errorf("httpkey: rotate: %w", err)
	}
	return created, nil
}

// rotate rotates a token. If once is true, the token must have no successor.
func (g *Guard) rotate(ctx context.Context, id string, grace time.Duration, once bool) (Created, error) {
	if grace < 0 {
		return Created{}, fmt.Errorf("the grace is %v, it must not be negative", grace)
	}
	old, err := g.store.Get(ctx, id)
	switch {
	case err != nil:
		return Created{}, err
	case once && old.RotatedTo != "":
		return Created{}, fmt.Errorf("it was rotated before, to %s: %w", old.RotatedTo, ErrConflict)
	}
	expiry, err := old.plannedExpiry()
	if err != nil {
		return Created{}, err
	}
	secret := g.newSecret(old.Kind)
	successor, err := g.succeed(ctx, old, expiry, secret)
	if err != nil {
		return Created{}, fmt.Errorf("the old key is as it was: %w", err)
	}
	if err := g.retire(ctx, old, successor.ID, time.Now().Add(grace)); err != nil {
		return Created{}, errors.Join(err, g.discard(ctx, successor.ID))
	}
	g.observe(ctx, &Event{Type: EventRotated, Token: successor})
	return Created{Token: successor, Secret: secret}, nil
}

// plannedExpiry returns the expiry for a successor of t: the one that t had before a
// rotation cut it short. The error is ErrInactive if t was revoked or that expiry is past.
func (t Token) plannedExpiry() (time.Time, error) {
	expiry := t.ExpiredAt
	if t.rest.planned != nil {
		expiry = *t.rest.planned
	}
	if !t.IsActive || (Token{ExpiredAt: expiry}).Expired(time.Now()) {
		return time.Time{}, ErrInactive
	}
	return expiry, nil
}

// succeed stores a successor of old. After an error it checks whether the store has the
// successor all the same: the answer may have been lost.
func (g *Guard) succeed(ctx context.Context, old Token, expiry time.Time, secret Secret) (Token, error) {
	next := old.Clone()
	next.ID = name.NewID(time.Now())
	next.CreatedAt, next.LastUsed, next.ExpiredAt = time.Time{}, time.Time{}, expiry
	next.RotatedFrom, next.RevokedAt, next.RevokedFor, next.RevokedBy = old.ID, time.Time{}, "", ""
	next.rest = rest{payer: cmp.Or(old.rest.payer, old.ID), unknown: old.rest.unknown}
	stored, err := g.create(ctx, secret, next)
	if err == nil || errors.Is(err, ErrInvalidToken) {
		return stored, err
	}
	ctx, cancel := detached(ctx)
	defer cancel()
	if found, getErr := g.store.Get(ctx, next.ID); getErr == nil {
		return found, nil
	}
	return Token{}, err
}

// retire makes old expire at a moment, unless it expires earlier, and names its successor.
// It fails if old got another successor since it was read. After an error it checks whether
// the store made the change all the same: the answer may have been lost.
func (g *Guard) retire(ctx context.Context, old Token, successor string, at time.Time) error {
	_, err := g.store.Update(ctx, old.ID, func(t *Token) error {
		if !t.IsActive {
			return ErrInactive
		}
		if t.RotatedTo != old.RotatedTo && t.RotatedTo != successor {
			return fmt.Errorf("another rotation came first, to %s: %w", t.RotatedTo, ErrConflict)
		}
		if t.rest.planned == nil {
			planned := stored(t.ExpiredAt)
			t.rest.planned = &planned
		}
		if isLater(t.ExpiredAt, at) {
			t.ExpiredAt = at
		}
		t.RotatedTo = successor
		return nil
	})
	if err == nil || errors.Is(err, ErrNotFound) { // a deleted key has ended too
		return nil
	}
	switch {
	case errors.Is(err, ErrInactive):
		return fmt.Errorf("the old key was revoked meanwhile: %w", err)
	case errors.Is(err, ErrConflict):
		return err
	}
	ctx, cancel := detached(ctx)
	defer cancel()
	switch t, getErr := g.store.Get(ctx, old.ID); {
	case getErr != nil:
		return fmt.Errorf("it is not known whether the end of the old key has changed: %w", errors.Join(err, getErr))
	case t.RotatedTo == successor:
		return nil
	}
	return fmt.Errorf("the old key is as it was: %w", err)
}

// detached returns a context of a second for what is to be done also if ctx has ended: that is
// why most rotations fail.
func detached(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), time.Second)
}

// discard deletes a successor whose secret nobody will see.
func (g *Guard) discard(ctx context.Context, id string) error {
	ctx, cancel := detached(ctx)
	defer cancel()
	if err := g.store.Delete(ctx, id); err != nil {
		return fmt.Errorf("its successor %s is left, without an owner: %w", id, err)
	}
	return nil
}

// Revoke makes the token with this ID inactive for good, and records the time and the
// reason. The token stays for audit; [TokenStore.Delete] removes it. The reason is for
// people, at most 255 characters; it may be empty. A second Revoke is no error and changes
// nothing. Errors wrap [ErrNotFound], [ErrInvalidToken] or the store's error.
func (g *Guard) Revoke(ctx context.Context, id, reason string) error {
	return g.RevokeBy(ctx, id, "", reason)
}

// RevokeBy is [Guard.Revoke] that also records the user who revokes the token, of at most 255
// bytes; an empty user is not known.
func (g *Guard) RevokeBy(ctx context.Context, id, user, reason string) error {
	_, err := g.revoke(ctx, id, user, reason)
	return err
}

// revoke reports whether this call has revoked the token, which may be revoked already.
func (g *Guard) revoke(ctx context.Context, id, user, reason string) (revoked bool, err error) {
	t, err := g.store.Update(ctx, id, func(t *Token) error {
		if !t.IsActive {
			return errNothingToDo
		}
		t.IsActive, t.RevokedAt, t.RevokedFor, t.RevokedBy = false, time.Now(), reason, user
		return nil
	})
	switch {
	case errors.Is(err, errNothingToDo):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("httpkey: revoke %q: %w", id, err)
	}
	g.observe(ctx, &Event{Type: EventRevoked, Token: t})
	return true, nil
}

// RevokeAll revokes every token that f selects, as [Guard.Revoke] does, and returns how many
// it revoked. It leaves alone the tokens that can never work again, because they are expired.
//
// RevokeAll repeats until it finds nothing more to revoke. So it also reaches the successors
// that rotations create meanwhile. It does not reach a token that is issued after RevokeAll has
// looked: first stop issuing, by closing the account, say. A ctx with a deadline bounds the time.
//
// A failure of one token does not keep the others from being revoked. The error names up to 10
// failed tokens. It also joins the error of the store's List, which ends RevokeAll. A second
// call is safe. The error wraps [ErrInvalidToken] if the reason is too long. RevokeAll refuses a
// Filter of all tokens, and one with After or Limit, because it pages by itself.
func (g *Guard) RevokeAll(ctx context.Context, f Filter, reason string) (int, error) {
	switch {
	case f.Limit != 0 || f.After != (Cursor{}):
		return 0, errors.New("httpkey: revoke all: the Filter has After or Limit, and RevokeAll reads every page")
	case f == Filter{}:
		return 0, errors.New("httpkey: revoke all: the Filter selects every token: set its User, Workspace, Kind or " +
			"RotatedFrom, or call Revoke for each token of TokenStore.List")
	}
	if err := bounds.Label("the reason", reason); err != nil {
		return 0, fmt.Errorf("httpkey: revoke all: %w: %w", ErrInvalidToken, err)
	}
	f.Limit = 1000
	for total := 0; ; {
		n, err := g.revokePass(ctx, f, reason)
		if total += n; n == 0 || ctx.Err() != nil {
			return total, err
		}
	}
}

// revokePass revokes the tokens that f selects and that may work again, and returns how many. A
// token that could not be revoked is tried again in the next pass.
func (g *Guard) revokePass(ctx context.Context, f Filter, reason string) (n int, err error) {
	var failed []error
	for t, err := range g.all(ctx, f) {
		if err != nil {
			return n, errors.Join(append(failed, fmt.Errorf("httpkey: revoke all: list: %w", err))...)
		}
		if _, err := t.plannedExpiry(); err != nil {
			continue
		}
		revoked, err := g.revoke(ctx, t.ID, "", reason)
		switch {
		case revoked:
			n++
		case err != nil && !errors.Is(err, ErrNotFound) && len(failed) < 10:
			failed = append(failed, err)
		}
	}
	return n, errors.Join(failed...)
}

// RevokeKey is [Guard.Revoke] by the key itself, for its owner or a finder, who do not know the ID
// of the token. The error wraps [ErrNotFound] if no token has the key. A cache in front of the
// store may not know a key yet that another process issued a few seconds ago.
func (g *Guard) RevokeKey(ctx context.Context, secret Secret, reason string) error {
	if !g.format.Accepts(secret.Reveal()) {
		return fmt.Errorf("httpkey: revoke: %w", ErrNotFound)
	}
	t, err := g.find(ctx, g.digesters, secret.Reveal())
	if errors.Is(err, ErrNotFound) && g.options.Adopt != nil {
		t, err = g.adopt(ctx, secret.Reveal())
	}
	if err != nil {
		return fmt.Errorf("httpkey: revoke: %w", err)
	}
	return g.Revoke(ctx, t.ID, reason)
}

// RevokeKeyOf is [Guard.RevokeKey] for the key of a request, which the Guard finds as
// [Guard.Check] does. It returns true if that key is of no use now, whatever it was before. If
// RevokeKeyOf returns false, it has written the response: 401 for none or several keys, 503 for
// a store that failed. It waits for the store for a second at most, also if the client hangs up.
// It takes from no limit; see the handler RevokeSelf of the package endpoint.
func (g *Guard) RevokeKeyOf(w http.ResponseWriter, r *http.Request, reason string) bool {
	key, why := g.extract(r)
	d := decision{reason: why}
	if key != "" {
		ctx, cancel := detached(r.Context())
		defer cancel()
		err := g.RevokeKey(ctx, Secret(key), reason)
		if err == nil || errors.Is(err, ErrNotFound) {
			return true
		}
		d.reason, d.cause = ReasonStore, err
	}
	g.refuse(w, r, &d)
	return false
}

var errNothingToDo = errors.New("httpkey: the token is so already")

// Lookup returns the token of a key, whatever its state, to say whose key it is. It takes from no
// limit, notes no use, and asks [Options.Adopt] for nothing. It also finds a key of a prefix that
// the Guard no longer accepts. The error wraps [ErrNotFound] if no token has the key, or the
// store's error. A cache in front of the store may return the token of a few seconds ago.
func (g *Guard) Lookup(ctx context.Context, secret Secret) (Token, error) {
	if len(secret) > keyformat.MaxImported { // digests do not tell such keys apart
		return Token{}, fmt.Errorf("httpkey: lookup: %w", ErrNotFound)
	}
	t, err := g.find(ctx, g.digesters, secret.Reveal())
	if err != nil {
		return Token{}, fmt.Errorf("httpkey: lookup: %w", err)
	}
	return t, nil
}

// Masked returns the public part of t's secret, by which people recognize it: the
// beginning that all keys of its kind share, and its Hint, as in hk_k_…a1B2. If
// [Options.ImportedMinLength] or [Options.PreviousPrefixes] admit keys of other shapes, Masked
// leaves the beginning out.
func (g *Guard) Masked(t Token) string {
	if g.format.MinImported > 0 || len(g.format.Previous) > 0 {
		return "…" + t.Hint
	}
	return g.format.Beginning(t.Kind == ServiceToken) + "…" + t.Hint
}

// Due yields the tokens that are due for rotation: those that f selects, that are valid
// and at least this old, newest first. An age of 0 or less means 90 days. It reads a page
// of f.Limit tokens at a time; it yields an error of the store last.
func (g *Guard) Due(ctx context.Context, f Filter, age time.Duration) iter.Seq2[Token, error] {
	return g.valid(ctx, f, age, func(t Token, now time.Time, age time.Duration) bool {
		return now.Sub(t.CreatedAt) >= age
	})
}

// Unused yields the tokens that f selects, that are valid and were not used for at least
// this long. A token that was never used counts from its creation. Otherwise Unused
// behaves as [Guard.Due].
func (g *Guard) Unused(ctx context.Context, f Filter, idle time.Duration) iter.Seq2[Token, error] {
	return g.valid(ctx, f, idle, func(t Token, now time.Time, idle time.Duration) bool {
		return min(now.Sub(t.CreatedAt), now.Sub(t.LastUsed)) >= idle
	})
}

// Expiring yields the tokens that f selects, that are valid and expire within this time. It leaves
// out tokens that were rotated: their holders have a successor. Otherwise Expiring behaves as
// [Guard.Due].
func (g *Guard) Expiring(ctx context.Context, f Filter, within time.Duration) iter.Seq2[Token, error] {
	return g.valid(ctx, f, within, func(t Token, now time.Time, within time.Duration) bool {
		return !t.ExpiredAt.IsZero() && t.RotatedTo == "" && t.ExpiredAt.Sub(now) <= within
	})
}

// valid yields the valid tokens that a function selects by a duration, which is 90 days by default.
func (g *Guard) valid(
	ctx context.Context, f Filter, d time.Duration, selects func(Token, time.Time, time.Duration) bool,
) iter.Seq2[Token, error] {
	if d <= 0 {
		d = 90 * 24 * time.Hour // at which a key is customarily replaced, or given up if unused
	}
	return func(yield func(Token, error) bool) {
		now := time.Now()
		for t, err := range g.all(ctx, f) {
			if err != nil {
				yield(Token{}, fmt.Errorf("httpkey: list: %w", err))
				return
			}
			if t.IsActive && !t.Expired(now) && selects(t, now, d) && !yield(t, nil) {
				return
			}
		}
	}
}

// all yields the tokens of every page of f, and an error of the store last.
func (g *Guard) all(ctx context.Context, f Filter) iter.Seq2[Token, error] {
	list := func(f Filter) ([]Token, error) { return g.store.List(ctx, f) }
	return paging.All(f, f.PageSize(), list, func(f Filter, last Token) Filter {
		f.After = last.Cursor()
		return f
	})
}
