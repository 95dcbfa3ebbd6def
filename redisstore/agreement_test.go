package redisstore

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/internal/charge"
	"github.com/httpkey/httpkey/internal/gcra"
	limitmodel "github.com/httpkey/httpkey/internal/model"
	"github.com/redis/go-redis/v9"
)

// model is a limiter that remembers all, in integers.
type model interface {
	hasRoom(b bucket, t gcra.Terms, now, n int64) bool
	take(b bucket, t gcra.Terms, now, n int64, forced bool) gcra.Result
}

// allowBy decides by a model, and does nothing unless all limits have room.
func allowBy(m model, c *httpkey.Charge, now time.Time) httpkey.Result {
	items, micros, enough := charge.Items(c, now), now.UnixMicro(), true
	n := int64(c.Cost)
	for _, item := range items {
		enough = enough && (c.Forced || m.hasRoom(bucket{c.Bucket, item.Term}, item.Terms, micros, n))
	}
	each := make([]httpkey.Result, len(items))
	for i, item := range items {
		b := bucket{c.Bucket, item.Term}
		cost := n
		if !enough && m.hasRoom(b, item.Terms, micros, n) {
			cost = 0
		}
		each[i] = item.Result(m.take(b, item.Terms, micros, cost, c.Forced))
	}
	return c.Join(each)
}

// steadyModel is GCRA, and the quotas.
type steadyModel map[bucket]gcra.Bucket

func (m steadyModel) hasRoom(b bucket, t gcra.Terms, now, n int64) bool {
	return t.HasRoom(m[b].Owed(t, now), n)
}

func (m steadyModel) take(b bucket, t gcra.Terms, now, n int64, forced bool) gcra.Result {
	state := m[b]
	defer func() { m[b] = state }()
	return state.Take(t, now, n, forced)
}

// logModel is a strict window: a moment for each request that counts. It has quotas too.
type logModel struct {
	moments map[bucket][]int64
	quotas  steadyModel
}

func (m logModel) hasRoom(b bucket, t gcra.Terms, now, n int64) bool {
	if t.Left > 0 {
		return m.quotas.hasRoom(b, t, now, n)
	}
	m.moments[b] = slices.DeleteFunc(m.moments[b], func(at int64) bool { return now-at >= t.Period })
	return n < 0 || t.Rate > 0 && (n == 0 || n <= t.Rate-int64(len(m.moments[b])))
}

func (m logModel) take(b bucket, t gcra.Terms, now, n int64, forced bool) gcra.Result {
	if t.Left > 0 {
		return m.quotas.take(b, t, now, n, forced)
	}
	r := gcra.Result{Allowed: m.hasRoom(b, t, now, n) || forced, Burst: t.Rate}
	all := m.moments[b]
	switch {
	case t.Rate == 0: // there is nothing to owe
		return r
	case r.Allowed:
		all = all[:max(0, len(all)-int(max(0, -n)))]
		for range min(n, 2*t.Rate-int64(len(all))) {
			all = append(all, now)
		}
	case n <= t.Rate:
		r.RetryAfter = all[int64(len(all))+n-t.Rate-1] + t.Period - now
	}
	if m.moments[b] = all; len(all) > 0 {
		r.ResetAfter = all[len(all)-1] + t.Period - now
	}
	r.Remaining = max(0, t.Rate-int64(len(all)))
	return r
}

// randomCharges returns charges under one, two and three limits, some of them quotas, whose
// Rates change within their window, some forced and some of them refunds; and when each comes.
func randomCharges(seed uint64, steps int) (charges []*httpkey.Charge, times []time.Time) {
	random := rand.New(rand.NewPCG(seed, 7))
	now := time.Date(2026, 11, 30, 23, 58, 0, 0, time.UTC)
	families := [][]httpkey.Limit{
		{httpkey.PerSecond(10), httpkey.PerSecond(7), httpkey.PerSecond(0), httpkey.PerSecond(13)},
		{httpkey.PerMinute(60), httpkey.PerMinute(41), httpkey.PerMinute(50)},
		{{Name: "burst", Rate: 3, Burst: 20, Period: time.Second}, {Name: "burst", Rate: 6, Burst: 40, Period: time.Second}},
		{{Name: "odd", Rate: 7, Period: 300 * time.Millisecond}, {Name: "odd", Rate: 1, Period: 300 * time.Millisecond}},
		{httpkey.PerDay(300), httpkey.PerDay(200)},
		{{Name: "m", Rate: 900, Calendar: "month"}, {Name: "m", Rate: 0, Calendar: "month"},
			{Name: "m", Rate: 700, Calendar: "month"}},
	}
	for range steps {
		c := &httpkey.Charge{Bucket: fmt.Sprint("payer ", random.IntN(3)), Cost: 1}
		for _, family := range random.Perm(len(families))[:1+random.IntN(3)] {
			rates := families[family]
			which := 0
			if random.IntN(4) == 0 {
				which = random.IntN(len(rates))
			}
			c.Limits = append(c.Limits, rates[which])
		}
		switch random.IntN(8) {
		case 0:
			c.Cost = random.IntN(9)
		case 1:
			c.Cost, c.Forced = random.IntN(9), true
		case 2:
			c.Cost, c.Forced = -random.IntN(9), true
		}
		switch wait := random.IntN(100); {
		case wait == 0:
			now = now.Add(time.Duration(random.IntN(5_000_000)) * time.Microsecond)
		case wait < 20: // at the same microsecond
		case wait < 30:
			now = now.Add(time.Microsecond)
		default:
			now = now.Add(time.Duration(random.IntN(60_000)) * time.Microsecond)
		}
		charges, times = append(charges, c), append(times, now)
	}
	return charges, times
}

