package cachestore

import (
	"hash/maphash"
	"sync"
	"sync/atomic"

	"github.com/httpkey/httpkey"
)

// changes numbers the changes, and keeps for each ID and each digest the number of its
// last one. A reader of the store notes the count first. The answer is good as long as no
// later change is known of.
//
// So a change needs to know neither which tokens are in memory nor which are being
// loaded, a Delete by ID needs no digest, and a load that began before a change cannot
// bring the old token back.
//
// It is of fixed size, since it keeps slots that several names share. A change also
// outdates the few others in its slot, which are then read once more.
type changes struct {
	seed  maphash.Seed
	count atomic.Uint64
	mu    sync.Mutex // held while a change is counted, so that no slot goes backwards
	slots [1 << 12]slot
	byID  slot // of every change that is known by its ID, whose digest only the store knows
}

// slot holds the number of the last change of the names that share it.
type slot struct{ last atomic.Uint64 }

func newChanges() *changes { return &changes{seed: maphash.MakeSeed()} }

func (c *changes) ofDigest(d httpkey.Digest) *slot {
	return &c.slots[maphash.Bytes(c.seed, d[:])%uint64(len(c.slots))]
}

func (c *changes) ofID(id string) *slot {
	return &c.slots[maphash.String(c.seed, id)%uint64(len(c.slots))]
}

// noteID counts a change of the token of an ID. Call this and the others when the
// change is made: an answer that is read from then on is good.
func (c *changes) noteID(id string) { c.note(c.ofID(id), &c.byID) }

// noteDigest counts a change of the token of a digest.
func (c *changes) noteDigest(d httpkey.Digest) { c.note(c.ofDigest(d)) }

func (c *changes) note(changed ...*slot) {
	c.mu.Lock()
	defer c.mu.Unlock()
	number := c.count.Add(1)
	for _, s := range changed {
		s.last.Store(number)
	}
}

// noteAll counts a change that may have been of anything.
func (c *changes) noteAll() {
	c.mu.Lock()
	defer c.mu.Unlock()
	number := c.count.Add(1)
	for i := range c.slots {
		c.slots[i].last.Store(number)
	}
}

// follows reports whether r was made after all changes that are known in s.
func (r reading) follows(s *slot) bool { return s.last.Load() <= r.changes }
