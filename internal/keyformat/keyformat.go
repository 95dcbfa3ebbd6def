// Package keyformat knows which strings can be keys, and makes new ones.
//
// A key is <prefix>_<k|s>_<random><checksum>, as in hk_k_… and hk_s_…. The random part has
// 27 base62 digits, which are 160.7 bits. The checksum is the CRC-32 (IEEE) of the text
// before it, in 6 base62 digits, most significant first.
package keyformat

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"
	"hash/crc32"
	"slices"
	"strings"
	"sync"
)

const (
	base62         = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	kindLength     = len("_k_")
	randomLength   = 27
	checksumLength = 6

	// maxLength is the longest text that fits into one block of SHA-256 with its padding.
	maxLength = 55
	// MaxPrefix is the maximum length of a prefix.
	MaxPrefix = maxLength - kindLength - randomLength - checksumLength
	// MinImported is the minimum length of a key issued elsewhere.
	MinImported = 16
	// MaxImported is the maximum length of a key issued elsewhere.
	MaxImported = 255
)

// Format describes the keys of a program.
type Format struct {
	Prefix      string   // begins each key
	Previous    []string // the prefixes of earlier keys, which are still accepted
	MinImported int      // the minimum length of keys of other shapes; 0: they are refused
}

// Validate returns an error that names the option of httpkey with an invalid value, or nil. An
// empty prefix is the default.
func (f Format) Validate() error {
	if f.Prefix != "" && !IsPrefix(f.Prefix) {
		return invalid("Prefix", "is %q, it must be a letter and up to %d letters, digits and underscores",
			f.Prefix, MaxPrefix-1)
	}
	for _, previous := range f.Previous {
		if !IsPrefix(previous) {
			return invalid("PreviousPrefixes", "has %q, which is no prefix", previous)
		}
	}
	if f.MinImported != 0 && (f.MinImported < MinImported || f.MinImported > MaxImported) {
		return invalid("ImportedMinLength", "is %d, it must be 0, or from %d to %d", f.MinImported, MinImported, MaxImported)
	}
	return nil
}

func invalid(option, format string, args ...any) error {
	return fmt.Errorf("%s %s", option, fmt.Sprintf(format, args...))
}

// Generate returns a new key for a person or for a service.
func (f Format) Generate(service bool) string {
	body := f.Beginning(service) + randomBase62(randomLength)
	sum := checksum(body)
	return body + string(sum[:])
}

// Beginning returns the common beginning of the keys of persons or of services.
func (f Format) Beginning(service bool) string {
	if service {
		return f.Prefix + "_s_"
	}
	return f.Prefix + "_k_"
}

// Resembles reports whether s looks like a key. Unlike Accepts, it does not verify the
// checksum.
func (f Format) Resembles(s string) bool {
	return f.resemblesOwn(s) || f.MinImported > 0 && f.isImportable(s)
}

// Accepts reports whether s has the shape of a key, so that a mistyped key needs no store
// call.
func (f Format) Accepts(s string) bool {
	return f.IsOwn(s) || f.MinImported > 0 && f.isImportable(s)
}

func (f Format) resemblesOwn(s string) bool {
	return resembles(s, f.Prefix) || len(f.Previous) > 0 && slices.ContainsFunc(f.Previous, func(previous string) bool {
		return resembles(s, previous)
	})
}

// resembles reports whether s looks like a key of a prefix.
func resembles(s, prefix string) bool {
	p := len(prefix)
	if len(s) != p+kindLength+randomLength+checksumLength || s[:p] != prefix {
		return false
	}
	letter := s[p : p+kindLength]
	return letter == "_k_" || letter == "_s_"
}

// IsOwn reports whether Generate may have made s, under the prefix or a previous one.
func (f Format) IsOwn(s string) bool {
	if !f.resemblesOwn(s) {
		return false
	}
	body, sum := s[:len(s)-checksumLength], s[len(s)-checksumLength:]
	valid := true
	for i := len(body) - randomLength; i < len(body); i++ {
		valid = valid && digitValues[body[i]] != noDigit
	}
	want, ok := parseBase62(sum)
	return valid && ok && want == uint64(crc32IEEE(body))
}

// isImportable reports whether s is visible ASCII of an allowed length.
func (f Format) isImportable(s string) bool {
	if len(s) < f.MinImported || len(s) > MaxImported {
		return false
	}
	for i := range len(s) {
		if s[i] <= ' ' || s[i] >= 0x7f {
			return false
		}
	}
	return true
}

// Hint returns the end of a key, by which people recognize it. A short key has no hint. In a
// key that Generate made, the hint is the end of the checksum, which reveals less than 24 of
// the 160 random bits.
func Hint(key string) string {
	if IsShort(key) {
		return ""
	}
	return key[len(key)-4:]
}

// IsShort reports whether a key may have so few random bits that a hint reveals too much. Its
// SHA-256 then does not hide it either. Generate makes no such key.
func IsShort(key string) bool { return len(key) < 32 }

