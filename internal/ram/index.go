package ram

import "sync/atomic"

// Index finds numbers by hashes. Readers take no lock and write nothing, so they do not slow
// each other down. Writers must not run concurrently. The zero Index is empty and ready for
// use.
//
// It is a hash table with linear probing. A place holds a number and half of its hash, so a
// search rarely visits a number that it does not look for. Neighbors share a cache line. The
// Index mixes the hashes, because numbers in a row would make long runs.
type Index struct {
	places atomic.Pointer[[]atomic.Uint64] // a power of two of them
	taken  int                             // places that ever held a number
	live   int
}

// A place is 0 if it never held a number. Otherwise it is half of the mixed hash, and the
// number plus one.
const deleted = 1<<32 - 1

func place(tag uint64, n uint32) uint64 { return tag<<32 | (uint64(n) + 1) }

// mix returns the place at which a search begins, and a tag of 32 bits.
func mix(hash uint64) (at, tag uint64) {
	hash *= 0x9e3779b97f4a7c15 // 2^64 divided by the golden ratio
	return hash >> 32, hash & (1<<32 - 1)
}

// Search returns the number with a hash that is the one looked for.
func (i *Index) Search(hash uint64, is func(n uint32) bool) (n uint32, ok bool) {
	table := i.places.Load()
	if table == nil {
		return 0, false
	}
	places := *table
	for at, tag := mix(hash); ; at++ {
		held := places[at&uint64(len(places)-1)].Load()
		switch {
		case held == 0:
			return 0, false
		case held>>32 == tag && held != deleted && is(uint32(held)-1):
			return uint32(held) - 1, true
		}
	}
}

// Add adds a number that is not in the index.
func (i *Index) Add(hash uint64, n uint32, hashOf func(n uint32) uint64) {
	if table := i.places.Load(); table == nil || 3*i.taken >= 2*len(*table) {
		i.rebuild(hashOf)
	}
	if insert(*i.places.Load(), hash, n) {
		i.taken++
	}
	i.live++
}

// Remove removes a number.
func (i *Index) Remove(hash uint64, n uint32, hashOf func(n uint32) uint64) {
	places := *i.places.Load()
	at, tag := mix(hash)
	for places[at&uint64(len(places)-1)].Load() != place(tag, n) {
		at++
	}
	places[at&uint64(len(places)-1)].Store(deleted)
	if i.live--; 16*i.live+64 < len(places) { // give memory back
		i.rebuild(hashOf)
	}
}

// rebuild makes a table of at least twice the live numbers.
func (i *Index) rebuild(hashOf func(n uint32) uint64) {
	size := 8
	for size < 2*(i.live+1) {
		size *= 2
	}
	places := make([]atomic.Uint64, size)
	if old := i.places.Load(); old != nil {
		for at := range *old {
			if held := (*old)[at].Load(); held != 0 && held != deleted {
				n := uint32(held) - 1
				insert(places, hashOf(n), n)
			}
		}
	}
	i.places.Store(&places)
	i.taken = i.live
}

// insert reports whether the place never held a number before.
func insert(places []atomic.Uint64, hash uint64, n uint32) bool {
	for at, tag := mix(hash); ; at++ {
		p := &places[at&uint64(len(places)-1)]
		if held := p.Load(); held == 0 || held == deleted {
			p.Store(place(tag, n))
			return held == 0
		}
	}
}
