package redisstore

import (
	"sync"
	"time"

	"github.com/httpkey/httpkey"
)

// leases are the permits that this process took ahead. They let in no request for which the
// limit has no room, whichever processes take ahead, and however much:
//
// In GCRA a bucket is a line of slots, each Period/Rate long. Redis gives each permit the
// next slot that is neither taken nor begun, and none that begins later than Burst-1 slots
// from now. A permit is spent here before its slot begins, or it is lost. So what is spent
// from a to b has slots that begin from a to Burst-1 slots after b. These are at most
// Burst + Rate*(b-a)/Period, as without leases.
//
// The time between this process's question and Redis's answer says too early when a slot
// begins: as if Redis had decided as soon as it was asked.
type leases struct {
	reach      time.Duration
	mu         sync.Mutex
	young, old map[bucket]*lease // two generations, as in memo; what an older one holds is lost with it
}

// lease is what is held of a bucket: the last n slots before end.
type lease struct {
	limit   httpkey.Limit
	n       int
	end     time.Time
	full    time.Time // when Redis will have all of the bucket again, as far as is known
	asked   time.Time // when Redis was asked that let in last
	spent   int       // since then
	ahead   int       // what it gave then beside what was asked for
	givenUp int       // how often all was given up
}

// intent is what a question to Redis should take ahead.
type intent struct {
	ahead   int
	asked   time.Time
	givenUp int
}

func newLeases(o Options) *leases {
	if o.Lease == 0 {
		return nil
	}
	return &leases{reach: o.Lease, young: make(map[bucket]*lease)}
}

// allow answers from what is held, or asks for n and what to take ahead.
func (s *leases) allow(
	b bucket, limit httpkey.Limit, n int, ask func(ahead int) (httpkey.Result, error),
) (httpkey.Result, error) {
	if s == nil {
		return ask(0)
	}
	result, intent := s.spend(b, limit, n)
	if result.Allowed {
		return result, nil
	}
	result, err := ask(intent.ahead)
	if err == nil && !result.Allowed && intent.ahead > 0 { // so nothing was taken
		intent.ahead = 0
		result, err = ask(0)
	}
	if err != nil {
		return result, err
	}
	return s.keep(b, limit, n, intent, result), nil
}

// spend lets in if what is held is enough, and else says how much to take ahead.
func (s *leases) spend(b bucket, limit httpkey.Limit, n int) (httpkey.Result, intent) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l, now := s.find(b, limit), time.Now()
	asking := intent{asked: now, givenUp: l.givenUp}
	if l.limit != limit { // it has changed just now
		return httpkey.Result{}, asking
	}
	switch l.expire(now); {
	case n == 0:
		return httpkey.Result{}, asking
	case l.n < n:
		asking.ahead = l.next(n, s.reach, now)
		return httpkey.Result{}, asking
	}
	l.n -= n
	l.spent += n
	owes := max(0, l.full.Sub(now))
	return l.with(httpkey.Result{
		Allowed: true, Limit: limit, Remaining: limit.Burst - owed(limit, owes), ResetAfter: ceilMicros(owes),
	}), asking
}

// next returns how much to take ahead beside n. That is what will be asked for within
// reach, at the pace since Redis was asked last, and so much that the last of it lives as
// long. But it is nothing for a client that comes once in that time, little for one that has
// just begun, and a quarter of what is there, so that other processes find some.
func (l *lease) next(n int, reach time.Duration, now time.Time) int {
	expected := float64(reach) * float64(l.spent) / float64(now.Sub(l.asked))
	if expected < 1 {
		return 0
	}
	slot, owes := float64(l.limit.Period)/float64(l.limit.Rate), float64(max(0, l.full.Sub(now)))
	room := float64(l.limit.Burst-n) - owes/slot
	return int(max(0, min(max(expected, (float64(reach)-owes)/slot), 2*float64(l.ahead)+1, room/4)))
}

// keep keeps what Redis gave ahead, and returns what it said of n. Where all was given up
// meanwhile, what came ahead is lost: the refund did not know of it.
func (s *leases) keep(b bucket, limit httpkey.Limit, n int, asked intent, result httpkey.Result) httpkey.Result {
	s.mu.Lock()
	defer s.mu.Unlock()
	l, now := s.find(b, limit), time.Now()
	if l.limit != limit {
		return result
	}
	if l.givenUp != asked.givenUp {
		asked.ahead = 0
	}
	reset := result.ResetAfter - (time.Microsecond - 1) // it is rounded up
	if full := now.Add(reset); full.After(l.full) {
		l.full = full
	}
	if result.Allowed && n > 0 {
		l.add(asked.ahead, asked.asked.Add(reset))
		l.asked, l.spent, l.ahead = asked.asked, n, asked.ahead
	}
	l.expire(now)
	result = l.with(result)
	if !result.Allowed {
		result.Remaining = min(result.Remaining, n-1)
	}
	return result
}

// giveUp returns how many seconds of a bucket are held, and holds them no longer.
func (s *leases) giveUp(b bucket, limit httpkey.Limit) float64 {
	if s == nil {
		return 0
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.find(b, limit)
	l.expire(time.Now())
	held := 0.0
	if l.n > 0 {
		held = l.limit.Period.Seconds() / float64(l.limit.Rate) * float64(l.n)
	}
	l.n, l.full = 0, time.Time{}
	l.givenUp++
	if l.limit != limit && limit.Rate > 0 {
		*l = lease{limit: limit, givenUp: l.givenUp}
	}
	return held
}

// areOfAnother reports whether what is known of a bucket was under another limit.
func (s *leases) areOfAnother(b bucket, limit httpkey.Limit) bool {
	if s == nil {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.find(b, limit).limit != limit
}

// find returns the lease of a bucket, which is of the limit if there was none.
func (s *leases) find(b bucket, limit httpkey.Limit) *lease {
	l := s.young[b]
	if l != nil {
		return l
	}
	if l = s.old[b]; l == nil {
		l = &lease{limit: limit}
	}
	if len(s.young) >= memoSize {
		s.old, s.young = s.young, make(map[bucket]*lease)
	}
	s.young[b] = l
	return l
}

// with returns r as if what is held were in Redis.
func (l *lease) with(r httpkey.Result) httpkey.Result {
	r.Remaining = min(r.Remaining+l.n, r.Limit.Burst)
	r.ResetAfter = max(0, r.ResetAfter-atMost(r.Limit, l.n))
	return r
}

// expire drops the slots that have begun.
func (l *lease) expire(now time.Time) {
	if l.n == 0 {
		return
	}
	whole, _ := slots(l.limit, max(0, l.end.Sub(now)))
	l.n = min(l.n, whole)
}

// add adds the last n slots before end. Of both, it takes the later to follow the earlier at
// once, which is no later than they do.
func (l *lease) add(n int, end time.Time) {
	if joined := l.end.Add(atMost(l.limit, n)); n == 0 || l.n > 0 && joined.Before(end) {
		end = joined
	}
	l.n, l.end = l.n+n, end
}

// atMost is timeFor, rounded down.
func atMost(limit httpkey.Limit, n int) time.Duration {
	return max(0, timeFor(limit, n)-time.Microsecond)
}
