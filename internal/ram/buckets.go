package ram

import (
	"cmp"
	"hash/maphash"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/httpkey/httpkey/internal/clock"
)

const (
	shardCount = 64

	// minGeneration keeps quickly filling buckets for a while, so that the buckets of
	// busy keys rarely move.
	minGeneration = 10 * time.Second
)

// Term names a bucket of a payer.
type Term struct {
	Name   string // of the limit
	Window int64  // in microseconds
	Start  int64  // of the day or the month of a quota, in Unix seconds; otherwise 0
}

// compare orders terms.
func (t Term) compare(other Term) int {
	switch {
	case t.Name != other.Name:
		return cmp.Compare(t.Name, other.Name)
	case t.Window != other.Window:
		return cmp.Compare(t.Window, other.Window)
	}
	return cmp.Compare(t.Start, other.Start)
}

// Buckets holds the state S of each bucket that is in use.
//
// A full bucket is the same as none, and a bucket is full within its life after a use. So
// buckets live in two generations, and a use moves a bucket into the young one. After the
// longest life in a generation all its buckets are full, and it is dropped as a whole. That
// needs no goroutine, no scan and no pause.
type Buckets[S any] struct {
	id     *identity
	start  int64 // by clock.Elapsed
	seed   maphash.Seed
	turnAt atomic.Int64               // microseconds since start: the first use after that turns the generations
	turn   sync.Mutex                 // held by the caller that turns them
	young  atomic.Pointer[generation] // during a turn, some shards still use the one before
	shards [shardCount]shard[S]

	// memberships caches the latest memberships, so that buckets share them: a program has
	// few limits.
	memberships [61]atomic.Pointer[membership]
}

// generation identifies the buckets whose last use falls between two turns.
type generation struct {
	limiter *identity
	life    atomic.Int64 // the longest life in it, in microseconds
}

// identity distinguishes the buckets of one limiter from another's, by its address. A pointer
// to the limiter would let a token's bucket keep the limiter in memory.
type identity struct{ _ byte }

// membership holds the properties that buckets share.
type membership struct {
	generation *generation
	term       Term
}

type shard[S any] struct {
	mu         sync.Mutex
	young, old bucketTable[S]
	generation *generation // young's
}

// Bucket holds the State of a payer's bucket. Its holder has locked it. With a State of three
// words it fills a cache line.
type Bucket[S any] struct {
	State S // of the limiter; the holder may change it

	mu    sync.Mutex  // may be locked while the shard's is held, but never the other way round
	of    *membership // nil before the first use; after it, term and limiter never change
	payer string
}

// Unlock unlocks the bucket.
func (b *Bucket[S]) Unlock() { b.mu.Unlock() }

// Slot keeps the bucket of a token from one request to the next. The zero Slot is empty. It
// is safe for concurrent use.
type Slot[S any] struct{ atomic.Pointer[Bucket[S]] }

// NewBuckets returns Buckets in which all are full.
func NewBuckets[S any]() *Buckets[S] {
	b := &Buckets[S]{id: new(identity), start: clock.Elapsed(), seed: maphash.MakeSeed()}
	b.begin(b.newGeneration())
	return b
}

// At returns the microseconds from the start to a time of [clock.Elapsed].
func (b *Buckets[S]) At(elapsed int64) int64 { return (elapsed - b.start) / int64(time.Microsecond) }

// Now returns At of the present.
func (b *Buckets[S]) Now() int64 { return b.At(clock.Elapsed()) }

// Lock returns the bucket of a payer and a term, locked. After a use at now, the bucket is
// full again within life, in microseconds.
func (b *Buckets[S]) Lock(payer string, term Term, life, now int64) *Bucket[S] {
	return b.lock(payer, term, life, now, nil)
}

// LockIn is a Lock that tries the slot first. It looks the bucket up if the slot holds
// another one, or if the bucket must move to the young generation.
func (b *Buckets[S]) LockIn(slot *Slot[S], payer string, term Term, life, now int64) *Bucket[S] {
	b.turnWhenDue(now)
	known := slot.Load()
	if known != nil && known.payer != payer {
		known = nil
	}
	if known != nil {
		known.mu.Lock()
		if of := known.of; of != nil && of.generation == b.young.Load() && of.term == term {
			return known
		}
		known.mu.Unlock()
	}
	found := b.lock(payer, term, life, now, known)
	if found != known {
		slot.Store(found)
	}
	return found
}

// LockAll returns the buckets of a payer under several terms, all of them locked, in the
// order of terms. No two terms are equal. Every bucket is full within life of a use.
func (b *Buckets[S]) LockAll(payer string, terms []Term, life, now int64) []*Bucket[S] {
	b.turnWhenDue(now)
	order := make([]int, len(terms))
	for i := range order {
		order[i] = i
	}
	// All callers lock several buckets in the same order, under the lock of the payer's shard.
	slices.SortFunc(order, func(i, j int) int { return terms[i].compare(terms[j]) })
	locked := make([]*Bucket[S], len(terms))
	hash, s := b.shardOf(payer)
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, i := range order {
		locked[i] = b.lockInShard(s, hash, payer, terms[i], life, nil)
	}
	return locked
}

