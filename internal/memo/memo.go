// Package memo answers repeated denials of a shared limiter from memory.
package memo

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/internal/charge"
	"github.com/httpkey/httpkey/internal/failover"
	"github.com/httpkey/httpkey/internal/gcra"
)

const (
	// longest is the maximum time for which a denial is remembered. A refund by another process
	// takes effect within that time.
	longest = time.Second
	// size is the number of payers of a generation.
	size = 4096
	// perPayer is the number of denials of a payer, which differ in cost or limits.
	perPayer = 4
	// mostWaits is the number of answers to others for which a caller waits at most. Each may be
	// an admission, which says nothing of the next caller.
	mostWaits = 2
)

// Memo remembers denials, so that a client over its limit costs the shared limiter few calls.
// A denial answers the same charge until a bucket may have more room, for a second at most.
// Then one caller asks the limiter again, and the others wait for its answer.
//
// An admission of a payer by this process ends the payer's denials, because less remains then.
// A forced charge, a refund and a reset also end them. They also keep out the answers of calls
// in progress.
//
// A Memo has two generations. When the young one is full, the old one is dropped. A nil Memo
// remembers nothing.
type Memo struct {
	isStrict   bool
	mu         sync.Mutex
	young, old map[string]*payer
}

// payer has the denials of one payer.
type payer struct {
	forgotten time.Time // when a forced charge or a reset ended the denials
	denials   []*denial
}

// denial is the answer to a charge.
type denial struct {
	cost   int
	limits []httpkey.Limit
	result httpkey.Result
	// The limiter decided between these two moments. The denial expires as if it was the
	// earlier one, and reports its times as if it was the later one.
	asked, answered time.Time
	holds           time.Duration
	asking          chan struct{} // closed when the caller that asks again has the answer; nil: no caller asks
}

// New returns an empty Memo. If isStrict is set, the limiter is a strict window.
func New(isStrict bool) *Memo { return &Memo{isStrict: isStrict, young: make(map[string]*payer)} }

// Allow answers c from memory, or calls ask and remembers a denial. The function ask charges c.
func (m *Memo) Allow(
	ctx context.Context, c *httpkey.Charge, ask func() (httpkey.Result, error),
) (httpkey.Result, error) {
	switch {
	case m == nil || c.Cost == 0 && !c.Forced:
		return ask()
	case c.Forced:
		defer m.forget(c.Bucket) // also after an error and a panic, since the charge may have been made
		return ask()
	}
	came := time.Now()
	for waited := 0; ; waited++ {
		answer, wait, old := m.recall(c, came, waited)
		switch {
		case answer != nil:
			return *answer, nil
		case wait == nil:
			return m.ask(c, old, ask)
		}
		select {
		case <-wait:
		case <-ctx.Done():
			return httpkey.Result{}, fmt.Errorf("httpkey: wait for another caller's answer: %w: %w",
				failover.ErrNotAsked, ctx.Err())
		}
	}
}

// Reset makes a payer's buckets full by the function reset. It ends the payer's denials, also
// after an error and a panic, since the buckets may be full.
func (m *Memo) Reset(payer string, reset func() error) error {
	if m != nil {
		defer m.forget(payer)
	}
	return reset()
}

// recall returns the answer to c if a denial still holds, or if the limiter was asked for it
// after the caller came. If the denial is old, the caller asks again, or waits while another
// caller asks. waited is the number of callers that it has waited for.
func (m *Memo) recall(
	c *httpkey.Charge, came time.Time, waited int,
) (answer *httpkey.Result, wait <-chan struct{}, old *denial) {
	m.mu.Lock()
	defer m.mu.Unlock()
	d := m.find(c.Bucket).denial(c)
	switch now := time.Now(); {
	case d == nil:
	case now.Sub(d.asked) < d.holds, d.asked.After(came):
		answer = d.again(now)
	case waited == mostWaits: // it asks beside others
	case d.asking != nil:
		wait = d.asking
	default:
		d.asking, old = make(chan struct{}), d
	}
	return answer, wait, old
}

// ask charges c. If there is an old denial, other callers wait until ask has the answer.
func (m *Memo) ask(
	c *httpkey.Charge, old *denial, ask func() (httpkey.Result, error),
) (result httpkey.Result, err error) {
	asked := time.Now()
	defer func() { // deferred, since the limiter may panic
		m.mu.Lock()
		defer m.mu.Unlock()
		if old != nil {
			close(old.asking)
			old.asking = nil
		}
	}()
	if result, err = ask(); err != nil {
		return result, err
	}
	if result.Allowed {
		m.drop(c, old, result, asked)
	} else {
		m.keep(c, result, asked)
	}
	return result, nil
}

