package sqlstore

import (
	"context"
	"crypto/rand"
	"strings"
	"sync/atomic"
	"time"
)

const (
	sweepEvery   = 256 // calls from one sweep to the next
	sweepBatch   = 512 // buckets that a sweep checks
	sweepTimeout = 5 * time.Second
)

// sweeper removes full buckets. The IDs of buckets are hashes, so the buckets after a random
// ID are a random sample: the more buckets are full, the more a sweep removes. So there is no
// index on full_at, which every charge would have to update, and no state between sweeps.
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

	// Two sweepers would lock rows in any order, and Allow must not wait for a sweep.
	clearPostgreSQL = "DELETE FROM httpkey_buckets WHERE id IN (" +
		"SELECT id FROM httpkey_buckets WHERE id >= {id0} AND id <= {id1} AND full_at <= NOW FOR UPDATE SKIP LOCKED)"
)

func newSweeper(l *Limiter) *sweeper {
	e := l.dialect.engine
	return &sweeper{
		last:     newStatement(l.pool, lastOfBatch),
		clear:    newStatement(l.pool, strings.ReplaceAll(e.clear, "NOW", e.now)),
		takeTurn: l.takeTurn,
	}
}

// afterCall sweeps now and then.
func (s *sweeper) afterCall() {
	if s.calls.Add(1)%sweepEvery != 0 || !s.busy.CompareAndSwap(false, true) {
		return
	}
	go func() { // no request waits for a sweep
		defer s.busy.Store(false)
		ctx, cancel := context.WithTimeout(context.Background(), sweepTimeout)
		defer cancel()
		_ = s.sweep(ctx) // a later sweep makes up for a failure
	}()
}

func (s *sweeper) sweep(ctx context.Context) error {
	first := make([]byte, 32)
	_, _ = rand.Read(first) // crypto/rand.Read never fails: it ends the program instead
	var last []byte
	err := s.last.row(ctx, values{"id0": first, "batch": sweepBatch}, &last)
	if err != nil { // also if there is no bucket
		return err
	}
	release, err := s.takeTurn(ctx)
	if err != nil {
		return err
	}
	defer release()
	_, err = s.clear.exec(ctx, values{"id0": first, "id1": last})
	return err
}
