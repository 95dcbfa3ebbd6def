// Package ram is what a Guard, the stores and the limiters in the memory of one process
// share: tokens that a request reads in place, and buckets that it finds beside them.
//
// A Guard finds out by [SourceOf] and [LimiterOf]. A store that is reached in any other
// way, a wrapped one included, is asked by its methods.
package ram

import (
	"encoding/binary"
	"math"
	"sync/atomic"
	"time"

	"github.com/httpkey/httpkey/internal/gcra"
)

// Null stands for no moment, and lies before all others.
const Null = math.MinInt64

// State is what of a token fits into a bit.
type State uint32

// What a token may be.
const (
	Active  State = 1 << iota // not revoked
	Service                   // a token of a service
	Special                   // it has limits or networks of its own, with its Full
)

// Entry is a token in memory. All but its digest may change while a request goes on. It is
// safe for concurrent use.
type Entry[T any] struct {
	// Two cache lines, of which the first is all that a search looks at.
	digest    [32]byte
	lastUsed  atomic.Int64 // Unix microseconds, or Null
	expiredAt atomic.Int64 // Unix microseconds, or Null
	state     atomic.Uint32
	isCopy    bool
	body      atomic.Pointer[Body[T]]

	// A limiter in memory takes the bucket that lies beside the token, so that a request
	// waits once for the memory of both.
	slot   Slot[gcra.Bucket]
	bucket Bucket[gcra.Bucket]
}

// Body is what of a token changes as a whole. It is immutable.
type Body[T any] struct {
	ExpiredAt int64 // Unix microseconds, or Null
	CreatedAt int64 // Unix microseconds
	State     State // what it is

	// Text holds the strings of a token one after the other, and Ends where each ends: one
	// object for the garbage collector to visit instead of many.
	Text string
	Ends [9]uint32 // in Text
	// Full is the token as a whole, if it has more than Text holds.
	Full *T
}

// New returns the entry of a token of this digest, last use, and name of its bucket.
func New[T any](digest [32]byte, lastUsed int64, payer string, body *Body[T]) *Entry[T] {
	e := new(Entry[T])
	e.init(digest, lastUsed, payer, body)
	e.slot.Store(&e.bucket)
	return e
}

// NewCopy is New for a cache: the token is kept elsewhere, and its uses are written there. A
// bucket does not lie beside it, which would keep a copy that has been replaced.
func NewCopy[T any](digest [32]byte, lastUsed int64, payer string, body *Body[T]) *Entry[T] {
	e := new(Entry[T])
	e.init(digest, lastUsed, payer, body)
	e.isCopy = true
	return e
}

// Whole is an entry, with its body and its token in one object, of a token that no memory
// holds but that of its request.
type Whole[T any] struct {
	entry Entry[T]
	body  Body[T]
	token T
}

// Fill makes w the entry of a token, which is its own.
func (w *Whole[T]) Fill(digest [32]byte, lastUsed int64, payer string, body Body[T], token T) *Entry[T] {
	w.token, w.body = token, body
	w.body.Full = &w.token
	w.entry.init(digest, lastUsed, payer, &w.body)
	w.entry.isCopy = true
	return &w.entry
}

func (e *Entry[T]) init(digest [32]byte, lastUsed int64, payer string, body *Body[T]) {
	e.digest = digest
	e.lastUsed.Store(lastUsed)
	e.Replace(body)
	e.bucket.payer = payer
}

// IsCopy reports whether NewCopy made e.
func (e *Entry[T]) IsCopy() bool { return e.isCopy }

// Payer returns the name of the token's bucket, which never changes.
func (e *Entry[T]) Payer() string { return e.bucket.payer }

// Digest returns the token's digest.
func (e *Entry[T]) Digest() [32]byte { return e.digest }

// Has reports whether e has this digest, in constant time.
func (e *Entry[T]) Has(d *[32]byte) bool {
	var differ uint64
	for i := 0; i < len(d); i += 8 {
		differ |= binary.LittleEndian.Uint64(e.digest[i:]) ^ binary.LittleEndian.Uint64(d[i:])
	}
	return differ == 0
}

