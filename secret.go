package httpkey

import (
	"encoding/hex"
	"fmt"
	"log/slog"

	"github.com/httpkey/httpkey/internal/redact"
)

// Secret is a key or a pepper in plain text. An accidental print does not show it:
// fmt, slog, templates, a panic, and every marshaler that honors [encoding.TextMarshaler]
// write a placeholder, and encoding/gob returns an error. [Secret.Reveal] returns the plain
// text.
//
// Go calls no method, so the secret shows, in an unexported field of a struct that
// fmt prints, in the builtin println, and in JSON as the key of a map. It also shows for the
// verbs %p and %w. A verb that is not for pointers, such as %s, shows it where a value holds a
// pointer to a struct of yours. Go vet refuses these verbs.
type Secret string

// Reveal returns the secret itself. Show it to its owner once; store it nowhere.
func (s Secret) Reveal() string { return string(s) }

// String returns a placeholder, which a panic prints.
func (Secret) String() string { return redact.Placeholder }

// Format writes a placeholder, whatever the verb.
func (Secret) Format(f fmt.State, _ rune) { redact.Format(f) }

// MarshalText returns a placeholder.
func (Secret) MarshalText() ([]byte, error) { return redact.Text() }

// MarshalBinary returns an error unless s is empty. So encoding/gob, and others that honor
// [encoding.BinaryMarshaler], neither show the secret nor lose it unnoticed.
func (s Secret) MarshalBinary() ([]byte, error) { return nil, redact.RefuseUnless(s == "") }

// UnmarshalBinary reads the output of MarshalBinary.
func (s *Secret) UnmarshalBinary(text []byte) error { return redact.RefuseUnless(len(text) == 0) }

// LogValue returns a placeholder.
func (Secret) LogValue() slog.Value { return slog.StringValue(redact.Placeholder) }

// Digest is the SHA-256 of a secret, or its HMAC-SHA-256 under a pepper. Stores keep
// it in place of the secret. Formatting, logging and marshaling redact it, and encoding/gob
// returns an error; the bytes are those of the array.
type Digest [32]byte

// ParseDigest returns the Digest that 64 hexadecimal digits of either case write, for a table
// of keys that the program has already. The error wraps [ErrInvalidToken] and says what is
// wrong, without the text itself. A digest of another length is of another hash: see
// [Options.Adopt].
func ParseDigest(text string) (Digest, error) {
	var d Digest
	if len(text) != hex.EncodedLen(len(d)) {
		return Digest{}, fmt.Errorf("%w: a digest has %d hexadecimal digits, and this text has %d bytes",
			ErrInvalidToken, hex.EncodedLen(len(d)), len(text))
	}
	if n, err := hex.Decode(d[:], []byte(text)); err != nil {
		return Digest{}, fmt.Errorf("%w: byte %d of a digest is no hexadecimal digit", ErrInvalidToken, 2*n)
	}
	return d, nil
}

// Hex returns d as 64 hexadecimal digits in lower case. It is for keeping your own table of
// keys, and never for logs: from the digest of a key with few random bits, an attacker finds
// the key by trying.
func (d Digest) Hex() string { return hex.EncodeToString(d[:]) }

// String returns a placeholder, which a panic prints.
func (Digest) String() string { return redact.Placeholder }

// Format writes a placeholder, whatever the verb.
func (Digest) Format(f fmt.State, _ rune) { redact.Format(f) }

// MarshalText returns a placeholder.
func (Digest) MarshalText() ([]byte, error) { return redact.Text() }

// MarshalBinary returns an error unless d is zero, for the reason of [Secret.MarshalBinary].
func (d Digest) MarshalBinary() ([]byte, error) { return nil, redact.RefuseUnless(d == Digest{}) }

// UnmarshalBinary reads the output of MarshalBinary.
func (d *Digest) UnmarshalBinary(text []byte) error { return redact.RefuseUnless(len(text) == 0) }
