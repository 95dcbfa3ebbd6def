package httpkey

import (
	"context"
	"fmt"
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"
)

const (
	lastUsedShards = 32
	// maxPendingPerShard bounds what a dead store can make us hold: 131,072 tokens
	// that wait, and as many on their way to a store that hangs, some 25 MB.
	maxPendingPerShard = 1 << 17 / lastUsedShards
	maxTouchBatch      = 1000
	touchTimeout       = 5 * time.Second
)

// lastUsed collects when tokens were used and writes it to the store in
// batches, at most once per token and interval.
//
// The first use after a pause sets a timer; when it fires, one goroutine
// writes what has come together, and sets the timer anew only if there is more.
// So there is at most one goroutine, and none while nothing is pending. It ends by
// itself; after close, with the batch that it is writing.
type lastUsed struct {
	interval time.Duration
	touch    func(context.Context, map[string]time.Time) error
	failed   func(error)

	seed    maphash.Seed
	shards  [lastUsedShards]lastUsedShard
	dropped atomic.Int64 // uses of tokens that found no room, since the last failure was reported

	armed   atomic.Bool   // a timer is set, or its flush is running
	turn    chan struct{} // holds a value while somebody flushes
	mu      sync.Mutex    // guards the fields below
	timer   *time.Timer
	closing bool
}

type lastUsedShard struct {
	mu      sync.Mutex
	pending map[string]int64 // token ID -> Unix microseconds
}

func newLastUsed(interval time.Duration, touch func(context.Context, map[string]time.Time) error, failed func(error)) *lastUsed {
	return &lastUsed{
		interval: interval,
		touch:    touch,
		failed:   failed,
		seed:     maphash.MakeSeed(),
		turn:     make(chan struct{}, 1),
	}
}

// record notes that a token was used at a Unix microsecond. It never waits for the store.
func (l *lastUsed) record(id string, micros int64) {
	l.keep(id, micros)
	l.arm()
}

// keep holds on to the latest use of a token until it is written.
func (l *lastUsed) keep(id string, micros int64) {
	shard := &l.shards[maphash.String(l.seed, id)%lastUsedShards]
	shard.mu.Lock()
	defer shard.mu.Unlock()
	latest, known := shard.pending[id]
	switch {
	case known && latest >= micros:
	case !known && len(shard.pending) >= maxPendingPerShard:
		l.dropped.Add(1)
	default:
		if shard.pending == nil {
			shard.pending = make(map[string]int64)
		}
		shard.pending[id] = micros
	}
}

// arm sets the timer, unless one is set or its flush is running.
func (l *lastUsed) arm() {
	if l.armed.Load() || !l.armed.CompareAndSwap(false, true) {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.closing {
		l.timer = time.AfterFunc(l.interval, l.tick)
	}
}

// tick runs in the timer's goroutine.
func (l *lastUsed) tick() {
	if err := l.flushInBackground(); err != nil {
		l.failed(err)
	}
	// What was kept during the flush found armed set: it waits for this.
	l.armed.Store(false)
	if l.hasPending() {
		l.arm()
	}
}

func (l *lastUsed) flushInBackground() error {
	l.turn <- struct{}{}
	defer func() { <-l.turn }()
	return l.flush(context.Background(), l.isClosing)
}

// close flushes in the foreground and sees to it that nothing more is flushed in
// the background.
func (l *lastUsed) close(ctx context.Context) error {
	l.mu.Lock()
	l.closing = true
	if l.timer != nil {
		l.timer.Stop()
	}
	l.mu.Unlock()

	flushed := make(chan error, 1)
	go func() { // so that a store that ignores ctx cannot hold the caller; it ends when the store answers
		select {
		case l.turn <- struct{}{}:
			err := l.flush(ctx, func() bool { return false })
			<-l.turn
			flushed <- err
		case <-ctx.Done():
		}
	}()
	select {
	case err := <-flushed:
		return err
	case <-ctx.Done():
		return fmt.Errorf("httpkey: close: %w", ctx.Err())
	}
}

// flush writes everything pending, batch by batch, until it is to stop. The
// caller holds the turn. What is not written is pending again.
func (l *lastUsed) flush(ctx context.Context, stop func() bool) error {
	pending := l.take()
	for len(pending) > 0 && !stop() {
		batch := make(map[string]time.Time)
		for id, micros := range pending {
			if batch[id] = time.UnixMicro(micros).UTC(); len(batch) == maxTouchBatch {
				break
			}
		}
		if err := l.write(ctx, batch); err != nil {
			l.keepAll(pending)
			return fmt.Errorf("httpkey: last_used of %d tokens is not written, %d uses are lost: %w", len(pending), l.dropped.Swap(0), err)
		}
		for id := range batch {
			delete(pending, id)
		}
	}
	l.keepAll(pending)
	if lost := l.dropped.Swap(0); lost > 0 {
		return fmt.Errorf("httpkey: %d uses are lost, of more tokens than Options.LastUsedInterval bears", lost)
	}
	return nil
}

func (l *lastUsed) keepAll(pending map[string]int64) {
	for id, micros := range pending {
		l.keep(id, micros)
	}
}

func (l *lastUsed) write(ctx context.Context, batch map[string]time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, touchTimeout)
	defer cancel()
	return l.touch(ctx, batch)
}

// take empties the shards.
func (l *lastUsed) take() map[string]int64 {
	all := make(map[string]int64)
	for i := range l.shards {
		shard := &l.shards[i]
		shard.mu.Lock()
		pending := shard.pending
		shard.pending = nil
		shard.mu.Unlock()
		for id, micros := range pending {
			all[id] = micros
		}
	}
	return all
}

func (l *lastUsed) hasPending() bool {
	for i := range l.shards {
		shard := &l.shards[i]
		shard.mu.Lock()
		n := len(shard.pending)
		shard.mu.Unlock()
		if n > 0 {
			return true
		}
	}
	return false
}

func (l *lastUsed) isClosing() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.closing
}
