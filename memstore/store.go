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
)

// Store is an [httpkey.TokenStore] in memory. Make one with [New]. What it
// holds is lost with the process. It is safe for concurrent use, and it never
// waits, so it does not look at contexts.
type Store struct {
	mu       sync.RWMutex
	byDigest map[httpkey.Digest]*httpkey.Token
	byID     map[string]*httpkey.Token
	oldest   []*httpkey.Token // oldest first, so that a new token is appended; List reads it backwards
}

// New returns an empty Store.
func New() *Store {
	return &Store{
		byDigest: make(map[httpkey.Digest]*httpkey.Token),
		byID:     make(map[string]*httpkey.Token),
	}
}

// Create implements [httpkey.TokenStore].
func (s *Store) Create(_ context.Context, t httpkey.Token) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.byID[t.ID] != nil || s.byDigest[t.Digest] != nil {
		return httpkey.ErrConflict
	}
	entry := ptr(detached(&t))
	s.byID[t.ID] = entry
	s.byDigest[t.Digest] = entry
	s.insert(entry)
	return nil
}

// Lookup implements [httpkey.TokenStore].
func (s *Store) Lookup(_ context.Context, d httpkey.Digest) (httpkey.Token, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return found(s.byDigest[d])
}

// Get implements [httpkey.TokenStore].
func (s *Store) Get(_ context.Context, id string) (httpkey.Token, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return found(s.byID[id])
}

// List implements [httpkey.TokenStore]. It takes a time in proportion to the
// tokens that it has to look at, the ones that f does not select included, and
// holds up changes meanwhile.
func (s *Store) List(_ context.Context, f httpkey.Filter) ([]httpkey.Token, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	next := len(s.oldest)
	if f.After != (httpkey.Cursor{}) {
		next, _ = s.position(f.After)
	}
	var page []httpkey.Token
	for next--; next >= 0 && len(page) < f.PageSize(); next-- {
		if t := s.oldest[next]; f.Matches(t) {
			page = append(page, detached(t))
		}
	}
	return page, nil
}

// Update implements [httpkey.TokenStore].
func (s *Store) Update(_ context.Context, t httpkey.Token) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	entry := s.byID[t.ID]
	if entry == nil {
		return httpkey.ErrNotFound
	}
	s.remove(entry) // CreatedAt may change, and with it the place in the list
	t.Digest, t.LastUsed = entry.Digest, entry.LastUsed
	*entry = detached(&t)
	s.insert(entry)
	return nil
}

// Delete implements [httpkey.TokenStore].
func (s *Store) Delete(_ context.Context, id string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if entry := s.byID[id]; entry != nil {
		delete(s.byID, id)
		delete(s.byDigest, entry.Digest)
		s.remove(entry)
	}
	return nil
}

// Touch implements [httpkey.TokenStore].
func (s *Store) Touch(_ context.Context, used map[string]time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, at := range used {
		if entry := s.byID[id]; entry != nil && at.After(entry.LastUsed) {
			entry.LastUsed = at
		}
	}
	return nil
}

// Format keeps the digests out of a printed Store.
func (s *Store) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "memstore.Store") }

func (s *Store) insert(entry *httpkey.Token) {
	i, _ := s.position(entry.Cursor())
	s.oldest = slices.Insert(s.oldest, i, entry)
}

func (s *Store) remove(entry *httpkey.Token) {
	if i, ok := s.position(entry.Cursor()); ok {
		s.oldest = slices.Delete(s.oldest, i, i+1)
	}
}

// position returns the index of the token at c in s.oldest, or the one at which it would be.
func (s *Store) position(c httpkey.Cursor) (int, bool) {
	return slices.BinarySearchFunc(s.oldest, c, func(t *httpkey.Token, c httpkey.Cursor) int {
		return c.Compare(t.Cursor())
	})
}

func found(entry *httpkey.Token) (httpkey.Token, error) {
	if entry == nil {
		return httpkey.Token{}, httpkey.ErrNotFound
	}
	return detached(entry), nil
}

// detached returns a copy that shares no memory with t.
func detached(t *httpkey.Token) httpkey.Token {
	d := *t
	d.Scopes = slices.Clone(t.Scopes)
	return d
}

func ptr(t httpkey.Token) *httpkey.Token { return &t }
