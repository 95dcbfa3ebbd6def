package memstore

import (
	"encoding/binary"
	"math/bits"
	"sync/atomic"

	"github.com/httpkey/httpkey"
)

// index finds entries by their digests. Readers take no lock and write nothing,
// so that they do not slow each other down; writers must not run at once.
//
// It is a hash table as in Swiss tables: groups of eight places, and of each place
// a tag of one byte, so that a search reads one word and, as a rule, one entry,
// and the whole takes so little that it stays in a cache. A digest is as good as
// random, so its first bytes are its hash.
type index struct {
	table atomic.Pointer[indexTable]
	taken int // places that ever had an entry
	live  int
}

type indexTable struct {
	tags    []atomic.Uint64 // of a group each; a power of two of them
	entries []atomic.Pointer[httpkey.Entry]
}

// The tags beside those of entries, which have the highest bit set. A search ends
// at a group that has an empty place.
const (
	emptyTag   = 0x00
	deletedTag = 0x01
)

const (
	groupSize = 8
	eachByte  = 0x0101010101010101
)

func newIndex() *index {
	i := new(index)
	i.table.Store(newIndexTable(0))
	return i
}

// find returns the entry of a digest, or nil.
func (i *index) find(d *httpkey.Digest) *httpkey.Entry {
	table, hash := i.table.Load(), hashOf(d)
	for group := hash / 128; ; group++ {
		group &= uint64(len(table.tags) - 1)
		tags := table.tags[group].Load()
		for match := zeroBytes(tags ^ eachByte*tagOf(hash)); match != 0; match &= match - 1 {
			place := group*groupSize + uint64(bits.TrailingZeros64(match)/8)
			if e := table.entries[place].Load(); e != nil && e.Digest() == *d {
				return e
			}
		}
		if zeroBytes(tags) != 0 {
			return nil
		}
	}
}

// add puts in an entry whose digest is not there.
func (i *index) add(e *httpkey.Entry) {
	if old := i.table.Load(); 8*i.taken >= 7*len(old.entries) {
		table := newIndexTable(i.live)
		for n := range old.entries {
			if e := old.entries[n].Load(); e != nil {
				table.insert(e)
			}
		}
		i.table.Store(table)
		i.taken = i.live
	}
	i.table.Load().insert(e)
	i.taken++
	i.live++
}

// replace puts e in the place of old, which has the same digest.
func (i *index) replace(old, e *httpkey.Entry) {
	table := i.table.Load()
	table.entries[table.place(old)].Store(e)
}

// remove takes out an entry.
func (i *index) remove(e *httpkey.Entry) {
	table := i.table.Load()
	place := table.place(e)
	table.setTag(place, deletedTag)
	table.entries[place].Store(nil)
	i.live--
}

// newIndexTable returns a table with room for twice n entries, and a few.
func newIndexTable(n int) *indexTable {
	groups := 1
	for groups*groupSize < 2*n {
		groups *= 2
	}
	return &indexTable{make([]atomic.Uint64, groups), make([]atomic.Pointer[httpkey.Entry], groups*groupSize)}
}

// insert puts e into the first empty place. The tag comes last: who sees it finds
// the entry.
func (t *indexTable) insert(e *httpkey.Entry) {
	d := e.Digest()
	hash := hashOf(&d)
	for group := hash / 128; ; group++ {
		group &= uint64(len(t.tags) - 1)
		if empty := zeroBytes(t.tags[group].Load()); empty != 0 {
			place := group*groupSize + uint64(bits.TrailingZeros64(empty)/8)
			t.entries[place].Store(e)
			t.setTag(place, tagOf(hash))
			return
		}
	}
}

// place returns the place of an entry that is in the table.
func (t *indexTable) place(e *httpkey.Entry) uint64 {
	d := e.Digest()
	for place := hashOf(&d) / 128 * groupSize; ; place++ {
		place &= uint64(len(t.entries) - 1)
		if t.entries[place].Load() == e {
			return place
		}
	}
}

func (t *indexTable) setTag(place, tag uint64) {
	shift := place % groupSize * 8
	tags := &t.tags[place/groupSize]
	tags.Store(tags.Load()&^(0xff<<shift) | tag<<shift)
}

func hashOf(d *httpkey.Digest) uint64 { return binary.LittleEndian.Uint64(d[:]) }

// tagOf takes the bits that do not choose the group.
func tagOf(hash uint64) uint64 { return hash%128 | 0x80 }

// zeroBytes has the highest bit of each byte set that is zero in word. It may have
// that of a byte above such a one set as well, if that is 1: whoever reads it looks
// at what it finds.
func zeroBytes(word uint64) uint64 { return (word - eachByte) &^ word & (eachByte << 7) }
