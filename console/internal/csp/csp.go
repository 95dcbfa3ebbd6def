// Package csp reads, merges and writes a Content-Security-Policy (W3C CSP Level 3).
package csp

import (
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// Origin returns the source of a policy that has a URL; none for a relative one.
func Origin(location string) []string {
	u, err := url.Parse(location)
	if err != nil || u.Host == "" {
		return nil
	}
	source := u.Host
	if u.Scheme != "" {
		source = u.Scheme + "://" + u.Host
	}
	if !isToken(source) {
		return nil
	}
	return []string{source}
}

// Policy is a Content-Security-Policy: its directives in order.
type Policy []directive

// directive is what a page may do of one kind, and from where.
type directive struct {
	name    string
	sources []string
}

// Parse reads one policy as a browser does: the first of two directives of one name counts.
// It leaves out what a header could not hold.
func Parse(text string) Policy {
	var p Policy
	for part := range strings.SplitSeq(text, ";") {
		fields := strings.Fields(part)
		if len(fields) == 0 || !isName(fields[0]) {
			continue
		}
		name := strings.ToLower(fields[0])
		if _, ok := p.find(name); ok {
			continue
		}
		sources := slices.DeleteFunc(fields[1:], func(source string) bool { return !isToken(source) })
		p = append(p, directive{name, sources})
	}
	return p
}

// isName reports whether s can be the name of a directive.
func isName(s string) bool {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-"
	return strings.Trim(s, letters) == ""
}

// isToken reports whether s can stand in a directive: it has visible ASCII characters, and none that
// ends a directive or a policy.
func isToken(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' || r == ';' || r == ',' })
}

func (p Policy) find(name string) (directive, bool) {
	i := slices.IndexFunc(p, func(d directive) bool { return d.name == name })
	if i < 0 {
		return directive{}, false
	}
	return p[i], true
}

// fallbacks are the directives that stand in for another, which is not there.
var fallbacks = map[string][]string{
	"default-src":     {},
	"child-src":       {"default-src"},
	"connect-src":     {"default-src"},
	"font-src":        {"default-src"},
	"frame-src":       {"child-src", "default-src"},
	"img-src":         {"default-src"},
	"manifest-src":    {"default-src"},
	"media-src":       {"default-src"},
	"object-src":      {"default-src"},
	"script-src":      {"default-src"},
	"script-src-attr": {"script-src", "default-src"},
	"script-src-elem": {"script-src", "default-src"},
	"style-src":       {"default-src"},
	"style-src-attr":  {"style-src", "default-src"},
	"style-src-elem":  {"style-src", "default-src"},
	"worker-src":      {"child-src", "script-src", "default-src"},
}

// sources returns those that hold for a directive, by itself or by one that stands in for it.
func (p Policy) sources(name string) []string {
	for _, n := range append([]string{name}, fallbacks[name]...) {
		if d, ok := p.find(n); ok {
			return d.sources
		}
	}
	return nil
}

// With merges further policies into p. A text may have several, with commas between them.
func (p Policy) With(texts ...string) Policy {
	for text := range strings.SplitSeq(strings.Join(texts, ","), ",") {
		p = p.Merge(Parse(text))
	}
	return p
}

// Merge returns a policy with the sources of both for each directive.
func (p Policy) Merge(q Policy) Policy {
	var merged Policy
	for _, d := range slices.Concat(p, q) {
		if _, ok := merged.find(d.name); !ok {
			merged = append(merged, directive{d.name, union(p.sources(d.name), q.sources(d.name))})
		}
	}
	return merged
}

// Add returns p with further sources for a directive.
func (p Policy) Add(name string, sources []string) Policy { return p.Merge(Policy{{name, sources}}) }

// union returns the sources of a, and those that only b has. 'none' stands alone.
func union(a, b []string) []string {
	all := slices.Clone(a)
	for _, source := range b {
		if !slices.Contains(all, source) {
			all = append(all, source)
		}
	}
	isNone := func(source string) bool { return strings.EqualFold(source, "'none'") }
	if slices.ContainsFunc(all, func(source string) bool { return !isNone(source) }) {
		all = slices.DeleteFunc(all, isNone)
	}
	return all
}

// String returns the value of the header.
func (p Policy) String() string {
	var parts []string
	for _, d := range p {
		parts = append(parts, strings.Join(append([]string{d.name}, d.sources...), " "))
	}
	return strings.Join(parts, "; ")
}

var nonceSource = regexp.MustCompile(`^(?i:'nonce-)([A-Za-z0-9+/_-]+={0,2})'$`)

// Nonce returns that of a directive, for the elements that it is about; empty if it has none.
func (p Policy) Nonce(name string) string {
	for _, source := range p.sources(name) {
		if found := nonceSource.FindStringSubmatch(source); found != nil {
			return found[1]
		}
	}
	return ""
}
