// Package failures meters the keys of an address that turn out to be bad, in the memory of a
// process.
//
// A key that the process has not seen is let through at the expense of its address, before
// anybody looks it up. If the key is good, the address gets that back. So an address that
// guesses keys can guess as many as its limit admits, and a good key passes whatever others do
// at its address.
package failures

import (
	"encoding/binary"
	"hash/maphash"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/httpkey/httpkey/internal/address"
	"github.com/httpkey/httpkey/internal/clock"
	"github.com/httpkey/httpkey/internal/gcra"
)

const (
	setCount = 1 << 12
	ways     = 8
)

// Meter meters unknown keys by address: an IPv4 address, or the /64 of an IPv6 address. All
// clients without a known address share one bucket. Make a Meter with [New]. It is safe for
// concurrent use, and has no goroutine.
//
// A Meter has a fixed size of some 3 MB, which has room for the buckets of 32,768 addresses that
// failed within the last window. If more fail, some share a bucket. A secret hash chooses them,
// so an attacker cannot aim at an address.
//
// An address has two buckets under the same limit. The first is for all keys. If it is empty,
// the second is for keys that come again after RetryAfter, unless they were looked up in vain
// within the last window. A flood of made-up keys takes each refill of the first bucket at once,
// but nothing from the second. So an unknown good key passes after its wait, unless an attacker
// at its address lets more keys wait than the limit admits. An attacker gets rate × time + burst
// keys looked up, and as many again with keys that wait.
type Meter struct {
	terms  gcra.Terms
	refill int64 // of one key, in microseconds
	start  int64 // by clock.Elapsed
	seed   maphash.Seed
	sets   [setCount]set

	good    digests // good keys
	waiting waits   // keys for the second bucket
}

// set has the buckets of some addresses.
type set struct {
	mu      sync.Mutex
	tags    [ways]uint64 // the hashes of the addresses
	buckets [ways]buckets
}

// buckets are those of an address.
type buckets struct{ first, second gcra.Bucket }

// New returns a Meter that looks up rate unknown keys of an address per period, and burst at
// once. The limit is valid and resolved, and no quota. The rate is at least 1.
func New(rate, burst int64, period time.Duration) *Meter {
	terms := gcra.Terms{Rate: rate, Burst: burst, Period: period.Microseconds()}
	return &Meter{
		terms:  terms,
		refill: (terms.Period + rate - 1) / rate,
		start:  clock.Elapsed(),
		seed:   maphash.MakeSeed(),
	}
}

// Ticket is the answer to a key. The caller may look up the key if Allowed is set. Otherwise,
// RetryAfter is the time of one refill at least. A shorter one would let a flood have waited.
type Ticket struct {
	gcra.Result
	from bucket
}

// bucket says where a Ticket was paid.
type bucket uint8

const (
	none bucket = iota
	first
	second
)

// Take takes one from the address of a key, if the address has one left. It takes nothing for
// a key that Remember was called for. The digest is of the key, under any pepper, but always
// the same.
func (m *Meter) Take(a netip.Addr, digest *[32]byte) Ticket {
	if m.good.has(digest) {
		return Ticket{Result: gcra.Result{Allowed: true}}
	}
	tag := m.tagOf(a)
	s := m.setOf(tag)
	s.mu.Lock()
	defer s.mu.Unlock()
	now := m.now()
	b := s.bucketsOf(tag, now)
	t := Ticket{b.first.Take(m.terms, now, 1, false), first}
	if !t.Allowed && m.waiting.isOver(digest, now) {
		t = Ticket{b.second.Take(m.terms, now, 1, false), second}
	}
	if t.Allowed {
		m.waiting.begin(digest, now+m.terms.Window())
		return t
	}
	t.RetryAfter = max(t.RetryAfter, m.refill)
	m.waiting.join(digest, now+t.RetryAfter)
	return Ticket{Result: t.Result}
}

