// Package legible decides how texts that people type compare, and which of them can be read.
package legible

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// Fold returns s for comparing and searching: two texts that look alike, or differ in case
// alone, fold to the same. It applies NFKC and case folding, writes quotation marks and
// dashes in ASCII, removes invisible characters, and collapses white space. Folding twice
// changes nothing more.
func Fold(s string) string {
	if isASCII(s) {
		return foldASCII(s)
	}
	for range 4 { // what NFKC composes may fold again; no text needs more than three rounds
		folded := foldASCII(norm.NFKC.String(strings.ReplaceAll(strings.Map(foldRune, s), "ß", "ss")))
		if folded == s {
			break
		}
		s = folded
	}
	return s
}

// foldRune returns r as every variant of it folds, or -1 if r does not show. The folding of
// golang.org/x/text/cases will not do: folded twice, Cherokee letters change back.
func foldRune(r rune) rune { return unicode.ToLower(unicode.ToUpper(plain(r))) }

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// foldASCII folds the ASCII characters of s. It allocates only if that changes s.
func foldASCII(s string) string {
	for i := range len(s) {
		c := s[i]
		isInnerSpace := c == ' ' && i > 0 && s[i-1] != ' ' && i < len(s)-1
		if c <= ' ' && !isInnerSpace || c == 0x7F || 'A' <= c && c <= 'Z' {
			return rewriteASCII(s)
		}
	}
	return s
}

func rewriteASCII(s string) string {
	var b strings.Builder
	b.Grow(len(s))
	space := false
	for i := range len(s) {
		c := s[i]
		switch {
		case c == ' ' || '\t' <= c && c <= '\r':
			space = b.Len() > 0
			continue
		case c < ' ' || c == 0x7F:
			continue
		case 'A' <= c && c <= 'Z':
			c += 'a' - 'A'
		}
		if space {
			b.WriteByte(' ')
			space = false
		}
		b.WriteByte(c)
	}
	return b.String()
}

// plain returns the ASCII character that people type for r, r itself, or -1 if r does not
// show.
func plain(r rune) rune {
	switch r {
	case '‘', '’', '‚', '‛', '′', '‹', '›', 'ʹ', 'ʼ', '´':
		return '\''
	case '“', '”', '„', '‟', '″', '«', '»', 'ʺ':
		return '"'
	case '−':
		return '-'
	}
	switch {
	case r < utf8.RuneSelf:
		return r
	case isBlank(r):
		return ' '
	case unicode.Is(unicode.Pd, r):
		return '-'
	case isInvisible(r):
		return -1
	}
	return r
}

// IsVisible reports whether s has at least one character that a reader sees: a letter, a
// number, a punctuation mark or a symbol. Characters for private use look different, or like
// nothing, from font to font, and do not count.
func IsVisible(s string) bool {
	return strings.ContainsFunc(s, func(r rune) bool {
		return !isBlank(r) && !isInvisible(r) && (unicode.In(r, unicode.L, unicode.N, unicode.P, unicode.S) || isNewEmoji(r))
	})
}

// isNewEmoji reports whether r is unassigned in a block of pictographs. Devices may know it
// before the tables of Go do.
func isNewEmoji(r rune) bool { return 0x1F000 <= r && r <= 0x1FAFF }

// IsControlFree reports whether s has no control character, no Unicode line separator, and no
// character that overrides or embeds a direction of writing: with those a name can look like
// another. Tabs and line breaks are free where lines is true. The joiners of emoji and of
// Persian are free, as are the marks of direction.
func IsControlFree(s string, lines bool) bool {
	return !strings.ContainsFunc(s, func(r rune) bool {
		switch {
		case r == '\t' || r == '\n' || r == '\r':
			return !lines
		case r == 0x2028 || r == 0x2029:
			return true
		case 0x202A <= r && r <= 0x202E, 0x2066 <= r && r <= 0x206F:
			return true
		}
		return unicode.Is(unicode.Cc, r)
	})
}

// isBlank reports whether r takes room and shows nothing.
func isBlank(r rune) bool {
	return unicode.IsSpace(r) || r == '\u2800' || r == '\U0001D159' // of Braille, and of music
}

// isInvisible reports whether r takes no room, or should take none: a format character, a
// variation selector, a filler.
func isInvisible(r rune) bool {
	return unicode.In(r, unicode.Cf, unicode.Cc, unicode.Variation_Selector, unicode.Other_Default_Ignorable_Code_Point) ||
		r == '\uFFFC'
}
