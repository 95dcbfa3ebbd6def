// Package lastused writes the last uses of tokens to a store.
package lastused

import (
	"context"
	"fmt"
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"
)

const (
	shardCount = 32
	// maxPendingPerShard bounds the memory during an outage of the store to some 25 MB:
	// 131,072 pending tokens, and as many in a write that hangs.
	maxPendingPerShard = 1 << 17 / shardCount
	maxTouchBatch      = 1000
	touchTimeout       = 5 * time.Second
)

// Writer collects the uses of tokens and writes them to the store in batches, at most
// once per token and interval.
//
// The first use after a pause sets a timer. When the timer fires, one goroutine writes
// the pending uses, and sets the timer again only if more are pending. So there is at
// most one goroutine, and none while nothing is pending. The goroutine ends by itself;
// after Close, it ends with its current batch.
type Writer struct {
	interval time.Duration
	touch    func(context.Context, map[string]time.Time) error
	failed   func(error)

	seed    maphash.Seed
	shards  [shardCount]shard
	dropped atomic.Int64 // uses that found no room since the last report

	armed   atomic.Bool   // a timer is set, or its flush is running
	turn    chan struct{} // holds a value during a flush
	mu      sync.Mutex    // guards the fields below
	timer   *time.Timer
	closing bool
}

type shard struct {
	mu      sync.Mutex
	pending map[string]int64 // token ID -> Unix microseconds
}

// New returns a Writer that passes uses to touch, and the errors of touch to failed.
func New(interval time.Duration, touch func(context.Context, map[string]time.Time) error, failed func(error)) *Writer {
	return &Writer{
		interval: interval,
		touch:    touch,
		failed:   failed,
		seed:     maphash.MakeSeed(),
		turn:     make(chan struct{}, 1),
	}
}

// Record notes a use of a token at a Unix microsecond. It never waits for the store.
func (w *Writer) Record(id string, micros int64) {
	w.keep(id, micros)
	w.arm()
}

// keep keeps the latest use of a token until it is written.
func (w *Writer) keep(id string, micros int64) {
	s := &w.shards[maphash.String(w.seed, id)%shardCount]
	s.mu.Lock()
	defer s.mu.Unlock()
	latest, known := s.pending[id]
	switch {
	case known && latest >= micros:
	case !known && len(s.pending) >= maxPendingPerShard:
		w.dropped.Add(1)
	default:
		if s.pending == nil {
			s.pending = make(map[string]int64)
		}
		s.pending[id] = micros
	}
}

// arm sets the timer, unless one is set or its flush is running.
func (w *Writer) arm() {
	if w.armed.Load() || !w.armed.CompareAndSwap(false, true) {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.closing {
		w.timer = time.AfterFunc(w.interval, w.tick)
	}
}

// tick runs in the timer's goroutine.
func (w *Writer) tick() {
	if err := w.flushInBackground(); err != nil {
		w.failed(err)
	}
	// Uses that came during the flush did not set a timer, so this does.
	w.armed.Store(false)
	if w.hasPending() {
		w.arm()
	}
}

func (w *Writer) flushInBackground() error {
	w.turn <- struct{}{}
	defer func() { <-w.turn }()
	return w.flush(context.Background(), w.isClosing)
}

// Close flushes the pending uses, and ends flushing in the background.
func (w *Writer) Close(ctx context.Context) error {
	w.mu.Lock()
	w.closing = true
	if w.timer != nil {
		w.timer.Stop()
	}
	w.mu.Unlock()

	flushed := make(chan error, 1)
	go func() { // a store that ignores ctx must not block the caller; the goroutine ends when the store answers
		select {
		case w.turn <- struct{}{}:
			err := w.flush(ctx, func() bool { return false })
			<-w.turn
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

// flush writes the pending uses, batch by batch, until stop returns true. The
// caller holds the turn. Uses that are not written become pending again.
func (w *Writer) flush(ctx context.Context, stop func() bool) error {
	pending := w.take()
	for len(pending) > 0 && !stop() {
		batch := make(map[string]time.Time)
		for id, micros := range pending {
			if batch[id] = time.UnixMicro(micros).UTC(); len(batch) == maxTouchBatch {
				break
			}
		}
		if err := w.write(ctx, batch); err != nil {
			w.keepAll(pending)
			return fmt.Errorf("httpkey: last_used of %d tokens is not written, %d uses are lost: %w",
				len(pending), w.dropped.Swap(0), err)
		}
		for id := range batch {
			delete(pending, id)
		}
	}
	w.keepAll(pending)
	if lost := w.dropped.Swap(0); lost > 0 {
		return fmt.Errorf("httpkey: %d uses are lost, of more tokens than Options.LastUsedInterval bears", lost)
	}
	return nil
}

func (w *Writer) keepAll(pending map[string]int64) {
	for id, micros := range pending {
		w.keep(id, micros)
	}
}

func (w *Writer) write(ctx context.Context, batch map[string]time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, touchTimeout)
	defer cancel()
	return w.touch(ctx, batch)
}

// take removes the pending uses from the shards and returns them.
func (w *Writer) take() map[string]int64 {
	all := make(map[string]int64)
	for i := range w.shards {
		s := &w.shards[i]
		s.mu.Lock()
		pending := s.pending
		s.pending = nil
		s.mu.Unlock()
		for id, micros := range pending {
			all[id] = micros
		}
	}
	return all
}

func (w *Writer) hasPending() bool {
	for i := range w.shards {
		s := &w.shards[i]
		s.mu.Lock()
		n := len(s.pending)
		s.mu.Unlock()
		if n > 0 {
			return true
		}
	}
	return false
}

func (w *Writer) isClosing() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.closing
}
