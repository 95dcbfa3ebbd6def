package redisstore

import (
	"sync"
	"time"

	"github.com/httpkey/httpkey"
)

// memo remembers denials, so that Redis need not be asked for what it would answer:
// until RetryAfter is over, a bucket can only have got emptier.
//
// It has two generations and keeps at most twice memoSize denials; with the second
// that fills up, the older goes.
type memo struct {
	steady     bool // each further request comes Period/Rate later
	mu         sync.RWMutex
	young, old map[bucket]denial
}

const memoSize = 4096

// bucket is what [httpkey.Limiter] says: key and limit together.
type bucket struct {
	key   string
	limit httpkey.Limit
}

// denial is the answer to a request for n.
type denial struct {
	n      int
	result httpkey.Result
	// The server decided between these two. Until the earliest moment at which
	// RetryAfter can be over the denial holds, and it is told to the latest.
	asked, answered time.Time
}

func newMemo(o Options, steady bool) *memo {
	if o.AskAlways {
		return nil
	}
	return &memo{steady: steady, young: make(map[bucket]denial)}
}

// allow answers from memory, or asks and remembers.
func (m *memo) allow(b bucket, n int, ask func() (httpkey.Result, error)) (httpkey.Result, error) {
	if m == nil {
		return ask()
	}
	asked := time.Now()
	if known, ok := m.find(b, asked); ok && (n == known.n || n > known.n && m.steady) {
		return known.again(n, asked), nil
	}
	result, err := ask()
	if err == nil && !result.Allowed {
		m.keep(b, denial{n, result, asked, time.Now()})
	}
	return result, err
}

// find returns the denial of b that still holds.
func (m *memo) find(b bucket, now time.Time) (denial, bool) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	d, ok := m.young[b]
	if !ok {
		d, ok = m.old[b]
	}
	return d, ok && now.Sub(d.asked) < d.result.RetryAfter
}

func (m *memo) keep(b bucket, d denial) {
	if known, ok := m.find(b, d.answered); ok && known.n < d.n {
		return // it answers more
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.young) >= memoSize {
		m.old, m.young = m.young, make(map[bucket]denial)
	}
	m.young[b] = d
}

// again returns the answer to a request for n, at least d's, now.
func (d denial) again(n int, now time.Time) httpkey.Result {
	r, passed := d.result, now.Sub(d.answered)
	r.RetryAfter = ceilMicros(r.RetryAfter + timeFor(r.Limit, n-d.n) - passed)
	r.ResetAfter = ceilMicros(r.ResetAfter - passed)
	return r
}
