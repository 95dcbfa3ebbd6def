package integration

import (
	"context"
	"net/http"
	"os"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/cachestore"
	"github.com/httpkey/httpkey/redisstore"
)

// counted is a store that counts its Lookups.
type counted struct {
	*redisstore.Store
	lookups atomic.Int64
}

func (c *counted) Lookup(ctx context.Context, d httpkey.Digest) (httpkey.Token, error) {
	c.lookups.Add(1)
	return c.Store.Lookup(ctx, d)
}

// A thousand requests for an entry that has just expired cost Redis one Lookup.
func TestRedisHerdForOneKey(t *testing.T) {
	p := startProxy(t, startRedis(t).address())
	const ttl, callers = time.Second, 1000
	var store *counted
	s := newSiteOver(t, p.address(), redisLimiters[0].new, cachestore.Options{TTL: ttl},
		func(s *redisstore.Store) httpkey.TokenStore {
			store = &counted{Store: s}
			return store
		})
	key := s.issue(t, 1, slowly)[0].key
	s.expect(t, key, http.StatusOK)
	<-time.After(ttl)                           // the cache's clock is real
	p.delay.Store(int64(20 * time.Millisecond)) // so that all come while it is under way
	before, begun := store.lookups.Load(), time.Now()
	each(callers, func(int) { s.expect(t, key, http.StatusOK) })
	n, most := store.lookups.Load()-before, 1+int64(time.Since(begun)/ttl) // it expires again while they ask
	if n < 1 || n > most {
		t.Errorf("%d requests for one key took %d Lookups, want %d at most", callers, n, most)
	}
}

// madeUpKeys is the number of made-up keys. The environment may set another number.
func madeUpKeys(t *testing.T) int {
	if text := os.Getenv("HTTPKEY_FLOOD"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	return 100_000
}

// A flood of keys that look good and are none costs one Lookup each and bounded memory. It
// costs callers with a good key nothing.
func TestRedisFloodOfMadeUpKeys(t *testing.T) {
	const valid, workers = 1000, 8
	var store *counted
	s := newSiteOver(t, startRedis(t).address(), redisLimiters[0].new, cachestore.Options{},
		func(s *redisstore.Store) httpkey.TokenStore {
			store = &counted{Store: s}
			return store
		})
	holders, madeUpKey := s.issue(t, valid, slowly), madeUpKeySource()
	use := func(took *timings) {
		for _, h := range holders {
			took.add(s.expect(t, h.key, http.StatusOK))
		}
	}
	var first, quiet, flooded timings
	use(&first)
	use(&quiet)
	used, before := heapInUse(), store.lookups.Load()
	count := madeUpKeys(t)
	var left atomic.Int64
	left.Store(int64(count))
	var group sync.WaitGroup
	for range workers {
		group.Go(func() {
			for left.Add(-1) >= 0 {
				s.expect(t, madeUpKey(), http.StatusUnauthorized)
			}
		})
	}
	start := time.Now()
	for left.Load() > 0 {
		use(&flooded)
	}
	ttls := int64(time.Since(start)/(30*time.Second)) + 1
	group.Wait()
	grown := heapInUse() - used
	lookups := store.lookups.Load() - before
	t.Logf("quote | %d made-up keys: %d Lookups, the heap grew by %d KB | valid keys quiet: %v | in the flood: %v",
		count, lookups, grown>>10, &quiet, &flooded)
	if lookups > int64(count)+valid*ttls {
		t.Errorf("%d Lookups", lookups)
	}
	if grown > 16<<20 {
		t.Errorf("the heap grew by %d bytes", grown)
	}
	if flooded.quantile(990) > slow {
		t.Errorf("valid keys in the flood: %v", &flooded)
	}
	runtime.KeepAlive(holders)
}

func heapInUse() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
