package httpkey

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// ErrInvalidToken is wrapped by every error about a [Token] that cannot be
// stored. The message names the field.
var ErrInvalidToken = errors.New("httpkey: invalid token")

// Kind says what a token is for; each kind has its default limit. There are two:
// Issue refuses others, and one that a store brings all the same has the limit of APIKey.
type Kind string

// The two kinds.
const (
	APIKey       Kind = "api_key"       // a person's key; 60 requests a minute unless configured
	ServiceToken Kind = "service_token" // a program's key; 300 requests a minute unless configured
)

// Token is all that is known of a key but its secret. A zero time means null,
// a zero Limit the limit of the kind.
//
// Tokens are plain values. Copies share Scopes: treat the slice as read-only.
type Token struct {
	ID          string    // a UUID of version 7 (RFC 9562) unless you chose it; at most 255 bytes
	Digest      Digest    // of the secret; the only trace of it that is kept
	Hint        string    // the secret's last 4 characters, by which people recognize it
	Kind        Kind      // APIKey or ServiceToken
	Label       string    // at most 255 characters
	Description string    // at most 4,096 characters
	User        string    // whose it is; opaque to this package, at most 255 bytes
	Workspace   string    // where it is valid; opaque to this package, at most 255 bytes; empty: null
	Scopes      []string  // what it may do; see RequireScope
	Limit       Limit     // its own limit; zero: that of its Kind
	IsActive    bool      // false once revoked
	ExpiredAt   time.Time // from this moment on it is expired; zero: never
	LastUsed    time.Time // to within the flush interval; zero: never
	CreatedAt   time.Time // when it was issued, to the microsecond
	RotatedFrom string    // the ID of the token that it succeeds; empty: none
}

// Expired reports whether t has expired at now. Expiring exactly now is expired.
func (t Token) Expired(now time.Time) bool {
	return !t.ExpiredAt.IsZero() && !t.ExpiredAt.After(now)
}

// What a token may hold. The bounds fit the columns of any SQL database and
// keep a token small enough to be cached by the hundred thousand.
const (
	maxNameBytes        = 255
	maxLabelRunes       = 255
	maxDescriptionRunes = 4096
	maxScopes           = 100
)

// Validate reports why no store should hold t: an error that wraps
// [ErrInvalidToken] (or [ErrInvalidLimit]) and names the field.
func (t Token) Validate() error {
	if t.ID == "" {
		return fmt.Errorf("%w: ID is empty", ErrInvalidToken)
	}
	if t.Kind != APIKey && t.Kind != ServiceToken {
		return fmt.Errorf("%w: Kind is %q, it must be %q or %q", ErrInvalidToken, t.Kind, APIKey, ServiceToken)
	}
	for _, text := range []struct {
		field, value string
		tooLong      bool
	}{
		{"ID", t.ID, len(t.ID) > maxNameBytes},
		{"User", t.User, len(t.User) > maxNameBytes},
		{"Workspace", t.Workspace, len(t.Workspace) > maxNameBytes},
		{"RotatedFrom", t.RotatedFrom, len(t.RotatedFrom) > maxNameBytes},
		{"Label", t.Label, utf8.RuneCountInString(t.Label) > maxLabelRunes},
		{"Description", t.Description, utf8.RuneCountInString(t.Description) > maxDescriptionRunes},
	} {
		if text.tooLong {
			return fmt.Errorf("%w: %s is too long", ErrInvalidToken, text.field)
		}
		if !utf8.ValidString(text.value) || strings.ContainsRune(text.value, 0) {
			return fmt.Errorf("%w: %s is not UTF-8 text, or holds a NUL", ErrInvalidToken, text.field)
		}
	}
	for _, moment := range []struct {
		field string
		at    time.Time
	}{{"ExpiredAt", t.ExpiredAt}, {"LastUsed", t.LastUsed}, {"CreatedAt", t.CreatedAt}} {
		if year := moment.at.UTC().Year(); year < 1 || year > 9999 { // RFC 3339 has four digits
			return fmt.Errorf("%w: %s is in the year %d", ErrInvalidToken, moment.field, year)
		}
	}
	if len(t.Scopes) > maxScopes {
		return fmt.Errorf("%w: Scopes has more than %d entries", ErrInvalidToken, maxScopes)
	}
	for _, scope := range t.Scopes {
		if !isScope(scope) {
			return fmt.Errorf("%w: Scopes holds %q, which is not a scope-token of RFC 6749", ErrInvalidToken, scope)
		}
	}
	if t.Limit != (Limit{}) {
		if err := t.Limit.Validate(); err != nil {
			return fmt.Errorf("%w: Limit: %w", ErrInvalidToken, err)
		}
	}
	return nil
}

// isScope reports whether s is a scope-token of RFC 6749, section 3.3, of at most 255 bytes.
func isScope(s string) bool {
	if s == "" || len(s) > maxNameBytes {
		return false
	}
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c >= 0x7f || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}

// Format prints t's fields, the digest redacted. Without it, some verbs print
// what a *Token points to without asking the digest.
func (t Token) Format(f fmt.State, verb rune) {
	type fields Token
	_, _ = fmt.Fprintf(f, fmt.FormatString(f, verb), fields(t))
}

