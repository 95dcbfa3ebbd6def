package memstore

import (
	"fmt"
	"math/big"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/httpkey/httpkey"
)

// The bucket beside a token is as good as any other: whichever of several
// limiters takes it, for whichever limit, over updates of the token and long
// pauses, each limiter answers like a model of its own.
func TestBucketsBesideTokens(t *testing.T) {
	t.Parallel()
	limits := []httpkey.Limit{
		{Rate: 3, Burst: 3, Period: time.Second}, {Rate: 7, Burst: 20, Period: 10 * time.Second}, {Rate: 10, Burst: 10, Period: time.Hour},
	}
	type name struct {
		limiter int
		bucketName
	}
	synctest.Test(t, func(t *testing.T) {
		store := New()
		digest := func(token int) httpkey.Digest { return httpkey.Digest{byte(token)} }
		for token := range 10 {
			if err := store.Create(t.Context(), httpkey.Token{ID: fmt.Sprint(token), Digest: digest(token)}); err != nil {
				t.Fatal(err)
			}
		}
		limiters := []*Limiter{NewLimiter(), NewLimiter()}
		models := make(map[name]*gcraModel)
		random := rand.New(rand.NewPCG(23, 24))
		for step := range 20_000 {
			token := random.IntN(10)
			limit := limits[random.IntN(len(limits))]
			name := name{random.IntN(len(limiters)), bucketName{fmt.Sprint(token), limit}}
			if random.IntN(3) == 0 {
				name.key = "shared" // as the tokens of a user may share one
			}
			n := random.IntN(limit.Burst + 1)
			limiter := limiters[name.limiter]
			if models[name] == nil {
				models[name] = &gcraModel{level: new(big.Rat)}
			}
			want := models[name].allow(limit, limiter.buckets.now(), n)
			entry, _ := store.Find(digest(token))
			got, err := limiter.AllowSlot(entry.Slot(), name.key, limit, n, time.Now())
			if random.IntN(5) == 0 && err == nil && got == want {
				want = models[name].allow(limit, limiter.buckets.now(), 0)
				got, err = limiter.Allow(t.Context(), name.key, limit, 0)
			}
			if err != nil || got != want {
				t.Fatalf("step %d: %d from %+v: %+v (%v), the model says %+v", step, n, name, got, err, want)
			}
			switch random.IntN(100) {
			case 0:
				elapse(time.Duration(random.Int64N(int64(3 * time.Hour))))
			case 1, 2, 3, 4, 5:
				if err := store.Update(t.Context(), httpkey.Token{ID: fmt.Sprint(token)}); err != nil {
					t.Fatal(err)
				}
			default:
				elapse(time.Duration(random.Int64N(int64(50 * time.Millisecond))))
			}
		}
	})
}

// A limiter takes the bucket beside the token when it first needs one, and again
// when the token was idle for so long that it had let it go.
func TestBucketBesideTheTokenIsTaken(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := New()
		if err := store.Create(t.Context(), httpkey.Token{ID: "token"}); err != nil {
			t.Fatal(err)
		}
		entry, _ := store.Find(httpkey.Digest{})
		beside := entry.Slot().Load().(*bucket[gcra])
		limiter, another := NewLimiter().buckets, NewLimiter().buckets
		limit := httpkey.Limit{Rate: 1, Burst: 1, Period: time.Second}
		use := func(b *buckets[gcra]) *bucket[gcra] {
			used := b.lockIn(entry.Slot(), "token", limit, b.now())
			defer used.mu.Unlock()
			if used.of.generation != b.young.Load() {
				t.Error("a bucket in use is not young")
			}
			return used
		}
		for turns := range 4 { // from the second on, the limiter has let it go
			if use(limiter) != beside {
				t.Error("the bucket beside the token is not taken")
			}
			for range turns {
				limiter.turnGenerations()
			}
		}
		use(limiter)
		if use(another) == beside {
			t.Error("two limiters share a bucket")
		}
	})
}

// Of two limiters that want it at once, one gets it.
func TestBucketBesideTheTokenIsTakenOnce(t *testing.T) {
	t.Parallel()
	limit := httpkey.PerHour(1)
	of := [2]*membership{{newBuckets[gcra]().newGeneration(), limit}, {newBuckets[gcra]().newGeneration(), limit}}
	for range 10_000 {
		var (
			b       bucket[gcra]
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

// What a token was before it was updated is let go, however often that happens while
// its key is in use.
func TestUpdatesOfATokenInUseKeepNoMemory(t *testing.T) {
	// Not parallel: it looks at the heap.
	store, limiter := New(), NewLimiter()
	token := httpkey.Token{ID: "token", Description: strings.Repeat("a", 4096)}
	if err := store.Create(t.Context(), token); err != nil {
		t.Fatal(err)
	}
	before := heap()
	for range 2000 {
		entry, _ := store.Find(httpkey.Digest{})
		if _, err := limiter.AllowSlot(entry.Slot(), "token", httpkey.PerHour(1), 0, time.Now()); err != nil {
			t.Fatal(err)
		}
		if err := store.Update(t.Context(), token); err != nil {
			t.Fatal(err)
		}
	}
	if grown := heap() - before; grown > 100<<10 {
		t.Errorf("%d KB are kept of what a token was", grown>>10)
	}
	runtime.KeepAlive(store)
	runtime.KeepAlive(limiter)
}

// The bucket of a token does not keep a limiter in memory that nobody has any more.
func TestTokensKeepNoLimiter(t *testing.T) {
	t.Parallel()
	store := New()
	if err := store.Create(t.Context(), httpkey.Token{ID: "token"}); err != nil {
		t.Fatal(err)
	}
	entry, _ := store.Find(httpkey.Digest{})
	gone := make(chan struct{})
	func() {
		limiter := NewLimiter()
		runtime.AddCleanup(limiter.buckets, func(struct{}) { close(gone) }, struct{}{})
		if _, err := limiter.AllowSlot(entry.Slot(), "token", httpkey.PerHour(1), 0, time.Now()); err != nil {
			t.Fatal(err)
		}
	}()
	for range 100 {
		runtime.GC()
		select {
		case <-gone:
			return
		case <-time.After(10 * time.Millisecond):
		}
	}
	t.Error("the limiter is still in memory")
	runtime.KeepAlive(store)
}
