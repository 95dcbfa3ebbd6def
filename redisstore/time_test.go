package redisstore_test

import (
	"reflect"
	"testing"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/redisstore"
)

// A slot of a window frees at exactly one Period after it was taken, and time that
// runs backwards frees none.
func TestWindowOnTheServersClock(t *testing.T) {
	t.Parallel()
	server := newServer(t)
	window := redisstore.NewWindow(newClient(t, server), &redisstore.Options{AskAlways: true})
	limit := httpkey.Limit{Rate: 3, Burst: 3, Period: time.Second}
	start := time.Now().Truncate(time.Second)
	for _, step := range []struct {
		at   time.Duration
		n    int
		want httpkey.Result
	}{
		{0, 1, httpkey.Result{Allowed: true, Remaining: 2, ResetAfter: time.Second}},
		{0, 1, httpkey.Result{Allowed: true, Remaining: 1, ResetAfter: time.Second}},
		{300 * time.Millisecond, 1, httpkey.Result{Allowed: true, ResetAfter: time.Second}},
		{300 * time.Millisecond, 1, httpkey.Result{ResetAfter: time.Second, RetryAfter: 700 * time.Millisecond}},
		{100 * time.Millisecond, 3, httpkey.Result{ResetAfter: 1200 * time.Millisecond, RetryAfter: 1200 * time.Millisecond}},
		{time.Second - time.Microsecond, 1, httpkey.Result{ResetAfter: 300*time.Millisecond + time.Microsecond,
			RetryAfter: time.Microsecond}},
		{time.Second, 0, httpkey.Result{Allowed: true, Remaining: 2, ResetAfter: 300 * time.Millisecond}},
		{time.Second, 3, httpkey.Result{Remaining: 2, ResetAfter: 300 * time.Millisecond,
			RetryAfter: 300 * time.Millisecond}},
		{time.Second, 2, httpkey.Result{Allowed: true, ResetAfter: time.Second}},
		{2*time.Second - time.Microsecond, 3, httpkey.Result{Remaining: 1, ResetAfter: time.Microsecond,
			RetryAfter: time.Microsecond}},
		{2 * time.Second, 3, httpkey.Result{Allowed: true, ResetAfter: time.Second}},
	} {
		server.SetTime(start.Add(step.at))
		step.want.Limit = limit
		if got, err := window.Allow(t.Context(), of("payer", step.n, limit)); err != nil ||
			!reflect.DeepEqual(got, step.want) {
			t.Fatalf("%d at %v: %+v (%v), want\n%+v", step.n, step.at, got, err, step.want)
		}
	}
	// After the clock was set back by more than a Period, earlier admissions count from now.
	server.SetTime(start.Add(-time.Hour))
	for _, step := range []struct {
		at   time.Duration
		want httpkey.Result
	}{
		{-time.Hour, httpkey.Result{ResetAfter: time.Second, RetryAfter: time.Second}},
		{-time.Hour + time.Second, httpkey.Result{Allowed: true, Remaining: 2, ResetAfter: time.Second}},
	} {
		server.SetTime(start.Add(step.at))
		step.want.Limit = limit
		if got, err := window.Allow(t.Context(), of("payer", 1, limit)); err != nil || !reflect.DeepEqual(got, step.want) {
			t.Fatalf("at %v: %+v (%v), want\n%+v", step.at, got, err, step.want)
		}
	}
}
