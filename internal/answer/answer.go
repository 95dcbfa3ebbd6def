// Package answer has the bodies and header values of responses. Responses share most of them,
// so that a refusal allocates nothing. Callers must not change them in place.
package answer

import (
	"strconv"
	"sync"
)

// Answer is a body with its Content-Length.
type Answer struct {
	Body   []byte   // JSON
	Length []string // the header value
}

// New returns the Answer with a detail.
func New(detail string) *Answer {
	body := []byte(`{"detail":"` + detail + `"}`)
	return &Answer{body, Header(int64(len(body)))}
}

// Throttled returns the Answer that tells a client to wait this many seconds. Release it when
// the body is written.
func Throttled(seconds int64) *Answer {
	a := throttled.Get().(*Answer)
	a.Body = append(a.Body[:0], `{"detail":"Request was throttled. Expected available in `...)
	a.Body = strconv.AppendInt(a.Body, seconds, 10)
	if seconds == 1 {
		a.Body = append(a.Body, ` second."}`...)
	} else {
		a.Body = append(a.Body, ` seconds."}`...)
	}
	a.Length = Header(int64(len(a.Body)))
	return a
}

// Release lets another response use an Answer of Throttled.
func (a *Answer) Release() { throttled.Put(a) }

// throttled are reused, because a Writer must not keep what it has written.
var throttled = sync.Pool{New: func() any { return &Answer{Body: make([]byte, 0, 128)} }}
