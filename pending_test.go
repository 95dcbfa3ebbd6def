package httpkey

import (
	"context"
	"strconv"
	"testing"
	"testing/synctest"
	"time"
)

// What sleeps in this file is in a bubble of synctest, where no time passes.

// An older use does not replace a newer one, as when a failed write is put back.
func TestOnlyTheLatestUseIsPending(t *testing.T) {
	t.Parallel()
	l := newLastUsed(time.Hour, nil, nil)
	l.keep("a", 2)
	l.keep("a", 1)
	if got := l.take()["a"]; got != 2 {
		t.Errorf("kept %d, want 2", got)
	}
}

func TestPendingBound(t *testing.T) {
	t.Parallel()
	l := newLastUsed(time.Hour, nil, nil)
	for n := range 300_000 {
		l.keep(strconv.Itoa(n), 1)
	}
	if got := len(l.take()); got != 131_072 {
		t.Errorf("%d tokens wait, want 131,072", got)
	}
}

// There is a timer while something is pending and the Guard is open, and no longer.
func TestTimerIsSetOnlyWhileUsesArePending(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		touch := func(context.Context, map[string]time.Time) error { return nil }
		idle := newLastUsed(time.Second, touch, nil)
		if err := idle.close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if idle.record("a", 1); idle.timer != nil {
			t.Error("a use after close set a timer")
		}
		busy := newLastUsed(time.Second, touch, nil)
		busy.record("a", 1)
		time.Sleep(time.Minute)
		synctest.Wait()
		if busy.armed.Load() {
			t.Error("a timer is set while nothing is pending")
		}
		busy.record("a", 1)
		if err := busy.close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if busy.timer.Stop() {
			t.Error("a timer is still set after close")
		}
	})
}
