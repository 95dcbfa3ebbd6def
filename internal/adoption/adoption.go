// Package adoption bounds how many requests ask for keys that no store has, and how often.
package adoption

import (
	"context"
	"encoding/binary"
	"sync/atomic"
	"time"
)

const (
	// Most is the number of keys that are asked for at once.
	Most = 8
	// Span is the longest time for which a key stays refused.
	Span = 30 * time.Second

	places = 1 << 14 // 128 KB
)

// Queue gives each key a turn. The requests of one key take turns, so that the second finds what
// the first has brought. It is safe for concurrent use, and starts no goroutine. Make one with
// [New].
type Queue struct {
	turns   [Most]chan struct{}
	refused [places]atomic.Uint64 // a digest that is added may displace another
}

// New returns a Queue in which nobody waits.
func New() *Queue {
	q := new(Queue)
	for i := range q.turns {
		q.turns[i] = make(chan struct{}, 1)
	}
	return q
}

// Wait waits for the turn of a key. The caller calls done when its turn ends. The error is that of
// ctx.
func (q *Queue) Wait(ctx context.Context, digest [32]byte) (done func(), err error) {
	turn := q.turns[digest[0]%Most]
	select {
	case turn <- struct{}{}:
		return func() { <-turn }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Refuse notes that a key is in no other table either. The Queue forgets it after Span at most.
func (q *Queue) Refuse(digest [32]byte) {
	place, word := q.place(digest)
	place.Store(word)
}

// HasRefused reports whether Refuse was called for a key lately.
func (q *Queue) HasRefused(digest [32]byte) bool {
	place, word := q.place(digest)
	return place.Load() == word
}

// place returns where a digest lies, and the word that stands for it in the present Span. The next
// Span has other words, so nothing needs to be removed.
func (q *Queue) place(digest [32]byte) (place *atomic.Uint64, word uint64) {
	span := uint64(time.Now().UnixNano() / int64(Span))
	word = binary.LittleEndian.Uint64(digest[:]) ^ span*0x9e3779b97f4a7c15
	return &q.refused[binary.LittleEndian.Uint16(digest[8:])%places], word
}
