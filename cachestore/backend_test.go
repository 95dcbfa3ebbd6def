package cachestore

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/memstore"
)

var (
	errDown   = errors.New("the store is down")
	errBroken = errors.New("the feed is broken")
)

// backend is a store whose Lookups are counted and can be held up or made to
// fail, and which tells of changes to whoever follows it, before it
// acknowledges them.
type backend struct {
	*memstore.Store
	lookups atomic.Int64
	// before runs before a Lookup reads, after when it has read. Their errors are
	// the answer. They are set before the store is in use, or between uses.
	before, after func(ctx context.Context, d httpkey.Digest) error
	touchIsChange bool // so that the conformance suite sees LastUsed through a cache

	mu        sync.Mutex
	followers map[*follower]bool
	calls     int   // of Changes
	refuse    error // what Changes returns at once
}

type follower struct {
	changed func(httpkey.Digest)
	broken  chan struct{}
}

func newBackend() *backend {
	return &backend{Store: memstore.New(), followers: make(map[*follower]bool)}
}

func (b *backend) Lookup(ctx context.Context, d httpkey.Digest) (httpkey.Token, error) {
	b.lookups.Add(1)
	if b.before != nil {
		if err := b.before(ctx, d); err != nil {
			return httpkey.Token{}, err
		}
	}
	t, err := b.Store.Lookup(ctx, d)
	if b.after != nil {
		if err := b.after(ctx, d); err != nil {
			return httpkey.Token{}, err
		}
	}
	return t, err
}

func (b *backend) Create(ctx context.Context, t httpkey.Token) error {
	defer b.tell(t.Digest)
	return b.Store.Create(ctx, t)
}

func (b *backend) Update(ctx context.Context, t httpkey.Token) error {
	defer b.tellOf(ctx, t.ID)()
	return b.Store.Update(ctx, t)
}

func (b *backend) Delete(ctx context.Context, id string) error {
	defer b.tellOf(ctx, id)()
	return b.Store.Delete(ctx, id)
}

func (b *backend) Touch(ctx context.Context, used map[string]time.Time) error {
	if b.touchIsChange {
		for id := range used {
			defer b.tellOf(ctx, id)()
		}
	}
	return b.Store.Touch(ctx, used)
}

func (b *backend) tellOf(ctx context.Context, id string) func() {
	t, err := b.Get(ctx, id)
	if err != nil {
		return func() {}
	}
	return func() { b.tell(t.Digest) }
}

func (b *backend) tell(d httpkey.Digest) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for f := range b.followers {
		f.changed(d)
	}
}

// Changes implements [httpkey.ChangeFeed].
func (b *backend) Changes(ctx context.Context, ready func(), changed func(httpkey.Digest)) error {
	f := &follower{changed, make(chan struct{})}
	b.mu.Lock()
	b.calls++
	if err := b.refuse; err != nil {
		b.mu.Unlock()
		return err
	}
	ready()
	b.followers[f] = true
	b.mu.Unlock()
	select {
	case <-ctx.Done():
		b.mu.Lock()
		defer b.mu.Unlock()
		delete(b.followers, f)
		return ctx.Err()
	case <-f.broken:
		return errBroken
	}
}

// cut breaks the feed of all who follow it; refuse is what Changes answers from now on.
func (b *backend) cut(refuse error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.refuse = refuse
	for f := range b.followers {
		delete(b.followers, f)
		close(f.broken)
	}
}

func (b *backend) followedBy() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.followers)
}

func digest(n int) (d httpkey.Digest) {
	d[0], d[1], d[2], d[31] = byte(n), byte(n>>8), byte(n>>16), 1
	return d
}

func token(n int) httpkey.Token {
	return httpkey.Token{ID: fmt.Sprint("token-", n), Digest: digest(n), Scopes: []string{"read"}, IsActive: true}
}

// create puts tokens into a store behind the cache's back.
func create(t testing.TB, s httpkey.TokenStore, tokens ...httpkey.Token) {
	t.Helper()
	for _, token := range tokens {
		if err := s.Create(t.Context(), token); err != nil {
			t.Fatal(err)
		}
	}
}

// lookup returns the label of the token under d, or the error.
func lookup(ctx context.Context, s httpkey.TokenStore, d httpkey.Digest) (string, error) {
	t, err := s.Lookup(ctx, d)
	return t.Label, err
}

// expect checks what a Lookup answers, and how many Lookups in the store that took.
func expect(t *testing.T, s *Store, b *backend, d httpkey.Digest, label string, want error, lookups int64) {
	t.Helper()
	before := b.lookups.Load()
	got, err := lookup(t.Context(), s, d)
	if got != label || !errors.Is(err, want) {
		t.Errorf("Lookup: %q and %v, want %q and %v", got, err, label, want)
	}
	if n := b.lookups.Load() - before; n != lookups {
		t.Errorf("that took %d Lookups in the store, want %d", n, lookups)
	}
}

func labeled(t httpkey.Token, label string) httpkey.Token {
	t.Label = label
	return t
}

// events collects what an observer is told.
type events struct {
	mu  sync.Mutex
	all []string
}

func (e *events) Observe(_ context.Context, event httpkey.Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	text := string(event.Type)
	if event.Err != nil {
		text += ": " + event.Err.Error()
	}
	e.all = append(e.all, text)
}

// take returns what was told since it was last called.
func (e *events) take() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	text := strings.Join(e.all, ", ")
	e.all = nil
	return text
}

// elapse lets d of a bubble's time elapse, which takes none: every caller is in [synctest.Test].
func elapse(d time.Duration) { time.Sleep(d) }
