package httpkey

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/httpkey/httpkey/internal/bounds"
	"github.com/httpkey/httpkey/internal/limit"
	"github.com/httpkey/httpkey/internal/properties"
)

// ErrInvalidToken is wrapped by every error about a [Token] that cannot be
// stored. The message names the field.
var ErrInvalidToken = errors.New("httpkey: invalid token")

// Kind says what a token is for; each kind has its default limit. Issue refuses other
// kinds than the two. A token of another kind from a store has the limit of APIKey.
type Kind string

// The two kinds.
const (
	APIKey       Kind = "api_key"       // a person's key; 60 requests a minute unless configured
	ServiceToken Kind = "service_token" // a program's key; 300 requests a minute unless configured
)

// Token describes a key without its secret. A zero time means null, and no Limits mean
// the limits of the kind.
//
// Tokens are plain values. Copies share their slices and Metadata: treat these as
// read-only, or [Token.Clone] them. A store keeps the fields from ID to RotatedFrom one by
// one, and the other fields as [Token.More] writes them.
type Token struct {
	// A UUID of version 7 (RFC 9562), unless the caller or the store chooses it; at most 255
	// bytes. Issue and Import refuse an ID that cannot be a segment of a URL path: "." and
	// "..", and IDs with a slash or a control character. Do not use an ID again: a
	// successor of the deleted token may pay from its bucket.
	ID string `json:"id"`
	// The digest of the secret, by which a store finds the token.
	Digest Digest `json:"-"`
	// The secret's last 4 characters, by which people recognize it; empty for a short imported key.
	Hint string `json:"hint"`
	// APIKey or ServiceToken.
	Kind Kind `json:"kind"`
	// At most 255 characters.
	Label string `json:"label"`
	// At most 4,096 characters.
	Description string `json:"description"`
	// The owner; opaque to this package, at most 255 bytes.
	User string `json:"user"`
	// Where it is valid; opaque to this package, at most 255 bytes; empty: null.
	Workspace string `json:"workspace"`
	// The permissions of the token, as scope-tokens of RFC 6749; at most 100; see RequireScope.
	Scopes []string `json:"scopes"`
	// False once it is revoked.
	IsActive bool `json:"is_active"`
	// It is expired from this moment on; zero: never.
	ExpiredAt time.Time `json:"expired_at"`
	// The last use, to within Options.LastUsedInterval; zero: never.
	LastUsed time.Time `json:"last_used"`
	// When it was issued, to the microsecond.
	CreatedAt time.Time `json:"created_at"`
	// The ID of the token that it succeeds; empty: none.
	RotatedFrom string `json:"rotated_from"`

	// Its own limits, which apply together; none: those of its Kind.
	Limits []Limit `json:"rate_limits"`
	// The networks of the clients that may use it, at most 100; none: any.
	Networks []netip.Prefix `json:"networks"`
	// The program's own attributes, at most 4,096 bytes; may be nil. JSON leaves them out.
	Metadata map[string]string `json:"-"`
	// The creator, if that is not User; at most 255 bytes.
	CreatedBy string `json:"created_by"`
	// When it was revoked; zero: never, or by a version that did not record it.
	RevokedAt time.Time `json:"revoked_at"`
	// Why it was revoked, for people; at most 255 characters.
	RevokedFor string `json:"revoked_for"`
	// The user who revoked it, at most 255 bytes; empty: not known.
	RevokedBy string `json:"revoked_by"`
	// The ID of its successor; empty: none.
	RotatedTo string `json:"rotated_to"`

	rest rest // further properties of More
}

// Expired reports whether t has expired at now. Expiring exactly now is expired.
func (t Token) Expired(now time.Time) bool {
	return !t.ExpiredAt.IsZero() && !t.ExpiredAt.After(now)
}

// Payer returns the payer of t unless [Options.Charge] names another. It is the first
// token of t's rotations, or t itself.
func (t Token) Payer() string {
	if t.rest.payer != "" {
		return "token:" + t.rest.payer
	}
	return "token:" + t.ID
}

