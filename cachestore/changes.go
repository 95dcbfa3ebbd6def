package cachestore

import (
	"encoding/binary"
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/internal/clock"
	"github.com/httpkey/httpkey/internal/ram"
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
	slots [1 << slotBits]slot
	byID  slot // of all changes by ID, since only the store knows their digests
}

const slotBits = 12

// slot holds the number of the last change of the names that share it.
type slot struct{ last atomic.Uint64 }

func newChanges() *changes { return &changes{seed: maphash.MakeSeed()} }

// ofDigest takes the slot from the digest itself, which is a hash already.
func (c *changes) ofDigest(d *[32]byte) *slot {
	return &c.slots[binary.LittleEndian.Uint16(d[:])%uint16(len(c.slots))]
}

func (c *changes) ofID(id string) *slot { return &c.slots[c.numberOf(id)] }

// numberOf returns the number of an ID's slot.
func (c *changes) numberOf(id string) uint64 {
	return maphash.String(c.seed, id) % uint64(len(c.slots))
}

// noteID counts a change of the token with an ID. Call this and the other note methods after
// the change, so that later answers of the store are good.
func (c *changes) noteID(id string) { c.note(c.ofID(id), &c.byID) }

// noteDigest counts a change of the token with a digest.
func (c *changes) noteDigest(d httpkey.Digest) { c.note(c.ofDigest((*[32]byte)(&d))) }

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

// reading is the beginning of a call to the store. The answer may be as old as that.
type reading struct {
	at      time.Duration // by now
	changes uint64        // the count of changes at that moment
}

// now returns the time of [clock.Elapsed], by which a Guard asks for tokens in memory.
func now() time.Duration { return time.Duration(clock.Elapsed()) }

func (c *changes) read() reading { return reading{at: now(), changes: c.count.Load()} }

// follows reports whether r came after all changes in s.
func (r reading) follows(s *slot) bool { return s.last.Load() <= r.changes }

// stamp returns the Stamp of a token with an ID, which the store returned. The Mark has the
// count of changes, and the number of the ID's slot in its low bits.
func (c *changes) stamp(r reading, id string) ram.Stamp {
	return ram.Stamp{ReadAt: int64(r.at), Mark: r.changes<<slotBits | c.numberOf(id)}
}

// isCurrent reports whether a token with a digest and a Stamp came after all its changes.
func (c *changes) isCurrent(d *[32]byte, stamp ram.Stamp) bool {
	r := reading{changes: stamp.Mark >> slotBits}
	return r.follows(&c.slots[stamp.Mark%uint64(len(c.slots))]) && r.follows(c.ofDigest(d))
}
