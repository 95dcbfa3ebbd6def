package legible

import (
	"golang.org/x/text/feature/plural"
	"golang.org/x/text/language"
)

// PluralForm returns the form that a whole number demands in a language: one of zero, one,
// two, few, many and other.
func PluralForm(tag language.Tag, n int) string {
	switch plural.Cardinal.MatchPlural(tag, max(n, -n), 0, 0, 0, 0) {
	case plural.Zero:
		return "zero"
	case plural.One:
		return "one"
	case plural.Two:
		return "two"
	case plural.Few:
		return "few"
	case plural.Many:
		return "many"
	}
	return "other"
}
