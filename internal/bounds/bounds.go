// Package bounds checks that the fields of a token are within their bounds. These fit the
// columns of any SQL database, and keep a cache of a hundred thousand tokens small.
//
// Each function returns an error that begins with the name of the field, or nil.
package bounds

import (
	"fmt"
	"net/netip"
	"time"
	"unicode/utf8"

	"github.com/httpkey/httpkey/internal/name"
)

const (
	maxNameBytes        = 255
	maxLabelRunes       = 255
	maxDescriptionRunes = 4096
	maxScopes           = 100
	maxNetworks         = 100
	maxMetadataBytes    = 4096
)

// Name checks an ID.
func Name(field, s string) error { return text(field, s, len(s) <= maxNameBytes) }

// Label checks a short text that people read.
func Label(field, s string) error { return text(field, s, utf8.RuneCountInString(s) <= maxLabelRunes) }

// Description checks a longer text that people read.
func Description(field, s string) error {
	return text(field, s, utf8.RuneCountInString(s) <= maxDescriptionRunes)
}

func text(field, s string, fits bool) error {
	switch {
	case !fits:
		return fmt.Errorf("%s is too long", field)
	case !name.IsText(s):
		return fmt.Errorf("%s is not UTF-8 text, or holds a NUL", field)
	}
	return nil
}

// Moment checks that JSON can write a time.
func Moment(field string, at time.Time) error {
	if year := at.UTC().Year(); year < 1 || year > 9999 { // RFC 3339 has four digits
		return fmt.Errorf("%s is in the year %d", field, year)
	}
	return nil
}

// Scopes checks that each scope is a scope-token of RFC 6749.
func Scopes(field string, scopes []string) error {
	if len(scopes) > maxScopes {
		return fmt.Errorf("%s has more than %d entries", field, maxScopes)
	}
	for _, scope := range scopes {
		if !name.IsScope(scope, maxNameBytes) {
			return fmt.Errorf("%s holds %q, which is not a scope-token of RFC 6749", field, scope)
		}
	}
	return nil
}

// Networks checks that each network is a prefix of IPv4 or of IPv6.
func Networks(field string, networks []netip.Prefix) error {
	if len(networks) > maxNetworks {
		return fmt.Errorf("%s has more than %d entries", field, maxNetworks)
	}
	for _, network := range networks {
		if !network.IsValid() || network.Addr().Is4In6() {
			return fmt.Errorf("%s holds %v, it must be a prefix of IPv4 or of IPv6", field, network)
		}
	}
	return nil
}

// Metadata checks the attributes that a program adds to a token.
func Metadata(field string, attributes map[string]string) error {
	size := 0
	for key, value := range attributes {
		if size += len(key) + len(value); size > maxMetadataBytes {
			return fmt.Errorf("%s has more than %d bytes", field, maxMetadataBytes)
		}
		if !name.IsText(key) || !name.IsText(value) {
			return fmt.Errorf("%s is not UTF-8 text, or holds a NUL", field)
		}
	}
	return nil
}
