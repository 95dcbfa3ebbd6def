package cachestore

import (
	"math"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/internal/pack"
	"github.com/httpkey/httpkey/internal/ram"
)

// cached is a token in memory. The zero value is none.
type cached struct {
	pack.View
	stamp ram.Stamp
}

// find returns the token in memory with a digest, whatever its age.
func (s *Store) find(d [32]byte) (c cached) {
	c.View, c.stamp = s.tokens.View(&d)
	return c
}

// age returns the time since the cache began to read the token.
func (c *cached) age(at time.Duration) time.Duration { return at - time.Duration(c.stamp.ReadAt) }

// isCurrent reports whether the cache knows of no change of the token.
func (s *Store) isCurrent(c *cached) bool {
	return c.Exists() && s.changes.isCurrent(&c.Digest, c.stamp)
}

// isFresh reports whether the cache may use a token without asking the store.
func (s *Store) isFresh(c *cached, at time.Duration) bool {
	return s.isCurrent(c) && c.age(at) < s.options.TTL
}

// isStale reports whether a token may replace an answer of the store.
func (s *Store) isStale(c *cached, at time.Duration) bool {
	return s.isCurrent(c) && c.age(at)-s.options.TTL < s.options.StaleFor
}

// isPaused reports whether the store has just failed to return the token.
func (c *cached) isPaused(at time.Duration) bool {
	return c.age(at) < time.Duration(c.stamp.Pause)*time.Millisecond
}

// pause notes that the store has just failed to return a token.
func (s *Store) pause(c *cached, at time.Duration) {
	paused := c.stamp
	paused.Pause = uint32(min((c.age(at)+retryAfter)/time.Millisecond, math.MaxUint32))
	s.tokens.Restamp(&c.View, c.stamp, paused)
}

// put puts a token into memory. A token that is already there keeps its place, and so its
// bucket. The caller holds the mutex.
func (s *Store) put(t httpkey.Token, r reading) {
	d, f := [32]byte(t.Digest), pack.Fields(t)
	used, stamp := ram.Micros(t.LastUsed), s.changes.stamp(r, t.ID)
	n, isHeld := s.tokens.Find(&d)
	switch {
	case isHeld && s.isSame(n, f.Text):
		s.tokens.Replace(n, used, f, stamp)
		return
	case isHeld:
		s.tokens.Remove(n)
	case s.tokens.Len() >= s.options.Size:
		s.tokens.Remove(s.tokens.Victim())
	}
	s.tokens.Add(&d, used, f, stamp)
}

// isSame reports whether a token has the ID and the payer of another. Otherwise the last use
// and the bucket of one are not those of the other, though they have the same key.
func (s *Store) isSame(n uint32, other ram.Text) bool {
	v := s.tokens.At(n)
	return v.Text().ID() == other.ID() && v.Text().Payer() == other.Payer()
}

// forget removes a token from memory. The caller holds the mutex.
func (s *Store) forget(d [32]byte) {
	if n, ok := s.tokens.Find(&d); ok {
		s.tokens.Remove(n)
	}
}

// isAbsent reports whether the store is known to hold no token with d.
func (s *Store) isAbsent(d [32]byte, at time.Duration) bool {
	r, ok := s.absent.find(d)
	return ok && r.follows(s.changes.ofDigest(&d)) && at-r.at < min(absentTTL, s.options.TTL)
}

// source lets a Guard read the tokens in memory. It has the answers for which Lookup need not
// ask the store.
type source struct{ *Store }

func (s source) Find(d [32]byte, elapsed int64) (pack.View, bool) {
	at := time.Duration(elapsed)
	c := s.find(d)
	if s.isFresh(&c, at) {
		return c.View, true
	}
	return pack.View{}, s.isAbsent(d, at)
}

func (s source) Holds(d [32]byte) bool {
	_, ok := s.tokens.Find(&d)
	return ok
}

func (source) Token(v pack.View) httpkey.Token    { return pack.Token(v) }
func (s source) Table() *ram.Table[httpkey.Token] { return s.tokens }
func (source) IsCopy() bool                       { return true }
