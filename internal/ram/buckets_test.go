package ram

import (
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/httpkey/httpkey/internal/gcra"
)

var (
	second = Term{Window: time.Second.Microseconds()}
	hour   = Term{Window: time.Hour.Microseconds()}
)

// use locks a bucket, as for a request, and lets it go.
func use(b *Buckets[gcra.Bucket], payer string, term Term) *Bucket[gcra.Bucket] {
	used := b.Lock(payer, term, term.Window, b.Now())
	used.Unlock()
	return used
}

// Generations turn when the longest life in one has passed, and once, however many callers
// think that it is time.
func TestTurning(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := NewBuckets[gcra.Bucket]()
		next := func(want time.Duration) {
			t.Helper()
			if got := time.Duration(b.turnAt.Load()-b.Now()) * time.Microsecond; got != want {
				t.Errorf("the next turn is in %v, want %v", got, want)
			}
		}
		odd := Term{Window: 11_428_572}
		used := use(b, "key", odd)
		next(minGeneration)       // nothing was in use before
		time.Sleep(minGeneration) // in the bubble's time
		stale := b.Now()
		time.Sleep(time.Millisecond) // the caller that turns them takes its time
		b.turnWhenDue(stale)
		next(11_428_572 * time.Microsecond)
		b.turnWhenDue(stale) // as another would for the same reason
		if use(b, "key", odd) != used {
			t.Error("a bucket in use was let go")
		}
		time.Sleep(time.Minute)
		b.turn.Lock() // another caller is turning them
		at := b.turnAt.Load()
		if use(b, "key", odd); b.turnAt.Load() != at {
			t.Error("two turn at once")
		}
		b.turn.Unlock()
		for range 3 {
			time.Sleep(time.Minute)
			use(b, "key", second)
		}
		next(minGeneration) // nothing longer is in use any more
		if use(b, "key", odd) == used {
			t.Error("an idle bucket was not let go")
		}
	})
}

// A bucket that says that it lives longer than others keeps its generation.
func TestKeep(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := NewBuckets[gcra.Bucket]()
		used := b.Lock("key", second, second.Window, b.Now())
		used.Keep(time.Hour.Microseconds())
		used.Unlock()
		for range 9 {
			time.Sleep(6 * time.Minute) // in the bubble's time
			use(b, "another", second)
		}
		if use(b, "key", second) != used {
			t.Error("it was let go within the hour")
		}
	})
}

// A bucket that is used while the generations turn, when its shard has not, is
// not taken for one of the generation that begins.
func TestUseWhileTurning(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := NewBuckets[gcra.Bucket]()
		var slot Slot[gcra.Bucket]
		use := func() *Bucket[gcra.Bucket] {
			used := b.LockIn(&slot, "key", hour, hour.Window, 0)
			used.Unlock()
			return used
		}
		used := use()
		next := b.newGeneration()
		b.young.Store(next)
		use()
		for i := range b.shards {
			b.shards[i].begin(next)
		}
		use()
		b.turnGenerations()
		if again := b.Lock("key", hour, hour.Window, 0); again != used {
			t.Error("the bucket is gone, though it was used in the generation before")
		}
	})
}

// A limiter takes the bucket beside the token when it first needs one, and again
// when the token was idle for so long that it had let it go.
func TestBucketBesideTheTokenIsTaken(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		entry := entryOf([32]byte{})
		limiter, another := NewBuckets[gcra.Bucket](), NewBuckets[gcra.Bucket]()
		use := func(b *Buckets[gcra.Bucket], term Term) *Bucket[gcra.Bucket] {
			used := b.LockIn(entry.Slot(), entry.Payer(), term, term.Window, b.Now())
			defer used.Unlock()
			if used.of.generation != b.young.Load() {
				t.Error("a bucket in use is not young")
			}
			return used
		}
		for turns := range 4 { // from the second on, the limiter has let it go
			if use(limiter, second) != &entry.bucket {
				t.Error("the bucket beside the token is not taken")
			}
			for range turns {
				limiter.turnGenerations()
			}
		}
		if before := use(limiter, second); use(another, second) == before || use(limiter, second) != before {
			t.Error("two limiters share a bucket")
		}
		if use(limiter, hour) == &entry.bucket {
			t.Error("two limits share a bucket")
		}
		copied := NewCopy([32]byte{}, Null, "payer", &Body[string]{})
		kept := limiter.LockIn(copied.Slot(), copied.Payer(), second, second.Window, 0)
		kept.Unlock()
		if kept == &copied.bucket {
			t.Error("a limiter keeps the bucket beside a copy, and so the copy")
		}
	})
}

