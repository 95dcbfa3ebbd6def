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

	// minGeneration keeps buckets that fill quickly for a while, so that those of
	// busy keys need not be moved all the time.
	minGeneration = 10 * time.Second
)

// Term names a bucket of a payer.
type Term struct {
	Name   string // of the limit
	Window int64  // in microseconds
	Start  int64  // of the day or the month of a quota, in Unix seconds; else 0
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
// A bucket that is full again is the same as none, and gets there within its life. So
// buckets live in two generations: a use moves a bucket into the young one, and when a
// generation has been the old one for the longest life in it, all in it are full, and it
// goes as a whole. That takes no goroutine, no scan and no pause, and gives the memory back.
type Buckets[S any] struct {
	id     *identity
	start  int64 // by clock.Elapsed
	seed   maphash.Seed
	turnAt atomic.Int64               // microseconds since start: the first use from then on turns the generations
	turn   sync.Mutex                 // held by the caller that turns them
	young  atomic.Pointer[generation] // which a shard is late to begin with, while they turn
	shards [shardCount]shard[S]

	// memberships are those that were needed last, so that buckets share them: a
	// program has few limits, and each keeps its place.
	memberships [61]atomic.Pointer[membership]
}

// generation is the buckets that were used in a certain time.
type generation struct {
	limiter *identity
	life    atomic.Int64 // the longest life in it, in microseconds
}

// identity tells one limiter's buckets from another's, by its address. It is not the
// limiter itself, which a token's bucket would keep in memory.
type identity struct{ _ byte }

// membership is what a bucket has in common with others.
type membership struct {
	generation *generation
	term       Term
}

type shard[S any] struct {
	mu         sync.Mutex
	young, old bucketTable[S]
	generation *generation // young's
}

// Bucket is the State of a payer's bucket. Its holder has locked it. Beside a State of
// three words it takes a cache line.
type Bucket[S any] struct {
	State S // what the limiter keeps; its holder may change it

	mu    sync.Mutex  // may be taken with that of the shard, but not before it
	of    *membership // nil before the first use; then its term and its limiter never change
	payer string
}

// Unlock lets the bucket go.
func (b *Bucket[S]) Unlock() { b.mu.Unlock() }

// Slot is where a limiter remembers the bucket of a token between its requests. The zero
// Slot is empty. It is safe for concurrent use.
type Slot[S any] struct{ atomic.Pointer[Bucket[S]] }

// NewBuckets returns Buckets in which all are full.
func NewBuckets[S any]() *Buckets[S] {
	b := &Buckets[S]{id: new(identity), start: clock.Elapsed(), seed: maphash.MakeSeed()}
	b.begin(b.newGeneration())
	return b
}

// At returns the microseconds from the start to a time by [clock.Elapsed].
func (b *Buckets[S]) At(elapsed int64) int64 { return (elapsed - b.start) / int64(time.Microsecond) }

// Now is At for the present.
func (b *Buckets[S]) Now() int64 { return b.At(clock.Elapsed()) }

// Lock returns the bucket of a payer and a term, locked. Life is how many microseconds it
// takes at most, after a use at now, until the bucket is full again.
func (b *Buckets[S]) Lock(payer string, term Term, life, now int64) *Bucket[S] {
	return b.lock(payer, term, life, now, nil)
}

// LockIn is Lock that looks into the slot first. It finds the bucket there unless that is
// another's, or of another generation: then it has to be moved.
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
// order of terms, no two of which are the same. No life is longer than life.
func (b *Buckets[S]) LockAll(payer string, terms []Term, life, now int64) []*Bucket[S] {
	b.turnWhenDue(now)
	order := make([]int, len(terms))
	for i := range order {
		order[i] = i
	}
	// Callers that lock several do it in one order, each having the payer's shard.
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

// lock is Lock for which spare becomes the bucket if there is none yet, if spare is not
// nil and still free.
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

// take makes b, which is in no table of of's limiter, a bucket of it; but not if it
// serves another limiter or another term.
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

// turnGenerations lets the old generation go and makes the young one the old one.
func (b *Buckets[S]) turnGenerations() {
	old := b.young.Load()
	b.begin(b.newGeneration())
	// The clock anew: a bucket may have been used before its shard's turn came.
	b.turnAt.Store(b.Now() + max(old.life.Load(), minGeneration.Microseconds()))
}

func (b *Buckets[S]) newGeneration() *generation { return &generation{limiter: b.id} }

func (b *Buckets[S]) begin(young *generation) {
	// Before the shards do: a bucket that is found to be of the young generation
	// must not be in a table that is about to become the old one.
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

// membership returns that of a bucket with this term in a generation.
func (b *Buckets[S]) membership(g *generation, term Term) *membership {
	place := &b.memberships[(uint64(len(term.Name))+uint64(term.Window)+uint64(term.Start))%uint64(len(b.memberships))]
	known := place.Load()
	if known == nil || known.generation != g || known.term != term {
		known = &membership{g, term}
		place.Store(known)
	}
	return known
}

// Keep says that a bucket that is locked takes so long until it is full again.
func (b *Bucket[S]) Keep(life int64) { b.of.generation.include(life) }

func (g *generation) include(life int64) {
	for longest := g.life.Load(); longest < life; longest = g.life.Load() {
		if g.life.CompareAndSwap(longest, life) {
			return
		}
	}
}

// bucketTable is a hash table with open addressing and linear probing, of which
// nothing is taken out: a map would double what a bucket takes.
type bucketTable[S any] struct {
	places []*Bucket[S] // none, or a power of two of them
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
