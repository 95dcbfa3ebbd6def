// Package memstore keeps tokens and rate limits in the memory of one process.
//
// [Store] is a token store, [Limiter] is a GCRA limiter and [Window] is a strict
// sliding window. They serve unit tests and programs that run as one process.
//
// Limits with a Period follow the monotonic clock, so a change of the wall clock does not
// affect them. On Linux and macOS that clock stands still while the machine sleeps. After a
// sleep, a caller over its limit still waits for as long as it had to before. An
// X-RateLimit-Reset from before the sleep is then too early. Quotas, the expiry of tokens and
// LastUsed follow the wall clock, which goes on.
package memstore

import (
	"context"
	"fmt"
	"hash/maphash"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/internal/pack"
	"github.com/httpkey/httpkey/internal/ram"
)

// Store is an [httpkey.TokenStore] and an [httpkey.ChangeFeed] in memory. Make one with [New].
// Its tokens are lost when the process ends. It is safe for concurrent use. Only Changes
// waits. The other methods ignore contexts.
//
// A Guard reads the tokens in place, and updates LastUsed in the token at each request. It
// does not call Touch.
//
// A token takes about 250 bytes besides its strings, including the bucket of a [Limiter].
// A token with any field of [httpkey.Token.More] takes some 500 bytes more.
type Store struct {
	holder

	tokens *ram.Table[httpkey.Token] // read without the lock
	seed   maphash.Seed

	mu      sync.RWMutex // held to change the tokens, and to use the fields below
	ids     ram.Index
	all     byAge
	rotated map[string]byAge // by RotatedFrom

	feed feed
}

type holder = ram.Holder[httpkey.Token]

// New returns an empty Store.
func New() *Store {
	s := &Store{tokens: new(ram.Table[httpkey.Token]), seed: maphash.MakeSeed(), rotated: make(map[string]byAge)}
	s.holder = ram.Hold(s, source{s.tokens})
	return s
}

// source is the view of a Store that a Guard uses.
type source struct{ table *ram.Table[httpkey.Token] }

func (s source) Find(d [32]byte, _ int64) (pack.View, bool) {
	v, _ := s.table.View(&d)
	return v, true
}

func (s source) Holds(d [32]byte) bool {
	_, ok := s.table.Find(&d)
	return ok
}

func (source) Token(v pack.View) httpkey.Token    { return pack.Token(v) }
func (s source) Table() *ram.Table[httpkey.Token] { return s.table }
func (source) IsCopy() bool                       { return false }

// Create implements [httpkey.TokenStore].
func (s *Store) Create(_ context.Context, t httpkey.Token) (httpkey.Token, error) {
	created, err := s.create(t)
	if err == nil {
		s.feed.tell(t.Digest)
	}
	return created, err
}

func (s *Store) create(t httpkey.Token) (httpkey.Token, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	digest := [32]byte(t.Digest)
	_, isTaken := s.find(t.ID)
	if _, ok := s.tokens.Find(&digest); ok || isTaken {
		return httpkey.Token{}, httpkey.ErrConflict
	}
	n := s.tokens.Add(&digest, ram.Micros(t.LastUsed), pack.Fields(t), ram.Stamp{})
	s.ids.Add(s.hash(t.ID), n, s.hashOf)
	s.insert(n)
	return pack.Token(s.tokens.At(n)), nil
}

// Lookup implements [httpkey.TokenStore].
func (s *Store) Lookup(_ context.Context, d httpkey.Digest) (httpkey.Token, error) {
	digest := [32]byte(d)
	v, _ := s.tokens.View(&digest)
	if !v.Exists() {
		return httpkey.Token{}, httpkey.ErrNotFound
	}
	return pack.Token(v), nil
}

// Get implements [httpkey.TokenStore].
func (s *Store) Get(_ context.Context, id string) (httpkey.Token, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	n, ok := s.find(id)
	if !ok {
		return httpkey.Token{}, httpkey.ErrNotFound
	}
	return pack.Token(s.tokens.At(n)), nil
}

// find returns the number of the token with an ID.
func (s *Store) find(id string) (n uint32, ok bool) {
	return s.ids.Search(s.hash(id), func(n uint32) bool { return s.id(n) == id })
}

func (s *Store) id(n uint32) string {
	v := s.tokens.At(n)
	return v.Text().ID()
}

