package ram

import (
	"encoding/binary"
	"sync"
	"sync/atomic"
)

// Table holds tokens. Every token has a number, which is free again after Remove.
//
// Find, View and Touch are safe for concurrent use, and wait for no writer. The methods that
// add, replace and remove tokens must not run concurrently. The methods that take a number
// must not run concurrently with them either. T is the type of the tokens. The zero Table is
// empty and ready for use.
type Table[T any] struct {
	digests  Index
	segments atomic.Pointer[[]segment[T]]
	writers  []*writer
	open     []uint32 // the segments that have room
	absent   []uint32 // the places for further segments
	hand     uint32   // of Victim

	mu     sync.Mutex // held to append to links
	links  atomic.Pointer[[]*link[T]]
	claims atomic.Uint32 // counts the claims of buckets
}

// Fields are a token, except for its digest and its last use.
type Fields[T any] struct {
	ExpiredAt int64 // Unix microseconds, or Null
	CreatedAt int64 // Unix microseconds
	State     State // whether it is active, and of what kind
	Text      Text  // the strings
	Full      *T    // the whole token, if it has more than Text holds; otherwise nil. It is immutable
}

// View is a token at a moment. The zero View is no token.
type View[T any] struct {
	Digest    [32]byte // of its key
	Number    uint32   // in the Table
	State     State    // 0: there is no token
	LastUsed  int64    // Unix microseconds, or Null
	ExpiredAt int64    // Unix microseconds, or Null
	CreatedAt int64    // Unix microseconds
	Full      *T       // see Fields

	text     *string // of the segment
	textAt   uint32
	textSize uint32
}

// Exists reports whether v is a token.
func (v *View[T]) Exists() bool { return v.State != 0 }

// IsHeld reports whether the token is in a Table. Otherwise it has a Full.
func (v *View[T]) IsHeld() bool { return v.text != nil }

// Expired reports whether the token has expired at a Unix microsecond. Expiring exactly then
// is expired.
func (v *View[T]) Expired(at int64) bool { return v.ExpiredAt != Null && v.ExpiredAt <= at }

// Text returns the strings of a token that a Table holds.
func (v *View[T]) Text() Text { return Text((*v.text)[v.textAt : v.textAt+v.textSize]) }

// Find returns the number of the token with a digest. Without a View, the token may be gone
// in the next moment.
func (t *Table[T]) Find(d *[32]byte) (n uint32, ok bool) {
	return t.digests.Search(binary.LittleEndian.Uint64(d[:]), func(n uint32) bool {
		r := t.record(n)
		return r != nil && r.is(d)
	})
}

// View returns the token with a digest, and what a cache knows of it. It counts as a use for
// Victim.
func (t *Table[T]) View(d *[32]byte) (v View[T], stamp Stamp) {
	n, ok := t.Find(d)
	if !ok {
		return v, stamp
	}
	r := t.record(n)
	if r == nil {
		return v, stamp
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.holds(d) {
		return v, stamp
	}
	r.uses = min(r.uses+1, maxUses)
	return t.view(r, n), r.stamp()
}

// At returns the token of a number.
func (t *Table[T]) At(n uint32) View[T] {
	r := t.record(n)
	r.mu.Lock()
	defer r.mu.Unlock()
	return t.view(r, n)
}

// view returns the token of a record, whose mutex the caller holds.
func (t *Table[T]) view(r *record, n uint32) View[T] {
	s := t.segment(n)
	v := View[T]{
		Digest: r.getDigest(), Number: n, State: r.state,
		LastUsed: r.lastUsed, ExpiredAt: r.expiredAt, CreatedAt: r.createdAt,
		text: s.text.Load(), textAt: r.textAt, textSize: r.textSize,
	}
	if full := s.full.Load(); full != nil {
		v.Full = full[n%segmentSize]
	}
	return v
}

// Touch moves the last use of a token forward to a Unix microsecond. It never moves it
// backwards.
func (t *Table[T]) Touch(v *View[T], at int64) {
	if r := t.record(v.Number); r != nil {
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.holds(&v.Digest) {
			r.lastUsed = max(r.lastUsed, at)
		}
	}
}

// Restamp gives a token another Stamp, unless it no longer has the old one.
func (t *Table[T]) Restamp(v *View[T], old, stamp Stamp) {
	if r := t.record(v.Number); r != nil {
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.holds(&v.Digest) && r.stamp() == old {
			r.setStamp(stamp)
		}
	}
}

// Len returns the number of tokens. It must not run concurrently with a writer.
func (t *Table[T]) Len() int { return t.digests.live }

// Add adds a token whose digest is not in the Table, and returns its number.
func (t *Table[T]) Add(d *[32]byte, lastUsed int64, f *Fields[T], stamp Stamp) (n uint32) {
	n = t.vacancy()
	r, at := t.record(n), t.write(n, f.Text)
	r.mu.Lock()
	r.setDigest(d)
	r.lastUsed, r.uses = lastUsed, 0
	t.set(r, n, at, f, stamp)
	r.mu.Unlock()
	// The text gives back what it has grown ahead. In a full cache that would copy the text at each
	// eviction, so there only trim compacts it.
	if w := t.writer(n); w.room == 0 && w.dead == 0 {
		t.compact(n)
	}
	t.digests.Add(binary.LittleEndian.Uint64(d[:]), n, t.hash)
	return n
}

// Replace replaces a token, except for its digest. The last use only moves forward. A Text that
// stays the same takes no further memory. If the payer is another one, the bucket goes back to its
// limiter.
func (t *Table[T]) Replace(n uint32, lastUsed int64, f *Fields[T], stamp Stamp) {
	before := t.At(n)
	payer, r, at := before.Text().Payer(), t.record(n), before.textAt
	isSame := before.Text() == f.Text
	if !isSame {
		at = t.write(n, f.Text)
	}
	r.mu.Lock()
	if !isSame {
		t.discard(r, n)
	}
	r.lastUsed = max(r.lastUsed, lastUsed)
	t.set(r, n, at, f, stamp)
	link := uint16(0)
	if f.Text.Payer() != payer {
		r.until, link = 0, r.link // from now on no request takes in place
	}
	r.mu.Unlock()
	if link != 0 {
		t.link(link).release(payer)
	}
}

// set writes what Add and Replace have in common. The caller holds the mutex of the record.
func (t *Table[T]) set(r *record, n, textAt uint32, f *Fields[T], stamp Stamp) {
	r.expiredAt, r.createdAt, r.state = f.ExpiredAt, f.CreatedAt, f.State
	r.setStamp(stamp)
	r.textAt, r.textSize = textAt, uint32(len(f.Text))
	t.setFull(n, f.Full)
}

// Remove removes a token. Its bucket goes back to its limiter, because a payer's debt outlives
// the token.
func (t *Table[T]) Remove(n uint32) {
	v, r := t.At(n), t.record(n)
	r.mu.Lock()
	r.state = 0 // from now on no claim succeeds
	link := r.link
	r.mu.Unlock()
	if link != 0 {
		t.link(link).release(v.Text().Payer())
	}
	t.digests.Remove(t.hash(n), n, t.hash)
	r.mu.Lock()
	r.setDigest(new([32]byte))
	t.discard(r, n)
	r.link, r.textSize = 0, 0
	t.setFull(n, nil)
	r.mu.Unlock()
	t.trim(n)
	t.vacate(n)
}

func (t *Table[T]) hash(n uint32) uint64 { return t.record(n).digest[0].Load() }
