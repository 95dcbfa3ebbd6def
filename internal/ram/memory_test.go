package ram

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/httpkey/httpkey/internal/gcra"
)

// heap returns the bytes of live objects.
func heap() int {
	runtime.GC()
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return int(stats.HeapAlloc)
}

// Of many tokens with buckets in use, little is left when most are removed and the buckets are
// full. The few that stay lie in segments of their own.
func TestMemoryIsGivenBack(t *testing.T) {
	// Not parallel: it looks at the heap.
	const tokens, staying = 50_000, 50
	synctest.Test(t, func(t *testing.T) {
		table, buckets := new(Table[string]), NewBuckets[gcra.Bucket]()
		beside := Bind(table, buckets, term)
		empty := heap()
		for n := range tokens {
			d, id := digestOf(n), fmt.Sprintf("%036d", n)
			table.Add(&d, Null, fieldsOf("token:"+id, id, strings.Repeat("x", 60)), Stamp{})
			if n%2 == 0 {
				beside.Take(viewOf(t, table, d), perHour, 1, now())
			}
		}
		busy := heap() - empty
		for i, n := range rand.New(rand.NewPCG(71, 72)).Perm(tokens) {
			if d := digestOf(n); i < tokens-staying {
				number, _ := table.Find(&d)
				table.Remove(number)
			}
		}
		time.Sleep(2 * time.Hour) // in the bubble's time
		for range 2 {
			for i := range buckets.shards {
				buckets.shards[i].turn(buckets.Now())
			}
			time.Sleep(2 * time.Hour)
		}
		idle := heap() - empty
		t.Logf("%d KB for %d tokens, %d KB when %d are left", busy>>10, tokens, idle>>10, staying)
		if busy > tokens*450 {
			t.Errorf("%d tokens take %d KB", tokens, busy>>10)
		}
		if idle > 2<<20 {
			t.Errorf("the %d tokens that stay take %d KB", staying, idle>>10)
		}
		for n := range tokens {
			d := digestOf(n)
			if number, ok := table.Find(&d); ok {
				table.Remove(number)
			}
		}
		if idle := heap() - empty; idle > 400<<10 {
			t.Errorf("without a token, %d KB are kept", idle>>10)
		}
		runtime.KeepAlive(table)
		runtime.KeepAlive(buckets)
	})
}

// Of a token that is replaced again and again, nothing is kept that it was.
func TestReplacementsKeepNoMemory(t *testing.T) {
	// Not parallel: it looks at the heap.
	table, d := new(Table[string]), digestOf(1)
	n := table.Add(&d, Null, fieldsOf("p", "i"), Stamp{})
	before := heap()
	for version := range 5000 {
		table.Replace(n, Null, fieldsOf("p", "i", fmt.Sprintf("%04096d", version)), Stamp{})
	}
	if grown := heap() - before; grown > 50<<10 {
		t.Errorf("%d KB are kept of what a token was", grown>>10)
	}
	runtime.KeepAlive(table)
}

// A bucket beside a token keeps no limiter in memory. When the limiter is gone, its place is free
// for the bucket of another.
func TestTokensKeepNoLimiter(t *testing.T) {
	t.Parallel()
	table, d := new(Table[string]), digestOf(1)
	n := table.Add(&d, Null, fieldsOf("key", "key"), Stamp{})
	use := func(buckets *Buckets[gcra.Bucket]) {
		beside := Bind(table, buckets, term)
		if beside.Take(viewOf(t, table, d), perHour, 1, now()); table.record(n).link != beside.number {
			t.Error("the bucket is not beside the token")
		}
	}
	gone := make(chan struct{})
	func() {
		buckets := NewBuckets[gcra.Bucket]()
		runtime.AddCleanup(buckets, func(struct{}) { close(gone) }, struct{}{})
		use(buckets)
	}()
	isGone := false
	for attempt := 0; attempt < 100 && !isGone; attempt++ {
		runtime.GC()
		select {
		case <-gone:
			isGone = true
		case <-time.After(10 * time.Millisecond):
		}
	}
	if !isGone {
		t.Fatal("the limiter is still in memory")
	}
	use(NewBuckets[gcra.Bucket]())
}

// A debt outlives the table whose token it lies beside, because a store that is made anew has the
// same payers. The table is collected when the debt is paid.
func TestDebtOutlivesTheTable(t *testing.T) {
	t.Parallel()
	buckets := NewBuckets[gcra.Bucket]()
	gone := make(chan struct{})
	func() {
		table, d := new(Table[string]), digestOf(1)
		runtime.AddCleanup(table, func(struct{}) { close(gone) }, struct{}{})
		table.Add(&d, Null, fieldsOf("key", "key"), Stamp{})
		Bind(table, buckets, term).Take(viewOf(t, table, d), perHour, 1, now())
	}()
	isGone := func() bool {
		for range 20 {
			runtime.GC()
			select {
			case <-gone:
				return true
			case <-time.After(5 * time.Millisecond):
			}
		}
		return false
	}
	if isGone() {
		t.Fatal("the table is gone before the debt")
	}
	if r := byName(buckets, "key", perHour, term, 0, false); r.ResetAfter == 0 {
		t.Error("the debt is forgotten")
	}
	for n := range int64(2) { // the generations turn
		buckets.Lock("key", buckets.Now()+3*(n+1)*term.Window).Unlock()
	}
	if !isGone() {
		t.Error("the table is still in memory")
	}
}
