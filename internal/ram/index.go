package ram

import (
	"encoding/binary"
	"math/bits"
	"sync/atomic"
)

// Index finds entries by their digests. Readers take no lock and write nothing, so they do
// not slow each other down. Writers must not run concurrently.
//
// It is a hash table like a Swiss table: a group has several places and, for each, a tag of
// one byte. A search compares one word of tags and usually visits one entry. A group is a
// cache line, so a search waits for memory twice: for the group and for the entry. A digest
// is uniformly distributed, so its first bytes serve as the hash.
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

// The tags of places without an entry. The tag of an entry has the highest bit set. A search
// ends at a group that has an empty place.
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

// Find returns the entry with a digest, or nil.
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

// Add adds an entry whose digest is not in the index.
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

// Remove removes an entry.
func (i *Index[T]) Remove(e *Entry[T]) {
	group, n := i.table.Load().place(e)
	group.setTag(n, deletedTag)
	group.entries[n].Store(nil)
	i.live--
}

// newIndexTable returns a table with room for twice n entries and a few more.
func newIndexTable[T any](n int) *indexTable[T] {
	groups := 1
	for groups*groupSize < 2*n {
		groups *= 2
	}
	table := make(indexTable[T], groups)
	return &table
}

// insert puts e into the first empty place. It writes the tag last, so that a reader that
// sees the tag finds the entry.
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

// place returns the group and the place of an entry that is in the table.
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

// tagOf returns the tag of a hash, from bits that do not choose the group.
func tagOf(hash uint64) uint64 { return hash%128 | 0x80 }

// zeroBytes returns a word in which the highest bit of a byte is set if that byte of word is
// zero; the eighth byte is not tested. A byte of value 1 above a zero byte may be marked as
// well, so the caller verifies each entry.
func zeroBytes(word uint64) uint64 { return (word - eachByte) &^ word & (eachByte << 7) }