// Validate reports why no store should hold t: an error that wraps
// [ErrInvalidToken] (or [ErrInvalidLimit]) and names the field.
func (t Token) Validate() error {
	if t.ID == "" {
		return fmt.Errorf("%w: ID is empty", ErrInvalidToken)
	}
	if t.Kind != APIKey && t.Kind != ServiceToken {
		return fmt.Errorf("%w: Kind is %q, it must be %q or %q", ErrInvalidToken, t.Kind, APIKey, ServiceToken)
	}
	if t.IsActive && !t.RevokedAt.IsZero() {
		return fmt.Errorf("%w: RevokedAt is set, so IsActive must be false", ErrInvalidToken)
	}
	if err := cmp.Or(
		bounds.Name("ID", t.ID), bounds.Name("User", t.User), bounds.Name("Workspace", t.Workspace),
		bounds.Name("RotatedFrom", t.RotatedFrom), bounds.Name("RotatedTo", t.RotatedTo),
		bounds.Name("CreatedBy", t.CreatedBy), bounds.Name("RevokedBy", t.RevokedBy), bounds.Label("Label", t.Label),
		bounds.Label("RevokedFor", t.RevokedFor), bounds.Description("Description", t.Description),
		bounds.Moment("ExpiredAt", t.ExpiredAt), bounds.Moment("LastUsed", t.LastUsed),
		bounds.Moment("CreatedAt", t.CreatedAt), bounds.Moment("RevokedAt", t.RevokedAt),
		bounds.Scopes("Scopes", t.Scopes), bounds.Networks("Networks", t.Networks), bounds.Metadata("Metadata", t.Metadata),
	); err != nil {
		return fmt.Errorf("%w: %w", ErrInvalidToken, err)
	}
	if err := validateLimits(t.Limits); err != nil {
		return fmt.Errorf("%w: Limits: %w", ErrInvalidToken, err)
	}
	return nil
}

// Format prints t's fields with the digest redacted. Without Format, some verbs would
// print the digest of a *Token.
func (t Token) Format(f fmt.State, verb rune) {
	type fields Token
	_, _ = fmt.Fprintf(f, fmt.FormatString(f, verb), fields(t))
}

// Clone returns a copy of t that shares no slice and no map with t.
func (t Token) Clone() Token {
	t.Scopes = slices.Clone(t.Scopes)
	t.Limits = slices.Clone(t.Limits)
	t.Networks = slices.Clone(t.Networks)
	t.Metadata = maps.Clone(t.Metadata)
	return t
}

// Apply returns t after a change, as [TokenStore.Update] stores it. Every store calls it
// on the stored token. The error is that of change. It wraps [ErrInvalidToken] if the
// change makes a valid t invalid, and [ErrInactive] if the change would revive a token that
// is revoked or expired.
//
// ID, Digest and LastUsed stay as they are. A token that becomes inactive gets a
// RevokedAt if it has none.
func (t Token) Apply(change func(*Token) error) (Token, error) {
	next := t.Clone()
	if err := change(&next); err != nil {
		return Token{}, err
	}
	now := time.Now()
	hasEnded := !t.IsActive || t.Expired(now)
	if !t.IsActive && next.IsActive || hasEnded && isLater(next.ExpiredAt, t.ExpiredAt) {
		return Token{}, fmt.Errorf("%w: it cannot be made valid again", ErrInactive)
	}
	next.ID, next.Digest, next.LastUsed, next.rest = t.ID, t.Digest, t.LastUsed, next.rest.after(t.rest)
	switch {
	case !t.IsActive:
		next.RevokedAt, next.RevokedFor, next.RevokedBy = t.RevokedAt, t.RevokedFor, t.RevokedBy
	case !next.IsActive && next.RevokedAt.IsZero():
		next.RevokedAt = now
	}
	next.CreatedAt, next.ExpiredAt, next.RevokedAt = stored(next.CreatedAt), stored(next.ExpiredAt), stored(next.RevokedAt)
	if err := next.Validate(); err != nil && t.Validate() == nil { // an invalid token can still be revoked
		return Token{}, err
	}
	return next.Clone(), nil // change may have put in slices that its caller still holds
}

// isLater reports whether an expiry comes after another. A zero expiry is the latest.
func isLater(expiry, other time.Time) bool {
	return !other.IsZero() && (expiry.IsZero() || expiry.After(other))
}

// stored returns t as every store can keep it: to the microsecond, in UTC. No time becomes
// the zero one, by which what has expired would never expire.
func stored(t time.Time) time.Time {
	at := t.UTC().Truncate(time.Microsecond)
	if at.IsZero() && !t.IsZero() {
		return at.Add(time.Microsecond)
	}
	return at
}

// Created is a token together with its secret. Its JSON shows the secret: encode it
// into the response that creates the token, and into nothing else. fmt redacts the
// secret, and so does slog if the Created is an attribute of its own.
type Created struct {
	Token  Token  // the stored token
	Secret Secret // its key
}

// Format prints c's fields with digest and secret redacted.
func (c Created) Format(f fmt.State, verb rune) {
	type fields Created
	_, _ = fmt.Fprintf(f, fmt.FormatString(f, verb), fields(c))
}

// LogValue returns the token without the secret.
func (c Created) LogValue() slog.Value { return slog.AnyValue(c.Token) }

// MarshalJSON writes the token's JSON with the secret, revealed, as "token".
func (c Created) MarshalJSON() ([]byte, error) { return c.Token.marshal(c.Secret.Reveal()) }

