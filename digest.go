package httpkey

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
)

// Digest is what is kept of a secret: its SHA-256, or its HMAC-SHA-256 under a
// pepper. Formatting, logging and marshaling show it redacted; its bytes are
// the array's.
type Digest [32]byte

// equal compares in constant time, by words, in 2 ns: subtle.ConstantTimeCompare
// goes by bytes, in 11.
func (d *Digest) equal(other *Digest) bool {
	var differ uint64
	for i := 0; i < len(d); i += 8 {
		differ |= binary.LittleEndian.Uint64(d[i:]) ^ binary.LittleEndian.Uint64(other[i:])
	}
	return differ == 0
}

// Format writes a placeholder, whatever the verb.
func (Digest) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// MarshalText returns a placeholder.
func (Digest) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// digester turns a secret into what is stored. It is a function rather than a
// pepper in a struct because fmt cannot look into a function.
type digester func(secret string) Digest

func newDigester(pepper Secret) digester {
	if pepper == "" {
		return digestSHA256
	}
	return func(secret string) (d Digest) {
		mac := hmac.New(sha256.New, []byte(pepper))
		_, _ = io.WriteString(mac, secret)
		mac.Sum(d[:0])
		return d
	}
}

func digestSHA256(secret string) Digest {
	var buf [maxImportedLength]byte // on the stack, where []byte(secret) would be an allocation
	return sha256.Sum256(buf[:copy(buf[:], secret)])
}
