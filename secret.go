package httpkey

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
)

const redacted = "[REDACTED]"

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
func (Secret) String() string { return redacted }

// Format writes a placeholder, whatever the verb.
func (Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// MarshalText returns a placeholder.
func (Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// MarshalBinary returns an error unless s is empty. So encoding/gob, and others that honor
// [encoding.BinaryMarshaler], neither show the secret nor lose it unnoticed.
func (s Secret) MarshalBinary() ([]byte, error) { return nil, refusedUnless(s == "") }

// UnmarshalBinary reads the output of MarshalBinary.
func (s *Secret) UnmarshalBinary(text []byte) error { return refusedUnless(len(text) == 0) }

// LogValue returns a placeholder.
func (Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// hint returns the end of the secret, by which people recognize it. A short secret has no
// hint. In a secret that Issue made, the hint is the end of the checksum, which reveals less
// than 24 of the 160 random bits.
func (s Secret) hint() string {
	if s.isShort() {
		return ""
	}
	return string(s[len(s)-4:])
}

// isShort reports whether s may have so few random bits that a hint reveals too much. Its
// SHA-256 then does not hide it either. Issue makes no such secret.
func (s Secret) isShort() bool { return len(s) < 32 }

// Digest is the SHA-256 of a secret, or its HMAC-SHA-256 under a pepper. Stores keep
// it in place of the secret. Formatting, logging and marshaling redact it, and encoding/gob
// returns an error; the bytes are those of the array.
type Digest [32]byte

// equal compares in constant time. It compares words, because
// subtle.ConstantTimeCompare compares bytes and is slower.
func (d *Digest) equal(other *Digest) bool {
	var differ uint64
	for i := 0; i < len(d); i += 8 {
		differ |= binary.LittleEndian.Uint64(d[i:]) ^ binary.LittleEndian.Uint64(other[i:])
	}
	return differ == 0
}

// String returns a placeholder, which a panic prints.
func (Digest) String() string { return redacted }

// Format writes a placeholder, whatever the verb.
func (Digest) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// MarshalText returns a placeholder.
func (Digest) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// MarshalBinary returns an error unless d is zero, for the reason of [Secret.MarshalBinary].
func (d Digest) MarshalBinary() ([]byte, error) { return nil, refusedUnless(d == Digest{}) }

// UnmarshalBinary reads the output of MarshalBinary.
func (d *Digest) UnmarshalBinary(text []byte) error { return refusedUnless(len(text) == 0) }

func refusedUnless(isEmpty bool) error {
	if isEmpty {
		return nil
	}
	return errors.New("httpkey: a Secret or a Digest has no binary form: clear it first, or encode its bytes on purpose")
}
