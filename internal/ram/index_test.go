package ram

import (
	"encoding/binary"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
)

// entryOf returns an entry of a digest.
func entryOf(digest [32]byte) *Entry[string] { return New(digest, Null, "payer", &Body[string]{}) }

// similarDigest returns one of n digests, of which many share their first bytes,
// and so the group and the tag in the index, with others.
func similarDigest(n int) (d [32]byte) {
	binary.LittleEndian.PutUint64(d[:], uint64(n%7)|uint64(n%3)<<10)
	d[31], d[30] = byte(n), byte(n>>8)
	return d
}

// The index finds the same as a map, after any additions and removals.
func TestIndexIsAMap(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(31, 32))
	for _, digests := range []int{3, 50, 2000} {
		index, model := NewIndex[string](), make(map[[32]byte]*Entry[string])
		for range 20_000 {
			d := similarDigest(random.IntN(digests))
			if known := model[d]; known == nil {
				model[d] = entryOf(d)
				index.Add(model[d])
			} else {
				delete(model, d)
				index.Remove(known)
			}
			if d := similarDigest(random.IntN(digests)); index.Find(&d) != model[d] {
				t.Fatalf("found %p, want %p", index.Find(&d), model[d])
			}
		}
		for n := range digests {
			if d := similarDigest(n); index.Find(&d) != model[d] {
				t.Errorf("found %p, want %p", index.Find(&d), model[d])
			}
		}
		if places := groupSize * len(*index.table.Load()); places > 16*digests+16 {
			t.Errorf("%d places for %d digests: deleted ones are not let go", places, digests)
		}
	}
}

// Readers without a lock find an entry that stays, while others come and go.
func TestIndexIsReadWhileItIsWritten(t *testing.T) {
	t.Parallel()
	const staying = 100
	index := NewIndex[string]()
	for n := range staying {
		index.Add(entryOf(similarDigest(n)))
	}
	var done atomic.Bool
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			for n := 0; !done.Load(); n++ {
				d := similarDigest(n % (2 * staying))
				if e := index.Find(&d); e == nil && n%(2*staying) < staying || e != nil && e.Digest() != d {
					t.Errorf("of token %d, found %p", n%(2*staying), e)
					return
				}
			}
		})
	}
	coming := make([]*Entry[string], 1000)
	for range 20 {
		for n := staying; n < len(coming); n++ {
			coming[n] = entryOf(similarDigest(n))
			index.Add(coming[n])
		}
		for n := staying; n < len(coming); n++ {
			index.Remove(coming[n])
		}
	}
	done.Store(true)
	readers.Wait()
}
