package main

import (
	"bytes"
	"fmt"
	"html"
)

// In pixels. A name has to fit to the left of the bars, a number to their right.
const (
	chartWidth = 720
	chartLeft  = 210
	chartRight = 70
	chartTop   = 44
	barHeight  = 18
	barStep    = 28
)

// chart draws the ns per request on 1 CPU as bars, in SVG. It takes the colors of
// the reader's system: as an image, it cannot see those of the page.
func chart(rows []row) []byte {
	rows = rows[:len(rows)-1] // without the bare handler
	var b bytes.Buffer
	longest := 0.0
	for i := range rows {
		longest = max(longest, rows[i].ns())
	}
	height := chartTop + barStep*len(rows) + 4
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d"`+
		` role="img" aria-label="ns per request">
<style>
svg { color: #1f2328; font: 13px system-ui, sans-serif }
@media (prefers-color-scheme: dark) { svg { color: #e6edf3 } }
text, rect { fill: currentColor }
rect { opacity: .35 }
.us { font-weight: 600 }
rect.us { fill: #2f81f7; opacity: 1 }
.end { text-anchor: end }
</style>
<text x="%d" y="20">ns per request on 1 CPU, uniform keys; less is better. * limits only</text>
`, chartWidth, height, chartWidth, height, chartLeft)
	for i := range rows {
		r := &rows[i]
		class, name := "them", r.name
		if r.name == ours.name {
			class = "us"
		}
		if r.does == limitOnly {
			name += " *"
		}
		y := chartTop + barStep*i
		width := r.ns() / longest * (chartWidth - chartLeft - chartRight)
		fmt.Fprintf(&b, `<text class="%s end" x="%d" y="%d">%s</text>`+
			`<rect class="%s" x="%d" y="%d" width="%.1f" height="%d"/>`+
			`<text class="%s" x="%.1f" y="%d">%.0f</text>
`,
			class, chartLeft-8, y+13, html.EscapeString(name),
			class, chartLeft, y, width, barHeight,
			class, chartLeft+width+6, y+13, r.ns())
	}
	b.WriteString("</svg>\n")
	return b.Bytes()
}
