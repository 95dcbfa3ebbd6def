// Package cachestore keeps the tokens that are in use in memory, in front of any
// token store.
//
//	cache := cachestore.New(store, nil)
//	go cache.Run(ctx) // where the store tells of changes: redisstore does
//	guard := httpkey.New(cache, limiter, nil)
//
// A change through a [Store] shows in it at once. A change elsewhere shows when the
// underlying store's [httpkey.ChangeFeed] reports it, or without a feed after
// [Options.TTL]. While the underlying store fails, the cache uses a token for longer, by
// [Options.StaleFor].
//
// Anybody can make up keys that reach the store, because the checksum of a key is public.
// [Options.MaxUnknown] therefore bounds the lookups of unknown keys, which are those that are
// not in memory. It bounds no lookup of a key in memory and no other method, so a flood of
// made-up keys does not delay these. A valid key that is not in memory competes with the
// flood. The Guard answers 503 if it loses.
//
// A Store relaxes one rule of [httpkey.TokenStore]: Lookup may return a LastUsed that is as
// old as the TTL, or as TTL + StaleFor while the store fails. Get and List return the present
// one. Set Claims.LateUses in storetest.
package cachestore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/internal/pack"
	"github.com/httpkey/httpkey/internal/ram"
)

// Store is an [httpkey.TokenStore] that answers Lookup from memory if it can. Make one
// with [New], and only one for each underlying store in a process, because a change shows
// at once only in the Store that made it. It is safe for concurrent use.
//
// A Guard reads the tokens in place in memory, and writes their uses by Touch.
type Store struct {
	holder

	store   httpkey.TokenStore
	options Options

	tokens  *ram.Table[httpkey.Token] // read without the lock
	absent  *absences
	changes *changes

	mu     sync.Mutex               // guards the fields below; held to change tokens and absent
	loads  map[httpkey.Digest]*load // the last of each digest that waits or is in progress
	lane   lane
	outage outage
}

type holder = ram.Holder[httpkey.Token]

// New returns a Store in front of store. It panics if store is nil or opts are
// invalid. Nil opts mean the defaults. New does no I/O and starts no goroutine.
func New(store httpkey.TokenStore, opts *Options) *Store {
	if store == nil {
		panic("httpkey: cachestore.New needs a store")
	}
	o := opts.withDefaults()
	s := &Store{
		store:   store,
		options: o,
		tokens:  new(ram.Table[httpkey.Token]),
		absent:  newAbsences(o.Size / 10),
		changes: newChanges(),
		loads:   make(map[httpkey.Digest]*load),
		lane:    lane{free: o.MaxUnknown},
	}
	s.holder = ram.Hold(s, source{s})
	return s
}

// Lookup implements [httpkey.TokenStore]. It asks the store only for a token that is
// missing or outdated in memory. All callers that wait for one digest share one call. An
// answer from memory does not depend on the state of ctx.
//
// If the token is missing in memory, the call may wait for others; see [Options.MaxUnknown].
//
// If the deadline of ctx passes while Lookup waits, that counts as a failure of the store:
// Lookup then returns a token within StaleFor. If ctx is canceled, Lookup returns the error
// of ctx.
//
// LastUsed may be as old as the TTL, or as TTL + StaleFor while the store fails.
func (s *Store) Lookup(ctx context.Context, d httpkey.Digest) (httpkey.Token, error) {
	at := now()
	if c := s.find(d); s.isFresh(&c, at) || s.isStale(&c, at) && c.isPaused(at) {
		return pack.Token(c.View), nil
	}
	token, err := s.load(ctx, d)
	if err == nil || errors.Is(err, httpkey.ErrNotFound) || errors.Is(ctx.Err(), context.Canceled) {
		return token, err
	}
	at = now()
	if c := s.find(d); s.isStale(&c, at) {
		s.pause(&c, at)
		return pack.Token(c.View), nil
	}
	return httpkey.Token{}, err
}

// Get implements [httpkey.TokenStore]. It always asks the store.
func (s *Store) Get(ctx context.Context, id string) (httpkey.Token, error) {
	return s.store.Get(ctx, id)
}

// List implements [httpkey.TokenStore]. It always asks the store.
func (s *Store) List(ctx context.Context, f httpkey.Filter) ([]httpkey.Token, error) {
	return s.store.List(ctx, f)
}

// Create implements [httpkey.TokenStore]. The token's key is valid at once, even if a Lookup
// found it missing before.
func (s *Store) Create(ctx context.Context, t httpkey.Token) (httpkey.Token, error) {
	// This also follows an error, here and below, since the store may have made the change.
	defer s.changes.noteDigest(t.Digest)
	defer s.changes.noteID(t.ID)
	created, err := s.store.Create(ctx, t)
	if created.ID != t.ID { // the store chose another ID
		s.changes.noteID(created.ID)
	}
	return created, err
}

// Update implements [httpkey.TokenStore]. The next Lookup sees it.
func (s *Store) Update(ctx context.Context, id string, change func(*httpkey.Token) error) (httpkey.Token, error) {
	defer s.changes.noteID(id)
	return s.store.Update(ctx, id, change)
}

// Delete implements [httpkey.TokenStore]. The next Lookup sees it.
func (s *Store) Delete(ctx context.Context, id string) error {
	defer s.changes.noteID(id)
	return s.store.Delete(ctx, id)
}

// Touch implements [httpkey.TokenStore]. A token in memory stays with its old LastUsed. If
// Touch dropped it, no token in use would stay in memory for more than a second.
func (s *Store) Touch(ctx context.Context, used map[string]time.Time) error {
	return s.store.Touch(ctx, used)
}

// String returns the name of the type, which templates print.
func (s *Store) String() string { return "cachestore.Store" }

// Format keeps the digests out of a printed Store.
func (s *Store) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.String()) }
