// Package name makes token IDs, and checks payers, scopes, header names and other text.
package name

import (
	"crypto/rand"
	"encoding/hex"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/httpkey/httpkey/internal/keyformat"
)

// NewID returns a UUID of version 7 (RFC 9562, section 5.7). Such IDs sort by time, which
// keeps the indexes of a database compact.
func NewID(now time.Time) string {
	var id [16]byte
	_, _ = rand.Read(id[6:]) // crypto/rand.Read never returns an error: it ends the program instead
	millis := uint64(now.UnixMilli())
	for i := range 6 {
		id[i] = byte(millis >> (40 - 8*i))
	}
	id[6] = id[6]&0x0f | 0x70
	id[8] = id[8]&0x3f | 0x80
	x := hex.EncodeToString(id[:])
	return x[:8] + "-" + x[8:12] + "-" + x[12:16] + "-" + x[16:20] + "-" + x[20:]
}

// IsHeader reports whether s is empty or a field name of RFC 9110, section 5.1.
func IsHeader(s string) bool {
	for i := range len(s) {
		if !keyformat.IsAlphanumeric(s[i]) && !strings.ContainsRune("!#$%&'*+-.^_`|~", rune(s[i])) {
			return false
		}
	}
	return true
}

// IsScope reports whether s is a scope-token of RFC 6749, section 3.3, and no longer than most
// bytes.
func IsScope(s string, most int) bool {
	if s == "" || len(s) > most {
		return false
	}
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c >= 0x7f || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}

// IsSegment reports whether s can be a segment of a URL path: it is not "." or "..", and has
// no slash and no control character. Clients and proxies resolve dot segments and decode
// slashes, however they are escaped.
func IsSegment(s string) bool {
	return s != "." && s != ".." && !strings.ContainsFunc(s, func(r rune) bool {
		return r == '/' || unicode.IsControl(r)
	})
}

// MayPay reports whether a request of a token may name a payer: the token, its user or
// workspace if it has one, or a name of the program's own.
func MayPay(payer, id, user, workspace string) bool {
	kind, name, isKind := strings.Cut(payer, ":")
	switch {
	case !isKind:
		return payer != "" && payer != "probe"
	case kind == "token":
		return name == id
	case kind == "user":
		return name != "" && name == user
	case kind == "workspace":
		return name != "" && name == workspace
	}
	return kind != "anonymous"
}

// MayPayWithoutKey reports whether a request may name a payer though it has no key: an address,
// a user, a workspace, or a name of the program's own.
func MayPayWithoutKey(payer string) bool {
	kind, name, isKind := strings.Cut(payer, ":")
	switch {
	case !isKind:
		return payer != "" && payer != "probe"
	case kind == "user" || kind == "workspace" || kind == "anonymous":
		return name != ""
	}
	return kind != "token"
}

// IsText reports whether every store can keep s: UTF-8 without a NUL.
func IsText(s string) bool { return utf8.ValidString(s) && !strings.ContainsRune(s, 0) }
