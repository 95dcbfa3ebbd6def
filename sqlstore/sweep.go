package sqlstore

import (
	"context"
	"crypto/rand"
	"strings"
	"sync/atomic"
	"time"
)

const (
	sweepEvery   = 256 // calls, each of which can make one bucket
	sweepBatch   = 512 // buckets looked at
	sweepTimeout = 5 * time.Second
)

// sweeper removes full buckets. Their IDs are hashes, so that those after a
// random one are a random sample: the more of them are full, the more a sweep
// removes. That needs no index on full_at, which every charge would have to change, and
// no place where the last sweep ended.
type sweeper struct {
	last, clear *statement
	takeTurn    func(context.Context) (release func(), err error)
	calls       atomic.Int64
	busy        atomic.Bool
}

const (
	lastOfBatch = "SELECT id FROM (SELECT id FROM httpkey_buckets WHERE id >= {id0} ORDER BY id LIMIT {batch}) AS batch " +
		"ORDER BY id DESC LIMIT 1" // PostgreSQL has no max of bytes before 18

	clearOthers = "DELETE FROM httpkey_buckets WHERE id >= {id0} AND id <= {id1} AND full_at <= NOW"

	// Two sweepers would lock their rows in any order, and Allow should not wait.
	clearPostgreSQL = "DELETE FROM httpkey_buckets WHERE id IN (" +
		"SELECT id FROM httpkey_buckets WHERE id >= {id0} AND id <= {id1} AND full_at <= NOW FOR UPDATE SKIP LOCKED)"
)

func newSweeper(l *Limiter) *sweeper {
	e := l.dialect.engine
	return &sweeper{
		last:     newStatement(l.db, l.dialect, lastOfBatch),
		clear:    newStatement(l.db, l.dialect, strings.ReplaceAll(e.clear, "NOW", e.now)),
		takeTurn: l.takeTurn,
	}
}

// afterCall sweeps now and then.
func (s *sweeper) afterCall() {
	if s.calls.Add(1)%sweepEvery != 0 || !s.busy.CompareAndSwap(false, true) {
		return
	}
	go func() { // so that no request waits for it
		defer s.busy.Store(false)
		ctx, cancel := context.WithTimeout(context.Background(), sweepTimeout)
		defer cancel()
		_ = s.sweep(ctx) // a later one makes good what fails
	}()
}

func (s *sweeper) sweep(ctx context.Context) error {
	first := make([]byte, 32)
	_, _ = rand.Read(first) // crypto/rand.Read never fails: it ends the program instead
	var last []byte
	err := s.last.row(ctx, values{"id0": first, "batch": sweepBatch}, &last)
	if err != nil { // or there are none
		return err
	}
	release, err := s.takeTurn(ctx)
	if err != nil {
		return err
	}
	defer release()
	_, err = s.clear.exec(ctx, nil, values{"id0": first, "id1": last})
	return err
}
