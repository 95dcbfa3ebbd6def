// Package ietf writes the fields of draft-ietf-httpapi-ratelimit-headers-11.
package ietf

import (
	"fmt"
	"slices"
	"strings"
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
}

// Fields returns RateLimit-Policy and RateLimit. Every limit is a policy of its own, with
// its quota and its window.
func Fields(policies []Policy) (policy, limit string) {
	var names, ofPolicy, ofLimit []string
	for _, p := range policies {
		name, window := p.nameAmong(policies), max(1, ceilSeconds(p.Window))
		for slices.Contains(names, name) { // a Name may equal the name of a policy without one
			name += "-" + p.window()
		}
		names = append(names, name)
		ofPolicy = append(ofPolicy, fmt.Sprintf("%q;q=%d;w=%d", name, p.Quota, window))
		value := fmt.Sprintf("%q;r=%d", name, p.Remaining)
		if t := p.seconds(window); t > 0 {
			value += fmt.Sprintf(";t=%d", t)
		}
		ofLimit = append(ofLimit, value)
	}
	return strings.Join(ofPolicy, ", "), strings.Join(ofLimit, ", ")
}

// nameAmong returns the Name, and also the window if several policies share the Name. A
// policy without a Name has the name of its window, or "default".
func (p Policy) nameAmong(policies []Policy) string {
	namesakes := 0
	for _, other := range policies {
		if other.Name == p.Name {
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
func (p Policy) window() string {
	if p.Calendar != "" {
		return p.Calendar
	}
	return p.Window.String()
}

// seconds returns the parameter t, the time in which a client can use no more than Remaining.
// It is the part of the window that gives Remaining back, or the rest of a quota's day or
// month. If nothing remains, it is the time until the next request comes back, or 0 for
// never.
func (p Policy) seconds(window int64) int64 {
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