// Replace makes e what body says. Callers take turns. The State comes last: what is read
// after a new State is new. After an old one that is Special, a reader goes by the Body alone.
func (e *Entry[T]) Replace(body *Body[T]) {
	e.body.Store(body)
	e.expiredAt.Store(body.ExpiredAt)
	e.state.Store(uint32(body.State))
}

// Body returns the rest of the token as it is now.
func (e *Entry[T]) Body() *Body[T] { return e.body.Load() }

// State returns what the token is now.
func (e *Entry[T]) State() State { return State(e.state.Load()) }

// Expired reports whether the token has expired at a Unix microsecond. Expiring exactly
// then is expired.
func (e *Entry[T]) Expired(at int64) bool { return isOver(e.expiredAt.Load(), at) }

// Expired is that of an Entry, as of the same moment as the rest of b.
func (b *Body[T]) Expired(at int64) bool { return isOver(b.ExpiredAt, at) }

func isOver(expiredAt, at int64) bool { return expiredAt != Null && expiredAt <= at }

// LastUsed returns when the token was last used, in Unix microseconds, or Null.
func (e *Entry[T]) LastUsed() int64 { return e.lastUsed.Load() }

// Touch moves the last use on to a Unix microsecond, unless it is there or later already.
func (e *Entry[T]) Touch(at int64) {
	for last := e.lastUsed.Load(); last < at; last = e.lastUsed.Load() {
		if e.lastUsed.CompareAndSwap(last, at) {
			return
		}
	}
}

// TouchCoarsely is Touch that leaves a last use be that is less than a millisecond old:
// CPUs that all serve one key would take the cache line from each other, and with it the
// digest that they compare.
func (e *Entry[T]) TouchCoarsely(at int64) {
	if e.lastUsed.Load() <= at-1000 {
		e.Touch(at)
	}
}

// Slot returns the place for the token's bucket.
func (e *Entry[T]) Slot() *Slot[gcra.Bucket] { return &e.slot }

// String returns one of the strings in Text.
func (b *Body[T]) String(i int) string {
	start := uint32(0)
	if i > 0 {
		start = b.Ends[i-1]
	}
	return b.Text[start:b.Ends[i]]
}

// StateOf returns the State of a token.
func StateOf(isActive, isService, isSpecial bool) (s State) {
	if isActive {
		s |= Active
	}
	if isService {
		s |= Service
	}
	if isSpecial {
		s |= Special
	}
	return s
}

// Micros returns t in Unix microseconds, or Null for the zero time.
func Micros(t time.Time) int64 {
	if t.IsZero() {
		return Null
	}
	return t.UnixMicro()
}

// Time returns the time that Micros returned at for.
func Time(at int64) time.Time {
	if at == Null {
		return time.Time{}
	}
	return time.UnixMicro(at).UTC()
}

// Source is a store that has tokens in memory.
type Source[T any] interface {
	// Find returns the entry of exactly this digest, whatever its state, or nil if there is
	// none. A Guard does not compare them again. known is false where only a Lookup in the
	// store can tell.
	Find(d [32]byte) (e *Entry[T], known bool)
	// Token returns a copy of the token of an entry as it is now.
	Token(e *Entry[T]) T
	// ID returns its ID.
	ID(e *Entry[T]) string
}

// Holder lets a Guard find the Source of a store that embeds it.
type Holder[T any] struct {
	owner  any
	source Source[T]
}

// Hold returns the Holder of a store, which owner is.
func Hold[T any](owner any, source Source[T]) Holder[T] { return Holder[T]{owner, source} }

func (h Holder[T]) held() Holder[T] { return h }

// SourceOf returns the Source of a store, or nil if it has none. A type that embeds such a
// store has none: it may have a Lookup of its own.
func SourceOf[T any](store any) Source[T] {
	if h, ok := store.(interface{ held() Holder[T] }); ok && h.held().owner == store {
		return h.held().source
	}
	return nil
}
