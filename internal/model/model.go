// Package model implements the rules of limiters in rational numbers. It is slow and simple,
// and independent of the arithmetic that the limiters share. Tests compare every limiter
// with it.
package model

import (
	"math/big"
	"time"

	"github.com/httpkey/httpkey"
)

// Limiter decides as every limiter must, at moments that its caller chooses. It forgets
// nothing, and is not safe for concurrent use.
type Limiter struct {
	isStrict bool
	buckets  map[name]bucket
}

// name identifies a bucket.
type name struct {
	payer, limit string
	window       time.Duration
	start        time.Time // of the day or the month of a quota
}

// New returns a Limiter in which every bucket is full. It is a strict window if isStrict is
// set, and otherwise runs GCRA.
func New(isStrict bool) *Limiter {
	return &Limiter{isStrict: isStrict, buckets: make(map[name]bucket)}
}

// Allow decides on a charge, which is valid, at a moment.
func (m *Limiter) Allow(c *httpkey.Charge, now time.Time) httpkey.Result {
	views := make([]view, len(c.Limits))
	each := make([]httpkey.Result, len(c.Limits))
	isEnough := true
	for i, l := range c.Limits {
		if m.isStrict && l.Calendar == "" {
			l.Burst = 0
		}
		l = l.Resolve()
		views[i] = m.bucket(c.Bucket, l, now).view(l, now)
		each[i] = httpkey.Result{Limit: l, Allowed: c.Forced || hasRoom(views[i], l, c.Cost)}
		isEnough = isEnough && each[i].Allowed
	}
	for i, v := range views {
		l := each[i].Limit
		if l.Rate == 0 { // such a limit takes nothing and has nothing left
			continue
		}
		if isEnough && c.Cost != 0 {
			v.charge(c.Cost)
		}
		v.show(&each[i])
		if !each[i].Allowed && c.Cost <= l.Burst {
			each[i].RetryAfter = v.retryAfter(c.Cost)
		}
	}
	return c.Join(each)
}

// Reset makes the buckets of c.Bucket under c.Limits full.
func (m *Limiter) Reset(c *httpkey.Charge, now time.Time) {
	for _, l := range c.Limits {
		delete(m.buckets, m.nameOf(c.Bucket, l, now))
	}
}

// nameOf returns the name of a payer's bucket, under a limit that need not be resolved.
func (m *Limiter) nameOf(payer string, l httpkey.Limit, now time.Time) name {
	if m.isStrict && l.Calendar == "" {
		l.Burst = 0
	}
	start, _ := l.Calendar.Span(now)
	return name{payer, l.Name, l.Window(), start}
}

func (m *Limiter) bucket(payer string, l httpkey.Limit, now time.Time) bucket {
	n := m.nameOf(payer, l, now)
	known := m.buckets[n]
	_, end := l.Calendar.Span(now)
	switch {
	case known != nil:
		return known
	case !end.IsZero():
		known = &quota{end: end}
	case m.isStrict:
		known = new(window)
	default:
		known = &leaky{owed: new(big.Rat)}
	}
	m.buckets[n] = known
	return known
}

// bucket is the state of one limit for one payer.
type bucket interface {
	// view returns the bucket at a moment, under a limit that may have changed.
	view(l httpkey.Limit, now time.Time) view
}

type view interface {
	// room returns the cost that would pass; it is negative below empty.
	room() *big.Rat
	// charge takes n, within the bounds of a forced charge.
	charge(n int)
	// show fills in Remaining and ResetAfter.
	show(r *httpkey.Result)
	// retryAfter returns the time until there is room for n.
	retryAfter(n int) time.Duration
}

func hasRoom(v view, l httpkey.Limit, n int) bool {
	if n == 0 || l.Rate == 0 {
		return l.Rate > 0
	}
	return n <= l.Burst && v.room().Cmp(whole(n)) >= 0
}

// leaky is GCRA as a leaky bucket.
type leaky struct {
	owed *big.Rat // microseconds until the bucket is full, as of
	at   time.Time
	rate int // owed is a whole number of parts of 1/rate
}

type leakyView struct {
	bucket   *leaky
	rate     int
	now      time.Time
	request  *big.Rat // the debt of one request, in microseconds
	capacity *big.Rat
	owed     *big.Rat
}

func (b *leaky) view(l httpkey.Limit, now time.Time) view {
	if l.Rate == 0 {
		return nil
	}
	v := &leakyView{bucket: b, rate: l.Rate, now: now, request: big.NewRat(l.Period.Microseconds(), int64(l.Rate))}
	v.capacity = new(big.Rat).Mul(v.request, whole(l.Burst))
	v.owed = v.bound(b.under(l.Rate))
	if v.owed.Sign() == 0 {
		return v
	}
	v.owed.Sub(v.owed, big.NewRat(now.Sub(b.at).Microseconds(), 1))
	switch {
	case v.owed.Sign() < 0:
		v.owed.SetInt64(0)
	case v.owed.Cmp(v.most()) > 0: // the clock was set back
		v.owed.Set(v.capacity)
	}
	return v
}

