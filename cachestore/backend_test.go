package cachestore

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/httpkeytest"
	"github.com/httpkey/httpkey/memstore"
)

var (
	errDown   = errors.New("the store is down")
	errBroken = errors.New("the feed is broken")
)

// backend is a store that fails on demand, and tells its followers of changes before it
// acknowledges them.
type backend struct {
	*httpkeytest.Store
	silent *memstore.Store // behind it: no follower is told of a change there

	mu        sync.Mutex
	followers map[*follower]bool
	calls     int   // of Changes
	refuse    error // that Changes returns at once
}

type follower struct {
	changed func(httpkey.Digest)
	broken  chan struct{}
}

func newBackend() *backend {
	silent := memstore.New()
	return &backend{Store: httpkeytest.NewStore(silent), silent: silent, followers: make(map[*follower]bool)}
}

func (b *backend) Create(ctx context.Context, t httpkey.Token) (httpkey.Token, error) {
	defer b.tell(t.Digest)
	return b.Store.Create(ctx, t)
}

func (b *backend) Update(
	ctx context.Context, id string, change func(*httpkey.Token) error,
) (httpkey.Token, error) {
	defer b.tellOf(ctx, id)()
	return b.Store.Update(ctx, id, change)
}

func (b *backend) Delete(ctx context.Context, id string) error {
	defer b.tellOf(ctx, id)()
	return b.Store.Delete(ctx, id)
}

// tellOf returns a function that reports a change of the token with this ID.
func (b *backend) tellOf(ctx context.Context, id string) func() {
	t, err := b.silent.Get(ctx, id)
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

// cut breaks the feed for all followers. Changes returns refuse from now on, if it is not nil.
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
		time.Sleep(time.Millisecond) // the feed does not say when it is followed, and some callers are in no bubble
	}
	t.Cleanup(func() {
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("Run returned %v", err)
		}
	})
}

// digest returns the digest of a number. Its first bytes are spread, as those of a hash are.
func digest(n int) (d httpkey.Digest) {
	binary.LittleEndian.PutUint64(d[:], uint64(n)*0x9e3779b97f4a7c15)
	binary.LittleEndian.PutUint32(d[20:], uint32(n))
	d[31] = 1
	return d
}

// number is the inverse of digest.
func number(d httpkey.Digest) int { return int(binary.LittleEndian.Uint32(d[20:])) }

func token(n int) httpkey.Token {
	return httpkey.Token{
		ID: fmt.Sprint("token-", n), Digest: digest(n), Kind: httpkey.APIKey, Scopes: []string{"read"}, IsActive: true,
	}
}

func labeled(t httpkey.Token, label string) httpkey.Token {
	t.Label = label
	return t
}

// create puts tokens into a store.
func create(t testing.TB, s httpkey.TokenStore, tokens ...httpkey.Token) {
	t.Helper()
	for _, token := range tokens {
		if _, err := s.Create(t.Context(), token); err != nil {
			t.Fatal(err)
		}
	}
}

// relabel changes the label of the token that token(n) makes.
func relabel(ctx context.Context, s httpkey.TokenStore, n int, label string) error {
	_, err := s.Update(ctx, token(n).ID, func(t *httpkey.Token) error {
		t.Label = label
		return nil
	})
	return err
}

// lookup returns the label of the token under d, or the error.
func lookup(ctx context.Context, s httpkey.TokenStore, d httpkey.Digest) (string, error) {
	t, err := s.Lookup(ctx, d)
	return t.Label, err
}

// expect checks the answer of a Lookup, and how many Lookups in the store that took.
func expect(t *testing.T, s *Store, b *backend, d httpkey.Digest, label string, want error, lookups int) {
	t.Helper()
	before := b.Calls("Lookup")
	got, err := lookup(t.Context(), s, d)
	if got != label || !errors.Is(err, want) {
		t.Errorf("Lookup: %q and %v, want %q and %v", got, err, label, want)
	}
	if n := b.Calls("Lookup") - before; n != lookups {
		t.Errorf("that took %d Lookups in the store, want %d", n, lookups)
	}
}

// events collects the events that an observer is told of.
type events struct {
	mu  sync.Mutex
	all []string
}

func (e *events) Observe(_ context.Context, event *httpkey.Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	text := string(event.Type)
	if event.Err != nil {
		text += ": " + event.Err.Error()
	}
	e.all = append(e.all, text)
}

// take returns the events since it was last called.
func (e *events) take() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	text := strings.Join(e.all, ", ")
	e.all = nil
	return text
}
