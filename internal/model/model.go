// Package model is the rules of limiters in rational numbers: slow, plain, and apart from the
// arithmetic that the limiters share. Tests hold every limiter to it.
package model

import (
	"math/big"
	"time"

	"github.com/httpkey/httpkey"
)

// Limiter answers as every limiter has to, for moments that its caller names. It forgets
// nothing, and is not safe for concurrent use.
type Limiter struct {
	isStrict bool
	buckets  map[name]bucket
}

// name tells buckets apart.
type name struct {
	payer, limit string
	window       time.Duration
	start        time.Time // of the day or the month of a quota
}

// New returns a Limiter in which every bucket is full: one that runs GCRA, or a strict window.
func New(isStrict bool) *Limiter {
	return &Limiter{isStrict: isStrict, buckets: make(map[name]bucket)}
}

// Allow answers a charge, which is valid, at a moment.
func (m *Limiter) Allow(c *httpkey.Charge, now time.Time) httpkey.Result {
	limits := make([]httpkey.Limit, len(c.Limits))
	buckets := make([]bucket, len(c.Limits))
	each := make([]httpkey.Result, len(c.Limits))
	isEnough := true
	for i, l := range c.Limits {
		if m.isStrict && l.Calendar == "" {
			l.Burst = 0
		}
		limits[i] = l.Resolve()
		buckets[i] = m.bucket(c.Bucket, limits[i], now)
		each[i] = httpkey.Result{Limit: limits[i], Allowed: c.Forced || hasRoom(buckets[i], limits[i], now, c.Cost)}
		isEnough = isEnough && each[i].Allowed
	}
	for i, l := range limits {
		if isEnough && l.Rate > 0 && c.Cost != 0 {
			buckets[i].charge(l, now, c.Cost)
		}
		buckets[i].show(&each[i], now, c.Cost)
	}
	return c.Join(each)
}

func (m *Limiter) bucket(payer string, l httpkey.Limit, now time.Time) bucket {
	start, end := l.Calendar.Span(now)
	n := name{payer, l.Name, l.Window(), start}
	known := m.buckets[n]
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
	// room returns how many could be taken now, which is negative below empty.
	room(l httpkey.Limit, now time.Time) *big.Rat
	// charge takes n, within what a forced charge may take.
	charge(l httpkey.Limit, now time.Time, n int)
	// show fills in the numbers of a decision about n.
	show(r *httpkey.Result, now time.Time, n int)
}

func hasRoom(b bucket, l httpkey.Limit, now time.Time, n int) bool {
	if n == 0 || l.Rate == 0 {
		return l.Rate > 0
	}
	return n <= l.Burst && b.room(l, now).Cmp(whole(n)) >= 0
}

// leaky is GCRA as books have it.
type leaky struct {
	owed *big.Rat // microseconds until the bucket is full, as of
	at   time.Time
	rate int // which owed is a whole number of parts of
}

// owedAt returns what is owed at a moment, under l.
func (b *leaky) owedAt(l httpkey.Limit, now time.Time) *big.Rat {
	owed := new(big.Rat).Set(b.owed)
	if owed.Sign() == 0 || l.Rate == 0 {
		return owed
	}
	if b.rate != l.Rate {
		parts := ceil(owed.Mul(owed, whole(l.Rate)))
		owed.SetFrac(parts, big.NewInt(int64(l.Rate)))
	}
	capacity := requests(l, l.Burst)
	most := new(big.Rat).Mul(capacity, whole(2))
	if owed.Cmp(most) > 0 {
		owed.Set(most)
	}
	owed.Sub(owed, big.NewRat(now.Sub(b.at).Microseconds(), 1))
	switch {
	case owed.Sign() < 0:
		owed.SetInt64(0)
	case owed.Cmp(most) > 0: // the clock was set back
		owed.Set(capacity)
	}
	return owed
}

