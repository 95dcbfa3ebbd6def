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
	hashes  [ways]uint64 // of the addresses
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
	hash := m.hashOf(a)
	s := m.setOf(hash)
	s.mu.Lock()
	defer s.mu.Unlock()
	now := m.now()
	b := s.bucketsOf(hash, now)
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

// Return gives back what Take took for a key that is good. The key waits no more.
func (m *Meter) Return(a netip.Addr, digest *[32]byte, t Ticket) {
	if t.from == none {
		return
	}
	m.waiting.end(digest)
	hash := m.hashOf(a)
	s := m.setOf(hash)
	s.mu.Lock()
	defer s.mu.Unlock()
	now := m.now()
	b := s.bucketsOf(hash, now)
	if t.from == first {
		b.first.Take(m.terms, now, -1, true)
	} else {
		b.second.Take(m.terms, now, -1, true)
	}
}

// Remember notes that a key is good. It then passes until Forget. A Meter remembers 65,536 keys,
// and forgets a few of them where there are more than some 20,000.
//
// A remembered key passes the meter. The caller still looks it up, because a made-up key may pass
// too: it needs a digest of which 76 bits are those of a good key.
func (m *Meter) Remember(digest *[32]byte) { m.good.add(digest) }

// Forget notes that a key is no longer good.
func (m *Meter) Forget(digest *[32]byte) { m.good.remove(digest) }

func (m *Meter) now() int64 { return (clock.Elapsed() - m.start) / int64(time.Microsecond) }

func (m *Meter) hashOf(a netip.Addr) uint64 {
	network := address.Network(a)
	bytes := network.Addr().As16()
	if !network.IsValid() {
		return maphash.Bytes(m.seed, nil)
	}
	return maphash.Bytes(m.seed, bytes[:])
}

func (m *Meter) setOf(hash uint64) *set { return &m.sets[hash%setCount] }

// bucketsOf returns the buckets of an address. If all of s belong to others, the address
// shares those of one.
func (s *set) bucketsOf(hash uint64, now int64) *buckets {
	i := slices.Index(s.hashes[:], hash)
	if i < 0 {
		i = slices.IndexFunc(s.buckets[:], func(b buckets) bool { return b.isFull(now) })
		if i < 0 {
			return &s.buckets[hash/setCount%ways]
		}
		s.hashes[i], s.buckets[i] = hash, buckets{}
	}
	return &s.buckets[i]
}

func (b *buckets) isFull(now int64) bool {
	return b.first.FullIn(now) <= 0 && b.second.FullIn(now) <= 0
}

// table has words for digests, in lines of which each lies in one line of a processor's cache. A
// word that is added to a full line displaces another. Writers may run concurrently: in the
// worst case one displaces the word of another.
type table [1 << 13]line

type line [8]atomic.Uint64

func (t *table) lineOf(d *[32]byte) *line { return &t[binary.LittleEndian.Uint16(d[:])%uint16(len(t))] }

// digests are a set of digests.
type digests struct{ table }

// word is never 0, which stands for no digest.
func word(d *[32]byte) uint64 { return binary.LittleEndian.Uint64(d[8:]) | 1 }

func (s *digests) has(d *[32]byte) bool {
	l, w := s.lineOf(d), word(d)
	for i := range l {
		if l[i].Load() == w {
			return true
		}
	}
	return false
}

func (s *digests) add(d *[32]byte) {
	if s.has(d) { // processors share a line that nobody writes
		return
	}
	l := s.lineOf(d)
	for i := range l {
		if l[i].CompareAndSwap(0, word(d)) {
			return
		}
	}
	l[int(d[16])%len(l)].Store(word(d))
}

func (s *digests) remove(d *[32]byte) {
	l := s.lineOf(d)
	for i := range l {
		l[i].CompareAndSwap(word(d), 0)
	}
}

// waits has the moments at which digests may come again. A word has 28 bits of the digest, and
// the moment in units of 4 ms. The word with the earliest moment is displaced first.
type waits struct{ table }

const (
	timeBits = 36 // 9 years
	timeMask = 1<<timeBits - 1
	timeUnit = 12 // bits of the microseconds that a word lacks
)

func (s *waits) isOver(d *[32]byte, now int64) bool {
	_, held := s.find(d)
	return held != 0 && now>>timeUnit >= int64(held&timeMask)
}

// find returns the word of a digest, or 0 and the word to displace.
func (s *waits) find(d *[32]byte) (at *atomic.Uint64, held uint64) {
	l, tag := s.lineOf(d), word(d)>>timeBits
	at = &l[0]
	for i := range l {
		held := l[i].Load()
		if held != 0 && held>>timeBits == tag {
			return &l[i], held
		}
		if held&timeMask < at.Load()&timeMask {
			at = &l[i]
		}
	}
	return at, 0
}

// begin makes a digest wait until a moment.
func (s *waits) begin(d *[32]byte, until int64) {
	at, _ := s.find(d)
	at.Store(word(d)>>timeBits<<timeBits | min(uint64(until)>>timeUnit, timeMask))
}

// join makes a digest wait that does not wait yet.
func (s *waits) join(d *[32]byte, until int64) {
	if _, held := s.find(d); held == 0 {
		s.begin(d, until)
	}
}

// end makes a digest wait no more.
func (s *waits) end(d *[32]byte) {
	if at, held := s.find(d); held != 0 {
		at.CompareAndSwap(held, 0)
	}
}
