package storetest

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/httpkey/httpkey"
)

// What shares its memory with a Guard keeps the same rules there: the suites run
// once more by way of Find and AllowSlot.

// finder is an EntryStore that is looked into by Find wherever that knows.
type finder struct{ httpkey.EntryStore }

func (f finder) Lookup(ctx context.Context, d httpkey.Digest) (httpkey.Token, error) {
	entry, known := f.Find(d)
	switch {
	case !known:
		return f.EntryStore.Lookup(ctx, d)
	case entry == nil:
		return httpkey.Token{}, httpkey.ErrNotFound
	}
	return entry.Token(), nil
}

// findersOf returns the stores of open as finders, or nil if a Guard would not use their Find.
func findersOf(open func() httpkey.TokenStore) func() httpkey.TokenStore {
	store := open()
	if entries, ok := store.(httpkey.EntryStore); !ok || entries.Self() != store {
		return nil
	}
	return func() httpkey.TokenStore { return finder{open().(httpkey.EntryStore)} }
}

// entryRules are those of [httpkey.EntryStore].
var entryRules = []storeRule{
	{"EntryUses", "a use that is noted in an Entry is stored, also if the token was updated since the Entry was found, unless it is a copy", checkEntryUses},
}

func checkEntryUses(ctx context.Context, open func() httpkey.TokenStore) error {
	store := open().(finder)
	want := token(1)
	if err := create(ctx, store, want); err != nil {
		return err
	}
	entry, known := store.Find(want.Digest)
	if !known || entry == nil || entry.IsCopy() {
		return nil // uses are written by Touch
	}
	for n := range 3 {
		want.LastUsed = want.LastUsed.Add(time.Second)
		entry.Touch(want.LastUsed)
		entry.Touch(epoch)
		if err := holds(ctx, store, want); err != nil {
			return fmt.Errorf("after a use was noted in its Entry: %w", err)
		}
		want.Label = fmt.Sprintf("update %d", n)
		if err := store.Update(ctx, want); err != nil {
			return err
		}
		if err := holds(ctx, store, want); err != nil {
			return fmt.Errorf("after an Update: %w", err)
		}
	}
	return nil
}

// slotter is a SlotLimiter that is asked by AllowSlot alone. Each key has a slot;
// with foreign ones, it has one that was just used for another key.
type slotter struct {
	httpkey.SlotLimiter
	foreign bool

	mu    sync.Mutex
	slots map[string]*httpkey.Slot
}

func (s *slotter) Allow(_ context.Context, key string, limit httpkey.Limit, n int) (httpkey.Result, error) {
	slot := s.slot(key)
	if s.foreign {
		_, _ = s.AllowSlot(slot, "another", httpkey.PerSecond(1), 0, time.Now())
	}
	return s.AllowSlot(slot, key, limit, n, time.Now())
}

func (s *slotter) slot(key string) *httpkey.Slot {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.foreign {
		key = ""
	}
	if s.slots[key] == nil {
		s.slots[key] = new(httpkey.Slot)
	}
	return s.slots[key]
}

// slottersOf returns the limiters of open as slotters, or nil if a Guard would not
// use their AllowSlot.
func slottersOf(open func() httpkey.Limiter, foreign bool) func() httpkey.Limiter {
	limiter := open()
	if slots, ok := limiter.(httpkey.SlotLimiter); !ok || slots.Self() != limiter {
		return nil
	}
	return func() httpkey.Limiter {
		return &slotter{SlotLimiter: open().(httpkey.SlotLimiter), foreign: foreign, slots: make(map[string]*httpkey.Slot)}
	}
}

// slotRules are those of [httpkey.SlotLimiter].
var slotRules = []limiterRule{
	{"OneBucket", "Allow and AllowSlot, with whatever slot, take from the same bucket", checkOneBucket},
}

func checkOneBucket(ctx context.Context, b limiterBench) error {
	limiter, limit := b.open().(*slotter).SlotLimiter, httpkey.PerHour(12)
	var slots [2]httpkey.Slot
	for want := 11; want >= 0; want-- {
		r, err := limiter.AllowSlot(&slots[want%2], "key", limit, 1, time.Now())
		if want%3 == 0 {
			r, err = limiter.Allow(ctx, "key", limit, 0)
		}
		if err != nil {
			return err
		}
		if r.Remaining != want {
			return fmt.Errorf("%d of %d remain, want %d", r.Remaining, limit.Rate, want)
		}
	}
	return nil
}
