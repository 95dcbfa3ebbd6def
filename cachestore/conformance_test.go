package cachestore

import (
	"context"
	"testing"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/internal/clock"
	"github.com/httpkey/httpkey/memstore"
	"github.com/httpkey/httpkey/storetest"
)

// claims name the one rule that a cache bends.
var claims = storetest.Claims{LateUses: true}

// finder is a Store that is asked as a Guard asks it: by its source wherever that knows.
type finder struct{ *Store }

func (f finder) Lookup(ctx context.Context, d httpkey.Digest) (httpkey.Token, error) {
	memory := source(f)
	v, known := memory.Find(d, clock.Elapsed())
	switch {
	case !known:
		return f.Store.Lookup(ctx, d)
	case !v.Exists():
		return httpkey.Token{}, httpkey.ErrNotFound
	}
	return memory.Token(v), nil
}

// A cache conforms, one that holds next to nothing too, and also where a Guard reads the
// tokens in its memory.
func TestConforms(t *testing.T) {
	t.Parallel()
	for name, opts := range map[string]*Options{"default": nil, "without room": {Size: 1}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			claims.Run(t, func(*testing.T) func() httpkey.TokenStore {
				s := New(memstore.New(), opts)
				return func() httpkey.TokenStore { return s }
			})
		})
		t.Run(name+", by its source", func(t *testing.T) {
			t.Parallel()
			claims.Run(t, func(*testing.T) func() httpkey.TokenStore {
				s := New(memstore.New(), opts)
				return func() httpkey.TokenStore { return finder{s} }
			})
		})
	}
}

// Several caches in front of one store, as in several processes, show each
// other's changes through its feed alone.
func TestConformsThroughFeed(t *testing.T) {
	t.Parallel()
	claims.Run(t, func(t *testing.T) func() httpkey.TokenStore {
		b := newBackend()
		return func() httpkey.TokenStore {
			s := New(b, nil)
			follow(t, s, b)
			return finder{s}
		}
	})
}
