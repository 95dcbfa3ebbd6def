package lastused

import (
	"context"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// An older use does not replace a newer one, as when a failed write is put back.
func TestOnlyTheLatestUseIsPending(t *testing.T) {
	t.Parallel()
	l := New(time.Hour, nil, nil)
	l.keep("a", 2)
	l.keep("a", 1)
	if got := l.take()["a"]; got != 2 {
		t.Errorf("kept %d, want 2", got)
	}
}

// Of more tokens than may wait in an interval, uses are lost. Close tells of them, also if the
// store is well.
func TestPendingBound(t *testing.T) {
	t.Parallel()
	written := 0
	l := New(time.Hour, func(_ context.Context, used map[string]time.Time) error {
		written += len(used)
		return nil
	}, nil)
	for n := range 300_000 {
		l.keep(strconv.Itoa(n), 1)
	}
	err := l.Close(t.Context())
	if err == nil || !strings.Contains(err.Error(), "168928 uses are lost") || written != 131_072 {
		t.Errorf("%d uses were written, want 131,072 (%v)", written, err)
	}
	if err := l.Close(t.Context()); err != nil {
		t.Errorf("told twice: %v", err)
	}
}

// There is a timer while something is pending and the Writer is open, and no longer.
func TestTimerIsSetOnlyWhileUsesArePending(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		touch := func(context.Context, map[string]time.Time) error { return nil }
		idle := New(time.Second, touch, nil)
		if err := idle.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if idle.Record("a", 1); idle.timer != nil {
			t.Error("a use after close set a timer")
		}
		busy := New(time.Second, touch, nil)
		busy.Record("a", 1)
		time.Sleep(time.Minute) // in the bubble's time
		synctest.Wait()
		if busy.armed.Load() {
			t.Error("a timer is set while nothing is pending")
		}
		busy.Record("a", 1)
		if err := busy.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if busy.timer.Stop() {
			t.Error("a timer is still set after close")
		}
	})
}
