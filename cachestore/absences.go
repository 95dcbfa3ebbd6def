package cachestore

import (
	"sync"

	"github.com/httpkey/httpkey"
)

// absences remembers digests that no token has. It is apart from the tokens, so that made-up
// keys evict no token.
//
// It has two generations. When the young one is full, it becomes the old one, whose digests
// are forgotten.
type absences struct {
	size       int // of a generation
	mu         sync.RWMutex
	young, old map[httpkey.Digest]reading
}

// newAbsences returns absences of at most size digests, but of at least two.
func newAbsences(size int) *absences {
	return &absences{
		size:  max(1, size/2),
		young: make(map[httpkey.Digest]reading),
		old:   make(map[httpkey.Digest]reading),
	}
}

// find returns the reading by which the store had no token with d.
func (a *absences) find(d httpkey.Digest) (r reading, ok bool) {
	a.mu.RLock()
	defer a.mu.RUnlock()
	if r, ok = a.young[d]; !ok {
		r, ok = a.old[d]
	}
	return r, ok
}

func (a *absences) add(d httpkey.Digest, r reading) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.young) >= a.size {
		clear(a.old) // and use its memory again
		a.young, a.old = a.old, a.young
	}
	a.young[d] = r
}
