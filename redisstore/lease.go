package redisstore

import (
	"sync"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/internal/charge"
	"github.com/httpkey/httpkey/internal/ram"
)

// leases are the permits that this process took ahead. They admit no request for which the
// limit has no room, however many processes take permits ahead.
//
// In GCRA a bucket is a line of slots, each Period/Rate long. Redis gives each permit the
// next slot that is neither taken nor begun, and none that begins later than Burst-1 slots
// from now. This process spends a permit before its slot begins, or the permit is lost. So
// the permits that are spent from a to b have slots that begin from a to Burst-1 slots
// after b. These are at most Burst + Rate*(b-a)/Period, as without leases.
//
// This process counts as if Redis had decided at the moment of the call. So it takes each
// slot to begin earlier than it does, which is safe.
type leases struct {
	reach      time.Duration
	mu         sync.Mutex
	young, old map[bucket]*lease // two generations; the permits of an older one are lost
}

// leasesSize is the number of leases of a generation.
const leasesSize = 4096

// bucket names a bucket in memory.
type bucket struct {
	payer string
	term  ram.Term
}

// lease holds permits of a bucket: the last n slots before end.
type lease struct {
	limit   httpkey.Limit
	n       int
	end     time.Time
	full    time.Time // when the bucket in Redis will be full, as far as is known
	asked   time.Time // when Redis was last asked and admitted
	spent   int       // permits spent since asked
	ahead   int       // permits that Redis gave ahead at asked
	givenUp int       // the number of calls of giveUp
}

// intent says how much a call to Redis takes ahead.
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

// allow spends held permits, or asks Redis for n and for permits ahead.
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
	if err == nil && !result.Allowed && intent.ahead > 0 { // a denial has taken nothing, so n alone may pass
		intent.ahead = 0
		result, err = ask(0)
	}
	if err != nil {
		return result, err
	}
	return s.keep(b, limit, n, intent, result), nil
}

// spend admits n if enough permits are held, and otherwise says how much to take ahead.
func (s *leases) spend(b bucket, limit httpkey.Limit, n int) (httpkey.Result, intent) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l, now := s.find(b, limit), time.Now()
	asking := intent{asked: now, givenUp: l.givenUp}
	if l.limit != limit { // the limit has just changed
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
		Allowed: true, Limit: limit, Remaining: limit.Burst - owed(limit, owes), ResetAfter: charge.CeilMicros(owes),
	}), asking
}

// next returns how much to take ahead besides n. It predicts the demand within reach from the
// pace since Redis was last asked, and takes enough that the last permit lives as long. It
// takes nothing for a client that comes once in that time, little for a new client, and at
// most a quarter of the room, so that other processes find permits.
func (l *lease) next(n int, reach time.Duration, now time.Time) int {
	expected := float64(reach) * float64(l.spent) / float64(now.Sub(l.asked))
	if expected < 1 {
		return 0
	}
	slot, owes := float64(l.limit.Period)/float64(l.limit.Rate), float64(max(0, l.full.Sub(now)))
	room := float64(l.limit.Burst-n) - owes/slot
	return int(max(0, min(max(expected, (float64(reach)-owes)/slot), 2*float64(l.ahead)+1, room/4)))
}

// keep keeps the permits that Redis gave ahead, and returns the decision on n. If giveUp ran
// meanwhile, the permits ahead are lost, because the refund did not include them.
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
	reset := result.ResetAfter - (time.Microsecond - 1) // ResetAfter is rounded up
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

// giveUp drops the held permits of a bucket, and returns their slots in seconds.
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

// areOfAnother reports whether the lease of a bucket is of another limit.
func (s *leases) areOfAnother(b bucket, limit httpkey.Limit) bool {
	if s == nil {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.find(b, limit).limit != limit
}

// find returns the lease of a bucket; if there is none, it makes one of the limit.
func (s *leases) find(b bucket, limit httpkey.Limit) *lease {
	l := s.young[b]
	if l != nil {
		return l
	}
	if l = s.old[b]; l == nil {
		l = &lease{limit: limit}
	}
	if len(s.young) >= leasesSize {
		s.old, s.young = s.young, make(map[bucket]*lease)
	}
	s.young[b] = l
	return l
}

// with returns r as if the held permits were in Redis.
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

// add adds the last n slots before end. It counts all slots as adjacent, and none as later
// than it is.
func (l *lease) add(n int, end time.Time) {
	if joined := l.end.Add(atMost(l.limit, n)); n == 0 || l.n > 0 && joined.Before(end) {
		end = joined
	}
	l.n, l.end = l.n+n, end
}

// atMost is timeFor rounded down.
func atMost(limit httpkey.Limit, n int) time.Duration {
	return max(0, timeFor(limit, n)-time.Microsecond)
}
