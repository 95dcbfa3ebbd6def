package redisstore

import (
	"sync"
	"time"

	"github.com/httpkey/httpkey"
)

// leases are the permits that this process took ahead. They let in nobody for whom the limit
// has no room, whichever processes take ahead, and however much:
//
// To GCRA a bucket is a line of slots, each Period/Rate long. Redis gives each permit the
// next slot that is neither taken nor begun, and none that begins later than Burst-1 slots from now.
// A permit is spent here before its slot begins, or it is lost. So what is spent from a to b has slots
// that begin from a to Burst-1 slots after b: at most Burst + Rate*(b-a)/Period, as without leases.
//
// When a slot begins is told by the time between this process's question and Redis's
// answer too early: as if Redis had decided as soon as it was asked.
type leases struct {
	reach      time.Duration
	mu         sync.Mutex
	young, old map[bucket]*lease // two generations, as in memo; what an older one holds is lost with it
}

// lease is what is held of a bucket: the last n slots before end.
type lease struct {
	n     int
	end   time.Time
	full  time.Time // when Redis will have all of the bucket again, as far as is known
	asked time.Time // when Redis was asked that let in last
	spent int       // since then
	ahead int       // what it gave then beside what was asked for
}

func newLeases(o Options) *leases {
	if o.Lease == 0 {
		return nil
	}
	return &leases{reach: o.Lease, young: make(map[bucket]*lease)}
}

// allow answers from what is held, or asks for n and what to take ahead.
func (s *leases) allow(b bucket, n int, ask func(ahead int) (httpkey.Result, error)) (httpkey.Result, error) {
	if s == nil {
		return ask(0)
	}
	result, ahead, asked := s.spend(b, n)
	if result.Allowed {
		return result, nil
	}
	result, err := ask(ahead)
	if err == nil && !result.Allowed && ahead > 0 { // so nothing was taken
		ahead = 0
		result, err = ask(0)
	}
	if err != nil {
		return result, err
	}
	return s.keep(b, n, ahead, asked, result), nil
}

// spend lets in if what is held is enough, and else says how much to take ahead.
func (s *leases) spend(b bucket, n int) (result httpkey.Result, ahead int, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l, now := s.find(b), time.Now()
	switch l.expire(b.limit, now); {
	case n == 0:
		return result, 0, now
	case l.n < n:
		return result, l.next(b.limit, n, s.reach, now), now
	}
	l.n -= n
	l.spent += n
	owes := max(0, l.full.Sub(now))
	return l.with(httpkey.Result{
		Allowed: true, Limit: b.limit, Remaining: b.limit.Burst - owed(b.limit, owes), ResetAfter: ceilMicros(owes),
	}), 0, now
}

// next returns how much to take ahead beside n: what will be asked for within reach, at the pace
// since Redis was asked last, and so much that the last of it lives as long. But nothing for who
// comes once in that time, little for who has just begun, and a quarter of what is there,
// so that other processes find some.
func (l *lease) next(limit httpkey.Limit, n int, reach time.Duration, now time.Time) int {
	expected := float64(reach) * float64(l.spent) / float64(now.Sub(l.asked))
	if expected < 1 {
		return 0
	}
	slot, owes := float64(limit.Period)/float64(limit.Rate), float64(max(0, l.full.Sub(now)))
	room := float64(limit.Burst-n) - owes/slot
	return int(max(0, min(max(expected, (float64(reach)-owes)/slot), 2*float64(l.ahead)+1, room/4)))
}

// keep keeps what Redis gave ahead, and returns what it said of n.
func (s *leases) keep(b bucket, n, ahead int, asked time.Time, result httpkey.Result) httpkey.Result {
	s.mu.Lock()
	defer s.mu.Unlock()
	l, now := s.find(b), time.Now()
	reset := result.ResetAfter - (time.Microsecond - 1) // it is rounded up
	if full := now.Add(reset); full.After(l.full) {
		l.full = full
	}
	if result.Allowed && n > 0 {
		l.add(b.limit, ahead, asked.Add(reset))
		l.asked, l.spent, l.ahead = asked, n, ahead
	}
	l.expire(b.limit, now)
	result = l.with(result)
	if !result.Allowed {
		result.Remaining = min(result.Remaining, n-1)
	}
	return result
}

func (s *leases) find(b bucket) *lease {
	l := s.young[b]
	if l != nil {
		return l
	}
	if l = s.old[b]; l == nil {
		l = &lease{}
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
func (l *lease) expire(limit httpkey.Limit, now time.Time) {
	whole, _ := slots(limit, max(0, l.end.Sub(now)))
	l.n = min(l.n, whole)
}

// add adds the last n slots before end. Of both, it takes the later to follow the earlier at
// once, which is no later than they do.
func (l *lease) add(limit httpkey.Limit, n int, end time.Time) {
	if joined := l.end.Add(atMost(limit, n)); n == 0 || l.n > 0 && joined.Before(end) {
		end = joined
	}
	l.n, l.end = l.n+n, end
}

// atMost is timeFor, rounded down.
func atMost(limit httpkey.Limit, n int) time.Duration {
	return max(0, timeFor(limit, n)-time.Microsecond)
}
