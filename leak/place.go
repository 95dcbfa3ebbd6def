package leak

import (
	"net/url"
	"strings"
)

const (
	maxSource = 64
	maxURL    = 2000
	maxReason = 255 // characters of RevokedFor

	maxEscapes = 4 // an address that is escaped more often may hide a key, or cost much time
)

// place is where a key was found, in terms that a log, a mail and a page may show.
type place struct {
	source, url string // see Report
}

// placeOf returns the place of a key. Others choose source and address, so the place has only
// what is harmless of them.
func placeOf(key, source, address string) place {
	p := place{source: "unknown"}
	if isWord(source) && !shows(source, key) {
		p.source = source
	}
	if isAddress(address) && !shows(address, key) {
		p.url = address
	}
	return p
}

// reason returns the place as the RevokedFor of a token.
func (p place) reason() string {
	reason := "leaked: " + p.source
	if p.url != "" {
		reason += ", " + p.url
	}
	if len(reason) > maxReason { // all of it is ASCII
		return reason[:maxReason-len("...")] + "..."
	}
	return reason
}

func isWord(s string) bool {
	return s != "" && len(s) <= maxSource && !strings.ContainsFunc(s, func(c rune) bool {
		isLetter := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
		return !isLetter && (c < '0' || c > '9') && c != '_' && c != '-' && c != ' '
	})
}

// isAddress reports whether s is an address that a person can follow without harm.
func isAddress(s string) bool {
	if len(s) > maxURL || strings.ContainsFunc(s, func(c rune) bool { return c <= ' ' || c > '~' }) {
		return false
	}
	u, err := url.Parse(s)
	return err == nil && (u.Scheme == "https" || u.Scheme == "http") && u.Host != "" && u.User == nil
}

// shows reports whether s has the key, also if some of it is escaped, or may have it.
func shows(s, key string) bool {
	for range maxEscapes {
		if strings.Contains(s, key) {
			return true
		}
		plain, err := url.PathUnescape(s)
		switch {
		case err != nil:
			return true
		case plain == s:
			return false
		}
		s = plain
	}
	return true
}
