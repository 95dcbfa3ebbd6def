package memstore

import (
	"encoding/binary"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/httpkey/httpkey"
)

// similarDigest returns one of n digests, of which many share their first bytes,
// and so the group and the tag in the index, with others.
func similarDigest(n int) (d httpkey.Digest) {
	binary.LittleEndian.PutUint64(d[:], uint64(n%7)|uint64(n%3)<<10)
	d[31], d[30] = byte(n), byte(n>>8)
	return d
}

// The index finds what a map would, whatever is added, replaced and removed.
func TestIndexIsAMap(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(31, 32))
	for _, digests := range []int{3, 50, 2000} {
		index, model := newIndex(), make(map[httpkey.Digest]*httpkey.Entry)
		for range 20_000 {
			d := similarDigest(random.IntN(digests))
			switch known := model[d]; {
			case known == nil:
				model[d] = httpkey.NewEntry(httpkey.Token{Digest: d})
				index.add(model[d])
			case random.IntN(2) == 0:
				model[d] = new(httpkey.Entry)
				known.Replace(model[d], httpkey.Token{})
				index.replace(known, model[d])
			default:
				delete(model, d)
				index.remove(known)
			}
			if d := similarDigest(random.IntN(digests)); index.find(&d) != model[d] {
				t.Fatalf("found %v, want %v", index.find(&d), model[d])
			}
		}
		for n := range digests {
			if d := similarDigest(n); index.find(&d) != model[d] {
				t.Errorf("found %v, want %v", index.find(&d), model[d])
			}
		}
		if places := groupSize * len(*index.table.Load()); places > 16*digests+16 {
			t.Errorf("%d places for %d digests: deleted ones are not let go", places, digests)
		}
	}
}

// What is there is found, by readers without a lock, while others come and go.
func TestIndexIsReadWhileItIsWritten(t *testing.T) {
	t.Parallel()
	const staying = 100
	store := New()
	create := func(n int) {
		if err := store.Create(t.Context(), httpkey.Token{ID: strconv.Itoa(n), Digest: similarDigest(n)}); err != nil {
			t.Error(err)
		}
	}
	for n := range staying {
		create(n)
	}
	var done atomic.Bool
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			for n := 0; !done.Load(); n++ {
				token := n % (2 * staying)
				e, _ := store.Find(similarDigest(token))
				if e == nil && token < staying || e != nil && e.ID() != strconv.Itoa(token) {
					t.Errorf("of token %d, found %v", token, e)
					return
				}
			}
		})
	}
	for round := range 20 {
		for n := staying; n < 1000; n++ {
			create(n)
		}
		for n := range staying {
			if err := store.Update(t.Context(), httpkey.Token{ID: strconv.Itoa(n), Label: strconv.Itoa(round)}); err != nil {
				t.Error(err)
			}
		}
		for n := staying; n < 1000; n++ {
			if err := store.Delete(t.Context(), strconv.Itoa(n)); err != nil {
				t.Error(err)
			}
		}
	}
	done.Store(true)
	readers.Wait()
}