func (s *Store) hash(id string) uint64  { return maphash.String(s.seed, id) }
func (s *Store) hashOf(n uint32) uint64 { return s.hash(s.id(n)) }

// List implements [httpkey.TokenStore]. Its time is proportional to the tokens that it
// scans, including those that f does not select. Changes wait meanwhile.
func (s *Store) List(_ context.Context, f httpkey.Filter) ([]httpkey.Token, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	list := s.all
	if f.RotatedFrom != "" {
		list = s.rotated[f.RotatedFrom]
	}
	next := len(list)
	if f.After != (httpkey.Cursor{}) {
		next, _ = s.position(list, f.After)
	}
	var page []httpkey.Token
	for next--; next >= 0 && len(page) < f.PageSize(); next-- {
		if t := pack.Token(s.tokens.At(list[next])); f.Matches(&t) {
			page = append(page, t)
		}
	}
	return page, nil
}

// Update implements [httpkey.TokenStore]. It calls change once, while all other changes of
// the store wait, so change must not call the Store.
func (s *Store) Update(_ context.Context, id string, change func(*httpkey.Token) error) (httpkey.Token, error) {
	updated, err := s.update(id, change)
	if err == nil {
		s.feed.tell(updated.Digest)
	}
	return updated, err
}

func (s *Store) update(id string, change func(*httpkey.Token) error) (httpkey.Token, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n, ok := s.find(id)
	if !ok {
		return httpkey.Token{}, httpkey.ErrNotFound
	}
	next, err := pack.Token(s.tokens.At(n)).Apply(change)
	if err != nil {
		return httpkey.Token{}, err
	}
	s.remove(n) // CreatedAt, and so the place in the list, may change
	s.tokens.Replace(n, ram.Null, pack.Fields(next), ram.Stamp{})
	s.insert(n)
	return pack.Token(s.tokens.At(n)), nil
}

// Delete implements [httpkey.TokenStore].
func (s *Store) Delete(_ context.Context, id string) error {
	if digest, ok := s.delete(id); ok {
		s.feed.tell(digest)
	}
	return nil
}

func (s *Store) delete(id string) (digest [32]byte, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n, ok := s.find(id)
	if !ok {
		return digest, false
	}
	digest = s.tokens.At(n).Digest
	s.remove(n)
	s.ids.Remove(s.hash(id), n, s.hashOf)
	s.tokens.Remove(n)
	return digest, true
}

// Touch implements [httpkey.TokenStore].
func (s *Store) Touch(_ context.Context, used map[string]time.Time) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for id, at := range used {
		if n, ok := s.find(id); ok {
			v := s.tokens.At(n)
			s.tokens.Touch(&v, ram.Micros(at))
		}
	}
	return nil
}

// String returns the name of the type, which templates print.
func (s *Store) String() string { return "memstore.Store" }

// Format keeps the digests out of a printed Store.
func (s *Store) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.String()) }

// byAge is the numbers of tokens, oldest first, so that Create appends; List reads it backwards.
type byAge []uint32

// insert adds a token to the lists.
func (s *Store) insert(n uint32) {
	v := s.tokens.At(n)
	s.all = s.with(s.all, v)
	if from := pack.RotatedFrom(v); from != "" {
		s.rotated[strings.Clone(from)] = s.with(s.rotated[from], v)
	}
}

// remove removes a token from the lists.
func (s *Store) remove(n uint32) {
	v := s.tokens.At(n)
	s.all = s.without(s.all, v)
	if from := pack.RotatedFrom(v); from != "" {
		s.rotated[from] = s.without(s.rotated[from], v)
		if len(s.rotated[from]) == 0 {
			delete(s.rotated, from)
		}
	}
}

func (s *Store) with(list byAge, v pack.View) byAge {
	i, _ := s.position(list, pack.Cursor(v))
	return slices.Insert(list, i, v.Number)
}

func (s *Store) without(list byAge, v pack.View) byAge {
	if i, ok := s.position(list, pack.Cursor(v)); ok {
		list = slices.Delete(list, i, i+1)
	}
	return list
}

// position returns the index of the token at c, or the index at which it would belong.
func (s *Store) position(list byAge, c httpkey.Cursor) (int, bool) {
	return slices.BinarySearchFunc(list, c, func(n uint32, c httpkey.Cursor) int {
		return c.Compare(pack.Cursor(s.tokens.At(n)))
	})
}
