package console

import (
	"net/http"
	"strings"

	"github.com/httpkey/httpkey"
)

// precondition refuses a token in a version that a request was not made for. Nil refuses none.
type precondition func(httpkey.Token) error

// check returns the refusal of t, or nil.
func (c precondition) check(t httpkey.Token) error {
	if c == nil {
		return nil
	}
	return c(t)
}

// madeFor returns the precondition of a form for one version.
func madeFor(version string) precondition {
	return func(t httpkey.Token) error {
		if versionOf(t) != version {
			return errChanged
		}
		return nil
	}
}

// maxIfMatch bounds the header, in bytes.
const maxIfMatch = 4096

// readIfMatch returns the precondition of a request, from its If-Match header (RFC 9110, section
// 13.1.1). A token that exists meets "*".
func readIfMatch(h http.Header) (precondition, error) {
	text := strings.Join(h.Values("If-Match"), ",")
	if h.Values("If-Match") == nil || strings.Trim(text, " \t") == "*" {
		return nil, nil
	}
	if len(text) > maxIfMatch {
		return nil, errIfMatch
	}
	tags, ok := parseEntityTags(text)
	if !ok {
		return nil, errIfMatch
	}
	return func(t httpkey.Token) error {
		version := versionOf(t)
		if !tags[version] {
			return preconditionFailed(version)
		}
		return nil
	}, nil
}

// parseEntityTags returns the strong ones of a list of entity tags, without their quotes. A weak tag
// matches nothing. It reports false if text is no such list, or an empty one.
func parseEntityTags(text string) (strong map[string]bool, ok bool) {
	strong = make(map[string]bool)
	for text = strings.TrimLeft(text, " \t,"); text != ""; text = strings.TrimLeft(text, " \t,") {
		quoted, isWeak := strings.CutPrefix(text, "W/")
		inside, isQuoted := strings.CutPrefix(quoted, `"`)
		tag, rest, isClosed := strings.Cut(inside, `"`)
		rest = strings.TrimLeft(rest, " \t")
		if !isQuoted || !isClosed || !isOpaque(tag) || rest != "" && rest[0] != ',' {
			return nil, false
		}
		if !isWeak {
			strong[tag] = true
		}
		text, ok = rest, true
	}
	return strong, ok
}

// isOpaque reports whether an entity tag may have this text.
func isOpaque(tag string) bool {
	return strings.IndexFunc(tag, func(r rune) bool { return r <= ' ' || r == 0x7f }) < 0
}
