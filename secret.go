package httpkey

import (
	"crypto/rand"
	"fmt"
	"hash/crc32"
	"io"
	"log/slog"
	"strings"
)

const redacted = "[REDACTED]"

// Secret is a key as its holder knows it, or a pepper. It does not show when it
// is printed by accident: fmt, slog, a panic, and every marshaler that knows
// [encoding.TextMarshaler] write a placeholder. [Secret.Reveal] tells it.
//
// No method is asked, and the secret shows, in an unexported field of a struct that
// fmt prints, by the verbs %p and %w (which go vet refuses), by the builtin
// println, and in JSON as the key of a map.
type Secret string

// Reveal returns the secret itself. Show it to its owner once; store it nowhere.
func (s Secret) Reveal() string { return string(s) }

// String returns a placeholder, which is what a panic prints.
func (Secret) String() string { return redacted }

// Format writes a placeholder, whatever the verb.
func (Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// MarshalText returns a placeholder.
func (Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// LogValue returns a placeholder.
func (Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// hint returns the end of the secret, by which people recognize it. In a secret
// of our own that is the end of the checksum, which tells less than 24 of the
// 160 random bits.
func (s Secret) hint() string { return string(s[max(0, len(s)-4):]) }

// A secret is <prefix>_<k|s>_<random><checksum>, as in hk_k_… and hk_s_….
// Random is drawn from base62, 27 digits, which is 160.7 bits. The checksum is
// the CRC-32 (IEEE) of all before it, in 6 base62 digits, most significant first.
const (
	base62         = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	kindLength     = len("_k_")
	randomLength   = 27
	checksumLength = 6

	// maxSecretLength is what fits into one block of SHA-256 with its padding.
	maxSecretLength = 55
	maxPrefixLength = maxSecretLength - kindLength - randomLength - checksumLength
	// maxImportedLength bounds keys issued elsewhere.
	maxImportedLength = 255
)

// secretFormat knows which strings can be secrets at all.
type secretFormat struct {
	prefix            string
	importedMinLength int // 0: none but our own
}

// generate returns a new secret.
func (f secretFormat) generate(kind Kind) Secret {
	body := f.beginning(kind) + randomBase62(randomLength)
	sum := checksum(body)
	return Secret(body + string(sum[:]))
}

// beginning is what all secrets of a kind begin with.
func (f secretFormat) beginning(kind Kind) string {
	if kind == ServiceToken {
		return f.prefix + "_s_"
	}
	return f.prefix + "_k_"
}

// accepts reports whether s has the shape of a secret. It asks no store, so a
// mistyped or made-up key costs nothing.
func (f secretFormat) accepts(s string) bool {
	return f.isOwn(s) || f.importedMinLength > 0 && f.isImportable(s)
}

func (f secretFormat) isOwn(s string) bool {
	p := len(f.prefix)
	if len(s) != p+kindLength+randomLength+checksumLength || s[:p] != f.prefix {
		return false
	}
	if letter := s[p : p+kindLength]; letter != "_k_" && letter != "_s_" {
		return false
	}
	body, sum := s[:len(s)-checksumLength], s[len(s)-checksumLength:]
	valid := true
	for i := p + kindLength; i < len(body); i++ {
		valid = valid && digitValues[body[i]] != noDigit
	}
	want, ok := parseBase62(sum)
	return valid && ok && want == uint64(crc32IEEE(body))
}

// isImportable reports whether s is visible ASCII of a bearable length.
func (f secretFormat) isImportable(s string) bool {
	if len(s) < f.importedMinLength || len(s) > maxImportedLength {
		return false
	}
	for i := range len(s) {
		if s[i] <= ' ' || s[i] >= 0x7f {
			return false
		}
	}
	return true
}

// checksum returns the CRC-32 of s in base62.
func checksum(s string) (digits [checksumLength]byte) {
	sum := crc32IEEE(s)
	for i := checksumLength - 1; i >= 0; i-- {
		digits[i] = base62[sum%62]
		sum /= 62
	}
	return digits
}

// crc32IEEE returns the CRC-32 of s, eight bytes at a time (slicing-by-8, Kounavis
// and Berry, 2005): it takes a secret 31 ns to be accepted so, 38 by four and over 60
// byte by byte. crc32.ChecksumIEEE needs a []byte, and takes it to the heap.
func crc32IEEE(s string) uint32 {
	crc := ^uint32(0)
	for ; len(s) >= 8; s = s[8:] {
		crc ^= uint32(s[0]) | uint32(s[1])<<8 | uint32(s[2])<<16 | uint32(s[3])<<24
		crc = crcTables[7][byte(crc)] ^ crcTables[6][byte(crc>>8)] ^ crcTables[5][byte(crc>>16)] ^ crcTables[4][crc>>24] ^
			crcTables[3][s[4]] ^ crcTables[2][s[5]] ^ crcTables[1][s[6]] ^ crcTables[0][s[7]]
	}
	for i := range len(s) {
		crc = crcTables[0][byte(crc)^s[i]] ^ crc>>8
	}
	return ^crc
}

// crcTables[n] advances a byte by n bytes more than [crc32.IEEETable] does.
var crcTables = func() (tables [8][256]uint32) {
	tables[0] = *crc32.IEEETable
	for i, crc := range tables[0] {
		for n := 1; n < len(tables); n++ {
			crc = tables[0][byte(crc)] ^ crc>>8
			tables[n][i] = crc
		}
	}
	return tables
}()

// randomBase62 returns n digits, each equally likely.
func randomBase62(n int) string {
	var digits strings.Builder
	for draw := make([]byte, 2*n); digits.Len() < n; {
		_, _ = rand.Read(draw) // crypto/rand.Read never fails: it ends the program instead
		for _, b := range draw {
			// 248 is the largest multiple of 62 in a byte: above it, some digits would be likelier.
			if b < 248 && digits.Len() < n {
				digits.WriteByte(base62[b%62])
			}
		}
	}
	return digits.String()
}

const noDigit = 0xff

// digitValues has the value of each base62 digit, and noDigit for all else. To read
// the checksum takes 20 ns less than to write the one that it should be.
var digitValues = func() (values [256]byte) {
	for c := range values {
		values[c] = noDigit
	}
	for value := range len(base62) {
		values[base62[value]] = byte(value)
	}
	return values
}()

// parseBase62 returns the number that s, of ten digits at most, stands for.
func parseBase62(s string) (n uint64, ok bool) {
	ok = true
	for i := range len(s) {
		value := digitValues[s[i]]
		ok = ok && value != noDigit
		n = n*62 + uint64(value)
	}
	return n, ok
}

func isAlphanumeric(c byte) bool {
	return '0' <= c && c <= '9' || 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z'
}