// Return gives back what Take took for a key that is good, or that could not be looked up.
func (m *Meter) Return(a netip.Addr, digest *[32]byte, t Ticket) {
	if t.from == none {
		return
	}
	m.waiting.end(digest)
	tag := m.tagOf(a)
	s := m.setOf(tag)
	s.mu.Lock()
	defer s.mu.Unlock()
	now := m.now()
	b := s.bucketsOf(tag, now)
	if t.from == first {
		b.first.Take(m.terms, now, -1, true)
	} else {
		b.second.Take(m.terms, now, -1, true)
	}
}

// Remember notes that a key is good. It then passes until Forget, or until another good key
// takes its place among 65,536.
//
// That is a hint, which spares the key the meter. The caller still looks the key up. A made-up
// key would need a digest of which 79 bits are those of a good key.
func (m *Meter) Remember(digest *[32]byte) { m.good.add(digest) }

// Forget notes that a key is no longer good.
func (m *Meter) Forget(digest *[32]byte) { m.good.remove(digest) }

func (m *Meter) now() int64 { return (clock.Elapsed() - m.start) / int64(time.Microsecond) }

func (m *Meter) tagOf(a netip.Addr) uint64 {
	network := address.Network(a)
	bytes := network.Addr().As16()
	if !network.IsValid() {
		return maphash.Bytes(m.seed, nil)
	}
	return maphash.Bytes(m.seed, bytes[:])
}

func (m *Meter) setOf(tag uint64) *set { return &m.sets[tag%setCount] }

// bucketsOf returns the buckets of an address. If all of s belong to others, the address
// shares those of one.
func (s *set) bucketsOf(tag uint64, now int64) *buckets {
	i := slices.Index(s.tags[:], tag)
	if i < 0 {
		i = slices.IndexFunc(s.buckets[:], func(b buckets) bool { return b.isFull(now) })
		if i < 0 {
			return &s.buckets[tag/setCount%ways]
		}
		s.tags[i], s.buckets[i] = tag, buckets{}
	}
	return &s.buckets[i]
}

func (b *buckets) isFull(now int64) bool {
	return b.first.FullIn(now) <= 0 && b.second.FullIn(now) <= 0
}

const places = 1 << 16

// digests are a set of digests. One that is added may displace another.
type digests [places]atomic.Uint64

func (s *digests) place(d *[32]byte) *atomic.Uint64 { return &s[binary.LittleEndian.Uint16(d[:])] }

// word is never 0, which stands for no digest.
func word(d *[32]byte) uint64 { return binary.LittleEndian.Uint64(d[8:]) | 1 }

func (s *digests) has(d *[32]byte) bool { return s.place(d).Load() == word(d) }

func (s *digests) add(d *[32]byte) {
	if !s.has(d) { // processors share a word that nobody writes
		s.place(d).Store(word(d))
	}
}

func (s *digests) remove(d *[32]byte) { s.place(d).CompareAndSwap(word(d), 0) }

// waits has the moments at which digests may come again. A digest may displace another, which
// then waits anew. A word has 24 bits of the digest, and the moment in units of 1,024 µs.
type waits [places]atomic.Uint64

const timeBits = 40 // 35 years

func (s *waits) place(d *[32]byte) *atomic.Uint64 { return &s[binary.LittleEndian.Uint16(d[:])] }

func (s *waits) isOver(d *[32]byte, now int64) bool {
	held := s.place(d).Load()
	return isOf(d, held) && now>>10 >= int64(held&(1<<timeBits-1))
}

// begin makes a digest wait until a moment.
func (s *waits) begin(d *[32]byte, until int64) {
	s.place(d).Store(word(d)<<timeBits | min(uint64(until)>>10, 1<<timeBits-1))
}

// join makes a digest wait that does not wait yet.
func (s *waits) join(d *[32]byte, until int64) {
	if !isOf(d, s.place(d).Load()) {
		s.begin(d, until)
	}
}

// end makes a digest wait no more.
func (s *waits) end(d *[32]byte) {
	if held := s.place(d).Load(); isOf(d, held) {
		s.place(d).CompareAndSwap(held, 0)
	}
}

func isOf(d *[32]byte, held uint64) bool { return held>>timeBits == word(d)<<timeBits>>timeBits }
