package ram

import (
	"encoding/binary"
	"math/bits"
	"sync/atomic"
)

// Index finds entries by their digests. Readers take no lock and write nothing,
// so that they do not slow each other down; writers must not run at once.
//
// It is a hash table as in Swiss tables: groups of places, and of each place a tag
// of one byte, so that a search compares one word and, as a rule, looks at one
// entry. A group is a cache line, so that a search waits for memory
// twice: for the group, and for the entry. A digest is as good as random, so its
// first bytes are its hash.
type Index[T any] struct {
	table atomic.Pointer[indexTable[T]]
	taken int // places that ever had an entry
	live  int
}

type indexTable[T any] []indexGroup[T] // a power of two of them

type indexGroup[T any] struct {
	tags    atomic.Uint64 // a byte for each entry, and an unused one
	entries [groupSize]atomic.Pointer[Entry[T]]
}

// The tags beside those of entries, which have the highest bit set. A search ends
// at a group that has an empty place.
const (
	emptyTag   = 0x00
	deletedTag = 0x01
)

const (
	groupSize = 7
	eachByte  = 0x0001010101010101
)

// NewIndex returns an empty Index.
func NewIndex[T any]() *Index[T] {
	i := new(Index[T])
	i.table.Store(newIndexTable[T](0))
	return i
}

// Find returns the entry of a digest, or nil.
func (i *Index[T]) Find(d *[32]byte) *Entry[T] {
	table, hash := *i.table.Load(), hashOf(d)
	for n := hash / 128; ; n++ {
		group := &table[n&uint64(len(table)-1)]
		tags := group.tags.Load()
		for match := zeroBytes(tags ^ eachByte*tagOf(hash)); match != 0; match &= match - 1 {
			if e := group.entries[bits.TrailingZeros64(match)/8].Load(); e != nil && e.Has(d) {
				return e
			}
		}
		if zeroBytes(tags) != 0 {
			return nil
		}
	}
}

// Add puts in an entry whose digest is not there.
func (i *Index[T]) Add(e *Entry[T]) {
	if old := *i.table.Load(); i.taken >= (groupSize-1)*len(old) {
		table := newIndexTable[T](i.live)
		for g := range old {
			for n := range old[g].entries {
				if e := old[g].entries[n].Load(); e != nil {
					table.insert(e)
				}
			}
		}
		i.table.Store(table)
		i.taken = i.live
	}
	i.table.Load().insert(e)
	i.taken++
	i.live++
}

// Remove takes out an entry.
func (i *Index[T]) Remove(e *Entry[T]) {
	group, n := i.table.Load().place(e)
	group.setTag(n, deletedTag)
	group.entries[n].Store(nil)
	i.live--
}

// newIndexTable returns a table with room for twice n entries, and a few.
func newIndexTable[T any](n int) *indexTable[T] {
	groups := 1
	for groups*groupSize < 2*n {
		groups *= 2
	}
	table := make(indexTable[T], groups)
	return &table
}

// insert puts e into the first empty place. The tag comes last: who sees it finds
// the entry.
func (t indexTable[T]) insert(e *Entry[T]) {
	d := e.Digest()
	hash := hashOf(&d)
	for g := hash / 128; ; g++ {
		group := &t[g&uint64(len(t)-1)]
		if empty := zeroBytes(group.tags.Load()); empty != 0 {
			n := bits.TrailingZeros64(empty) / 8
			group.entries[n].Store(e)
			group.setTag(n, tagOf(hash))
			return
		}
	}
}

// place returns where an entry is that is in the table.
func (t indexTable[T]) place(e *Entry[T]) (*indexGroup[T], int) {
	d := e.Digest()
	for g := hashOf(&d) / 128; ; g++ {
		group := &t[g&uint64(len(t)-1)]
		for n := range group.entries {
			if group.entries[n].Load() == e {
				return group, n
			}
		}
	}
}

func (g *indexGroup[T]) setTag(n int, tag uint64) {
	shift := n * 8
	g.tags.Store(g.tags.Load()&^(0xff<<shift) | tag<<shift)
}

func hashOf(d *[32]byte) uint64 { return binary.LittleEndian.Uint64(d[:]) }

// tagOf takes the bits that do not choose the group.
func tagOf(hash uint64) uint64 { return hash%128 | 0x80 }

// zeroBytes has the highest bit of each of the seven bytes set that is zero in word. It may have
// that of a byte above such a one set as well, if that is 1: whoever reads it looks
// at what it finds.
func zeroBytes(word uint64) uint64 { return (word - eachByte) &^ word & (eachByte << 7) }
