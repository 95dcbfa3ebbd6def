package ram

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
)

// similarHash returns one of n hashes. Many of them share their place or their high half with
// others, and some are 0.
func similarHash(n uint32) uint64 { return uint64(n%7) | uint64(n%3)<<32 }

// search looks for a number by its hash.
func search(i *Index, n uint32) bool {
	got, ok := i.Search(similarHash(n), func(other uint32) bool { return other == n })
	return ok && got == n
}

// The index finds the same as a map, after any additions and removals.
func TestIndexIsAMap(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(31, 32))
	for _, numbers := range []uint32{3, 50, 1000} {
		var index Index
		if search(&index, 0) {
			t.Error("the zero Index has a number")
		}
		model := make(map[uint32]bool)
		for range 20_000 {
			n := random.Uint32N(numbers)
			if model[n] = !model[n]; model[n] {
				index.Add(similarHash(n), n, similarHash)
			} else {
				index.Remove(similarHash(n), n, similarHash)
			}
			if n := random.Uint32N(numbers); search(&index, n) != model[n] {
				t.Fatalf("number %d is found: %v", n, !model[n])
			}
		}
		for n := range numbers {
			if search(&index, n) != model[n] {
				t.Errorf("number %d is found: %v", n, !model[n])
			}
		}
	}
}

// spread returns the hash of a number, spread as digests are.
func spread(n uint32) uint64 { return rand.New(rand.NewPCG(uint64(n), 3)).Uint64() }

// An index has a place that never held a number, so that each search ends. It is as large as its
// numbers need, while they grow, come and go, and shrink.
func TestIndexFitsItsNumbers(t *testing.T) {
	t.Parallel()
	const numbers = 10_000
	var index Index
	check := func(live int) {
		t.Helper()
		places := *index.places.Load()
		empty, held := 0, 0
		for at := range places {
			switch places[at].Load() {
			case 0:
				empty++
			case deleted:
			default:
				held++
			}
		}
		if held != live || index.live != live || index.taken != len(places)-empty {
			t.Fatalf("it holds %d of %d numbers, and counts %d in %d places", held, live, index.live, index.taken)
		}
		if 4*empty < len(places) {
			t.Fatalf("%d of %d places are empty", empty, len(places))
		}
		if len(places) > 16*live+64 {
			t.Fatalf("%d places for %d numbers", len(places), live)
		}
	}
	for n := range uint32(numbers) {
		index.Add(spread(n), n, spread)
		check(int(n) + 1)
		if n == 200 { // a check takes long afterwards
			break
		}
	}
	for n := uint32(201); n < numbers; n++ {
		index.Add(spread(n), n, spread)
	}
	check(numbers)
	size := len(*index.places.Load())
	for n := range uint32(20 * numbers) {
		index.Remove(spread(n), n, spread)
		index.Add(spread(n+numbers), n+numbers, spread)
		if n%1000 == 0 {
			check(numbers)
			if got := len(*index.places.Load()); got > 2*size {
				t.Fatalf("%d numbers came and went, and %d places became %d", n, size, got)
			}
		}
	}
	for live := numbers; live > 0; live-- {
		n := uint32(20*numbers + live - 1)
		index.Remove(spread(n), n, spread)
		if live%1000 == 0 || live < 100 {
			check(live - 1)
		}
	}
}

// Readers without a lock find a number that stays, while others come and go, and the table is
// made again and again.
func TestIndexIsReadWhileItIsWritten(t *testing.T) {
	t.Parallel()
	const staying, most = 100, 1000
	var (
		index   Index
		isDone  atomic.Bool
		found   atomic.Int64
		readers sync.WaitGroup
	)
	for n := range uint32(staying) {
		index.Add(similarHash(n), n, similarHash)
	}
	for range 4 {
		readers.Go(func() {
			for n := uint32(0); !isDone.Load(); n = (n + 1) % staying {
				if !search(&index, n) {
					t.Errorf("number %d is not found", n)
					return
				}
				if search(&index, most+n) {
					t.Errorf("number %d is found", most+n)
				}
				found.Add(1)
			}
		})
	}
	for round := 0; round < 20 || found.Load() < 1000 && !t.Failed(); round++ {
		for n := uint32(staying); n < most; n++ {
			index.Add(similarHash(n), n, similarHash)
		}
		for n := uint32(staying); n < most; n++ {
			index.Remove(similarHash(n), n, similarHash)
		}
	}
	isDone.Store(true)
	readers.Wait()
}