// keep remembers a denial.
func (m *Memo) keep(c *httpkey.Charge, result httpkey.Result, asked time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	p := m.open(c.Bucket)
	if !asked.After(p.forgotten) {
		return
	}
	d := p.denial(c)
	if d == nil {
		d = &denial{cost: c.Cost, limits: slices.Clone(c.Limits)}
		if len(p.denials) == perPayer {
			p.denials = slices.Delete(p.denials, 0, 1)
		}
		p.denials = append(p.denials, d)
	}
	result.Each = slices.Clone(result.Each) // the caller may change its own
	m.set(d, result, asked)
}

// set makes result the answer of d.
func (m *Memo) set(d *denial, result httpkey.Result, asked time.Time) {
	d.result, d.asked, d.answered, d.holds = result, asked, time.Now(), m.holds(result)
}

// drop ends the denials of a payer after an admission. The denial of the same charge stays, so
// that still one caller asks at a time, unless it is old and there is room. Without room, the
// admission says how long the others must wait.
func (m *Memo) drop(c *httpkey.Charge, old *denial, result httpkey.Result, asked time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	p := m.find(c.Bucket)
	if p == nil {
		return
	}
	same := p.denial(c)
	p.denials = nil
	hasRoom := result.Remaining >= c.Cost
	if same == nil || hasRoom && time.Since(same.answered) > longest {
		return
	}
	same.holds = 0
	p.denials = []*denial{same}
	if same == old && !hasRoom && !m.isStrict { // a strict window does not say when its earliest request expires
		m.set(same, charge.Denied(c, result), asked)
	}
}

// forget ends the denials of a payer, and keeps out the answers of calls in progress.
func (m *Memo) forget(name string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	*m.open(name) = payer{forgotten: time.Now()}
}

// find returns the payer with this name, or nil.
func (m *Memo) find(name string) *payer {
	if p := m.young[name]; p != nil {
		return p
	}
	return m.old[name]
}

// open returns the payer with this name in the young generation. It adds a payer that is missing.
func (m *Memo) open(name string) *payer {
	p := m.young[name]
	if p != nil {
		return p
	}
	if p = m.old[name]; p == nil {
		p = new(payer)
	}
	if len(m.young) >= size {
		m.old, m.young = m.young, make(map[string]*payer)
	}
	m.young[name] = p
	return p
}

// denial returns the denial of c, or nil.
func (p *payer) denial(c *httpkey.Charge) *denial {
	if p == nil {
		return nil
	}
	for _, d := range p.denials {
		if d.cost == c.Cost && slices.Equal(d.limits, c.Limits) {
			return d
		}
	}
	return nil
}

// holds returns how long a denial holds. Until then no bucket gains room by itself, so the
// result only counts down.
func (m *Memo) holds(result httpkey.Result) time.Duration {
	each := result.Each
	if len(each) == 0 {
		each = []httpkey.Result{result}
	}
	until := longest
	for i := range each {
		until = min(until, m.unchanged(&each[i]))
	}
	return until
}

// unchanged returns the time in which the bucket of r gains no room.
func (m *Memo) unchanged(r *httpkey.Result) time.Duration {
	l := r.Limit
	switch {
	case r.ResetAfter == 0: // it is full, or has a Rate of 0
		return longest
	case l.Calendar != "":
		return r.ResetAfter
	case m.isStrict: // without a RetryAfter, Remaining may become too small
		return cmp.Or(r.RetryAfter, longest)
	}
	missing := gcra.Terms{Rate: int64(l.Rate), Burst: int64(l.Burst - r.Remaining - 1), Period: l.Period.Microseconds()}
	return r.ResetAfter - time.Duration(missing.Window())*time.Microsecond
}

// again returns the answer as of now. Its times are never too short.
func (d *denial) again(now time.Time) *httpkey.Result {
	passed := now.Sub(d.answered)
	r := d.result
	r.Each = slices.Clone(r.Each)
	count(&r, passed)
	for i := range r.Each {
		count(&r.Each[i], passed)
	}
	return &r
}

// count counts the times of r down. RetryAfter stays positive, since 0 would mean never.
func count(r *httpkey.Result, passed time.Duration) {
	if r.RetryAfter > 0 {
		r.RetryAfter = max(time.Microsecond, charge.CeilMicros(r.RetryAfter-passed))
	}
	r.ResetAfter = charge.CeilMicros(r.ResetAfter - passed)
}
