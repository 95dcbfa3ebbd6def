package cachestore

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/httpkeytest"
	"github.com/httpkey/httpkey/internal/flood"
)

// A flood of made-up keys delays no key in memory, no revocation and no limit. The flood is below
// or above the capacity of the store's connections. Valid keys that are not in memory
// get as large a share of the store as made-up keys. The test counts all goroutines, so no
// other test runs beside it.
func TestFloodLeavesKeysInMemoryAlone(t *testing.T) {
	for _, load := range []float64{0.75, 1.25, 2} {
		t.Run(fmt.Sprint(load), func(t *testing.T) {
			f := attack(t, load)
			for what, share := range map[string]flood.Share{
				"requests with a key in memory were admitted": f.InUse,
				"revocations took effect within 100 ms":       f.Revoked,
			} {
				if share.Good != share.All || share.All == 0 {
					t.Errorf("%d of %d %s", share.Good, share.All, what)
				}
			}
			least := 0.9
			if load > 1 {
				least = 0.6 * f.MadeUp.Of() // it is a sample, and each request also makes a call for its limit
			}
			if got := f.Unused.Of(); got < least {
				t.Errorf("%.2f of the requests with a valid key that is not in memory were admitted, want %.2f", got, least)
			}
			if capacity := attackTime.Seconds() * float64(flood.Capacity); load > 1 && float64(f.MadeUp.Good) < 0.8*capacity {
				t.Errorf("%d made-up keys were looked up, the store has room for %.0f lookups", f.MadeUp.Good, capacity)
			}
			if f.Events[EventStoreDown]+f.Events[httpkey.EventLimiterDown] > 0 {
				t.Errorf("the Observer got events of an outage: %v", f.Events)
			}
			if f.Goroutines > 64 {
				t.Errorf("there are %d goroutines more", f.Goroutines)
			}
		})
	}
}

const attackTime = 4 * time.Second

// attack sends made-up keys to a Guard, at a share of the capacity of the pool that has its
// tokens and limits. The tokens are behind a cache.
func attack(t *testing.T, load float64) (f flood.Figures) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		pool := flood.OpenPool()
		defer func() { _ = pool.Close() }()
		events := new(flood.Events)
		// The TTL is short, so that keys in use are looked up again.
		cache := New(pool.Store(), &Options{Observers: []httpkey.Observer{events}, TTL: time.Second})
		guard := httpkey.New(cache, pool.Limiter(), &httpkey.Options{Observers: []httpkey.Observer{events}})
		a := flood.Attack{
			Guard:    guard,
			Issuer:   httpkey.New(pool.Tokens, httpkey.Unlimited, nil),
			Events:   events,
			Capacity: flood.Capacity,
			Load:     load,
			Time:     attackTime,
			Stall:    pool.Stall,
			Resume:   pool.Resume,
		}
		var err error
		if f, err = a.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := guard.Close(t.Context()); err != nil {
			t.Error(err)
		}
		httpkeytest.Elapse(cache.options.Timeout) // loads end
	})
	t.Logf("%+v", f)
	return f
}
