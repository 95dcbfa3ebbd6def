package ram

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"

	"github.com/httpkey/httpkey/internal/clock"
	"github.com/httpkey/httpkey/internal/gcra"
)

// perHour is a limit of 10 requests an hour, and term names its bucket.
var (
	perHour = gcra.Terms{Rate: 10, Burst: 10, Period: time.Hour.Microseconds()}
	term    = Term{Window: time.Hour.Microseconds()}
)

// digestOf returns one of many digests, spread as digests are.
func digestOf(n int) (d [32]byte) {
	random := rand.New(rand.NewPCG(uint64(n), 1))
	for i := range 4 {
		binary.LittleEndian.PutUint64(d[8*i:], random.Uint64())
	}
	return d
}

// fieldsOf returns an active token.
func fieldsOf(payer, id string, others ...string) *Fields[string] {
	var strings Others
	copy(strings[:], others)
	return &Fields[string]{ExpiredAt: Null, State: Exists | Active, Text: NewText(payer, id, strings)}
}

// now returns the present by both clocks.
func now() clock.Instant {
	return clock.Instant{Elapsed: clock.Elapsed(), UnixNano: time.Now().UnixNano()}
}

// viewOf returns the token with a digest, which is there.
func viewOf(t *testing.T, table *Table[string], d [32]byte) *View[string] {
	t.Helper()
	v, _ := table.View(&d)
	if !v.Exists() {
		t.Fatal("the token is not found")
	}
	return &v
}

// byName takes from the bucket of a payer as a limiter does that is called by name.
func byName(b *Buckets[gcra.Bucket], payer string, terms gcra.Terms, t Term, n int64, forced bool) gcra.Result {
	now := b.Now()
	locked := b.Lock(payer, now)
	defer locked.Unlock()
	bucket := locked.Take(t)
	r := bucket.State.Take(terms, max(now, bucket.State.AsOf), n, forced)
	bucket.Keep(max(t.Window, r.ResetAfter))
	return r
}

// A payer keeps its debt when its token begins to pay as another one, and the other payer does
// not get that debt, or pay from that bucket.
func TestReplacedPayersKeepTheirDebt(t *testing.T) {
	t.Parallel()
	for name, settle := range map[string]func(table *Table[string], n uint32){
		"replaced": func(*Table[string], uint32) {},
		"removed":  func(table *Table[string], n uint32) { table.Remove(n) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				table, buckets, d := new(Table[string]), NewBuckets[gcra.Bucket](), digestOf(1)
				beside := Bind(table, buckets, term)
				n := table.Add(&d, Null, fieldsOf("token:first", "first"), Stamp{})
				before := viewOf(t, table, d)
				beside.Take(before, perHour, 4, now())
				table.Replace(n, Null, fieldsOf("token:second", "second"), Stamp{})
				beside.Take(before, perHour, 3, now()) // by a caller that read the token before
				if r := beside.Take(viewOf(t, table, d), perHour, 1, now()); r.Remaining != 9 {
					t.Errorf("the second payer has %d left, want 9", r.Remaining)
				}
				settle(table, n)
				for payer, want := range map[string]int64{"token:first": 3, "token:second": 9} {
					if r := byName(buckets, payer, perHour, term, 0, false); r.Remaining != want {
						t.Errorf("%s has %d left, want %d", payer, r.Remaining, want)
					}
				}
			})
		})
	}
}

// A caller that read a token before it was removed does not bring its payer's bucket to the
// token that has the digest since.
func TestLateCallersBringNoBucket(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		table, buckets, d := new(Table[string]), NewBuckets[gcra.Bucket](), digestOf(1)
		beside := Bind(table, buckets, term)
		n := table.Add(&d, Null, fieldsOf("token:first", "first"), Stamp{})
		before := viewOf(t, table, d)
		table.Remove(n)
		table.Add(&d, Null, fieldsOf("token:second", "second"), Stamp{})
		if r := beside.Take(before, perHour, 10, now()); !r.Allowed {
			t.Error("the late caller was denied")
		}
		if r := beside.Take(viewOf(t, table, d), perHour, 1, now()); r.Remaining != 9 {
			t.Errorf("the second payer has %d left, want 9", r.Remaining)
		}
	})
}

// The text of tokens that are gone goes with them, though a neighbor stays.
func TestTextIsGivenBack(t *testing.T) {
	t.Parallel()
	table := new(Table[string])
	var numbers []uint32
	for n := range segmentSize {
		d := digestOf(n)
		numbers = append(numbers, table.Add(&d, Null, fieldsOf("p", "i", strings.Repeat("x", 1<<14)), Stamp{}))
	}
	for _, n := range numbers[1:] {
		table.Remove(n)
	}
	if kept := table.writer(numbers[0]).text.Cap(); kept > 1<<15 {
		t.Errorf("%d bytes are kept for one token of %d", kept, 1<<14)
	}
	if v := viewOf(t, table, digestOf(0)); len(v.Text().Others()[0]) != 1<<14 {
		t.Errorf("what stays is %d bytes", len(v.Text()))
	}
}

