package storetest

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/memstore"
)

// wrongEntries is a good store with a Find of its own.
type wrongEntries struct {
	*memstore.Store
	find func(s *memstore.Store, d httpkey.Digest) *httpkey.Entry
}

func (w *wrongEntries) Find(d httpkey.Digest) (*httpkey.Entry, bool) { return w.find(w.Store, d), true }
func (w *wrongEntries) Self() httpkey.TokenStore                     { return w }

func found(s *memstore.Store, d httpkey.Digest) *httpkey.Entry {
	e, _ := s.Find(d)
	return e
}

// forgetful has its entries beside its tokens, and makes new ones in Update, so
// that a use noted in a former one is lost.
type forgetful struct {
	*memstore.Store
	entries map[httpkey.Digest]*httpkey.Entry
}

func (f *forgetful) Find(d httpkey.Digest) (*httpkey.Entry, bool) {
	t, err := f.Lookup(context.Background(), d)
	if err != nil {
		return nil, true
	}
	if f.entries[d] == nil {
		f.entries[d] = httpkey.NewEntry(t)
	}
	return f.entries[d], true
}

func (f *forgetful) Get(ctx context.Context, id string) (httpkey.Token, error) {
	t, err := f.Store.Get(ctx, id)
	if e, _ := f.Find(t.Digest); e != nil {
		t.LastUsed = e.Token().LastUsed
	}
	return t, err
}

func (f *forgetful) List(ctx context.Context, filter httpkey.Filter) ([]httpkey.Token, error) {
	page, err := f.Store.List(ctx, filter)
	for i := range page {
		page[i], _ = f.Get(ctx, page[i].ID)
	}
	return page, err
}

func (f *forgetful) Update(ctx context.Context, t httpkey.Token) error {
	old, _ := f.Get(ctx, t.ID)
	if e := f.entries[old.Digest]; e != nil {
		_ = f.Touch(ctx, map[string]time.Time{t.ID: e.Token().LastUsed})
		delete(f.entries, old.Digest)
	}
	return f.Store.Update(ctx, t)
}

func (f *forgetful) Self() httpkey.TokenStore { return f }

func TestWrongEntryStoresAreFoundOut(t *testing.T) {
	t.Parallel()
	stale := map[httpkey.Digest]*httpkey.Entry{}
	for _, wrong := range []struct {
		name  string
		rule  string
		store httpkey.EntryStore
	}{
		{"hands out copies", "EntryUses", &wrongEntries{memstore.New(), func(s *memstore.Store, d httpkey.Digest) *httpkey.Entry {
			if e := found(s, d); e != nil {
				return httpkey.NewEntry(e.Token())
			}
			return nil
		}}},
		{"loses uses in Update", "EntryUses", &forgetful{memstore.New(), map[httpkey.Digest]*httpkey.Entry{}}},
		{"finds what was updated or deleted", "Update", &wrongEntries{memstore.New(), func(s *memstore.Store, d httpkey.Digest) *httpkey.Entry {
			if stale[d] == nil {
				stale[d] = found(s, d)
			}
			return stale[d]
		}}},
	} {
		t.Run(wrong.name, func(t *testing.T) {
			finders := findersOf(func() httpkey.TokenStore { return wrong.store })
			err := errors.New("there is no such rule")
			for _, rule := range append(entryRules, storeRules...) {
				if rule.name == wrong.rule {
					err = rule.check(t.Context(), finders)
				}
			}
			if err == nil {
				t.Fatalf("the rule %s did not find out a store that %s", wrong.rule, wrong.name)
			}
			t.Log(err)
		})
	}
}

// wrongSlots is a good limiter with an AllowSlot of its own.
type wrongSlots struct {
	*memstore.Limiter
	allow func(l *memstore.Limiter, slot *httpkey.Slot, key string, limit httpkey.Limit, n int) (httpkey.Result, error)
}

func (w *wrongSlots) AllowSlot(slot *httpkey.Slot, key string, limit httpkey.Limit, n int, _ time.Time) (httpkey.Result, error) {
	return w.allow(w.Limiter, slot, key, limit, n)
}

func (w *wrongSlots) Self() httpkey.Limiter { return w }

func TestWrongSlotLimitersAreFoundOut(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	for _, wrong := range []struct {
		name    string
		rule    string
		limiter func() httpkey.SlotLimiter
	}{
		{"keeps a bucket in each slot", "OneBucket", func() httpkey.SlotLimiter {
			return &wrongSlots{memstore.NewLimiter(), func(l *memstore.Limiter, slot *httpkey.Slot, key string, limit httpkey.Limit, n int) (httpkey.Result, error) {
				return l.Allow(ctx, fmt.Sprintf("%s in %p", key, slot), limit, n)
			}}
		}},
		{"takes from the bucket that it finds", "KeysApart", func() httpkey.SlotLimiter {
			return &wrongSlots{memstore.NewLimiter(), func(l *memstore.Limiter, slot *httpkey.Slot, key string, limit httpkey.Limit, n int) (httpkey.Result, error) {
				if known, ok := slot.Load().(string); ok {
					key = known
				}
				remembered := any(key)
				slot.Store(&remembered)
				return l.Allow(ctx, key, limit, n)
			}}
		}},
	} {
		t.Run(wrong.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				limiter := wrong.limiter()
				factory := LimiterFactory{New: func(*testing.T) func() httpkey.Limiter {
					return slottersOf(func() httpkey.Limiter { return limiter }, true)
				}}
				err := errors.New("there is no such rule")
				for _, rule := range append(slotRules, limiterRules...) {
					if rule.name == wrong.rule {
						err = rule.check(t.Context(), factory.bench(t))
					}
				}
				if err == nil {
					t.Fatalf("the rule %s did not find out a limiter that %s", wrong.rule, wrong.name)
				}
				t.Log(err)
			})
		})
	}
}

// Who embeds a store or a limiter is not taken for it.
func TestEmbeddingIsNotShared(t *testing.T) {
	t.Parallel()
	if findersOf(func() httpkey.TokenStore { return struct{ *memstore.Store }{memstore.New()} }) != nil {
		t.Error("the Find of an embedded store is used")
	}
	if slottersOf(func() httpkey.Limiter { return struct{ *memstore.Limiter }{memstore.NewLimiter()} }, false) != nil {
		t.Error("the AllowSlot of an embedded limiter is used")
	}
}
