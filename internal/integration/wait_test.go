package integration

import (
	"testing"
	"time"

	"github.com/httpkey/httpkey/httpkeytest"
)

// eventually asks until there is no error any more, and returns how long that took.
func eventually(t testing.TB, within time.Duration, ask func() error) time.Duration {
	t.Helper()
	start := time.Now()
	for {
		err := ask()
		took := time.Since(start)
		if err == nil {
			return took
		}
		if took > within {
			t.Fatalf("after %v still: %v", took.Round(time.Millisecond), err)
		}
		time.Sleep(5 * time.Millisecond) // between two questions
	}
}

// elapse lets time go by in a bubble.
func elapse(d time.Duration) { httpkeytest.Elapse(d) }
