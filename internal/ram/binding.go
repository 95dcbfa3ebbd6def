package ram

import (
	"math"
	"slices"
	"time"
	"weak"

	"github.com/httpkey/httpkey/internal/clock"
	"github.com/httpkey/httpkey/internal/gcra"
)

// Binding lets the buckets of a limiter under one Term lie beside the tokens of a Table.
//
// A bucket comes to its token by a claim. It stays there until the limiter is called for it by
// name, the token is removed, or the generations of the limiter turn. So the limiter finds
// every bucket that is in use. A record has room for the bucket of one Binding; the buckets of
// others stay with their limiter.
//
// Locks are taken in one order: the lock of a payer, then that of a record.
type Binding[T any] struct {
	table   *Table[T]
	buckets *Buckets[gcra.Bucket]
	*link[T]
}

// link is the part of a Binding that the Table and the Buckets know. It outlives the Binding,
// since the buckets beside the tokens do. It keeps neither of the two in memory. Otherwise a
// program that makes its store or its limiter anew would keep the old ones.
type link[T any] struct {
	term    Term
	table   weak.Pointer[Table[T]]
	buckets weak.Pointer[Buckets[gcra.Bucket]]
	number  uint16 // in the Table
	home    uint32 // in the Buckets
}

// Bind returns the Binding of a Table, of Buckets and of a Term, or nil if the Table has too
// many.
func Bind[T any](t *Table[T], b *Buckets[gcra.Bucket], term Term) *Binding[T] {
	t.mu.Lock()
	defer t.mu.Unlock()
	var links []*link[T]
	if known := t.links.Load(); known != nil {
		links = *known
	}
	for _, l := range links {
		if l.buckets.Value() == b && l.term == term {
			return &Binding[T]{t, b, l}
		}
	}
	if len(links) == math.MaxUint16 {
		return nil
	}
	l := &link[T]{term: term, table: weak.Make(t), buckets: weak.Make(b), number: uint16(len(links) + 1)}
	l.home = b.settle(l)
	links = append(slices.Clip(links), l)
	t.links.Store(&links)
	return &Binding[T]{t, b, l}
}

// link returns the link with a number.
func (t *Table[T]) link(number uint16) *link[T] { return (*t.links.Load())[number-1] }

const second = int64(time.Second / time.Microsecond)

// Take takes n from the bucket of a token if there is room, and notes a use of the token
// unless n is 0.
func (b *Binding[T]) Take(v *View[T], terms gcra.Terms, n int64, at clock.Instant) gcra.Result {
	now := b.buckets.At(at.Elapsed)
	if r := b.table.record(v.Number); r != nil {
		r.mu.Lock()
		if r.link == b.number && now < int64(r.until)*second && r.holds(&v.Digest) {
			defer r.mu.Unlock()
			r.note(n, at)
			return r.bucket.Take(terms, max(now, r.bucket.AsOf), n, false)
		}
		r.mu.Unlock()
	}
	payer := b.buckets.Lock(v.Text().Payer(), now)
	defer payer.Unlock()
	bucket := payer.Take(b.term)
	result := bucket.State.Take(terms, max(now, bucket.State.AsOf), n, false)
	life := max(b.term.Window, bucket.State.FullIn(now))
	if place, ok := b.claim(&bucket, v, n, at); ok {
		bucket.keepBeside(place, b.table, life)
	} else {
		bucket.Keep(life)
	}
	return result
}

// claim puts a bucket beside its token, and notes the use. It fails if the token is gone or
// has another payer, and if another bucket is in use there.
func (b *Binding[T]) claim(
	bucket *Bucket[gcra.Bucket], v *View[T], n int64, at clock.Instant,
) (place location, ok bool) {
	r := b.table.record(v.Number)
	if r == nil {
		return place, false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.holds(&v.Digest) {
		return place, false
	}
	r.note(n, at)
	isTaken := r.link != 0 && b.table.link(r.link).isInUse(r, at)
	if present := b.table.view(r, v.Number); isTaken || present.Text().Payer() != v.Text().Payer() {
		return place, false
	}
	r.bucket, r.link, r.claim = bucket.State, b.number, b.table.claims.Add(1)
	r.until = uint32(min(bucket.payer.shard.turnAt/second, math.MaxUint32))
	return location{b.home, v.Number, r.claim}, true
}

// note moves the last use forward, unless n is 0.
func (r *record) note(n int64, at clock.Instant) {
	if n != 0 {
		r.lastUsed = max(r.lastUsed, at.UnixMicro())
	}
}

// isInUse reports whether the bucket beside a token, which belongs to l, is not full.
func (l *link[T]) isInUse(r *record, at clock.Instant) bool {
	buckets := l.buckets.Value()
	return buckets != nil && r.bucket.FullIn(buckets.At(at.Elapsed)) > 0
}

// leave implements the home of Buckets.
func (l *link[T]) leave(n, claim uint32) (state gcra.Bucket) {
	table := l.table.Value()
	if table == nil {
		return state
	}
	r := table.record(n)
	if r == nil {
		return state
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.link != l.number || r.claim != claim { // another bucket took the place when this one was full
		return state
	}
	r.link = 0
	return r.bucket
}

// release takes the bucket of a payer back to the limiter.
func (l *link[T]) release(payer string) {
	buckets := l.buckets.Value()
	if buckets == nil {
		return
	}
	now := buckets.Now()
	p := buckets.Lock(payer, now)
	defer p.Unlock()
	bucket := p.Take(l.term)
	bucket.Keep(max(l.term.Window, bucket.State.FullIn(now)))
}
