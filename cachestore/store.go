// Package cachestore keeps the tokens that are in use in memory, in front of any
// token store.
//
//	cache := cachestore.New(store, nil)
//	go cache.Run(ctx) // where the store tells of changes: redisstore does
//	guard := httpkey.New(cache, limiter, nil)
//
// What it trades for speed is bounded. A change that is made through a [Store] shows
// in it at once. A change that is made elsewhere shows as soon as the store's
// [httpkey.ChangeFeed] tells of it, and without a feed after [Options.TTL]. Only
// while the store fails is a token used for longer, by [Options.StaleFor].
package cachestore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/maypok86/otter/v2"

	"github.com/httpkey/httpkey"
)

// Store is an [httpkey.TokenStore] that answers Lookup from memory where it
// can. Make one with [New], and one only for each store in a process: a change
// shows at once in the Store that it is made through. It is safe for concurrent use.
type Store struct {
	store   httpkey.TokenStore
	options Options
	epoch   time.Time // moments are counted from here, on the monotonic clock

	tokens  *otter.Cache[httpkey.Digest, *entry]
	absent  *otter.Cache[httpkey.Digest, absence] // apart, so that made-up keys evict no token
	changes *changes

	mu     sync.Mutex // guards the fields below, and every insertion into the caches
	loads  map[httpkey.Digest]*load
	outage outage
}

// New returns a Store in front of store. It panics if store is nil or opts are
// invalid. Nil opts mean the defaults.
func New(store httpkey.TokenStore, opts *Options) *Store {
	if store == nil {
		panic("httpkey: cachestore.New needs a store")
	}
	o := opts.withDefaults()
	return &Store{
		store:   store,
		options: o,
		epoch:   time.Now(),
		// Neither has an expiry of its own: that would start a goroutine, and
		// make a token that is past its TTL but of use in an outage disappear.
		tokens:  otter.Must(&otter.Options[httpkey.Digest, *entry]{MaximumSize: o.Size}),
		absent:  otter.Must(&otter.Options[httpkey.Digest, absence]{MaximumSize: max(1, o.Size/10)}),
		changes: newChanges(),
		loads:   make(map[httpkey.Digest]*load),
	}
}

// Lookup implements [httpkey.TokenStore]. It asks the store only for what is not
// in memory, or no longer good, and for one digest once at a time, however many
// wait for it. An answer that is in memory is given whatever the state of ctx.
//
// If the deadline of ctx passes while Lookup waits, that counts as a failure of
// the store: a token within StaleFor is the answer. A ctx that is canceled gets its error.
//
// LastUsed may be as old as the TTL: Get and List know better.
func (s *Store) Lookup(ctx context.Context, d httpkey.Digest) (httpkey.Token, error) {
	if e, ok := s.tokens.GetIfPresent(d); ok && s.isFresh(e) {
		return e.token.Token(), nil
	}
	if e := s.stale(d); e != nil && s.now() < time.Duration(e.retryAt.Load()) {
		return e.token.Token(), nil
	}
	token, err := s.load(ctx, d)
	if err == nil || errors.Is(err, httpkey.ErrNotFound) || errors.Is(ctx.Err(), context.Canceled) {
		return token, err
	}
	if e := s.stale(d); e != nil {
		e.retryAt.Store(int64(s.now() + retryAfter))
		return e.token.Token(), nil
	}
	return httpkey.Token{}, err
}

// Find implements [httpkey.EntryStore]: it knows what Lookup would answer at once.
func (s *Store) Find(d httpkey.Digest) (*httpkey.Entry, bool) {
	if e, ok := s.tokens.GetIfPresent(d); ok && s.isFresh(e) {
		return e.token, true
	}
	return nil, s.isAbsent(d)
}

// Self implements [httpkey.EntryStore].
func (s *Store) Self() httpkey.TokenStore { return s }

// Get implements [httpkey.TokenStore]. It always asks the store.
func (s *Store) Get(ctx context.Context, id string) (httpkey.Token, error) {
	return s.store.Get(ctx, id)
}

// List implements [httpkey.TokenStore]. It always asks the store.
func (s *Store) List(ctx context.Context, f httpkey.Filter) ([]httpkey.Token, error) {
	return s.store.List(ctx, f)
}

// Create implements [httpkey.TokenStore]. The token's key is good at once, even
// if it was asked for before.
func (s *Store) Create(ctx context.Context, t httpkey.Token) error {
	defer s.changes.noteDigest(t.Digest) // also if it fails, here and below: the store may have done it all the same
	defer s.changes.noteID(t.ID)
	return s.store.Create(ctx, t)
}

// Update implements [httpkey.TokenStore]. The next Lookup sees it.
func (s *Store) Update(ctx context.Context, t httpkey.Token) error {
	defer s.changes.noteID(t.ID) // not t.Digest, which the store does not look at
	return s.store.Update(ctx, t)
}

// Delete implements [httpkey.TokenStore]. The next Lookup sees it.
func (s *Store) Delete(ctx context.Context, id string) error {
	defer s.changes.noteID(id)
	return s.store.Delete(ctx, id)
}

// Touch implements [httpkey.TokenStore]. What is in memory keeps its LastUsed:
// to drop every token that is in use each second would leave nothing of the cache.
func (s *Store) Touch(ctx context.Context, used map[string]time.Time) error {
	return s.store.Touch(ctx, used)
}

// Format keeps the digests out of a printed Store.
func (s *Store) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "cachestore.Store") }

// entry is a token in memory.
type entry struct {
	reading reading
	id      *slot        // of the token's ID
	digest  *slot        // of the digest that it was found under
	retryAt atomic.Int64 // a moment: until then it is served without asking the store, which has just failed
	token   *httpkey.Entry
}

// absence is the knowledge that the store holds no token of a digest.
type absence struct {
	reading reading
	digest  *slot
}

// reading is a moment at which the store was asked. The answer may be as old as that.
type reading struct {
	at      time.Duration // since the epoch
	changes uint64        // that had been counted by then
}

func (s *Store) now() time.Duration { return time.Since(s.epoch) }

func (s *Store) read() reading { return reading{at: s.now(), changes: s.changes.count.Load()} }

func (s *Store) isFresh(e *entry) bool {
	return e.isCurrent() && s.now()-e.reading.at < s.options.TTL
}

func (e *entry) isCurrent() bool {
	return e.reading.follows(e.id) && e.reading.follows(e.digest)
}

// stale returns the token that may stand in for an answer of the store's, or nil.
func (s *Store) stale(d httpkey.Digest) *entry {
	e, ok := s.tokens.GetIfPresent(d)
	if !ok || !e.isCurrent() || s.now()-e.reading.at-s.options.TTL >= s.options.StaleFor {
		return nil
	}
	return e
}

// isAbsent reports whether the store is known to hold no token of d.
func (s *Store) isAbsent(d httpkey.Digest) bool {
	a, ok := s.absent.GetIfPresent(d)
	return ok && a.reading.follows(a.digest) && s.now()-a.reading.at < min(absentTTL, s.options.TTL)
}
