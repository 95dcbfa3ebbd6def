// Package adoption bounds how many requests ask for keys that no store has, and how often.
package adoption

import (
	"context"
	"encoding/binary"
	"errors"
	"sync"
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
	room    chan struct{}
	mu      sync.Mutex
	turns   map[[32]byte]*turn    // of the keys that somebody asks for, or waits for
	refused [places]atomic.Uint64 // a digest that is added may displace another
}

// turn is that of a key.
type turn struct {
	taken    chan struct{}
	requests int
}

// New returns a Queue in which nobody waits.
func New() *Queue {
	return &Queue{room: make(chan struct{}, Most), turns: make(map[[32]byte]*turn)}
}

// ErrRefused says that a key was refused lately.
var ErrRefused = errors.New("the key was refused lately")

// Wait waits for the turn of a key. The caller calls done when its turn ends. The error is
// ErrRefused, or that of ctx.
func (q *Queue) Wait(ctx context.Context, digest [32]byte) (done func(), err error) {
	if q.hasRefused(digest) {
		return nil, ErrRefused
	}
	t := q.join(digest)
	if err := take(ctx, t.taken); err != nil {
		q.leave(digest, t)
		return nil, err
	}
	err = take(ctx, q.room)
	if err == nil && !q.hasRefused(digest) { // the request before may have refused it
		return func() {
			<-q.room
			<-t.taken
			q.leave(digest, t)
		}, nil
	}
	if err == nil {
		<-q.room
		err = ErrRefused
	}
	<-t.taken
	q.leave(digest, t)
	return nil, err
}

func take(ctx context.Context, place chan<- struct{}) error {
	select {
	case place <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (q *Queue) join(digest [32]byte) *turn {
	q.mu.Lock()
	defer q.mu.Unlock()
	t := q.turns[digest]
	if t == nil {
		t = &turn{taken: make(chan struct{}, 1)}
		q.turns[digest] = t
	}
	t.requests++
	return t
}

func (q *Queue) leave(digest [32]byte, t *turn) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if t.requests--; t.requests == 0 {
		delete(q.turns, digest)
	}
}

// Refuse notes that a key is in no other table either. The Queue forgets it after Span at most.
func (q *Queue) Refuse(digest [32]byte) {
	place, word := q.place(digest)
	place.Store(word)
}

func (q *Queue) hasRefused(digest [32]byte) bool {
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
