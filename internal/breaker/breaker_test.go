package breaker_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/httpkey/httpkey/httpkeytest"
	"github.com/httpkey/httpkey/internal/breaker"
)

var errDown = errors.New("connection refused")

// A breaker opens after three failures in a row, probes twice a second for a caller, and shuts
// when a probe succeeds. It tells of each change once.
func TestBreaker(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var (
			isUp    atomic.Bool
			probes  atomic.Int64
			mu      sync.Mutex
			reports []error
		)
		probe := func(context.Context) error {
			if probes.Add(1); isUp.Load() {
				return nil
			}
			return errDown
		}
		b := breaker.New(probe, time.Second, func(err error) {
			mu.Lock()
			defer mu.Unlock()
			reports = append(reports, err)
		})
		for range 10 { // two failures between successes
			b.Failed(errDown)
			b.Failed(errDown)
			b.Succeeded()
		}
		if !b.IsShut() || len(reports) != 0 {
			t.Fatalf("single failures open it: %v", reports)
		}
		for range 5 { // calls that were under way fail too
			b.Failed(errDown)
		}
		if b.IsShut() || !slices.Equal(reports, []error{errDown}) {
			t.Fatalf("after failures in a row, shut: %v, reported: %v", b.IsShut(), reports)
		}
		for range 100 { // ten seconds in which a caller comes each 100 ms
			b.IsShut()
			httpkeytest.Elapse(100 * time.Millisecond)
			synctest.Wait()
		}
		if n := probes.Load(); n < 18 || n > 20 {
			t.Errorf("it probed %d times in ten seconds, want each half second", n)
		}
		isUp.Store(true)
		if b.IsShut() {
			t.Error("a caller waited for the probe")
		}
		synctest.Wait()
		if !b.IsShut() || !slices.Equal(reports, []error{errDown, nil}) {
			t.Errorf("after a probe succeeded, shut: %v, reported: %v", b.IsShut(), reports)
		}
		b.Failed(errDown)
		b.Failed(errDown)
		if !b.IsShut() {
			t.Error("it counts failures from before the outage")
		}
	})
}

// A probe that hangs ends with its deadline, and there is one at a time.
func TestProbeHasADeadline(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var begun, ended atomic.Int64
		b := breaker.New(func(ctx context.Context) error {
			begun.Add(1)
			<-ctx.Done()
			ended.Add(1)
			return ctx.Err()
		}, 3*time.Second, func(error) {})
		for range 3 {
			b.Failed(errDown)
		}
		httpkeytest.Elapse(time.Second)
		for range 20 {
			b.IsShut()
			httpkeytest.Elapse(100 * time.Millisecond)
		}
		if begun.Load() != 1 || ended.Load() != 0 {
			t.Errorf("after two seconds, %d probes have begun and %d ended, want one that hangs", begun.Load(), ended.Load())
		}
		httpkeytest.Elapse(2 * time.Second)
		if begun.Load() != 1 || ended.Load() != 1 {
			t.Errorf("after its deadline, %d probes have begun and %d ended, want 1", begun.Load(), ended.Load())
		}
		httpkeytest.Elapse(time.Second)
		b.IsShut()
		synctest.Wait()
		if begun.Load() != 2 {
			t.Errorf("half a second after a probe, %d have begun, want 2", begun.Load())
		}
		httpkeytest.Elapse(3 * time.Second)
	})
}
