// Package answer has the bodies and header values of responses, which are made once and
// shared: to refuse a request allocates nothing. They must not be changed in place.
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

// New returns the answer with a detail.
func New(detail string) *Answer {
	body := []byte(`{"detail":"` + detail + `"}`)
	return &Answer{body, []string{strconv.Itoa(len(body))}}
}

// Throttled returns the answer that tells a client to wait so many seconds.
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

// Decimals holds the header values of numbers that come again and again, as quotas and the
// next seconds do: a slot for each number modulo its length. The zero value is ready.
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
