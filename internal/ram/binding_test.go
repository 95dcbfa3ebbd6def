package ram

import (
	"math"
	"testing"
	"testing/synctest"
	"time"

	"github.com/httpkey/httpkey/internal/gcra"
)

// A Table, Buckets and a Term have one Binding, however often they are bound. Others have others.
func TestBind(t *testing.T) {
	t.Parallel()
	table, buckets, other := new(Table[string]), NewBuckets[gcra.Bucket](), NewBuckets[gcra.Bucket]()
	first := Bind(table, buckets, term)
	for range 3 {
		if again := Bind(table, buckets, term); again.number != first.number {
			t.Error("it is bound twice")
		}
	}
	named := Term{Name: "a", Window: term.Window}
	if first.number == Bind(table, buckets, named).number || first.number == Bind(table, other, term).number {
		t.Error("two share a Binding")
	}
	if len(*buckets.homes.Load()) != 2 || len(*other.homes.Load()) != 1 {
		t.Error("a limiter has more homes than it needs")
	}
	full := make([]*link[string], math.MaxUint16)
	for i := range full {
		full[i] = new(link[string])
	}
	if table.links.Store(&full); Bind(table, buckets, term) != nil {
		t.Error("there are more than a record can tell apart")
	}
}

// A bucket comes to its token, is used there until its generation turns, and goes to the limiter
// when that is called by name.
func TestBucketsComeAndGo(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		table, buckets, d := new(Table[string]), NewBuckets[gcra.Bucket](), digestOf(1)
		beside := Bind(table, buckets, term)
		n := table.Add(&d, Null, fieldsOf("key", "key"), Stamp{})
		r := table.record(n)
		take := func(want int64) {
			t.Helper()
			if got := beside.Take(viewOf(t, table, d), perHour, 1, now()); got.Remaining != want {
				t.Errorf("%d are left, want %d", got.Remaining, want)
			}
			if r.link != beside.number {
				t.Error("the bucket is not beside its token")
			}
		}
		take(9)
		claim := r.claim
		if take(8); r.claim != claim {
			t.Error("a bucket in use was claimed again")
		}
		if byName(buckets, "key", perHour, term, 1, false); r.link != 0 {
			t.Error("the limiter has the bucket, and the token too")
		}
		take(6)
		claim = r.claim
		time.Sleep(6 * time.Minute) // in the bubble's time: one is paid off, and the first generation is over
		if take(6); r.claim == claim {
			t.Error("the bucket did not move to the young generation")
		}
	})
}

// Of two limits at one token, the first keeps the place while its bucket is in use. The bucket
// of the other stays with its limiter. A limiter that is gone, or full, leaves the place.
func TestBucketInUseKeepsItsPlace(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		table, buckets, d := new(Table[string]), NewBuckets[gcra.Bucket](), digestOf(1)
		first, second := Bind(table, buckets, term), Bind(table, NewBuckets[gcra.Bucket](), term)
		r := table.record(table.Add(&d, Null, fieldsOf("key", "key"), Stamp{}))
		for _, step := range []struct {
			beside *Binding[string]
			n      int64
			place  uint16
			left   int64
			pause  time.Duration
		}{
			{first, 1, first.number, 9, 6*time.Minute - time.Microsecond},
			{second, 2, first.number, 8, time.Microsecond}, // the first is full in a microsecond
			{second, 1, second.number, 7, 0},
			{first, 1, second.number, 9, 24 * time.Minute},
			{first, 1, first.number, 9, 0},
		} {
			got := step.beside.Take(viewOf(t, table, d), perHour, step.n, now())
			if got.Remaining != step.left || r.link != step.place {
				t.Errorf("%+v: %d are left, and the place is of %d", step, got.Remaining, r.link)
			}
			time.Sleep(step.pause)
		}
	})
}

// A use is noted wherever the bucket is, and a look is not.
func TestTakeNotesTheUse(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		table, d := new(Table[string]), digestOf(1)
		first := Bind(table, NewBuckets[gcra.Bucket](), term)
		second := Bind(table, NewBuckets[gcra.Bucket](), term)
		n := table.Add(&d, Null, fieldsOf("key", "key"), Stamp{})
		for _, beside := range []*Binding[string]{first, first, second, second} {
			for _, cost := range []int64{10, 0} {
				before := table.At(n).LastUsed
				time.Sleep(time.Second)
				beside.Take(viewOf(t, table, d), perHour, cost, now())
				want := before
				if cost > 0 {
					want = time.Now().UnixMicro()
				}
				if got := table.At(n).LastUsed; got != want {
					t.Errorf("after a use of %d, LastUsed is %d, want %d", cost, got, want)
				}
			}
		}
	})
}
