package memstore

import (
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"
	"unique"

	"github.com/httpkey/httpkey"
)

const bucketShards = 64

// buckets holds the state S of each bucket that is in use.
//
// A bucket that is full again is the same as none, and gets there within the
// refill time of its limit. So buckets live in two generations: a use moves a
// bucket into the young one, and when a generation has been the old one for the
// longest refill time in it, all in it are full, and it goes as a whole. That
// takes no goroutine, no scan and no pause, and gives the memory back.
type buckets[S any] struct {
	start  time.Time
	seed   maphash.Seed
	turnAt atomic.Int64 // microseconds since start: the first use from then on turns the generations
	turn   sync.Mutex   // held by who turns them
	limits [61]atomic.Pointer[internedLimit]
	shards [bucketShards]bucketShard[S]
}

// internedLimit is a limit with its handle: to compare the one costs 60 ns less
// than to make the other. A program has few limits, so each keeps its place.
type internedLimit struct {
	limit  httpkey.Limit
	handle unique.Handle[httpkey.Limit]
}

type bucketShard[S any] struct {
	mu         sync.Mutex
	young, old map[bucketName]*S
	refill     int64 // the longest refill time in young, in microseconds
}

// bucketName is what [httpkey.Limiter] says: key and limit together. The limit's
// handle is a third of its size, and there are many buckets to a limit.
type bucketName struct {
	key   string
	limit unique.Handle[httpkey.Limit]
}

func newBuckets[S any]() *buckets[S] {
	return &buckets[S]{start: time.Now(), seed: maphash.MakeSeed()}
}

// now returns the microseconds since start, by the monotonic clock.
func (b *buckets[S]) now() int64 { return int64(time.Since(b.start) / time.Microsecond) }

// lock returns the state of a bucket, the zero S for one not in use, and the
// mutex that guards it, locked. limit has Burst filled in.
func (b *buckets[S]) lock(key string, limit httpkey.Limit, now int64) (*S, *sync.Mutex) {
	if now >= b.turnAt.Load() {
		b.turnGenerations(now)
	}
	shard := &b.shards[maphash.String(b.seed, key)%bucketShards]
	shard.mu.Lock()
	return shard.find(bucketName{key, b.intern(limit)}), &shard.mu
}

func (b *buckets[S]) intern(limit httpkey.Limit) unique.Handle[httpkey.Limit] {
	place := &b.limits[(uint64(limit.Rate)+uint64(limit.Burst)+uint64(limit.Period))%uint64(len(b.limits))]
	interned := place.Load()
	if interned == nil || interned.limit != limit {
		interned = &internedLimit{limit, unique.Make(limit)}
		place.Store(interned)
	}
	return interned.handle
}

func (s *bucketShard[S]) find(name bucketName) *S {
	if state := s.young[name]; state != nil {
		return state
	}
	state := s.old[name]
	if state == nil {
		state = new(S)
	}
	if s.young == nil {
		s.young = make(map[bucketName]*S)
	}
	s.young[name] = state
	s.refill = max(s.refill, refillTime(name.limit.Value()))
	return state
}

// turnGenerations lets the old generation go and makes the young one the old one.
func (b *buckets[S]) turnGenerations(now int64) {
	if !b.turn.TryLock() {
		return
	}
	defer b.turn.Unlock()
	if now < b.turnAt.Load() {
		return
	}
	var refill int64
	for i := range b.shards {
		refill = max(refill, b.shards[i].turn())
	}
	// The clock anew: a bucket may have been used since now, before its shard's turn came.
	b.turnAt.Store(b.now() + max(refill, time.Second.Microseconds()))
}

func (s *bucketShard[S]) turn() (refill int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.old, s.young = s.young, nil
	refill, s.refill = s.refill, 0
	return refill
}

// refillTime returns how many microseconds limit takes from empty to full, rounded up.
func refillTime(limit httpkey.Limit) int64 {
	return ceilDiv(int64(limit.Burst)*limit.Period.Microseconds(), int64(limit.Rate))
}

// ceilDiv returns a / b rounded up, for a >= 0 and b > 0; a + b - 1 could overflow.
func ceilDiv(a, b int64) int64 {
	q := a / b
	if q*b != a {
		q++
	}
	return q
}
