package cachestore

import (
	"hash/maphash"
	"sync"
	"sync/atomic"

	"github.com/httpkey/httpkey"
)

// changes tells what was read before a change from what was read after it. It
// numbers the changes, and keeps for each ID and each digest the number of its
// last one. Whoever reads the store notes the count first; what it read is good
// as long as no later change is known of.
//
// So a change needs to know neither what is in memory nor what is being loaded,
// a Delete by ID needs no digest, and a load that began before cannot bring the old back.
//
// To be of fixed size it keeps slots that several names share: a change also
// outdates the few others in its slot, which are then read once more.
type changes struct {
	seed  maphash.Seed
	count atomic.Uint64
	mu    sync.Mutex // held by whoever counts, so that no slot goes backwards
	slots [1 << 12]slot
	byID  slot // of every change that is known by its ID; of which digest it is, only the store knows
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
// change is made: what is read from then on is good.
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

// follows reports whether r was made after all that is known to have changed in s.
func (r reading) follows(s *slot) bool { return s.last.Load() <= r.changes }