// timed is a client of a server whose clock a test sets.
func timed(t *testing.T) (redis.Scripter, *miniredis.Miniredis) {
	t.Helper()
	server := miniredis.RunT(t)
	client := redis.NewClient(&redis.Options{Addr: server.Addr(), MaxRetries: -1, ReadTimeout: time.Minute})
	t.Cleanup(func() { _ = client.Close() })
	return client, server
}

// GCRA in Redis counts in floating point: its decisions are those of the memory, and
// its numbers are within what the comment of Limiter says. Both scripts serve its buckets.
func TestLimiterAgreesWithMemory(t *testing.T) {
	t.Parallel()
	for name, crowd := range crowds {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client, server := timed(t)
			limiter, memory := NewLimiter(client, &Options{AskAlways: true}), steadyModel{}
			crowd(limiter)
			charges, times := randomCharges(1, limitmodel.Steps(20_000))
			agree := agreement{t: t, asked: make(map[bucket]int)}
			for i, c := range charges {
				server.SetTime(times[i])
				got, err := limiter.allow(t.Context(), c, times[i])
				if err != nil {
					t.Fatalf("step %d: %v", i, err)
				}
				agree.check(i, c, got, allowBy(memory, c, times[i]), times[i])
			}
			agree.report()
		})
	}
}

// crowds are the ways on which an order goes to Redis.
var crowds = map[string]func(httpkey.Limiter){
	"alone":               func(httpkey.Limiter) {},
	"in a crowd":          func(l httpkey.Limiter) { Crowd(l, false) },
	"in a crowd of slots": func(l httpkey.Limiter) { Crowd(l, true) },
}

// agreement compares answers, and counts them by kind.
type agreement struct {
	t                     *testing.T
	asked                 map[bucket]int
	steps, denied, beside int
	furthest              time.Duration
}

func (a *agreement) check(step int, c *httpkey.Charge, got, want httpkey.Result, now time.Time) {
	a.t.Helper()
	a.steps++
	if !want.Allowed {
		a.denied++
	}
	eachGot, eachWant := got.Each, want.Each
	if len(c.Limits) == 1 {
		eachGot, eachWant = []httpkey.Result{got}, []httpkey.Result{want}
	}
	if len(eachGot) != len(c.Limits) || got.Allowed != want.Allowed {
		a.t.Fatalf("step %d, %+v:\n%+v in Redis\n%+v in memory", step, c, got, want)
	}
	for i, item := range charge.Items(c, now) {
		b, g, w := bucket{c.Bucket, item.Term}, eachGot[i], eachWant[i]
		a.asked[b]++
		// In memory, a change of Rate rounds the debt up to a whole part.
		drift := time.Duration(a.asked[b])*30*time.Nanosecond + time.Microsecond
		reset, retry := (g.ResetAfter - w.ResetAfter).Abs(), (g.RetryAfter - w.RetryAfter).Abs()
		if g.Allowed != w.Allowed || g.Limit != w.Limit || (g.RetryAfter == 0) != (w.RetryAfter == 0) ||
			reset > drift+time.Microsecond || retry > drift+2*time.Microsecond {
			a.t.Fatalf("step %d, %+v, its limit %d:\n%+v in Redis\n%+v in memory", step, c, i, g, w)
		}
		a.furthest = max(a.furthest, reset)
		if g.Remaining == w.Remaining {
			continue
		}
		a.beside++
		back := time.Duration(w.Limit.Burst-max(g.Remaining, w.Remaining)) * w.Limit.Period / time.Duration(w.Limit.Rate)
		if (back - w.ResetAfter).Abs() > drift+2*time.Microsecond {
			a.t.Fatalf("step %d, %+v: not at the moment when a request comes back\n%+v in Redis\n%+v in memory", step, c, g, w)
		}
	}
}

func (a *agreement) report() {
	a.t.Helper()
	a.t.Logf("%d steps, %d denied; Remaining differs in %d, ResetAfter by at most %v", a.steps, a.denied, a.beside,
		a.furthest)
	if a.denied < a.steps/10 || a.denied > a.steps*9/10 {
		a.t.Errorf("%d of %d denied: that shows little", a.denied, a.steps)
	}
}

func TestWindowEqualsMemory(t *testing.T) {
	t.Parallel()
	for name, crowd := range crowds {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client, server := timed(t)
			window := NewWindow(client, &Options{AskAlways: true})
			crowd(window)
			memory := logModel{make(map[bucket][]int64), steadyModel{}}
			charges, times := randomCharges(2, limitmodel.Steps(20_000))
			denied := 0
			for i, c := range charges {
				server.SetTime(times[i])
				want := allowBy(memory, charge.Strict(c), times[i])
				if got, err := window.allow(t.Context(), c, times[i]); err != nil || !equal(got, want) {
					t.Fatalf("step %d, %+v:\n%+v in Redis (%v)\n%+v in memory", i, c, got, err, want)
				}
				if !want.Allowed {
					denied++
				}
			}
			t.Logf("%d steps, %d denied", len(charges), denied)
			if denied < len(charges)/10 || denied > len(charges)*9/10 {
				t.Errorf("%d of %d denied: that shows little", denied, len(charges))
			}
		})
	}
}
