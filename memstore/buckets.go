package memstore

import (
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"

	"github.com/httpkey/httpkey"
)

const (
	bucketShards = 64

	// minGeneration keeps buckets that fill quickly for a while, so that those of
	// busy keys need not be moved all the time.
	minGeneration = 10 * time.Second
)

// buckets holds the state S of each bucket that is in use.
//
// A bucket that is full again is the same as none, and gets there within the
// refill time of its limit. So buckets live in two generations: a use moves a
// bucket into the young one, and when a generation has been the old one for the
// longest refill time in it, all in it are full, and it goes as a whole. That
// takes no goroutine, no scan and no pause, and gives the memory back.
type buckets[S any] struct {
	id     *identity
	start  time.Time
	seed   maphash.Seed
	turnAt atomic.Int64               // microseconds since start: the first use from then on turns the generations
	turn   sync.Mutex                 // held by who turns them
	young  atomic.Pointer[generation] // which a shard is late to begin with, while they turn
	shards [bucketShards]bucketShard[S]

	// memberships are those that were needed last, so that buckets share them: a
	// program has few limits, and each keeps its place.
	memberships [61]atomic.Pointer[membership]
}

// generation is the buckets that were used in a certain time.
type generation struct {
	limiter *identity
	refill  atomic.Int64 // the longest refill time in it, in microseconds
}

// identity tells one limiter's buckets from another's, by its address. It is not the
// limiter itself, which a token's bucket would keep in memory.
type identity struct{ _ byte }

// membership is what a bucket has in common with others.
type membership struct {
	generation *generation
	limit      httpkey.Limit
}

type bucketShard[S any] struct {
	mu         sync.Mutex
	young, old bucketTable[S]
	generation *generation // young's
}

// bucket is what [httpkey.Limiter] says: of a key and a limit together. That of a
// [Limiter] takes 64 bytes, a cache line.
type bucket[S any] struct {
	key  string
	self any // itself, for slots to point to

	mu    sync.Mutex  // may be taken with that of the shard, but not before it
	of    *membership // nil before the first use; then its limit and its limiter never change
	state S
}

func newBuckets[S any]() *buckets[S] {
	b := &buckets[S]{id: new(identity), start: time.Now(), seed: maphash.MakeSeed()}
	b.begin(b.newGeneration())
	return b
}

// at returns the microseconds from start to now, by the monotonic clock.
func (b *buckets[S]) at(now time.Time) int64 { return int64(now.Sub(b.start) / time.Microsecond) }

// now is at for the present.
func (b *buckets[S]) now() int64 { return int64(time.Since(b.start) / time.Microsecond) }

// lock returns the bucket of key and limit, locked. limit has Burst filled in. If
// there is none yet, spare becomes it, if that is not nil and still free.
func (b *buckets[S]) lock(key string, limit httpkey.Limit, now int64, spare *bucket[S]) *bucket[S] {
	b.turnWhenDue(now)
	hash := maphash.String(b.seed, key)
	shard := &b.shards[hash%bucketShards]
	shard.mu.Lock()
	defer shard.mu.Unlock()
	of := b.membership(shard.generation, limit)
	found := shard.young.find(hash, key, limit)
	if found == nil {
		found = shard.old.find(hash, key, limit)
		if found == nil && spare.take(of) {
			found = spare
		}
		if found == nil {
			found = &bucket[S]{key: key, of: of}
			found.self = found
		}
		shard.young.add(b.seed, hash, found)
	}
	found.mu.Lock()
	found.of = of
	return found
}

// lockIn does the same, and looks into the slot first. It finds the bucket there
// unless that is another's, or of another generation: then it has to be moved.
func (b *buckets[S]) lockIn(slot *httpkey.Slot, key string, limit httpkey.Limit, now int64) *bucket[S] {
	b.turnWhenDue(now)
	known, _ := slot.Load().(*bucket[S])
	if known != nil && known.key != key {
		known = nil
	}
	if known != nil {
		known.mu.Lock()
		if of := known.of; of != nil && of.generation == b.young.Load() && of.limit == limit {
			return known
		}
		known.mu.Unlock()
	}
	found := b.lock(key, limit, now, known)
	if found != known {
		slot.Store(&found.self)
	}
	return found
}

// take makes b, which is in no table of of's limiter, a bucket of it; but not if it
// serves another limiter or another limit.
func (b *bucket[S]) take(of *membership) bool {
	if b == nil {
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.of != nil && (b.of.limit != of.limit || b.of.generation.limiter != of.generation.limiter) {
		return false
	}
	b.of = of
	return true
}

func (b *buckets[S]) turnWhenDue(now int64) {
	if now < b.turnAt.Load() || !b.turn.TryLock() {
		return
	}
	defer b.turn.Unlock()
	if now >= b.turnAt.Load() {
		b.turnGenerations()
	}
}

// turnGenerations lets the old generation go and makes the young one the old one.
func (b *buckets[S]) turnGenerations() {
	old := b.young.Load()
	b.begin(b.newGeneration())
	// The clock anew: a bucket may have been used before its shard's turn came.
	b.turnAt.Store(b.now() + max(old.refill.Load(), minGeneration.Microseconds()))
}

func (b *buckets[S]) newGeneration() *generation { return &generation{limiter: b.id} }

func (b *buckets[S]) begin(young *generation) {
	// Before the shards do: a bucket that is found to be of the young generation
	// must not be in a table that is about to become the old one.
	b.young.Store(young)
	for i := range b.shards {
		b.shards[i].begin(young)
	}
}

func (s *bucketShard[S]) begin(young *generation) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.old, s.young = s.young, bucketTable[S]{}
	s.generation = young
}

// membership returns that of a bucket with this limit in a generation.
func (b *buckets[S]) membership(g *generation, limit httpkey.Limit) *membership {
	place := &b.memberships[(uint64(limit.Rate)+uint64(limit.Burst)+uint64(limit.Period))%uint64(len(b.memberships))]
	known := place.Load()
	if known == nil || known.generation != g || known.limit != limit {
		known = &membership{g, limit}
		g.include(refillTime(limit))
		place.Store(known)
	}
	return known
}

func (g *generation) include(refill int64) {
	for longest := g.refill.Load(); longest < refill; longest = g.refill.Load() {
		if g.refill.CompareAndSwap(longest, refill) {
			return
		}
	}
}

// bucketTable is a hash table with open addressing and linear probing, of which
// nothing is taken out: a map would double what a bucket takes.
type bucketTable[S any] struct {
	places []*bucket[S] // none, or a power of two of them
	count  int
}

func (t *bucketTable[S]) find(hash uint64, key string, limit httpkey.Limit) *bucket[S] {
	if t.count == 0 {
		return nil
	}
	for n := hash / bucketShards; ; n++ {
		b := t.places[n&uint64(len(t.places)-1)]
		if b == nil || b.key == key && b.of.limit == limit {
			return b
		}
	}
}

func (t *bucketTable[S]) add(seed maphash.Seed, hash uint64, b *bucket[S]) {
	if 4*t.count >= 3*len(t.places) {
		old := t.places
		t.places = make([]*bucket[S], max(4, 2*len(old)))
		for _, b := range old {
			if b != nil {
				t.put(maphash.String(seed, b.key), b)
			}
		}
	}
	t.put(hash, b)
	t.count++
}

func (t *bucketTable[S]) put(hash uint64, b *bucket[S]) {
	for n := hash / bucketShards; ; n++ {
		if place := &t.places[n&uint64(len(t.places)-1)]; *place == nil {
			*place = b
			return
		}
	}
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
