package console

import (
	"bytes"
	"math"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

var ownSelector = regexp.MustCompile(`^:where\((body)?\.httpkey`)

// Every rule of the stylesheet is about the element of the console and what is in it.
func TestStylesheetLeavesOtherPagesAlone(t *testing.T) {
	t.Parallel()
	css, err := embedded.ReadFile("files/style.css")
	if err != nil {
		t.Fatal(err)
	}
	css = regexp.MustCompile(`(?s)/\*.*?\*/`).ReplaceAll(css, nil)
	depth, start, rules := 0, 0, 0
	for i, c := range css {
		selector := string(bytes.TrimSpace(css[start:i]))
		switch isOutermost := depth == 0; {
		case c == '{' && strings.HasPrefix(selector, "@media"): // its rules are as outermost
			start = i + 1
			continue
		case c == '{':
			if isOutermost && !ownSelector.MatchString(selector) {
				t.Errorf("the rule %s is about other elements", selector)
			}
			rules++
			depth++
		case c == '}' && !isOutermost:
			depth--
		case c != '}' && c != ';':
			continue
		}
		start = i + 1
	}
	if rules < 100 || bytes.Contains(css, []byte(":root")) {
		t.Errorf("the test has read %d rules", rules)
	}
}

var colorPair = regexp.MustCompile(`(--[a-z-]+): light-dark\((#[0-9a-f]{6}), (#[0-9a-f]{6})\)`)

// luminance is that of a colour as WCAG 2 defines it.
func luminance(t *testing.T, color string) (l float64) {
	t.Helper()
	for i, weight := range []float64{0.2126, 0.7152, 0.0722} {
		n, err := strconv.ParseUint(color[1+2*i:3+2*i], 16, 8)
		if err != nil {
			t.Fatal(err)
		}
		c := float64(n) / 255
		if c <= 0.04045 {
			l += weight * c / 12.92
		} else {
			l += weight * math.Pow((c+0.055)/1.055, 2.4)
		}
	}
	return l
}

// Texts have the contrast that WCAG 2 wants, on light and on dark pages, and with the theme of the
// package documentation.
func TestContrast(t *testing.T) {
	t.Parallel()
	css, err := embedded.ReadFile("files/style.css")
	if err != nil {
		t.Fatal(err)
	}
	doc, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	themed := regexp.MustCompile(`//\s+\.httpkey \{.*\}`).Find(doc)
	if !colorPair.Match(themed) {
		t.Fatalf("the documented theme is %q", themed)
	}
	_, own, _ := bytes.Cut(css, []byte("*/")) // the comment has a theme
	for name, sheet := range map[string][]byte{"own": own, "documented": append(bytes.Clone(own), themed...)} {
		for scheme, i := range map[string]int{"light": 2, "dark": 3} {
			colors := make(map[string]string)
			for _, pair := range colorPair.FindAllSubmatch(sheet, -1) {
				colors[string(pair[1])] = string(pair[i])
			}
			for _, tt := range []struct {
				front, back string
				least       float64
			}{
				{"--text", "--background", 4.5}, {"--text", "--surface", 4.5}, {"--quiet", "--background", 4.5},
				{"--quiet", "--surface", 4.5}, {"--accent", "--background", 4.5}, {"--accent", "--surface", 4.5},
				{"--on-accent", "--accent", 4.5}, {"--danger", "--background", 4.5}, {"--danger", "--danger-surface", 4.5},
				{"--text", "--danger-surface", 4.5}, {"--good", "--surface", 4.5}, {"--good", "--good-surface", 4.5},
				{"--care", "--care-surface", 4.5}, {"--field", "--background", 3},
			} {
				a, b := luminance(t, colors[tt.front]), luminance(t, colors[tt.back])
				if contrast := (max(a, b) + 0.05) / (min(a, b) + 0.05); contrast < tt.least {
					t.Errorf("%s, %s: %s on %s has a contrast of %.2f, want %v", name, scheme, tt.front, tt.back, contrast, tt.least)
				}
			}
		}
	}
}