// UnmarshalJSON reads the output of MarshalJSON, for clients of an API that returns it.
func (c *Created) UnmarshalJSON(text []byte) error {
	var secret struct {
		Token string `json:"token"`
	}
	if err := json.Unmarshal(text, &secret); err != nil {
		return fmt.Errorf("httpkey: read a token: %w", err)
	}
	c.Secret = Secret(secret.Token)
	return c.Token.UnmarshalJSON(text)
}

// MarshalJSON writes t with the property names of the Plane API, and more of this package.
// It leaves out the digest and the Metadata.
func (t Token) MarshalJSON() ([]byte, error) { return t.marshal("") }

// UnmarshalJSON reads the output of MarshalJSON. Digest and Metadata stay zero.
func (t *Token) UnmarshalJSON(text []byte) error {
	type fields Token
	var read fields
	if err := json.Unmarshal(text, &read); err != nil {
		return fmt.Errorf("httpkey: read a token: %w", err)
	}
	*t = Token(read)
	return nil
}

// marshal writes null for a zero value of a nullable field, and [] for a nil slice.
func (t Token) marshal(secret string) ([]byte, error) {
	type fields Token
	t.Scopes = append([]string{}, t.Scopes...)
	t.Limits = append([]Limit{}, t.Limits...)
	t.Networks = append([]netip.Prefix{}, t.Networks...)
	return json.Marshal(struct {
		Secret string `json:"token,omitempty"`
		fields
		Workspace   *string    `json:"workspace"`
		ExpiredAt   *time.Time `json:"expired_at"`
		LastUsed    *time.Time `json:"last_used"`
		RotatedFrom *string    `json:"rotated_from"`
		CreatedBy   *string    `json:"created_by"`
		RevokedAt   *time.Time `json:"revoked_at"`
		RevokedFor  *string    `json:"revoked_for"`
		RevokedBy   *string    `json:"revoked_by"`
		RotatedTo   *string    `json:"rotated_to"`
	}{
		secret, fields(t), properties.OrNull(t.Workspace), properties.OrNull(t.ExpiredAt.UTC()),
		properties.OrNull(t.LastUsed.UTC()), properties.OrNull(t.RotatedFrom), properties.OrNull(t.CreatedBy),
		properties.OrNull(t.RevokedAt.UTC()), properties.OrNull(t.RevokedFor), properties.OrNull(t.RevokedBy),
		properties.OrNull(t.RotatedTo),
	})
}

// rest holds the properties of More that have no exported field.
type rest struct {
	payer   string     // the ID of the first token of the rotations, which pays; empty: the token itself
	planned *time.Time // the expiry before a rotation cut it short; nil: there was no rotation
	unknown string     // the properties of More that this version does not know
}

// after returns r with the properties of before that a change has lost.
func (r rest) after(before rest) rest {
	return rest{cmp.Or(r.payer, before.payer), cmp.Or(r.planned, before.planned), cmp.Or(r.unknown, before.unknown)}
}

// more returns the fields that [Token.More] writes. No field may have the name notices: the package
// notices keeps a property of that name.
func (t *Token) more() properties.Fields {
	return properties.Fields{
		"limits": (*limit.Exact[Limit, Calendar])(&t.Limits), "networks": &t.Networks, "metadata": &t.Metadata,
		"created_by": &t.CreatedBy, "revoked_at": &t.RevokedAt, "revoked_for": &t.RevokedFor, "revoked_by": &t.RevokedBy,
		"rotated_to": &t.RotatedTo, "payer": &t.rest.payer, "planned_expiry": &t.rest.planned,
	}
}

// More returns a JSON object of Limits, Networks, Metadata, CreatedBy, RevokedAt,
// RevokedFor, RevokedBy and RotatedTo, and of the properties that later versions add. A store keeps
// it byte by byte and passes it to [Token.SetMore], so a new field needs no new column.
// More is empty if none of the fields is set.
func (t Token) More() string {
	t.RevokedAt = stored(t.RevokedAt)
	text, err := t.more().Write(t.rest.unknown)
	if err != nil { // a prefix or a time that Validate refuses
		return t.rest.unknown
	}
	return text
}

// SetMore sets the fields that [Token.More] wrote, and keeps unknown properties. It changes
// nothing if it returns an error.
func (t *Token) SetMore(text string) error {
	var read Token
	unknown, err := read.more().Read(text)
	if err != nil {
		return fmt.Errorf("httpkey: read the further fields of a token: %w", err)
	}
	t.Limits, t.Networks, t.Metadata, t.CreatedBy = read.Limits, read.Networks, read.Metadata, read.CreatedBy
	t.RevokedAt, t.RevokedFor, t.RevokedBy, t.RotatedTo = read.RevokedAt, read.RevokedFor, read.RevokedBy, read.RotatedTo
	t.rest = rest{read.rest.payer, read.rest.planned, unknown}
	return nil
}
