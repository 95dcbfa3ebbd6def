package breaker_test

import (
	"context"
	"errors"
	"slices"
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
			probeErr = errDown
			probes   int
			reports  []error
		)
		b := breaker.New(
			func(context.Context) error { probes++; return probeErr },
			time.Second,
			func(err error) { reports = append(reports, err) })
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
		if probes < 18 || probes > 20 {
			t.Errorf("it probed %d times in ten seconds, want each half second", probes)
		}
		probeErr = nil
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
		begun, ended := 0, 0
		b := breaker.New(func(ctx context.Context) error {
			begun++
			<-ctx.Done()
			ended++
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
		if begun != 1 || ended != 0 {
			t.Errorf("after two seconds, %d probes have begun and %d ended, want the first one hanging", begun, ended)
		}
		httpkeytest.Elapse(2 * time.Second)
		if b.IsShut(); begun != 1 || ended != 1 {
			t.Errorf("after its deadline, %d probes have begun and %d ended", begun, ended)
		}
		httpkeytest.Elapse(time.Second)
		b.IsShut()
		synctest.Wait()
		if begun != 2 {
			t.Errorf("half a second after a probe, %d have begun, want 2", begun)
		}
		httpkeytest.Elapse(3 * time.Second)
	})
}