// Of two limiters that want it at once, one gets it.
func TestBucketBesideTheTokenIsTakenOnce(t *testing.T) {
	t.Parallel()
	of := [2]*membership{
		{NewBuckets[gcra.Bucket]().newGeneration(), hour}, {NewBuckets[gcra.Bucket]().newGeneration(), hour},
	}
	for range 10_000 {
		var (
			b       Bucket[gcra.Bucket]
			taken   [2]bool
			callers sync.WaitGroup
		)
		for i := range of {
			callers.Go(func() { taken[i] = b.take(of[i]) })
		}
		callers.Wait()
		if taken[0] == taken[1] {
			t.Fatalf("taken: %v", taken)
		}
	}
}

// Callers lock several buckets of a few payers in any order, through slots and by name, while
// generations turn: none waits for ever, and each has the buckets for itself.
func TestManyLockSeveral(t *testing.T) {
	t.Parallel()
	b := NewBuckets[int]()
	terms := []Term{second, hour, {Name: "a", Window: 1}, {Name: "b", Window: 1}, {Name: "b", Window: 1, Start: 5}}
	payers := []string{"x", "y"}
	var (
		slots  [2]Slot[int]
		locked [2]int
		mu     sync.Mutex
		wg     sync.WaitGroup
	)
	for caller := range 8 {
		wg.Go(func() {
			random := rand.New(rand.NewPCG(uint64(caller), 1))
			for range 3000 {
				payer := random.IntN(len(payers))
				order := random.Perm(len(terms))[:1+random.IntN(len(terms))]
				var buckets []*Bucket[int]
				switch random.IntN(10) {
				case 0:
					b.turn.Lock()
					b.turnGenerations()
					b.turn.Unlock()
				case 1, 2, 3:
					order = order[:1]
					buckets = append(buckets, b.LockIn(&slots[payer], payers[payer], terms[order[0]], time.Hour.Microseconds(), 0))
				default:
					several := make([]Term, len(order))
					for i, n := range order {
						several[i] = terms[n]
					}
					buckets = b.LockAll(payers[payer], several, time.Hour.Microseconds(), 0)
				}
				for i, bucket := range buckets {
					if bucket.of.term != terms[order[i]] || bucket.payer != payers[payer] {
						t.Errorf("the bucket of %+v is that of %+v", terms[order[i]], bucket.of.term)
					}
					bucket.State++
				}
				mu.Lock()
				locked[payer] += len(buckets)
				mu.Unlock()
				for _, bucket := range buckets {
					bucket.Unlock()
				}
			}
		})
	}
	wg.Wait()
	if locked[0] == 0 || locked[1] == 0 {
		t.Error("nothing was locked")
	}
}

// A table finds each bucket of each payer and term, however many there are.
func TestTableIsAMap(t *testing.T) {
	t.Parallel()
	b := NewBuckets[int]()
	terms := []Term{second, hour, {Name: "a", Window: second.Window}, {Window: second.Window, Start: 1}}
	want := make(map[Term]map[string]*Bucket[int])
	names := make([]string, 5000)
	for i := range names {
		names[i] = string(rune('a'+i%26)) + string(rune(i))
	}
	for range 2 {
		for _, term := range terms {
			if want[term] == nil {
				want[term] = make(map[string]*Bucket[int])
			}
			for _, payer := range names {
				found := b.Lock(payer, term, hour.Window, 0)
				found.Unlock()
				if known := want[term][payer]; known != nil && known != found {
					t.Fatalf("the bucket of %q and %+v is another one", payer, term)
				}
				want[term][payer] = found
			}
		}
		b.turnGenerations() // they move to the young generation
	}
	all := make(map[*Bucket[int]]bool)
	for _, of := range want {
		for _, bucket := range of {
			all[bucket] = true
		}
	}
	if distinct := len(slices.Compact(slices.Sorted(slices.Values(names)))); len(all) != distinct*len(terms) {
		t.Errorf("%d buckets for %d payers and %d terms", len(all), distinct, len(terms))
	}
}