// lock is a Lock that makes spare the bucket if there is none yet and spare is not nil and
// still free.
func (b *Buckets[S]) lock(payer string, term Term, life, now int64, spare *Bucket[S]) *Bucket[S] {
	b.turnWhenDue(now)
	hash, s := b.shardOf(payer)
	s.mu.Lock()
	defer s.mu.Unlock()
	return b.lockInShard(s, hash, payer, term, life, spare)
}

func (b *Buckets[S]) shardOf(payer string) (hash uint64, s *shard[S]) {
	hash = maphash.String(b.seed, payer)
	return hash, &b.shards[hash%shardCount]
}

func (b *Buckets[S]) lockInShard(
	s *shard[S], hash uint64, payer string, term Term, life int64, spare *Bucket[S],
) *Bucket[S] {
	of := b.membership(s.generation, term)
	s.generation.include(life)
	found := s.young.find(hash, payer, term)
	if found == nil {
		found = s.old.find(hash, payer, term)
		if found == nil && spare.take(of) {
			found = spare
		}
		if found == nil {
			found = &Bucket[S]{payer: payer, of: of}
		}
		s.young.add(b.seed, hash, found)
	}
	found.mu.Lock()
	found.of = of
	return found
}

// take makes b a bucket of a membership's limiter, unless b serves another limiter or term.
// b is in no table of that limiter.
func (b *Bucket[S]) take(of *membership) bool {
	if b == nil {
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.of != nil && (b.of.term != of.term || b.of.generation.limiter != of.generation.limiter) {
		return false
	}
	b.of = of
	return true
}

func (b *Buckets[S]) turnWhenDue(now int64) {
	if now < b.turnAt.Load() || !b.turn.TryLock() {
		return
	}
	defer b.turn.Unlock()
	if now >= b.turnAt.Load() {
		b.turnGenerations()
	}
}

// turnGenerations drops the old generation and makes the young one the old one.
func (b *Buckets[S]) turnGenerations() {
	old := b.young.Load()
	b.begin(b.newGeneration())
	// The clock is read again, because buckets may have been used since the last reading.
	b.turnAt.Store(b.Now() + max(old.life.Load(), minGeneration.Microseconds()))
}

func (b *Buckets[S]) newGeneration() *generation { return &generation{limiter: b.id} }

func (b *Buckets[S]) begin(young *generation) {
	// This comes before the shards turn: a bucket of the young generation must not be in a
	// table that is about to become the old one.
	b.young.Store(young)
	for i := range b.shards {
		b.shards[i].begin(young)
	}
}

func (s *shard[S]) begin(young *generation) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.old, s.young = s.young, bucketTable[S]{}
	s.generation = young
}

// membership returns the membership of a bucket with this term in a generation.
func (b *Buckets[S]) membership(g *generation, term Term) *membership {
	place := &b.memberships[(uint64(len(term.Name))+uint64(term.Window)+uint64(term.Start))%uint64(len(b.memberships))]
	known := place.Load()
	if known == nil || known.generation != g || known.term != term {
		known = &membership{g, term}
		place.Store(known)
	}
	return known
}

// Keep extends the life of a locked bucket, in microseconds.
func (b *Bucket[S]) Keep(life int64) { b.of.generation.include(life) }

func (g *generation) include(life int64) {
	for longest := g.life.Load(); longest < life; longest = g.life.Load() {
		if g.life.CompareAndSwap(longest, life) {
			return
		}
	}
}

// bucketTable is a hash table with open addressing and linear probing. Nothing is removed
// from it. A map would take twice the memory for a bucket.
type bucketTable[S any] struct {
	places []*Bucket[S] // the length is 0 or a power of two
	count  int
}

func (t *bucketTable[S]) find(hash uint64, payer string, term Term) *Bucket[S] {
	if t.count == 0 {
		return nil
	}
	for n := hash / shardCount; ; n++ {
		b := t.places[n&uint64(len(t.places)-1)]
		if b == nil || b.payer == payer && b.of.term == term {
			return b
		}
	}
}

func (t *bucketTable[S]) add(seed maphash.Seed, hash uint64, b *Bucket[S]) {
	if 4*t.count >= 3*len(t.places) {
		old := t.places
		t.places = make([]*Bucket[S], max(4, 2*len(old)))
		for _, b := range old {
			if b != nil {
				t.put(maphash.String(seed, b.payer), b)
			}
		}
	}
	t.put(hash, b)
	t.count++
}

func (t *bucketTable[S]) put(hash uint64, b *Bucket[S]) {
	for n := hash / shardCount; ; n++ {
		if place := &t.places[n&uint64(len(t.places)-1)]; *place == nil {
			*place = b
			return
		}
	}
}
