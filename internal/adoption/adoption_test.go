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
				time.Sleep(time.Second) // in the bubble's time
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

// The requests that wait for a refused key are refused, and so are later ones for a while.
func TestRefusals(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q := New()
		refused := func(n int) bool {
			done, err := q.Wait(t.Context(), digestOf(n))
			if err == nil {
				done()
			}
			return errors.Is(err, ErrRefused)
		}
		done, err := q.Wait(t.Context(), digestOf(1))
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		wg.Go(func() {
			if !refused(1) {
				t.Error("a request that waited has a turn")
			}
		})
		synctest.Wait()
		q.Refuse(digestOf(1))
		done()
		wg.Wait()
		if !refused(1) || refused(2) {
			t.Error("the Queue took one digest for another")
		}
		time.Sleep(Span) // in the bubble's time
		if refused(1) || len(q.turns) > 0 || len(q.room) > 0 {
			t.Errorf("a digest stays refused, or one of %d turns is left", len(q.turns))
		}
	})
}
