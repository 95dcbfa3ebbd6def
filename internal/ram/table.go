package ram

import (
	"encoding/binary"
	"math"
	"slices"
	"strings"
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
	segments atomic.Pointer[[]atomic.Pointer[segment[T]]] // nil: a segment that is not needed
	open     []uint32                                     // the segments that have room
	absent   []uint32                                     // the places for further segments
	hand     uint32                                       // of Victim

	mu     sync.Mutex // held to append to links
	links  atomic.Pointer[[]*link[T]]
	claims atomic.Uint32 // counts them
}

// segmentSize is small enough that a Table gives back memory after many tokens are removed,
// and large enough that the garbage collector has little to visit.
const segmentSize = 64

// segment holds neighboring tokens.
type segment[T any] struct {
	records *[segmentSize]record            // apart, so that the collector need not read it
	text    atomic.Pointer[string]          // of all records
	full    atomic.Pointer[[segmentSize]*T] // nil: no token has a Full; the mutex of a record guards its element

	builder strings.Builder // of text
	dead    int             // bytes of text that no token uses
	free    []uint8         // records without a token
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

// segment returns the segment of a number, or nil if it is gone.
func (t *Table[T]) segment(n uint32) *segment[T] { return (*t.segments.Load())[n/segmentSize].Load() }

// record returns the record of a number, or nil if its segment is gone.
func (t *Table[T]) record(n uint32) *record {
	if s := t.segment(n); s != nil {
		return &s.records[n%segmentSize]
	}
	return nil
}

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
	s := t.segment(n)
	if s == nil {
		return v, stamp
	}
	r := &s.records[n%segmentSize]
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.holds(d) {
		return v, stamp
	}
	r.uses = min(r.uses+1, maxUses)
	return s.view(r, n), r.stamp()
}

// At returns the token of a number.
func (t *Table[T]) At(n uint32) View[T] {
	s := t.segment(n)
	r := &s.records[n%segmentSize]
	r.mu.Lock()
	defer r.mu.Unlock()
	return s.view(r, n)
}

// view returns the token of a record, whose mutex the caller holds.
func (s *segment[T]) view(r *record, n uint32) View[T] {
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
	s, n := t.vacancy()
	r := &s.records[n%segmentSize]
	at := s.write(f.Text)
	r.mu.Lock()
	r.setDigest(d)
	r.lastUsed, r.uses = lastUsed, 0
	s.set(r, n, at, f, stamp)
	r.mu.Unlock()
	t.digests.Add(binary.LittleEndian.Uint64(d[:]), n, t.hash)
	return n
}

// Replace replaces a token, except for its digest. The last use only moves forward.
func (t *Table[T]) Replace(n uint32, lastUsed int64, f *Fields[T], stamp Stamp) {
	s := t.segment(n)
	r := &s.records[n%segmentSize]
	at := s.write(f.Text)
	r.mu.Lock()
	defer r.mu.Unlock()
	s.dead += int(r.textSize)
	r.lastUsed = max(r.lastUsed, lastUsed)
	s.set(r, n, at, f, stamp)
}

// set writes what Add and Replace have in common. The caller holds the mutex of the record.
func (s *segment[T]) set(r *record, n, textAt uint32, f *Fields[T], stamp Stamp) {
	r.expiredAt, r.createdAt, r.state = f.ExpiredAt, f.CreatedAt, f.State
	r.setStamp(stamp)
	r.textAt, r.textSize = textAt, uint32(len(f.Text))
	s.setFull(n, f.Full)
}

func (s *segment[T]) setFull(n uint32, token *T) {
	full := s.full.Load()
	switch {
	case full == nil && token == nil:
		return
	case full == nil:
		full = new([segmentSize]*T)
		s.full.Store(full)
	}
	full[n%segmentSize] = token
}

// Remove removes a token. Its bucket goes back to its limiter, because a payer's debt outlives
// the token.
func (t *Table[T]) Remove(n uint32) {
	s := t.segment(n)
	r := &s.records[n%segmentSize]
	v := t.At(n)
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
	s.dead += int(r.textSize)
	r.link, r.textSize = 0, 0
	s.setFull(n, nil)
	r.mu.Unlock()
	t.vacate(s, n)
}

func (t *Table[T]) hash(n uint32) uint64 { return t.record(n).digest[0].Load() }