// clone returns t with memory of its own.
func (t Token) clone() Token {
	t.Scopes = slices.Clone(t.Scopes)
	return t
}

// Created is a token together with its secret. Its JSON is the answer to the
// request that created the token, the one time that the secret is shown: encode
// it into that response and into nothing else. fmt, and slog where it is an
// attribute of its own, show it redacted.
type Created struct {
	Token  Token  // as it is stored
	Secret Secret // its key
}

// Format prints c's fields, digest and secret redacted.
func (c Created) Format(f fmt.State, verb rune) {
	type fields Created
	_, _ = fmt.Fprintf(f, fmt.FormatString(f, verb), fields(c))
}

// LogValue returns the token without the secret.
func (c Created) LogValue() slog.Value { return slog.AnyValue(c.Token) }

// MarshalJSON writes the token's JSON with the secret, revealed, as "token".
func (c Created) MarshalJSON() ([]byte, error) {
	wire := c.Token.wire()
	wire.Token = c.Secret.Reveal()
	return json.Marshal(wire)
}

// UnmarshalJSON reads what MarshalJSON wrote, for clients of an API that answers it.
func (c *Created) UnmarshalJSON(text []byte) error {
	var wire tokenJSON
	if err := json.Unmarshal(text, &wire); err != nil {
		return fmt.Errorf("httpkey: read a token: %w", err)
	}
	*c = Created{Token: wire.token(), Secret: Secret(wire.Token)}
	return nil
}

// MarshalJSON writes t with the property names of the Plane API and ours. The
// digest is left out.
func (t Token) MarshalJSON() ([]byte, error) { return json.Marshal(t.wire()) }

// UnmarshalJSON reads what MarshalJSON wrote. The digest stays zero.
func (t *Token) UnmarshalJSON(text []byte) error {
	var created Created
	if err := created.UnmarshalJSON(text); err != nil {
		return err
	}
	*t = created.Token
	return nil
}

// tokenJSON is a Token on the wire; a nil pointer is null.
type tokenJSON struct {
	ID          string     `json:"id"`
	Token       string     `json:"token,omitempty"`
	Label       string     `json:"label"`
	Description string     `json:"description"`
	User        string     `json:"user"`
	Workspace   *string    `json:"workspace"`
	IsActive    bool       `json:"is_active"`
	ExpiredAt   *time.Time `json:"expired_at"`
	LastUsed    *time.Time `json:"last_used"`
	CreatedAt   time.Time  `json:"created_at"`
	Kind        Kind       `json:"kind"`
	Scopes      []string   `json:"scopes"`
	RateLimit   Limit      `json:"rate_limit"`
	Hint        string     `json:"hint"`
	RotatedFrom *string    `json:"rotated_from"`
}

func (t Token) wire() tokenJSON {
	return tokenJSON{
		ID:          t.ID,
		Label:       t.Label,
		Description: t.Description,
		User:        t.User,
		Workspace:   nullable(t.Workspace, t.Workspace == ""),
		IsActive:    t.IsActive,
		ExpiredAt:   nullable(t.ExpiredAt, t.ExpiredAt.IsZero()),
		LastUsed:    nullable(t.LastUsed, t.LastUsed.IsZero()),
		CreatedAt:   t.CreatedAt,
		Kind:        t.Kind,
		Scopes:      append([]string{}, t.Scopes...), // [] where nil would be null
		RateLimit:   t.Limit,
		Hint:        t.Hint,
		RotatedFrom: nullable(t.RotatedFrom, t.RotatedFrom == ""),
	}
}

func (w tokenJSON) token() Token {
	return Token{
		ID:          w.ID,
		Hint:        w.Hint,
		Kind:        w.Kind,
		Label:       w.Label,
		Description: w.Description,
		User:        w.User,
		Workspace:   orZero(w.Workspace),
		Scopes:      w.Scopes,
		Limit:       w.RateLimit,
		IsActive:    w.IsActive,
		ExpiredAt:   orZero(w.ExpiredAt),
		LastUsed:    orZero(w.LastUsed),
		CreatedAt:   w.CreatedAt,
		RotatedFrom: orZero(w.RotatedFrom),
	}
}

func orZero[T any](value *T) (zero T) {
	if value == nil {
		return zero
	}
	return *value
}

func nullable[T any](value T, null bool) *T {
	if null {
		return nil
	}
	return &value
}

// newID returns a UUID of version 7 (RFC 9562, section 5.7): later ones sort
// after earlier ones, which keeps the indexes of a database compact.
func newID(now time.Time) string {
	var id [16]byte
	_, _ = rand.Read(id[6:]) // crypto/rand.Read never fails: it ends the program instead
	millis := uint64(now.UnixMilli())
	for i := range 6 {
		id[i] = byte(millis >> (40 - 8*i))
	}
	id[6] = id[6]&0x0f | 0x70
	id[8] = id[8]&0x3f | 0x80
	x := hex.EncodeToString(id[:])
	return x[:8] + "-" + x[8:12] + "-" + x[12:16] + "-" + x[16:20] + "-" + x[20:]
}
