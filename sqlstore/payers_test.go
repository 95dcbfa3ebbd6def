package sqlstore

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/httpkey/httpkey/httpkeytest"
	"github.com/httpkey/httpkey/internal/failover"
)

// A payer holds few connections, however many questions it has. The Limiter does not ask questions
// whose turn comes too late, and other payers do not wait.
func TestOnePayerHoldsFewConnections(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const timeout, call = 100 * time.Millisecond, 10 * time.Millisecond
		payers := newPayers()
		var running, most, asked, late atomic.Int64
		var callers sync.WaitGroup
		ask := func(payer string) error {
			ctx, cancel := context.WithTimeout(t.Context(), timeout)
			defer cancel()
			leave, err := payers.enter(ctx, payer)
			if err != nil {
				return err
			}
			defer leave()
			most.Store(max(most.Load(), running.Add(1)))
			defer running.Add(-1)
			httpkeytest.Elapse(call)
			return nil
		}
		for range 100 {
			callers.Go(func() {
				switch err := ask("hot"); {
				case err == nil:
					asked.Add(1)
				case errors.Is(err, failover.ErrNotAsked):
					late.Add(1)
				default:
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		if most.Load() != maxAsking {
			t.Errorf("%d questions of a payer were asked at once, want %d", most.Load(), maxAsking)
		}
		for i := range 100 {
			callers.Go(func() {
				start := time.Now()
				if err := ask(fmt.Sprint("payer ", i)); err != nil || time.Since(start) != call {
					t.Errorf("another payer: %v after %v", err, time.Since(start))
				}
			})
		}
		callers.Wait()
		const want = maxAsking * int64(timeout/2/call+1) // one begins when half of the time is over
		if asked.Load() != want || late.Load() != 100-want {
			t.Errorf("%d questions were asked and %d were late, want %d and %d", asked.Load(), late.Load(), want, 100-want)
		}
		if len(payers.waiting) != 0 {
			t.Errorf("%d payers are kept", len(payers.waiting))
		}
	})
}
