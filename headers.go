package httpkey

import (
	"fmt"
	"net/http"
	"strconv"
	"time"
)

// setRateLimitHeaders writes the three X-RateLimit headers. Reset is rounded up:
// a client that waits for it is never early.
func setRateLimitHeaders(h http.Header, result Result, now time.Time) {
	reset := now.Add(result.ResetAfter)
	seconds := reset.Unix()
	if reset.Nanosecond() > 0 {
		seconds++
	}
	h["X-Ratelimit-Limit"] = []string{strconv.Itoa(result.Limit.Burst)}
	h["X-Ratelimit-Remaining"] = []string{strconv.Itoa(max(0, result.Remaining))}
	h["X-Ratelimit-Reset"] = []string{strconv.FormatInt(seconds, 10)}
}

// clearRateLimitHeaders removes what a Guard around this one may have written:
// who is not let in is not told a quota.
func clearRateLimitHeaders(h http.Header) {
	for _, name := range []string{"X-Ratelimit-Limit", "X-Ratelimit-Remaining", "X-Ratelimit-Reset", "Ratelimit-Policy", "Ratelimit"} {
		delete(h, name)
	}
}

// setIETFHeaders writes the fields of draft-ietf-httpapi-ratelimit-headers-11.
//
// The policy says Burst in the time that Burst takes to come back, which for
// most limits is Rate in Period. t is when the next unit comes back.
func setIETFHeaders(h http.Header, result Result) {
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
