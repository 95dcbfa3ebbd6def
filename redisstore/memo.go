package redisstore

import (
	"sync"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/internal/charge"
	"github.com/httpkey/httpkey/internal/ram"
)

// memo remembers denials, so that a repeated denial needs no call to Redis: until
// RetryAfter is over, the bucket has no room for the same cost.
//
// It has two generations and keeps at most twice memoSize denials. When the young
// generation is full, the old one is dropped.
type memo struct {
	steady     bool // RetryAfter grows by Period/Rate with each further request
	mu         sync.RWMutex
	young, old map[bucket]denial
}

const memoSize = 4096

// bucket names a bucket in memory.
type bucket struct {
	payer string
	term  ram.Term
}

// denial is the answer to a request for n.
type denial struct {
	n      int
	result httpkey.Result
	// The server decided between these two moments. The denial holds until the earliest
	// moment at which RetryAfter can be over, and reports the latest.
	asked, answered time.Time
}

func newMemo(o Options, steady bool) *memo {
	if o.AskAlways {
		return nil
	}
	return &memo{steady: steady, young: make(map[bucket]denial)}
}

// allow answers from memory, or calls ask and remembers a denial. It ignores a denial under
// another limit.
func (m *memo) allow(b bucket, limit httpkey.Limit, n int, ask func() (httpkey.Result, error)) (httpkey.Result, error) {
	if m == nil {
		return ask()
	}
	asked := time.Now()
	known, ok := m.find(b)
	if ok && known.holds(limit, asked) && (n == known.n || n > known.n && m.steady) {
		return known.again(n, asked), nil
	}
	result, err := ask()
	switch {
	case err != nil:
	case !result.Allowed:
		m.keep(b, denial{n, result, asked, time.Now()})
	case ok && n > 0: // less remains now than the denial says
		m.drop(b, known)
	}
	return result, err
}

// charge makes a charge without remembering it, and forgets the denials of its buckets, which
// no longer hold.
func (m *memo) charge(
	c *httpkey.Charge, items []charge.Item, ask func() (httpkey.Result, error),
) (httpkey.Result, error) {
	result, err := ask()
	if m == nil || !c.Forced && !result.Allowed {
		return result, err
	}
	for _, item := range items {
		b := bucket{c.Bucket, item.Term}
		if c.Forced {
			m.forget(b)
		} else if d, ok := m.find(b); ok {
			m.drop(b, d)
		}
	}
	return result, err
}

// drop drops a denial of b, which no longer holds.
func (m *memo) drop(b bucket, d denial) {
	if d.isForgotten() {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.young, b)
	delete(m.old, b)
}

// forget drops the denial of b, and keeps out the answers of calls in progress.
func (m *memo) forget(b bucket) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.put(b, denial{asked: time.Now()})
}

func (m *memo) find(b bucket) (denial, bool) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.peek(b)
}

func (m *memo) peek(b bucket) (denial, bool) {
	d, ok := m.young[b]
	if !ok {
		d, ok = m.old[b]
	}
	return d, ok
}

func (m *memo) keep(b bucket, d denial) {
	m.mu.Lock()
	defer m.mu.Unlock()
	known, ok := m.peek(b)
	switch {
	case ok && known.isForgotten() && !d.asked.After(known.asked):
		return
	case ok && known.holds(d.result.Limit, d.answered) && known.n < d.n:
		return // the known denial answers more requests
	}
	m.put(b, d)
}

func (m *memo) put(b bucket, d denial) {
	if len(m.young) >= memoSize {
		m.old, m.young = m.young, make(map[bucket]denial)
	}
	m.young[b] = d
}

// isForgotten reports whether d is the mark of forget.
func (d denial) isForgotten() bool { return d.answered.IsZero() }

// holds reports whether d is still the answer under a limit.
func (d denial) holds(limit httpkey.Limit, now time.Time) bool {
	return d.result.Limit == limit && now.Sub(d.asked) < d.result.RetryAfter
}

// again returns the present answer to a request for n, which is at least that of d.
func (d denial) again(n int, now time.Time) httpkey.Result {
	r, passed := d.result, now.Sub(d.answered)
	r.RetryAfter = ceilMicros(r.RetryAfter + timeFor(r.Limit, n-d.n) - passed)
	r.ResetAfter = ceilMicros(r.ResetAfter - passed)
	return r
}
