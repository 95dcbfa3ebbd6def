// Package memstore keeps tokens and rate limits in the memory of one process.
//
// [Store] is a token store, [Limiter] a GCRA limiter and [Window] a strict
// sliding window. They serve a program that runs as one process, and unit tests.
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

// Store is an [httpkey.TokenStore] in memory. Make one with [New]. What it holds is lost
// with the process. It is safe for concurrent use, and it never waits, so it does not look
// at contexts.
//
// A Guard reads the tokens where they are. LastUsed is noted in the token as requests
// come, to the millisecond; a Guard has nothing to write for it.
//
// A token takes about 320 bytes beside its strings, the bucket of a [Limiter] included. A
// token that has any of the further fields of [httpkey.Token.More] takes some 500 bytes more.
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

// source is what a Guard reads.
type source struct{ *ram.Index[httpkey.Token] }

func (s source) Find(d [32]byte) (*entry, bool) { return s.Index.Find(&d), true }
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

// List implements [httpkey.TokenStore]. It takes a time in proportion to the
// tokens that it has to look at, the ones that f does not select included, and
// holds up changes meanwhile.
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

// Update implements [httpkey.TokenStore]. It calls change once, with all other changes of
// the store waiting: change must not call the Store.
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
	s.remove(e) // CreatedAt may change, and with it the place in the list
	e.Replace(pack.Body(next))
	delete(s.byID, id) // the key is part of what was replaced
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

// Format keeps the digests out of a printed Store.
func (s *Store) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "memstore.Store") }

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

// byAge is a list of tokens, oldest first, so that a new one is appended; List reads
// it backwards.
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

// position returns the index of the token at c, or the one at which it would be.
func (l *byAge) position(c httpkey.Cursor) (int, bool) {
	return slices.BinarySearchFunc(*l, c, func(e *entry, c httpkey.Cursor) int {
		return c.Compare(pack.Cursor(e))
	})
}
