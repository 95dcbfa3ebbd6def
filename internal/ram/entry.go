// Package ram lets a Guard read the tokens and the buckets of stores and limiters in memory
// in place. A bucket can lie beside its token.
//
// [SourceOf] and [LimiterOf] detect such stores and limiters. A Guard calls the methods of
// any other store or limiter, including one that wraps a store or limiter in memory.
package ram

import (
	"encoding/binary"
	"math"
	"sync/atomic"
	"time"

	"github.com/httpkey/httpkey/internal/gcra"
)

// Null means that there is no moment. It is less than every moment.
const Null = math.MinInt64

// State holds the properties of a token that are one bit each.
type State uint32

// The bits of a State.
const (
	Active  State = 1 << iota // the token is not revoked
	Service                   // the token is a ServiceToken
	Special                   // the token has limits or networks of its own, and the Body has Full
)

// Entry is a token in memory. All but its digest may change during a request. It is safe for
// concurrent use.
type Entry[T any] struct {
	// The entry has two cache lines. A search reads only the first.
	digest    [32]byte
	lastUsed  atomic.Int64 // Unix microseconds, or Null
	expiredAt atomic.Int64 // Unix microseconds, or Null
	state     atomic.Uint32
	isCopy    bool
	body      atomic.Pointer[Body[T]]

	// A limiter in memory uses the bucket beside the token, so that a request waits once
	// for the memory of both.
	slot   Slot[gcra.Bucket]
	bucket Bucket[gcra.Bucket]
}

// Body holds the part of a token that an update replaces as a whole. It is immutable.
type Body[T any] struct {
	ExpiredAt int64 // Unix microseconds, or Null
	CreatedAt int64 // Unix microseconds
	State     State // the kind of token, and whether it is active

	// Text holds the strings of a token one after the other, and Ends the end of each. So
	// the garbage collector visits one object instead of many.
	Text string
	Ends [9]uint32 // in Text
	// Full is the whole token, if it has more than Text holds; otherwise nil.
	Full *T
}

// New returns the entry of a token with this digest, last use and payer.
func New[T any](digest [32]byte, lastUsed int64, payer string, body *Body[T]) *Entry[T] {
	e := new(Entry[T])
	e.init(digest, lastUsed, payer, body)
	e.slot.Store(&e.bucket)
	return e
}

// NewCopy is New for a cache of another store, which gets the uses by Touch. The entry has no
// bucket beside it, since the bucket would keep a replaced copy in memory.
func NewCopy[T any](digest [32]byte, lastUsed int64, payer string, body *Body[T]) *Entry[T] {
	e := new(Entry[T])
	e.init(digest, lastUsed, payer, body)
	e.isCopy = true
	return e
}

// Whole is the entry of a token that exists only for one request. Entry, body and token are
// one object, to save allocations.
type Whole[T any] struct {
	entry Entry[T]
	body  Body[T]
	token T
}

// Fill makes w the entry of a token. The entry owns the token from then on.
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

// Payer returns the token's payer, which never changes.
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

// Body returns the present body of the token.
func (e *Entry[T]) Body() *Body[T] { return e.body.Load() }

// State returns the present state of the token.
func (e *Entry[T]) State() State { return State(e.state.Load()) }

// Expired reports whether the token has expired at a Unix microsecond. Expiring exactly
// then is expired.
func (e *Entry[T]) Expired(at int64) bool { return isOver(e.expiredAt.Load(), at) }

// Expired is that of an Entry, as of the same moment as the rest of b.
func (b *Body[T]) Expired(at int64) bool { return isOver(b.ExpiredAt, at) }

func isOver(expiredAt, at int64) bool { return expiredAt != Null && expiredAt <= at }

// LastUsed returns when the token was last used, in Unix microseconds, or Null.
func (e *Entry[T]) LastUsed() int64 { return e.lastUsed.Load() }

// Touch moves the last use forward to a Unix microsecond. It never moves it backwards.
func (e *Entry[T]) Touch(at int64) {
	for last := e.lastUsed.Load(); last < at; last = e.lastUsed.Load() {
		if e.lastUsed.CompareAndSwap(last, at) {
			return
		}
	}
}

// TouchCoarsely is a Touch that ignores a use less than a millisecond after the last one.
// Otherwise CPUs that serve one key would contend for the cache line, which also holds the
// digest.
func (e *Entry[T]) TouchCoarsely(at int64) {
	if e.lastUsed.Load() <= at-1000 {
		e.Touch(at)
	}
}

// Slot returns the slot for the token's bucket.
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

// Micros returns t in Unix microseconds, or Null for the zero time. A time outside their
// range becomes the first or the last of the range. Without that, a token that expired long
// ago could expire in the future.
func Micros(t time.Time) int64 {
	switch {
	case t.IsZero():
		return Null
	case t.After(last):
		return math.MaxInt64
	case t.Before(first):
		return Null + 1
	}
	return t.UnixMicro()
}

var first, last = time.UnixMicro(Null + 1), time.UnixMicro(math.MaxInt64)

// Time is the inverse of Micros.
func Time(at int64) time.Time {
	if at == Null {
		return time.Time{}
	}
	return time.UnixMicro(at).UTC()
}

// Source is a store that has tokens in memory.
type Source[T any] interface {
	// Find returns the entry with exactly this digest, whatever its state, or nil if there is
	// none. A Guard does not compare digests again. known is false if only a Lookup in the
	// store can tell.
	Find(d [32]byte) (e *Entry[T], known bool)
	// Holds reports whether memory has a token with this digest, even an outdated one.
	Holds(d [32]byte) bool
	// Token returns a copy of the present token of an entry.
	Token(e *Entry[T]) T
	// ID returns the ID of the token of an entry.
	ID(e *Entry[T]) string
}

// Holder lets a Guard find the Source of a store that embeds it.
type Holder[T any] struct {
	owner  any
	source Source[T]
}

// Hold returns the Holder of owner, a store.
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

// HeldFirst returns the digesters, first those whose digest of the key the source holds. The
// Lookup of another digest may wait behind made-up keys. The source may be nil.
func HeldFirst[T any, D ~func(string) [32]byte](s Source[T], digesters []D, key string) []D {
	if s == nil || len(digesters) == 1 {
		return digesters
	}
	var held, others []D
	for _, digest := range digesters {
		if s.Holds(digest(key)) {
			held = append(held, digest)
		} else {
			others = append(others, digest)
		}
	}
	return append(held, others...)
}