// checksum returns the CRC-32 of s in base62.
func checksum(s string) (digits [checksumLength]byte) {
	sum := crc32IEEE(s)
	for i := checksumLength - 1; i >= 0; i-- {
		digits[i] = base62[sum%62]
		sum /= 62
	}
	return digits
}

// crc32IEEE returns the CRC-32 of s. It takes eight bytes at a time (slicing-by-8,
// Kounavis and Berry, 2005), in less than half the time of a loop over bytes.
// crc32.ChecksumIEEE needs a []byte, which escapes to the heap.
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

// crcTables[n] advances a byte by n more bytes than [crc32.IEEETable] does.
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
			// 248 is the largest multiple of 62 in a byte. From 248 on, bytes would favor some digits.
			if b < 248 && digits.Len() < n {
				digits.WriteByte(base62[b%62])
			}
		}
	}
	return digits.String()
}

const noDigit = 0xff

// digitValues has the value of each base62 digit, and noDigit for other bytes. Reading a
// checksum is faster than writing the expected one.
var digitValues = func() (values [256]byte) {
	for c := range values {
		values[c] = noDigit
	}
	for value := range len(base62) {
		values[base62[value]] = byte(value)
	}
	return values
}()

// parseBase62 returns the value of s, which has ten digits at most.
func parseBase62(s string) (n uint64, ok bool) {
	ok = true
	for i := range len(s) {
		value := digitValues[s[i]]
		ok = ok && value != noDigit
		n = n*62 + uint64(value)
	}
	return n, ok
}

// IsPrefix reports whether s may begin a key: a letter, then letters, digits and underscores.
func IsPrefix(s string) bool {
	if s == "" || len(s) > MaxPrefix || !IsAlphanumeric(s[0]) || '0' <= s[0] && s[0] <= '9' {
		return false
	}
	for i := range len(s) {
		if !IsAlphanumeric(s[i]) && s[i] != '_' {
			return false
		}
	}
	return true
}

// IsAlphanumeric reports whether c is an ASCII letter or digit.
func IsAlphanumeric(c byte) bool {
	return '0' <= c && c <= '9' || 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z'
}

// TrimBlanks returns s without surrounding blanks and tabs. It is faster than strings.Trim,
// which builds a set of the characters first.
func TrimBlanks(s string) string {
	for s != "" && isBlank(s[0]) {
		s = s[1:]
	}
	for s != "" && isBlank(s[len(s)-1]) {
		s = s[:len(s)-1]
	}
	return s
}

func isBlank(c byte) bool { return c == ' ' || c == '\t' }

const minPepper = 32 // bytes

// ValidatePeppers returns an error that names the option of httpkey with an invalid pepper, or
// nil. An empty pepper means none.
func ValidatePeppers[S ~string](pepper S, previous []S) error {
	if pepper != "" && len(pepper) < minPepper {
		return invalid("Pepper", "has %d bytes, it needs at least %d", len(pepper), minPepper)
	}
	for i, p := range previous {
		option := fmt.Sprintf("PreviousPeppers[%d]", i)
		if p != "" && len(p) < minPepper {
			return invalid(option, "has %d bytes, it needs at least %d (or none, for SHA-256)", len(p), minPepper)
		}
		if p == pepper {
			return invalid(option, "is the Pepper itself")
		}
	}
	return nil
}

// Digester returns the digest of a key. It is a function, because fmt would print a pepper in
// a struct.
type Digester func(key string) [32]byte

// NewDigester returns HMAC-SHA-256 under a pepper, or SHA-256 for none.
func NewDigester(pepper string) Digester {
	if pepper == "" {
		return sum256
	}
	// A hash that is used again has the state after the pepper. Its arguments are used again
	// with it, because they escape to the heap.
	type digestion struct {
		mac    hash.Hash
		key    [MaxImported]byte
		digest [32]byte
	}
	digestions := sync.Pool{New: func() any {
		return &digestion{mac: hmac.New(sha256.New, []byte(pepper))}
	}}
	return func(key string) [32]byte {
		d := digestions.Get().(*digestion)
		defer digestions.Put(d)
		d.mac.Reset()
		d.mac.Write(d.key[:copy(d.key[:], key)])
		d.mac.Sum(d.digest[:0])
		return d.digest
	}
}

func sum256(key string) [32]byte {
	// The key is copied to the stack, because []byte(key) would allocate. Most keys are short.
	if len(key) <= 64 {
		var short [64]byte
		return sha256.Sum256(short[:copy(short[:], key)])
	}
	var long [MaxImported]byte
	return sha256.Sum256(long[:copy(long[:], key)])
}

// Equal compares digests in constant time. It compares words, because
// subtle.ConstantTimeCompare compares bytes and is slower.
func Equal(a, b [32]byte) bool {
	var differ uint64
	for i := 0; i < len(a); i += 8 {
		differ |= binary.LittleEndian.Uint64(a[i:]) ^ binary.LittleEndian.Uint64(b[i:])
	}
	return differ == 0
}
