package ram

import (
	"crypto/sha256"
	"encoding/binary"
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"

	"github.com/httpkey/httpkey/internal/clock"
)

const (
	shardCount = 64

	// minGeneration keeps quickly filling buckets for a while, so that the buckets of
	// busy keys rarely move.
	minGeneration = int64(10 * time.Second / time.Microsecond)
)

// Term names a bucket of a payer.
type Term struct {
	Name   string // of the limit
	Window int64  // in microseconds
	Start  int64  // of the day or the month of a quota, in Unix seconds; otherwise 0
}

// Buckets holds the state S of each bucket that is in use. The zero S is a full bucket. It is
// safe for concurrent use.
//
// A full bucket is the same as none, and a bucket is full within its life after a use. So
// buckets live in two generations, and a use moves a bucket into the young one. After the
// longest life in a generation all its buckets are full, and it is dropped as a whole. That
// needs no goroutine, no scan and no pause.
type Buckets[S any] struct {
	start  int64 // by clock.Elapsed
	seed   maphash.Seed
	shards [shardCount]shard[S]
	homes  atomic.Pointer[[]home[S]]
	mu     sync.Mutex // held to append to homes
}

// home gives back the bucket that a claim has put beside a token. It returns a full bucket
// if the claim has ended.
type home[S any] interface {
	leave(record, claim uint32) S
}

// shard has all buckets of a payer.
type shard[S any] struct {
	mu         sync.Mutex
	young, old generation[S]
	turnAt     int64 // in microseconds since start: the first call after that turns the generations
	latest     int64 // moment of a call
}

type generation[S any] struct {
	own    map[key]S
	beside map[key]location
	tables map[uint32]any // by the home of a location: a store may be gone before its payers' debts
	life   int64          // the longest in it, in microseconds
}

// key is the digest of a payer and a Term. Without names, buckets have no pointers.
type key [16]byte

// location is where a bucket lies beside a token.
type location struct {
	home   uint32
	record uint32
	claim  uint32
}

// NewBuckets returns Buckets in which all are full.
func NewBuckets[S any]() *Buckets[S] {
	return &Buckets[S]{start: clock.Elapsed(), seed: maphash.MakeSeed()}
}

// At returns the microseconds from the start to a time of [clock.Elapsed].
func (b *Buckets[S]) At(elapsed int64) int64 { return (elapsed - b.start) / int64(time.Microsecond) }

// Now returns At of the present.
func (b *Buckets[S]) Now() int64 { return b.At(clock.Elapsed()) }

// Payer is a payer whose buckets are locked.
type Payer[S any] struct {
	buckets *Buckets[S]
	shard   *shard[S]
	name    string
}

// Lock locks the buckets of a payer for a use at now.
func (b *Buckets[S]) Lock(payer string, now int64) Payer[S] {
	s := &b.shards[maphash.String(b.seed, payer)%shardCount]
	s.mu.Lock()
	if s.turn(now) {
		b.turnOthers(now)
	}
	return Payer[S]{b, s, payer}
}

// Unlock unlocks the buckets.
func (p Payer[S]) Unlock() { p.shard.mu.Unlock() }

// Take takes the bucket of a Term out of its place. The caller puts it back by Keep.
func (p Payer[S]) Take(t Term) Bucket[S] {
	b := Bucket[S]{payer: p, key: keyOf(p.name, t)}
	young, old := &p.shard.young, &p.shard.old
	if state, ok := young.own[b.key]; ok { // Keep will overwrite it
		b.State = state
	} else if at, ok := young.beside[b.key]; ok {
		delete(young.beside, b.key)
		b.State = p.leave(at)
	} else if state, ok := old.own[b.key]; ok {
		delete(old.own, b.key)
		b.State = state
	} else if at, ok := old.beside[b.key]; ok {
		delete(old.beside, b.key)
		b.State = p.leave(at)
	}
	return b
}

func (p Payer[S]) leave(at location) S {
	return (*p.buckets.homes.Load())[at.home].leave(at.record, at.claim)
}

// Bucket is a bucket in the hands of a caller.
type Bucket[S any] struct {
	State S // to be changed
	payer Payer[S]
	key   key
}

// Keep puts the bucket back. It is full again within life, in microseconds.
func (b *Bucket[S]) Keep(life int64) {
	g := &b.payer.shard.young
	if g.own == nil {
		g.own = make(map[key]S)
	}
	g.own[b.key] = b.State
	g.life = max(g.life, life)
}

// Drop leaves the bucket out, which makes it full.
func (b *Bucket[S]) Drop() { delete(b.payer.shard.young.own, b.key) }

// keepBeside notes that the bucket lies beside a token of a table, until the generations turn.
func (b *Bucket[S]) keepBeside(at location, table any, life int64) {
	g := &b.payer.shard.young
	if g.beside == nil {
		g.beside, g.tables = make(map[key]location), make(map[uint32]any)
	}
	delete(g.own, b.key)
	g.beside[b.key], g.tables[at.home] = at, table
	g.life = max(g.life, life)
}

// settle adds a home, and returns its number.
func (b *Buckets[S]) settle(h home[S]) (number uint32) {
	b.mu.Lock()
	defer b.mu.Unlock()
	var homes []home[S]
	if known := b.homes.Load(); known != nil {
		homes = *known
	}
	homes = append(homes[:len(homes):len(homes)], h)
	b.homes.Store(&homes)
	return uint32(len(homes) - 1)
}

// turn drops the old generation and makes the young one the old one, if that is due.
func (s *shard[S]) turn(now int64) bool {
	// Callers may come a little out of order, and a bucket may be used at the later moment.
	s.latest = max(s.latest, now)
	if now < s.turnAt {
		return false
	}
	s.young, s.old = generation[S]{}, s.young
	s.turnAt = s.latest + max(s.old.life, minGeneration)
	return true
}

// turnOthers turns the generations of the other shards, which may get no call for long. It does
// not wait for shards in use.
func (b *Buckets[S]) turnOthers(now int64) {
	for i := range b.shards {
		if s := &b.shards[i]; s.mu.TryLock() {
			s.turn(now)
			s.mu.Unlock()
		}
	}
}

// keyOf returns the key of a payer's bucket.
func keyOf(payer string, t Term) (k key) {
	text := make([]byte, 0, 128)
	text = binary.AppendUvarint(text, uint64(len(payer)))
	text = append(text, payer...)
	text = binary.AppendVarint(text, t.Window)
	text = binary.AppendVarint(text, t.Start)
	text = append(text, t.Name...)
	digest := sha256.Sum256(text)
	return key(digest[:])
}
