// Package answer has the bodies and header values of responses. Responses share most of them,
// so that a refusal allocates nothing. Callers must not change them in place.
package answer

import (
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// Answer is a body with its Content-Length.
type Answer struct {
	Body   []byte   // JSON
	Length []string // the header value
	pooled *throttled
}

// New returns the Answer with a detail.
func New(detail string) *Answer {
	body := []byte(`{"detail":"` + detail + `"}`)
	return &Answer{Body: body, Length: Header(int64(len(body)))}
}

// Wait returns d in whole seconds, rounded up, but at least 1.
func Wait(d time.Duration) int64 {
	seconds := int64(d / time.Second)
	if d%time.Second > 0 { // d plus a second could overflow
		seconds++
	}
	return max(1, seconds)
}

// Throttled returns the Answer that tells a client to wait this many seconds. Release it when
// the body is written. Clients that wait equally long share an Answer, and one that is not
// shared comes from a pool.
func Throttled(seconds int64) *Answer {
	slot := &recent[uint64(seconds)%uint64(len(recent))]
	known := slot.answer.Load()
	if known != nil && known.seconds == seconds {
		return &known.Answer
	}
	const turn = 64 // misses after which another wait takes the slot
	if known == nil || slot.misses.Add(1)%turn == 0 {
		known = new(throttled)
		known.fill(seconds)
		slot.answer.Store(known)
		return &known.Answer
	}
	a := pool.Get().(*throttled)
	a.fill(seconds)
	return &a.Answer
}

// Release lets another response use an Answer of Throttled that is not shared.
func (a *Answer) Release() {
	if a.pooled != nil {
		pool.Put(a.pooled)
	}
}

type throttled struct {
	Answer
	seconds int64
	room    [96]byte // for the body
}

func (t *throttled) fill(seconds int64) {
	body := append(t.room[:0], `{"detail":"Request was throttled. Expected available in `...)
	body = strconv.AppendInt(body, seconds, 10)
	if seconds == 1 {
		body = append(body, ` second."}`...)
	} else {
		body = append(body, ` seconds."}`...)
	}
	t.seconds, t.Body, t.Length = seconds, body, Header(int64(len(body)))
}

// recent has a slot for each number of seconds modulo its length.
var recent [256]struct {
	answer atomic.Pointer[throttled]
	misses atomic.Uint64
}

// pool holds what nobody shares. A Writer must not keep what it has written.
var pool = sync.Pool{New: func() any {
	t := new(throttled)
	t.pooled = t
	return t
}}