// A token that is read again unchanged takes no further text.
func TestTheSameTextIsKept(t *testing.T) {
	t.Parallel()
	table, d := new(Table[string]), digestOf(1)
	f := fieldsOf("token:id", "id", "label")
	n := table.Add(&d, Null, f, Stamp{})
	size := table.writer(n).text.Len()
	table.Replace(n, Null, fieldsOf("token:id", "id", "label"), Stamp{ReadAt: 1})
	if got := table.writer(n).text.Len(); got != size || table.writer(n).dead != 0 {
		t.Errorf("the text has %d bytes, and %d of them are dead; want %d and none", got, table.writer(n).dead, size)
	}
	table.Replace(n, Null, fieldsOf("token:id", "id", "another"), Stamp{})
	if v := viewOf(t, table, d); v.Text().Others()[0] != "another" {
		t.Errorf("a changed text is %q", v.Text().Others())
	}
}

// A token that takes the place of another in a full segment does not copy the text of the others.
func TestEvictionsCopyNoText(t *testing.T) {
	t.Parallel()
	table := new(Table[string])
	evict := func(n int) *byte {
		gone, d := digestOf(n), digestOf(n+segmentSize)
		number, _ := table.Find(&gone)
		table.Remove(number)
		table.Add(&d, Null, fieldsOf("p", "i", "label"), Stamp{})
		return unsafe.StringData(table.writer(number).text.String())
	}
	for n := range segmentSize {
		d := digestOf(n)
		table.Add(&d, Null, fieldsOf("p", "i", "label"), Stamp{})
	}
	if first := evict(0); evict(1) != first { // the first makes room for more
		t.Error("a second eviction copied the text")
	}
}

// A use moves the last use forward, and never back. A token that is gone notes none.
func TestTouch(t *testing.T) {
	t.Parallel()
	table, d := new(Table[string]), digestOf(1)
	n := table.Add(&d, Null, fieldsOf("p", "i"), Stamp{})
	v := viewOf(t, table, d)
	for _, step := range []struct{ at, want int64 }{{-5, -5}, {10_000, 10_000}, {9_999, 10_000}, {10_001, 10_001}} {
		table.Touch(v, step.at)
		if got := table.At(n).LastUsed; got != step.want {
			t.Errorf("after a use at %d, LastUsed is %d, want %d", step.at, got, step.want)
		}
	}
	table.Replace(n, 5, fieldsOf("p", "i"), Stamp{})
	if got := table.At(n).LastUsed; got != 10_001 {
		t.Errorf("a replacement moved LastUsed to %d", got)
	}
	table.Replace(n, 20_000, fieldsOf("p", "i"), Stamp{})
	table.Touch(v, 15_000)
	if got := table.At(n).LastUsed; got != 20_000 {
		t.Errorf("LastUsed is %d, want that of the replacement", got)
	}
	table.Remove(n)
	other := digestOf(2)
	if again := table.Add(&other, Null, fieldsOf("p", "i"), Stamp{}); again != n {
		t.Fatalf("the number %d is not used again", n)
	}
	if table.Touch(v, 30_000); table.At(n).LastUsed != Null {
		t.Error("a use of the token that is gone is noted for the next one")
	}
}

// A token has expired from its expiry on.
func TestExpired(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		expiredAt, at int64
		want          bool
	}{{Null, 1 << 62, false}, {100, 99, false}, {100, 100, true}, {100, 101, true}, {-1, 0, true}} {
		v := View[string]{ExpiredAt: tt.expiredAt}
		if v.Expired(tt.at) != tt.want {
			t.Errorf("an expiry at %d has passed at %d: %v", tt.expiredAt, tt.at, !tt.want)
		}
	}
}

// A token is found by all bytes of its digest.
func TestDigestsDifferInAnyByte(t *testing.T) {
	t.Parallel()
	table := new(Table[string])
	d := digestOf(1)
	for i := range d {
		other := d
		other[i] ^= 1
		table.Add(&other, Null, fieldsOf("p", fmt.Sprint(i)), Stamp{})
		if v, _ := table.View(&d); v.Exists() {
			t.Errorf("a digest that differs in byte %d is taken for another", i)
		}
	}
	for i := range d {
		other := d
		other[i] ^= 1
		if v := viewOf(t, table, other); v.Text().ID() != fmt.Sprint(i) {
			t.Errorf("of token %d, found %q", i, v.Text().ID())
		}
	}
}
