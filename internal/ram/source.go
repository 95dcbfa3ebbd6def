package ram

import (
	"slices"

	"github.com/httpkey/httpkey/internal/gcra"
)

// Source is a store that has tokens in memory.
type Source[T any] interface {
	// Find returns the token with exactly this digest, whatever its state. A Guard does not
	// compare digests again. known is false if only a Lookup in the store can tell. Elapsed is
	// the time of [clock.Elapsed].
	Find(d [32]byte, elapsed int64) (v View[T], known bool)
	// Holds reports whether memory has a token with this digest, even an outdated one.
	Holds(d [32]byte) bool
	// Token returns the token of a View. It shares no mutable memory with v.
	Token(v View[T]) T
	// Table returns the tokens.
	Table() *Table[T]
	// IsCopy reports whether the tokens are copies of those in another store, which gets the
	// uses by Touch.
	IsCopy() bool
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

// Holds reports whether the source, which may be nil, holds a key under one of the digesters, even if
// only a Lookup can tell the state of its token.
func Holds[T any, D ~func(string) [32]byte](s Source[T], digesters []D, key string) bool {
	return s != nil && slices.ContainsFunc(digesters, func(digest D) bool { return s.Holds(digest(key)) })
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

// LimiterHolder lets a Guard find the buckets of a limiter in memory that embeds it.
type LimiterHolder struct {
	owner   any
	buckets *Buckets[gcra.Bucket] // nil: no bucket can lie beside its token
}

// HoldLimiter returns the LimiterHolder of owner, a limiter.
func HoldLimiter(owner any, buckets *Buckets[gcra.Bucket]) LimiterHolder {
	return LimiterHolder{owner, buckets}
}

func (h LimiterHolder) heldLimiter() LimiterHolder { return h }

// BucketsOf returns the buckets of a limiter that can lie beside their tokens, or nil, and
// whether the limiter is in memory. A type that embeds such a limiter has none: it may have
// an Allow of its own.
func BucketsOf(limiter any) (b *Buckets[gcra.Bucket], inMemory bool) {
	if h, ok := limiter.(interface{ heldLimiter() LimiterHolder }); ok && h.heldLimiter().owner == limiter {
		return h.heldLimiter().buckets, true
	}
	return nil, false
}
