package ram

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/httpkey/httpkey/internal/gcra"
)

const micros = int64(time.Second / time.Microsecond)

// Generations of a shard turn when the longest life in one has passed, and once, however many
// callers come a little late.
func TestTurning(t *testing.T) {
	t.Parallel()
	b := NewBuckets[int]()
	use := func(now, life int64) (used int) {
		payer := b.Lock("key", now)
		defer payer.Unlock()
		bucket := payer.Take(Term{})
		used = bucket.State
		if bucket.State++; life > 0 {
			bucket.Keep(life)
		}
		return used
	}
	for _, step := range []struct {
		now, life  int64
		used       int
		nextTurnIn int64
	}{
		{0, 11 * micros, 0, minGeneration},                                   // nothing was in use before
		{minGeneration + 5, 11 * micros, 1, 11 * micros},                     // it is young again
		{minGeneration, 30 * micros, 2, 11*micros + 5},                       // by a caller that is a little late
		{21*micros + 4, 1, 3, 1},                                             // not yet
		{21*micros + 5, 1, 4, 30 * micros},                                   // its life was longer in the generation before
		{51*micros + 5, 1, 5, minGeneration},                                 // only a short life is left
		{61*micros + 5, 0, 6, minGeneration},                                 // looked at, but not used
		{71*micros + 5, 0, 0, minGeneration},                                 // after a generation without a use, it is gone
		{500 * micros, 0, 0, minGeneration},                                  // after a long pause
		{500*micros - 1, 5 * 365 * 24 * 3600 * micros, 0, micros*10 + 1},     // a life of years
		{600 * micros, 1, 1, 5 * 365 * 24 * 3600 * micros},                   // lasts for years
		{5 * 365 * 24 * 3600 * micros, 1, 2, 600 * micros},                   // but its generation turns only then
		{1 << 62, 1, 3, minGeneration}, {1<<62 + 1<<61, 0, 4, minGeneration}, // late in the life of a process
	} {
		if used := use(step.now, step.life); used != step.used {
			t.Errorf("at %d, the bucket had %d uses, want %d", step.now, used, step.used)
		}
		payer := b.Lock("key", step.now)
		if got := payer.shard.turnAt - step.now; got != step.nextTurnIn {
			t.Errorf("at %d, the generations turn in %d, want %d", step.now, got, step.nextTurnIn)
		}
		payer.Unlock()
	}
}

// A payer has a bucket for each Term, and shares none with another payer, also where their names
// run together.
func TestEachTermOfAPayerHasABucket(t *testing.T) {
	t.Parallel()
	b := NewBuckets[string]()
	payers := []string{"", "a", "ab", "b", "token:a", "\x00", "a\x00"}
	terms := []Term{
		{}, {Window: 1}, {Window: -1}, {Window: 1 << 62}, {Start: 1}, {Window: 1, Start: 1}, {Name: "b"}, {Name: "\x00b"},
		{Name: "b", Window: 1}, {Name: "b", Start: 1}, {Name: "b\x00"}, {Name: "token:a"},
	}
	for range 2 {
		for _, payer := range payers {
			for _, term := range terms {
				name := fmt.Sprintf("%q %+v", payer, term)
				locked := b.Lock(payer, 0)
				bucket := locked.Take(term)
				if bucket.State != "" && bucket.State != name {
					t.Errorf("the bucket of %s is that of %s", name, bucket.State)
				}
				bucket.State = name
				bucket.Keep(minGeneration)
				locked.Unlock()
			}
		}
	}
	for _, payer := range payers {
		for _, term := range terms {
			locked := b.Lock(payer, 0)
			if bucket := locked.Take(term); bucket.State == "" {
				t.Errorf("the bucket of %q and %+v is gone", payer, term)
			}
			locked.Unlock()
		}
	}
}

// A bucket that a forced charge overdrew is remembered until it is full, though it comes to its
// token and leaves it, and others make the generations turn.
func TestOverdrawnBucketsAreRemembered(t *testing.T) {
	t.Parallel()
	terms, window := gcra.Terms{Rate: 20, Burst: 20, Period: 20 * micros}, Term{Window: 20 * micros}
	for name, hold := range map[string]func(table *Table[string], n uint32){
		"beside the token": func(*Table[string], uint32) {},
		"left alone":       func(table *Table[string], n uint32) { table.Remove(n) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				table, b, d := new(Table[string]), NewBuckets[gcra.Bucket](), digestOf(1)
				beside := Bind(table, b, window)
				n := table.Add(&d, Null, fieldsOf("key", "key"), Stamp{})
				byName(b, "key", terms, window, 1000, true)
				time.Sleep(time.Second) // in the bubble's time
				beside.Take(viewOf(t, table, d), terms, 0, now())
				hold(table, n)
				for range 38 { // others of the same shard make the generations turn
					time.Sleep(time.Second)
					locked := b.Lock("key", b.Now())
					other := locked.Take(Term{Name: "other"})
					other.Keep(1)
					locked.Unlock()
				}
				if r := byName(b, "key", terms, window, 0, false); r.ResetAfter != micros {
					t.Errorf("after 39 of 40 seconds, the bucket is full in %d µs", r.ResetAfter)
				}
			})
		})
	}
}

// A caller in place that comes late, after the generations have turned, charges a bucket that is
// remembered until it is full. The limiter is asked by name at each later moment.
func TestLateCallersInPlaceAreRemembered(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(61, 62))
	terms, window := gcra.Terms{Rate: 10, Burst: 10, Period: 12 * micros}, Term{Window: 12 * micros}
	for range 1000 {
		synctest.Test(t, func(t *testing.T) {
			table, b, d := new(Table[string]), NewBuckets[gcra.Bucket](), digestOf(1)
			beside := Bind(table, b, window)
			table.Add(&d, Null, fieldsOf("key", "key"), Stamp{})
			v := viewOf(t, table, d)
			beside.Take(v, terms, 1, now())
			time.Sleep(time.Duration(random.Int64N(12*micros)) * time.Microsecond)
			late := now()
			time.Sleep(time.Duration(random.Int64N(4*micros)) * time.Microsecond)
			b.Lock("key", b.Now()).Unlock()
			r := beside.Take(v, terms, 9, late)
			full := b.At(late.Elapsed) + r.ResetAfter
			for b.Now() < full-micros {
				time.Sleep(time.Duration(random.Int64N(micros)) * time.Microsecond)
				b.Lock("key", b.Now()).Unlock()
			}
			if at := b.Now(); at < full {
				if got := byName(b, "key", terms, window, 0, false); got.ResetAfter != full-at {
					t.Fatalf("the bucket is full in %d, want %d", got.ResetAfter, full-at)
				}
			}
		})
	}
}