// vacancy returns a record without a token, and its number.
func (t *Table[T]) vacancy() (s *segment[T], n uint32) {
	if len(t.open) == 0 {
		t.grow()
	}
	i := t.open[len(t.open)-1]
	s = t.segment(i * segmentSize)
	last := len(s.free) - 1
	n = i*segmentSize + uint32(s.free[last])
	if s.free = s.free[:last]; last == 0 {
		t.open = t.open[:len(t.open)-1]
	}
	return s, n
}

// vacate makes a record vacant. It drops a segment without tokens if another one has room.
func (t *Table[T]) vacate(s *segment[T], n uint32) {
	i := n / segmentSize
	s.free = append(s.free, uint8(n%segmentSize))
	switch len(s.free) {
	case 1:
		t.open = append(t.open, i)
	case segmentSize:
		if len(t.open) > 1 {
			at := slices.Index(t.open, i)
			t.open = slices.Delete(t.open, at, at+1)
			t.absent = append(t.absent, i)
			(*t.segments.Load())[i].Store(nil)
		}
	}
}

// grow adds a segment.
func (t *Table[T]) grow() {
	if len(t.absent) == 0 {
		t.extend()
	}
	last := len(t.absent) - 1
	i := t.absent[last]
	t.absent = t.absent[:last]
	s := &segment[T]{records: new([segmentSize]record)}
	for place := range uint8(segmentSize) {
		s.free = append(s.free, segmentSize-1-place)
	}
	s.text.Store(new(string))
	(*t.segments.Load())[i].Store(s)
	t.open = append(t.open, i)
}

// extend doubles the number of segments that the Table can have.
func (t *Table[T]) extend() {
	var old []atomic.Pointer[segment[T]]
	if table := t.segments.Load(); table != nil {
		old = *table
	}
	segments := make([]atomic.Pointer[segment[T]], max(1, 2*len(old)))
	for i := range old {
		segments[i].Store(old[i].Load())
	}
	for i := len(segments) - 1; i >= len(old); i-- {
		t.absent = append(t.absent, uint32(i))
	}
	t.segments.Store(&segments)
}

// write appends to the text of a segment, and returns where.
func (s *segment[T]) write(text Text) (at uint32) {
	if used := s.builder.Len(); s.dead > max(1<<10, used/2) || used+len(text) > math.MaxUint32 {
		s.compact()
	}
	at = uint32(s.builder.Len())
	s.builder.WriteString(string(text))
	s.publish()
	return at
}

// publish shows readers the text. The builder never changes bytes that it has returned.
func (s *segment[T]) publish() {
	all := s.builder.String()
	s.text.Store(&all)
}

// compact drops the text that no token uses.
func (s *segment[T]) compact() {
	for i := range s.records {
		s.records[i].mu.Lock()
		defer s.records[i].mu.Unlock()
	}
	old := s.builder.String()
	s.builder = strings.Builder{}
	s.builder.Grow(len(old) - s.dead)
	for i := range s.records {
		r := &s.records[i]
		at := s.builder.Len()
		s.builder.WriteString(old[r.textAt : r.textAt+r.textSize])
		r.textAt = uint32(at)
	}
	s.dead = 0
	s.publish()
}

// The bounds of Victim.
const (
	maxUses    = 3
	candidates = 16
)

// Victim returns the number of a token that is used little. The hand of a clock goes round
// the tokens, and takes a use from each that it passes (as PostgreSQL evicts its buffers). It
// passes few tokens at a time, so that the caller does not wait. The Table is not empty.
func (t *Table[T]) Victim() (victim uint32) {
	least := uint8(maxUses + 1)
	for seen := 0; seen < candidates && least > 0; {
		n := t.hand
		if t.hand++; int(t.hand/segmentSize) >= len(*t.segments.Load()) {
			t.hand = 0
		}
		r := t.record(n)
		if r == nil {
			t.hand = n/segmentSize*segmentSize + segmentSize // the next segment
			if int(t.hand/segmentSize) >= len(*t.segments.Load()) {
				t.hand = 0
			}
			continue
		}
		r.mu.Lock()
		if r.state != 0 {
			seen++
			if r.uses < least {
				least, victim = r.uses, n
			}
			if r.uses > 0 {
				r.uses--
			}
		}
		r.mu.Unlock()
	}
	return victim
}
