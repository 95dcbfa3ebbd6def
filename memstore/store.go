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
	"io"
	"slices"
	"sync"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/internal/pack"
	"github.com/httpkey/httpkey/internal/ram"
)

// Store is an [httpkey.TokenStore] in memory. Make one with [New]. Its tokens are lost
// when the process ends. It is safe for concurrent use. It ignores contexts, because it
// never waits.
//
// A Guard reads the tokens in place, and updates LastUsed in the token at each request,
// to the millisecond. It does not call Touch.
//
// A token takes about 320 bytes besides its strings, including the bucket of a [Limiter].
// A token with any field of [httpkey.Token.More] takes some 500 bytes more.
type Store struct {
	holder

	byDigest *ram.Index[httpkey.Token] // read without the lock

	mu      sync.RWMutex
	byID    map[string]*entry
	all     byAge
	rotated map[string]byAge // by RotatedFrom
}

type (
	entry  = ram.Entry[httpkey.Token]
	holder = ram.Holder[httpkey.Token]
)

// New returns an empty Store.
func New() *Store {
	s := &Store{
		byDigest: ram.NewIndex[httpkey.Token](),
		byID:     make(map[string]*entry),
		rotated:  make(map[string]byAge),
	}
	s.holder = ram.Hold(s, source{s.byDigest})
	return s
}

// source is the view of a Store that a Guard uses.
type source struct{ *ram.Index[httpkey.Token] }

func (s source) Find(d [32]byte) (*entry, bool) { return s.Index.Find(&d), true }
func (s source) Holds(d [32]byte) bool          { return s.Index.Find(&d) != nil }
func (source) Token(e *entry) httpkey.Token     { return pack.Token(e) }
func (source) ID(e *entry) string               { return pack.ID(e) }

// Create implements [httpkey.TokenStore].
func (s *Store) Create(_ context.Context, t httpkey.Token) (httpkey.Token, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	digest := [32]byte(t.Digest)
	if s.byID[t.ID] != nil || s.byDigest.Find(&digest) != nil {
		return httpkey.Token{}, httpkey.ErrConflict
	}
	e := pack.Entry(t)
	s.byID[pack.ID(e)] = e
	s.byDigest.Add(e)
	s.insert(e)
	return pack.Token(e), nil
}

// Lookup implements [httpkey.TokenStore].
func (s *Store) Lookup(_ context.Context, d httpkey.Digest) (httpkey.Token, error) {
	digest := [32]byte(d)
	return found(s.byDigest.Find(&digest))
}

// Get implements [httpkey.TokenStore].
func (s *Store) Get(_ context.Context, id string) (httpkey.Token, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return found(s.byID[id])
}

func found(e *entry) (httpkey.Token, error) {
	if e == nil {
		return httpkey.Token{}, httpkey.ErrNotFound
	}
	return pack.Token(e), nil
}

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
		next, _ = list.position(f.After)
	}
	var page []httpkey.Token
	for next--; next >= 0 && len(page) < f.PageSize(); next-- {
		if t := pack.Token(list[next]); f.Matches(&t) {
			page = append(page, t)
		}
	}
	return page, nil
}

// Update implements [httpkey.TokenStore]. It calls change once, while all other changes of
// the store wait, so change must not call the Store.
func (s *Store) Update(_ context.Context, id string, change func(*httpkey.Token) error) (httpkey.Token, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.byID[id]
	if e == nil {
		return httpkey.Token{}, httpkey.ErrNotFound
	}
	next, err := pack.Token(e).Apply(change)
	if err != nil {
		return httpkey.Token{}, err
	}
	s.remove(e) // CreatedAt, and so the place in the list, may change
	e.Replace(pack.Body(next))
	delete(s.byID, id) // the map's key shares memory with the replaced token
	s.byID[pack.ID(e)] = e
	s.insert(e)
	return pack.Token(e), nil
}

// Delete implements [httpkey.TokenStore].
func (s *Store) Delete(_ context.Context, id string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.byID[id]; e != nil {
		delete(s.byID, id)
		s.byDigest.Remove(e)
		s.remove(e)
	}
	return nil
}

// Touch implements [httpkey.TokenStore].
func (s *Store) Touch(_ context.Context, used map[string]time.Time) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for id, at := range used {
		if e := s.byID[id]; e != nil {
			e.Touch(ram.Micros(at))
		}
	}
	return nil
}

// String returns the name of the type, which templates print.
func (s *Store) String() string { return "memstore.Store" }

// Format keeps the digests out of a printed Store.
func (s *Store) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.String()) }

func (s *Store) insert(e *entry) {
	s.all.insert(e)
	if from := pack.RotatedFrom(e); from != "" {
		list := s.rotated[from]
		list.insert(e)
		s.rotated[from] = list
	}
}

func (s *Store) remove(e *entry) {
	s.all.remove(e)
	if from := pack.RotatedFrom(e); from != "" {
		list := s.rotated[from]
		if list.remove(e); len(list) == 0 {
			delete(s.rotated, from)
		} else {
			s.rotated[from] = list
		}
	}
}

// byAge is a list of tokens, oldest first, so that Create appends; List reads it backwards.
type byAge []*entry

func (l *byAge) insert(e *entry) {
	i, _ := l.position(pack.Cursor(e))
	*l = slices.Insert(*l, i, e)
}

func (l *byAge) remove(e *entry) {
	if i, ok := l.position(pack.Cursor(e)); ok {
		*l = slices.Delete(*l, i, i+1)
	}
}

// position returns the index of the token at c, or the index at which it would belong.
func (l *byAge) position(c httpkey.Cursor) (int, bool) {
	return slices.BinarySearchFunc(*l, c, func(e *entry, c httpkey.Cursor) int {
		return c.Compare(pack.Cursor(e))
	})
}
