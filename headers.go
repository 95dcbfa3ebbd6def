package httpkey

import (
	"fmt"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"
)

// decimals holds the header values of numbers that come again and again, as
// quotas and the next seconds do: a slot for each of n modulo 1024. The slices
// are shared by many responses, so nobody may change them in place; Set and
// Add of [http.Header] do not. The three X-RateLimit headers take 58 ns so, and
// 170 ns and 6 allocations if each is formatted anew.
type decimals [1024]atomic.Pointer[decimal]

type decimal struct {
	n     int64
	value [1]string
}

// header returns the header value of n.
func (d *decimals) header(n int64) []string {
	slot := &d[uint64(n)%uint64(len(d))]
	known := slot.Load()
	if known == nil || known.n != n {
		known = &decimal{n, [1]string{strconv.FormatInt(n, 10)}}
		slot.Store(known)
	}
	return known.value[:]
}

// rateLimitHeaders writes the three X-RateLimit headers.
type rateLimitHeaders struct {
	limits, remainings, resets decimals
}

// set writes the headers of a result at now. Reset is rounded up: a client that
// waits for it is never early.
func (c *rateLimitHeaders) set(h http.Header, result *Result, now instant) {
	h["X-Ratelimit-Limit"] = c.limits.header(int64(result.Limit.Burst))
	h["X-Ratelimit-Remaining"] = c.remainings.header(int64(max(0, result.Remaining)))
	h["X-Ratelimit-Reset"] = c.resets.header(now.ceilUnix(result.ResetAfter))
}

// clearRateLimitHeaders removes what a Guard around this one may have written:
// who is not let in is not told a quota.
func clearRateLimitHeaders(h http.Header) {
	if h["X-Ratelimit-Limit"] == nil {
		return
	}
	for _, name := range []string{"X-Ratelimit-Limit", "X-Ratelimit-Remaining", "X-Ratelimit-Reset", "Ratelimit-Policy", "Ratelimit"} {
		delete(h, name)
	}
}

// setIETFHeaders writes the fields of draft-ietf-httpapi-ratelimit-headers-11.
//
// The policy says Burst in the time that Burst takes to come back, which for
// most limits is Rate in Period. t is when the next unit comes back.
func setIETFHeaders(h http.Header, result *Result) {
	limit := result.Limit
	if limit.Validate() != nil {
		return // there is nothing true to say of what a limiter cannot have applied
	}
	window := ceilSeconds(refillTime(limit, limit.Burst))
	h["Ratelimit-Policy"] = []string{fmt.Sprintf(`"default";q=%d;w=%d`, limit.Burst, max(1, window))}

	remaining := max(0, result.Remaining)
	value := fmt.Sprintf(`"default";r=%d`, remaining)
	if used := limit.Burst - remaining; used > 0 {
		next := result.ResetAfter - refillTime(limit, used-1)
		value += fmt.Sprintf(";t=%d", max(1, ceilSeconds(next)))
	}
	h["Ratelimit"] = []string{value}
}

// refillTime returns how long limit takes to give n requests back, n at most Burst.
func refillTime(limit Limit, n int) time.Duration {
	micros := int64(limit.Period/time.Microsecond) * int64(n) / int64(limit.Rate)
	return time.Duration(micros) * time.Microsecond
}
