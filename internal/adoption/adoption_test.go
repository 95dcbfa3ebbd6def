package adoption

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func digestOf(n int) [32]byte { return sha256.Sum256(fmt.Append(nil, n)) }

func TestTurns(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q := New()
		var (
			wg            sync.WaitGroup
			now, most     atomic.Int64
			ofOneKey, two atomic.Int64
		)
		for i := range 200 {
			wg.Go(func() {
				done, err := q.Wait(t.Context(), digestOf(i/2))
				if err != nil {
					t.Error(err)
					return
				}
				defer done()
				if n := now.Add(1); n > most.Load() {
					most.Store(n)
				}
				if i < 2 && ofOneKey.Add(1) > 1 {
					two.Add(1)
				}
				time.Sleep(time.Second)
				if i < 2 {
					ofOneKey.Add(-1)
				}
				now.Add(-1)
			})
		}
		wg.Wait()
		if len(q.turns) > 0 {
			t.Errorf("%d turns are left", len(q.turns))
		}
		if most.Load() != Most || two.Load() > 0 {
			t.Errorf("%d keys had a turn at once, want %d; one key had two turns: %v", most.Load(), Most, two.Load() > 0)
		}
	})
}

func TestWaitEndsWithItsContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q := New()
		done, err := q.Wait(t.Context(), digestOf(1))
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := q.Wait(ctx, digestOf(1)); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("the second of one key got %v", err)
		}
		if another, err := q.Wait(t.Context(), digestOf(2)); err != nil {
			t.Errorf("another key got %v", err)
		} else {
			another()
		}
		done()
		done, err = q.Wait(t.Context(), digestOf(1))
		if err != nil {
			t.Fatal(err)
		}
		done()
	})
}

func TestRefusalsAreForgotten(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q := New()
		q.Refuse(digestOf(1))
		if !q.HasRefused(digestOf(1)) || q.HasRefused(digestOf(2)) {
			t.Error("the Queue took one digest for another")
		}
		time.Sleep(Span)
		if q.HasRefused(digestOf(1)) {
			t.Error("a digest stays refused")
		}
	})
}
