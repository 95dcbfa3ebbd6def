// Package ietf writes the fields of draft-ietf-httpapi-ratelimit-headers-11.
package ietf

import (
	"slices"
	"strconv"
	"time"
)

// Policy is a limit and its state.
type Policy struct {
	Name       string        // may be empty
	Quota      int           // the requests of a full bucket
	Window     time.Duration // from empty to full
	Calendar   string        // "day", "month", or empty for a limit that refills
	Unit       time.Duration // until one request comes back; 0: never
	Remaining  int           // the requests that would pass now
	ResetAfter time.Duration // until the bucket is full
	RetryAfter time.Duration // until the denied request would pass; 0: it was not denied, or never passes
	DryRun     bool          // the limit is not enforced
}

// Fields returns the header values of RateLimit-Policy and RateLimit. Every limit is a policy
// of its own, with its quota and its window.
func Fields(policies []Policy) (policy, limit []string) {
	var (
		names             [8]string
		ofPolicy, ofLimit [128]byte // for up to four limits
	)
	p, l, taken := ofPolicy[:0], ofLimit[:0], names[:0]
	for i := range policies {
		one := &policies[i]
		name, window := one.nameAmong(policies), max(1, ceilSeconds(one.Window))
		for slices.Contains(taken, name) { // a Name may equal the name of a policy without one
			name += "-" + one.window()
		}
		if taken = append(taken, name); i > 0 {
			p, l = append(p, ", "...), append(l, ", "...)
		}
		p, l = strconv.AppendQuote(p, name), strconv.AppendQuote(l, name)
		p, l = parameter(p, ";q=", int64(one.Quota)), parameter(l, ";r=", int64(one.Remaining))
		p = parameter(p, ";w=", window)
		if one.DryRun {
			p = append(p, ";dry-run"...)
		}
		if t := one.seconds(window); t > 0 {
			l = parameter(l, ";t=", t)
		}
	}
	text := string(append(p, l...))
	values := []string{text[:len(p)], text[len(p):]} // one object for both
	return values[:1:1], values[1:]
}

func parameter(field []byte, name string, value int64) []byte {
	return strconv.AppendInt(append(field, name...), value, 10)
}

// nameAmong returns the Name, and also the window if several policies share the Name. A
// policy without a Name has the name of its window, or "default".
func (p *Policy) nameAmong(policies []Policy) string {
	namesakes := 0
	for i := range policies {
		if policies[i].Name == p.Name {
			namesakes++
		}
	}
	switch {
	case namesakes > 1 && p.Name != "":
		return p.Name + "-" + p.window()
	case p.Name != "":
		return p.Name
	case namesakes == 1 && p.Calendar == "":
		return "default"
	}
	return p.window()
}

// window returns "day", "month", or the time from empty to full.
func (p *Policy) window() string {
	if p.Calendar != "" {
		return p.Calendar
	}
	return p.Window.String()
}

// seconds returns the parameter t, the time in which a client can use no more than Remaining.
// It is the part of the window that gives Remaining back, or the rest of a quota's day or
// month. If nothing remains, it is the time until the next request comes back, or 0 for
// never.
func (p *Policy) seconds(window int64) int64 {
	switch {
	case p.Quota <= 0 || p.Unit <= 0 && p.Calendar == "":
		return 0
	case p.Calendar != "":
		return ceilSeconds(p.ResetAfter)
	case p.Remaining > 0:
		return max(1, (int64(p.Remaining)*window+int64(p.Quota)-1)/int64(p.Quota))
	case p.RetryAfter > 0:
		return max(1, ceilSeconds(p.RetryAfter))
	}
	return max(1, ceilSeconds(p.ResetAfter-p.Unit*time.Duration(p.Quota-1)))
}

func ceilSeconds(d time.Duration) int64 { return int64((d + time.Second - 1) / time.Second) }
