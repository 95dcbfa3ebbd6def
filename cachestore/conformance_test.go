package cachestore

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/memstore"
	"github.com/httpkey/httpkey/storetest"
)

// touching drops what was touched: the suite wants to see LastUsed at once,
// which is the one rule that a cache bends.
type touching struct{ *Store }

func (s touching) Touch(ctx context.Context, used map[string]time.Time) error {
	for id := range used {
		defer s.changes.noteID(id)
	}
	return s.Store.Touch(ctx, used)
}

func TestConforms(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(*testing.T) func() httpkey.TokenStore {
		s := New(memstore.New(), nil)
		return func() httpkey.TokenStore { return touching{s} }
	})
}

// A cache that holds next to nothing conforms too.
func TestConformsWithoutRoom(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(*testing.T) func() httpkey.TokenStore {
		s := New(memstore.New(), &Options{Size: 1})
		return func() httpkey.TokenStore { return touching{s} }
	})
}

// Several caches in front of one store, as in several processes, show each
// other's changes through its feed alone.
func TestConformsThroughFeed(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(t *testing.T) func() httpkey.TokenStore {
		b := newBackend()
		b.touchIsChange = true
		return func() httpkey.TokenStore {
			s := New(b, nil)
			follow(t, s, b)
			return s
		}
	})
}

// follow has s follow b until the test ends, and returns when it does.
func follow(t *testing.T, s *Store, b *backend) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	before := b.followedBy()
	go func() { ended <- s.Run(ctx) }()
	for deadline := time.Now().Add(10 * time.Second); b.followedBy() == before; {
		if time.Now().After(deadline) {
			t.Fatal("nobody follows the feed")
		}
		time.Sleep(time.Millisecond) // between two looks, outside of a bubble
	}
	t.Cleanup(func() {
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("Run returned %v", err)
		}
	})
}
