// Package answer has the bodies and header values of responses. It makes each once and shares
// it, so that a refusal allocates nothing. Callers must not change them in place.
package answer

import (
	"strconv"
	"sync/atomic"
)

// Answer is a body with its Content-Length.
type Answer struct {
	Body   []byte   // JSON
	Length []string // the header value
}

// New returns the Answer with a detail.
func New(detail string) *Answer {
	body := []byte(`{"detail":"` + detail + `"}`)
	return &Answer{body, []string{strconv.Itoa(len(body))}}
}

// Throttled returns the Answer that tells a client to wait this many seconds.
func Throttled(seconds int64) *Answer {
	slot := &throttled[uint64(seconds)%uint64(len(throttled))]
	known := slot.Load()
	if known == nil || known.seconds != seconds {
		unit := " seconds."
		if seconds == 1 {
			unit = " second."
		}
		detail := "Request was throttled. Expected available in " + strconv.FormatInt(seconds, 10) + unit
		known = &throttledAnswer{seconds, *New(detail)}
		slot.Store(known)
	}
	return &known.Answer
}

// throttled has a slot for each number of seconds modulo its length.
var throttled [256]atomic.Pointer[throttledAnswer]

type throttledAnswer struct {
	seconds int64
	Answer
}

// Decimals caches the header values of numbers that recur, such as limits and the next
// seconds. It has a slot for each number modulo its length. The zero value is ready for use.
type Decimals [1024]atomic.Pointer[decimal]

type decimal struct {
	n     int64
	value [1]string
}

// Header returns the header value of n.
func (d *Decimals) Header(n int64) []string {
	slot := &d[uint64(n)%uint64(len(d))]
	known := slot.Load()
	if known == nil || known.n != n {
		known = &decimal{n, [1]string{strconv.FormatInt(n, 10)}}
		slot.Store(known)
	}
	return known.value[:]
}
