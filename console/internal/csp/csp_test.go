package csp

import (
	"regexp"
	"slices"
	"strings"
	"testing"
)

const plain = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; " +
	"font-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"

var own = Parse(plain)

// with returns plain with other texts in the place of some of its own; pairs are old and new.
func with(pairs ...string) string { return strings.NewReplacer(pairs...).Replace(plain) }

func TestMerge(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		theirs string
		want   string
	}{
		"empty":    {"", plain},
		"blanks":   {" ; ;\t; ", plain},
		"the same": {plain, plain},
		"a nonce":  {"script-src 'nonce-abc'", with("script-src 'self'", "script-src 'self' 'nonce-abc'")},
		"none gives way": {
			"frame-ancestors https://portal.example", with("ancestors 'none'", "ancestors https://portal.example"),
		},
		"none adds nothing":  {"script-src 'none'; img-src 'NONE'", plain},
		"none beside others": {"frame-ancestors 'none' 'self'", with("ancestors 'none'", "ancestors 'self'")},
		"their own directive": {
			"upgrade-insecure-requests; report-uri /csp", plain + "; upgrade-insecure-requests; report-uri /csp",
		},
		"a kind that only falls back": {
			"connect-src 'self'", plain + "; connect-src 'self'",
		},
		"elements apart from scripts": {
			"script-src-elem 'nonce-abc'", plain + "; script-src-elem 'self' 'nonce-abc'",
		},
		"their default holds for each kind": {
			"default-src https://cdn.example; img-src data:",
			with(
				"default-src 'none'", "default-src https://cdn.example",
				"style-src 'self'", "style-src 'self' https://cdn.example",
				"script-src 'self'", "script-src 'self' https://cdn.example",
				"img-src 'self'", "img-src 'self' data:",
				"font-src 'self'", "font-src 'self' https://cdn.example",
			),
		},
		"the first of two counts": {"img-src data:; img-src *", with("img-src 'self'", "img-src 'self' data:")},
		"capital letters":         {"IMG-SRC data:", with("img-src 'self'", "img-src 'self' data:")},
		"two policies": {
			"img-src data:, font-src data:",
			with("img-src 'self'", "img-src 'self' data:", "font-src 'self'", "font-src 'self' data:"),
		},
		"a line break": {
			"img-src data:\r\nSet-Cookie: a=b", with("img-src 'self'", "img-src 'self' data: Set-Cookie: a=b"),
		},
		"letters of no header": {"img-src däta: \x00; b\x7fd x; ümlaut y", plain},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := own.With(tt.theirs).String(); got != tt.want {
				t.Errorf("%q makes\n%s\nwant\n%s", tt.theirs, got, tt.want)
			}
		})
	}
}

// A merged policy allows all that own does, and is one policy of one line.
func FuzzMerge(f *testing.F) {
	f.Add("script-src 'nonce-abc' 'strict-dynamic'; default-src 'self', img-src *")
	f.Add("a b;c\r\n'none'; frame-ancestors 'none' 'self'")
	line := regexp.MustCompile(`^[ -+\--~]*$`)
	f.Fuzz(func(t *testing.T, theirs string) {
		merged := own.With(theirs)
		text := merged.String()
		if !line.MatchString(text) {
			t.Fatalf("%q makes the header %q", theirs, text)
		}
		if again := Parse(text).String(); again != text {
			t.Errorf("%q makes %q, which a browser reads as %q", theirs, text, again)
		}
		for _, d := range own {
			got := merged.sources(d.name)
			isNone := slices.Equal(d.sources, []string{"'none'"})
			if len(got) == 0 || !isNone && !slices.Contains(got, d.sources[0]) {
				t.Errorf("%q makes %s of %s", theirs, got, d.name)
			}
		}
	})
}