// under returns the debt as a limit of a rate counts it, in whole parts of 1/rate
// microseconds.
func (b *leaky) under(rate int) *big.Rat {
	owed := new(big.Rat).Set(b.owed)
	if b.rate == rate || owed.Sign() == 0 {
		return owed
	}
	return owed.SetFrac(ceil(owed.Mul(owed, whole(rate))), big.NewInt(int64(rate)))
}

func (v *leakyView) most() *big.Rat { return new(big.Rat).Mul(v.capacity, whole(2)) }

func (v *leakyView) bound(owed *big.Rat) *big.Rat {
	switch most := v.most(); {
	case owed.Sign() < 0:
		return new(big.Rat)
	case owed.Cmp(most) > 0:
		return most
	}
	return owed
}

func (v *leakyView) room() *big.Rat {
	left := new(big.Rat).Sub(v.capacity, v.owed)
	return left.Quo(left, v.request)
}

func (v *leakyView) charge(n int) {
	more := new(big.Rat).Mul(v.request, whole(n))
	v.owed = v.bound(more.Add(more, v.owed))
	*v.bucket = leaky{owed: v.owed, at: v.now, rate: v.rate}
}

func (v *leakyView) show(r *httpkey.Result) {
	r.Remaining = floored(v.room())
	r.ResetAfter = micros(ceil(v.owed))
}

func (v *leakyView) retryAfter(n int) time.Duration {
	lacking := new(big.Rat).Mul(v.request, whole(n))
	lacking.Add(lacking, v.owed)
	return micros(ceil(lacking.Sub(lacking, v.capacity)))
}

// window is a strict window as a list of the admitted requests.
type window struct{ admitted []time.Time }

type windowView struct {
	*window
	limit httpkey.Limit
	now   time.Time
}

func (b *window) view(l httpkey.Limit, now time.Time) view {
	if last := len(b.admitted) - 1; last >= 0 && b.admitted[last].After(now) { // time does not run backwards
		now = b.admitted[last]
	}
	for len(b.admitted) > 0 && now.Sub(b.admitted[0]) >= l.Period {
		b.admitted = b.admitted[1:]
	}
	return &windowView{b, l, now}
}

func (v *windowView) room() *big.Rat { return whole(v.limit.Rate - len(v.admitted)) }

func (v *windowView) charge(n int) {
	for ; n > 0 && len(v.admitted) < 2*v.limit.Rate; n-- {
		v.admitted = append(v.admitted, v.now)
	}
	v.admitted = v.admitted[:max(0, len(v.admitted)+min(n, 0))]
}

func (v *windowView) show(r *httpkey.Result) {
	r.Remaining = max(0, v.limit.Rate-len(v.admitted))
	if last := len(v.admitted) - 1; last >= 0 {
		r.ResetAfter = v.admitted[last].Add(v.limit.Period).Sub(v.now)
	}
}

func (v *windowView) retryAfter(n int) time.Duration {
	leaves := v.admitted[len(v.admitted)+n-v.limit.Rate-1] // the last one that must expire
	return leaves.Add(v.limit.Period).Sub(v.now)
}

// quota counts the requests that were admitted in a day or a month.
type quota struct {
	used int
	end  time.Time
}

type quotaView struct {
	*quota
	limit httpkey.Limit
	left  time.Duration
}

func (b *quota) view(l httpkey.Limit, now time.Time) view {
	return &quotaView{b, l, (b.end.Sub(now) + time.Microsecond - 1).Truncate(time.Microsecond)}
}

func (v *quotaView) room() *big.Rat { return whole(v.limit.Rate - v.used) }

func (v *quotaView) charge(n int) { v.used = max(0, v.used+min(n, max(0, 2*v.limit.Rate-v.used))) }

func (v *quotaView) show(r *httpkey.Result) {
	r.Remaining = max(0, v.limit.Rate-v.used)
	if v.used > 0 {
		r.ResetAfter = v.left
	}
}

func (v *quotaView) retryAfter(int) time.Duration { return v.left }

func whole(n int) *big.Rat { return big.NewRat(int64(n), 1) }

func ceil(r *big.Rat) *big.Int {
	q, rest := new(big.Int).QuoRem(r.Num(), r.Denom(), new(big.Int))
	if rest.Sign() > 0 {
		q.Add(q, big.NewInt(1))
	}
	return q
}

// floored returns r rounded down, and 0 if r is negative.
func floored(r *big.Rat) int {
	if r.Sign() < 0 {
		return 0
	}
	return int(new(big.Int).Quo(r.Num(), r.Denom()).Int64())
}

func micros(n *big.Int) time.Duration { return time.Duration(n.Int64()) * time.Microsecond }