func (b *leaky) room(l httpkey.Limit, now time.Time) *big.Rat {
	left := requests(l, l.Burst)
	left.Sub(left, b.owedAt(l, now))
	return left.Quo(left, requests(l, 1))
}

func (b *leaky) charge(l httpkey.Limit, now time.Time, n int) {
	owed := b.owedAt(l, now)
	most := requests(l, 2*l.Burst)
	if owed.Add(owed, requests(l, n)); owed.Cmp(most) > 0 {
		owed.Set(most)
	}
	if owed.Sign() < 0 {
		owed.SetInt64(0)
	}
	b.owed, b.at, b.rate = owed, now, l.Rate
}

func (b *leaky) show(r *httpkey.Result, now time.Time, n int) {
	l := r.Limit
	if l.Rate == 0 {
		return
	}
	r.Remaining = floored(b.room(l, now))
	r.ResetAfter = micros(ceil(b.owedAt(l, now)))
	if !r.Allowed && n <= l.Burst {
		lacking := new(big.Rat).Sub(whole(n), b.room(l, now))
		r.RetryAfter = micros(ceil(lacking.Mul(lacking, requests(l, 1))))
	}
}

// window is a strict window as a list of each request that was let in.
type window struct{ admitted []time.Time }

func (b *window) forget(l httpkey.Limit, now time.Time) {
	for len(b.admitted) > 0 && now.Sub(b.admitted[0]) >= l.Period {
		b.admitted = b.admitted[1:]
	}
}

// at returns the time to go on with, which does not run backwards.
func (b *window) at(now time.Time) time.Time {
	if last := len(b.admitted) - 1; last >= 0 && b.admitted[last].After(now) {
		return b.admitted[last]
	}
	return now
}

func (b *window) room(l httpkey.Limit, now time.Time) *big.Rat {
	b.forget(l, b.at(now))
	return whole(l.Rate - len(b.admitted))
}

func (b *window) charge(l httpkey.Limit, now time.Time, n int) {
	now = b.at(now)
	b.forget(l, now)
	for ; n > 0 && len(b.admitted) < 2*l.Rate; n-- {
		b.admitted = append(b.admitted, now)
	}
	b.admitted = b.admitted[:max(0, len(b.admitted)+min(n, 0))]
}

func (b *window) show(r *httpkey.Result, now time.Time, n int) {
	l := r.Limit
	if l.Rate == 0 {
		return
	}
	now = b.at(now)
	b.forget(l, now)
	r.Remaining = max(0, l.Rate-len(b.admitted))
	if last := len(b.admitted) - 1; last >= 0 {
		r.ResetAfter = b.admitted[last].Add(l.Period).Sub(now)
	}
	if !r.Allowed && n <= l.Rate {
		leaves := b.admitted[len(b.admitted)+n-l.Rate-1] // the last that has to leave
		r.RetryAfter = leaves.Add(l.Period).Sub(now)
	}
}

// quota is how many were let in during a day or a month.
type quota struct {
	used int
	end  time.Time
}

func (b *quota) room(l httpkey.Limit, _ time.Time) *big.Rat { return whole(l.Rate - b.used) }

func (b *quota) charge(l httpkey.Limit, _ time.Time, n int) {
	b.used = max(0, b.used+min(n, max(0, 2*l.Rate-b.used)))
}

func (b *quota) show(r *httpkey.Result, now time.Time, n int) {
	l := r.Limit
	left := (b.end.Sub(now) + time.Microsecond - 1).Truncate(time.Microsecond)
	r.Remaining = max(0, l.Rate-b.used)
	if b.used > 0 && l.Rate > 0 {
		r.ResetAfter = left
	}
	if !r.Allowed && n <= l.Burst && l.Rate > 0 {
		r.RetryAfter = left
	}
}

// requests returns what n requests owe under l, in microseconds; l has a Rate.
func requests(l httpkey.Limit, n int) *big.Rat {
	each := big.NewRat(l.Period.Microseconds(), int64(l.Rate))
	return each.Mul(each, whole(n))
}

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
