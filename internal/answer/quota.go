package answer

import (
	"net/http"
	"slices"
)

// Quota writes the three X-RateLimit headers.
type Quota struct {
	limits, remainings, resets Decimals
}

// Set writes the headers. Reset is in Unix seconds.
func (q *Quota) Set(h http.Header, limit, remaining, reset int64) {
	h["X-Ratelimit-Limit"] = q.limits.Header(limit)
	h["X-Ratelimit-Remaining"] = q.remainings.Header(remaining)
	h["X-Ratelimit-Reset"] = q.resets.Header(reset)
}

// ClearQuota removes the headers that an outer Guard may have written, because a refused
// caller must not see a quota.
func ClearQuota(h http.Header) {
	if h["X-Ratelimit-Limit"] == nil {
		return
	}
	for _, name := range []string{
		"X-Ratelimit-Limit", "X-Ratelimit-Remaining", "X-Ratelimit-Reset", "Ratelimit-Policy", "Ratelimit",
	} {
		delete(h, name)
	}
}

// Unshare copies the values of h, because a handler may change them in place.
func Unshare(h http.Header) {
	for name, value := range h {
		h[name] = slices.Clone(value)
	}
}
