package cachestore

import (
	"context"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/httpkey/httpkey"
)

var raceDetector bool

// Keys that do not exist, a million of them, cost one Lookup in the store each,
// bounded memory, and no token its place.
func TestFloodOfMadeUpKeys(t *testing.T) {
	const valid, workers = 2000, 4
	flood := 1_000_000
	if raceDetector {
		flood /= 10 // it takes long enough
	}
	b := newBackend()
	counting := &counting{backend: b, asked: make([]atomic.Int64, valid)}
	s := New(counting, &Options{Size: valid + valid/10, TTL: 1 << 50})
	use := func() {
		for n := range valid {
			if _, err := s.Lookup(t.Context(), digest(n)); err != nil {
				t.Fatal(err)
			}
		}
	}
	for n := range valid {
		create(t, b, token(n))
	}
	use()
	use()
	before := heap()
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			random := rand.New(rand.NewPCG(1, uint64(w)))
			for range flood / workers {
				var d httpkey.Digest
				for i := 0; i < len(d); i += 8 {
					binary.LittleEndian.PutUint64(d[i:], random.Uint64())
				}
				if _, err := s.Lookup(t.Context(), d); !errors.Is(err, httpkey.ErrNotFound) {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	grown := heap() - before
	if n := b.Calls("Lookup"); n > valid+flood {
		t.Errorf("%d Lookups in the store", n)
	}
	if grown > 1<<20 {
		t.Errorf("the heap grew by %d bytes", grown)
	}
	if n := len(s.loads); n != 0 {
		t.Errorf("%d loads are left", n)
	}
	if n := len(s.absent.young) + len(s.absent.old); n > s.options.Size/10 {
		t.Errorf("%d absent keys are kept", n)
	}
	use()
	for n := range counting.asked {
		if loads := counting.asked[n].Load(); loads != 1 {
			t.Fatalf("a valid key was loaded %d times", loads)
		}
	}
	t.Logf("%d made-up keys: the heap grew by %d bytes", flood, grown)
}

// counting counts how often each of the first tokens is looked up.
type counting struct {
	*backend
	asked []atomic.Int64
}

func (c *counting) Lookup(ctx context.Context, d httpkey.Digest) (httpkey.Token, error) {
	if n := number(d); n < len(c.asked) && d == digest(n) {
		c.asked[n].Add(1)
	}
	return c.backend.Lookup(ctx, d)
}

// With more tokens than there is room for, the cache stays within its bounds, and
// keeps the ones that are used most.
func TestSizeIsBounded(t *testing.T) {
	t.Parallel()
	const size, hot, tokens = 1000, 100, 50_000
	var endless endless
	s := New(&endless, &Options{Size: size, TTL: 1 << 50})
	loads := 0
	for n := range tokens {
		before := endless.lookups
		if _, err := s.Lookup(t.Context(), digest(n%hot)); err != nil {
			t.Fatal(err)
		}
		loads += endless.lookups - before
		if _, err := s.Lookup(t.Context(), digest(n)); err != nil {
			t.Fatal(err)
		}
	}
	if n := s.tokens.Len(); n > size {
		t.Errorf("%d tokens are kept", n)
	}
	t.Logf("tokens used all the time were loaded %d times", loads)
	if loads > 2*hot {
		t.Errorf("tokens used all the time were loaded %d times", loads)
	}
}

// endless holds a token for every digest. It is for one caller at a time.
type endless struct {
	httpkey.TokenStore
	lookups int
}

func (e *endless) Lookup(_ context.Context, d httpkey.Digest) (httpkey.Token, error) {
	e.lookups++
	return httpkey.Token{ID: string(d[:]), Digest: d}, nil
}

// heap returns the bytes in use.
func heap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
