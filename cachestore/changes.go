package cachestore

import (
	"hash/maphash"
	"sync"
	"sync/atomic"

	"github.com/httpkey/httpkey"
)

// changes numbers the changes of tokens, and keeps the number of the last change for each
// ID and each digest. Before the cache reads the store, it notes the count. The answer is
// good until a later change is known.
//
// So a change need not find the tokens in memory or the loads in progress, and a Delete by
// ID needs no digest. A load that began before a change cannot bring the old token back.
//
// Several names share a slot, so that the size is fixed. A change also outdates the other
// tokens of its slot, which the cache then reads once more.
type changes struct {
	seed  maphash.Seed
	count atomic.Uint64
	mu    sync.Mutex // held while a change is counted, so that no slot goes backwards
	slots [1 << 12]slot
	byID  slot // of all changes by ID, since only the store knows their digests
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

// noteID counts a change of the token with an ID. Call this and the other note methods after
// the change, so that later answers of the store are good.
func (c *changes) noteID(id string) { c.note(c.ofID(id), &c.byID) }

// noteDigest counts a change of the token with a digest.
func (c *changes) noteDigest(d httpkey.Digest) { c.note(c.ofDigest(d)) }

func (c *changes) note(changed ...*slot) {
	c.mu.Lock()
	defer c.mu.Unlock()
	number := c.count.Add(1)
	for _, s := range changed {
		s.last.Store(number)
	}
}

// noteAll counts a change that may concern any token.
func (c *changes) noteAll() {
	c.mu.Lock()
	defer c.mu.Unlock()
	number := c.count.Add(1)
	for i := range c.slots {
		c.slots[i].last.Store(number)
	}
}

// follows reports whether r came after all changes in s.
func (r reading) follows(s *slot) bool { return s.last.Load() <= r.changes }
