package console

import (
	"net/http"
	"strings"
)

// maxIdempotencyKey bounds the key, in characters.
const maxIdempotencyKey = 255

// readIdempotencyKey returns the Idempotency-Key of a request; empty: it has none. The draft
// draft-ietf-httpapi-idempotency-key-header wants a string with quotes, and many clients send none.
func readIdempotencyKey(h http.Header) (string, error) {
	values := h.Values("Idempotency-Key")
	if len(values) == 0 {
		return "", nil
	}
	if key, ok := parseIdempotencyKey(values[0]); ok && len(values) == 1 {
		return key, nil
	}
	return "", errIdempotencyKey
}

// parseIdempotencyKey returns a key without its quotes. Between quotes, a backslash stands before a
// quote and a backslash (RFC 9651, section 3.3.3).
func parseIdempotencyKey(text string) (key string, ok bool) {
	if inside, isQuoted := strings.CutPrefix(text, `"`); isQuoted {
		var closed bool
		if text, closed = unquote(inside); !closed {
			return "", false
		}
	} else if strings.Contains(text, `"`) {
		return "", false
	}
	isVisible := strings.IndexFunc(text, func(r rune) bool { return r <= ' ' || r > '~' }) < 0
	return text, isVisible && text != "" && len(text) <= maxIdempotencyKey
}

// unquote returns a text up to its closing quote, which must be its end.
func unquote(text string) (_ string, closed bool) {
	var plain strings.Builder
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '"':
			return plain.String(), i == len(text)-1
		case '\\':
			if i++; i == len(text) || text[i] != '"' && text[i] != '\\' {
				return "", false
			}
		}
		plain.WriteByte(text[i])
	}
	return "", false
}
