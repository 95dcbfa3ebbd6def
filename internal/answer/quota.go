package answer

import (
	"net/http"
	"slices"
	"strconv"
	"unsafe"
)

// Quota writes the three X-RateLimit headers.
type Quota struct {
	limits, remainings, resets Decimals
}

// Set writes the headers. Reset is in Unix seconds. Own has room for the value of remaining, if
// it is not shared; nil: it is always shared.
func (q *Quota) Set(h http.Header, limit, remaining, reset int64, own *Own) {
	h["X-Ratelimit-Limit"] = q.limits.Header(limit)
	if own != nil && remaining >= countdown && remaining < tooLong {
		h["X-Ratelimit-Remaining"] = own.header(remaining)
	} else {
		h["X-Ratelimit-Remaining"] = q.remainings.Header(remaining)
	}
	h["X-Ratelimit-Reset"] = q.resets.Header(reset)
}

// countdown is the first Remaining that may never come again. The values of those below it fit
// into the caches of a CPU.
const countdown = 1024

// Own has room for a header value that one response does not share. It is part of an object
// that the request needs anyway, so the value needs no allocation. The value keeps that object
// in memory.
type Own struct {
	value  [1]string
	digits [16]byte // so that the object fills a size class of the allocator
}

// tooLong is the first number that does not fit into an Own.
const tooLong = 1e16

// header returns the header value of n, which is neither negative nor tooLong. A conversion to a string would
// allocate. It may be called once, because a server reads the value when the handler has
// returned.
func (o *Own) header(n int64) []string {
	digits := strconv.AppendInt(o.digits[:0], n, 10)
	o.value[0] = unsafe.String(unsafe.SliceData(digits), len(digits))
	return o.value[:]
}

// ClearQuota removes the headers that limits in front may have written. They do not describe the
// refusal.
func ClearQuota(h http.Header) {
	if h["X-Ratelimit-Limit"] == nil {
		return
	}
	for _, name := range []string{
		"X-Ratelimit-Limit", "X-Ratelimit-Remaining", "X-Ratelimit-Reset", "Ratelimit-Policy", "Ratelimit",
		"X-Ratelimit-Dry-Run",
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
