package cachestore

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/httpkeytest"
)

// A token is used without a look at the store until its TTL is over, counted from
// when the store was asked, and reads do not lengthen that.
func TestTTL(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBackend()
		b.After(httpkeytest.Lag(200*time.Millisecond, "Lookup"))
		s := New(b, nil)
		create(t, b, labeled(token(1), "old"))
		expect(t, s, b, digest(1), "old", nil, 1)
		if err := relabel(t.Context(), b, 1, "new"); err != nil { // the feed does not report it
			t.Fatal(err)
		}
		for range 297 {
			httpkeytest.Elapse(100 * time.Millisecond)
			expect(t, s, b, digest(1), "old", nil, 0)
		}
		httpkeytest.Elapse(100*time.Millisecond - 1)
		expect(t, s, b, digest(1), "old", nil, 0)
		httpkeytest.Elapse(time.Nanosecond)
		expect(t, s, b, digest(1), "new", nil, 1)
	})
}

// An absence is believed for a shorter time than a token, and never for longer than the TTL.
func TestAbsenceTTL(t *testing.T) {
	t.Parallel()
	for ttl, want := range map[time.Duration]time.Duration{0: 5 * time.Second, 2 * time.Second: 2 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			b := newBackend()
			s := New(b, &Options{TTL: ttl})
			expect(t, s, b, digest(1), "", httpkey.ErrNotFound, 1)
			create(t, b, labeled(token(1), "new"))
			httpkeytest.Elapse(want - 1)
			expect(t, s, b, digest(1), "", httpkey.ErrNotFound, 0)
			httpkeytest.Elapse(time.Nanosecond)
			expect(t, s, b, digest(1), "new", nil, 1)
		})
	}
}

// In an outage a token is used until StaleFor is over, to the nanosecond. The store is asked
// for it once in a while, and its answer counts at once.
func TestStaleIfError(t *testing.T) {
	t.Parallel()
	for staleFor, want := range map[time.Duration]time.Duration{
		0: time.Minute, 10 * time.Second: 10 * time.Second, -1: 0,
	} {
		synctest.Test(t, func(t *testing.T) {
			b := newBackend()
			s := New(b, &Options{StaleFor: staleFor})
			create(t, b, labeled(token(1), "old"))
			expect(t, s, b, digest(1), "old", nil, 1)
			b.Before(httpkeytest.Fail(errDown))
			end := time.Now().Add(30*time.Second + want)
			httpkeytest.Elapse(30 * time.Second)
			for time.Until(end) > retryAfter {
				expect(t, s, b, digest(1), "old", nil, 1)
				expect(t, s, b, digest(1), "old", nil, 0) // it has just failed
				httpkeytest.Elapse(retryAfter - 1)
				expect(t, s, b, digest(1), "old", nil, 0)
				httpkeytest.Elapse(time.Nanosecond)
			}
			if httpkeytest.Elapse(time.Until(end) - 1); want > 0 {
				expect(t, s, b, digest(1), "old", nil, 1)
			}
			httpkeytest.Elapse(time.Nanosecond)
			expect(t, s, b, digest(1), "", errDown, 1)
			b.Before(nil)
			expect(t, s, b, digest(1), "old", nil, 1)
		})
	}
}

// A token that is gone, as the store has said since, does not come back in an outage.
func TestGoneTokenIsNotStale(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBackend()
		s := New(b, nil)
		create(t, b, token(1))
		expect(t, s, b, digest(1), "", nil, 1)
		if err := b.Delete(t.Context(), token(1).ID); err != nil {
			t.Fatal(err)
		}
		httpkeytest.Elapse(30 * time.Second)
		expect(t, s, b, digest(1), "", httpkey.ErrNotFound, 1)
		httpkeytest.Elapse(absentTTL)
		b.Before(httpkeytest.Fail(errDown))
		expect(t, s, b, digest(1), "", errDown, 1)
	})
}

// When the store is back, its answers count within retryAfter.
func TestRecovery(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBackend()
		s := New(b, nil)
		create(t, b, labeled(token(1), "old"))
		expect(t, s, b, digest(1), "old", nil, 1)
		httpkeytest.Elapse(30 * time.Second)
		b.Before(httpkeytest.Fail(errDown))
		expect(t, s, b, digest(1), "old", nil, 1)
		b.Before(nil)
		if err := relabel(t.Context(), b, 1, "new"); err != nil {
			t.Fatal(err)
		}
		expect(t, s, b, digest(1), "old", nil, 0)
		httpkeytest.Elapse(retryAfter)
		expect(t, s, b, digest(1), "new", nil, 1)
	})
}

// A token that is read again has no pause left, even if a caller learns late of an earlier
// failure.
func TestPauseEndsWhenTheTokenIsRead(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBackend()
		s := New(b, nil)
		create(t, b, token(1))
		expect(t, s, b, digest(1), "", nil, 1)
		httpkeytest.Elapse(30 * time.Second)
		failed := s.find(digest(1))
		s.pause(&failed, now())
		if c := s.find(digest(1)); !c.isPaused(now()) {
			t.Error("the token has no pause")
		}
		httpkeytest.Elapse(retryAfter)
		expect(t, s, b, digest(1), "", nil, 1)
		s.pause(&failed, now())
		if c := s.find(digest(1)); c.isPaused(now()) || c.stamp.Pause != 0 {
			t.Errorf("the token that was read again has a pause until %d ms", c.stamp.Pause)
		}
	})
}

// A caller with a deadline gets a stale token when that passes, and the next one
// need not wait. A caller that cancels gets neither.
func TestStaleAtDeadline(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBackend()
		s := New(b, nil)
		create(t, b, token(1))
		expect(t, s, b, digest(1), "", nil, 1)
		httpkeytest.Elapse(30 * time.Second)
		b.Before(httpkeytest.Stall())
		ask := func(after time.Duration, cancel bool) (time.Duration, error) {
			ctx, stop := context.WithTimeout(t.Context(), after)
			defer stop()
			if cancel {
				ctx, stop = context.WithCancel(t.Context())
				time.AfterFunc(after, stop)
			}
			start := time.Now()
			_, err := s.Lookup(ctx, digest(1))
			return time.Since(start), err
		}
		took, err := ask(10*time.Millisecond, true)
		if !errors.Is(err, context.Canceled) || took != 10*time.Millisecond {
			t.Errorf("the caller that canceled got %v after %v", err, took)
		}
		if took, err := ask(100*time.Millisecond, false); err != nil || took != 100*time.Millisecond {
			t.Errorf("the caller that was late got %v after %v", err, took)
		}
		for range 100 {
			if took, err := ask(100*time.Millisecond, false); err != nil || took != 0 {
				t.Errorf("the next got %v after %v", err, took)
			}
		}
		httpkeytest.Elapse(5 * time.Second)
		if took, err := ask(time.Minute, false); err != nil || took != time.Second {
			t.Errorf("the store's failure: %v after %v", err, took)
		}
	})
}

// A store that is slow but answers is waited for: a token is not used past its
// TTL because of that, and a caller that comes too late still has it renewed.
func TestSlowStoreIsNoOutage(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBackend()
		s := New(b, nil)
		create(t, b, labeled(token(1), "old"))
		expect(t, s, b, digest(1), "old", nil, 1)
		if err := relabel(t.Context(), b, 1, "new"); err != nil {
			t.Fatal(err)
		}
		b.After(httpkeytest.Lag(200*time.Millisecond, "Lookup"))
		httpkeytest.Elapse(30 * time.Second)
		expect(t, s, b, digest(1), "new", nil, 1)

		httpkeytest.Elapse(30 * time.Second)
		if err := relabel(t.Context(), b, 1, "newer"); err != nil {
			t.Fatal(err)
		}
		late, cancel := context.WithDeadline(t.Context(), time.Now())
		defer cancel()
		if _, err := s.Lookup(late, digest(1)); err != nil {
			t.Errorf("a late caller: %v", err)
		}
		httpkeytest.Elapse(200 * time.Millisecond)
		synctest.Wait()
		expect(t, s, b, digest(1), "newer", nil, 0)
	})
}

// Once the store is taken to be down, one caller in each retryAfter waits for it and finds
// out whether it is back. No other does, with a token in memory or without.
func TestOutage(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const known = 1000
		b := newBackend()
		const timeout = time.Second
		var seen events
		s := New(b, &Options{StaleFor: time.Hour, Timeout: timeout, Observers: []httpkey.Observer{&seen}})
		for n := range known {
			create(t, b, token(n))
			expect(t, s, b, digest(n), "", nil, 1)
		}
		httpkeytest.Elapse(30 * time.Second)
		b.Before(httpkeytest.Stall())
		lookups := func(since int) int { return b.Calls("Lookup") - since }
		before, start := b.Calls("Lookup"), time.Now()
		for n := range known {
			if _, err := s.Lookup(t.Context(), digest(n)); err != nil {
				t.Errorf("a known key: %v", err)
			}
		}
		if took, n := time.Since(start), lookups(before); took != outageAfter*timeout || n != outageAfter {
			t.Errorf("%d known keys took %v and %d Lookups", known, took, n)
		}
		for n := range known {
			_, err := s.Lookup(t.Context(), digest(known+n))
			if !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, httpkey.ErrNotFound) {
				t.Errorf("an unknown key: %v", err)
			}
		}
		if took, n := time.Since(start), lookups(before); took != outageAfter*timeout || n != outageAfter {
			t.Errorf("with %d unknown keys it took %v and %d Lookups", known, took, n)
		}
		for range 10 {
			httpkeytest.Elapse(retryAfter)
			before := b.Calls("Lookup")
			go func() { _, _ = s.Lookup(t.Context(), digest(2*known)) }()
			synctest.Wait()
			start := time.Now()
			_, err := s.Lookup(t.Context(), digest(2*known+1))
			if took := time.Since(start); !errors.Is(err, context.DeadlineExceeded) || took != 0 {
				t.Errorf("while one finds out, another got %v after %v", err, took)
			}
			httpkeytest.Elapse(timeout)
			if n := lookups(before); n != 1 {
				t.Errorf("%d find out", n)
			}
		}
		if got := seen.take(); got != "store_down: context deadline exceeded" {
			t.Errorf("observed %q", got)
		}
		b.Before(nil)
		httpkeytest.Elapse(retryAfter)
		for n := range known {
			expect(t, s, b, digest(10*known+n), "", httpkey.ErrNotFound, 1)
		}
		synctest.Wait()
		if got := seen.take(); got != "store_up" {
			t.Errorf("observed %q", got)
		}
	})
}

// One record that cannot be read is no outage, however often it is asked for. Failures
// between which other loads succeed are none either.
func TestPartOfTheStoreIsNoOutage(t *testing.T) {
	t.Parallel()
	const known = 100
	b := newBackend()
	var seen events
	s := New(b, &Options{Observers: []httpkey.Observer{&seen}, StaleFor: -1})
	for n := range known {
		create(t, b, token(n))
		expect(t, s, b, digest(n), "", nil, 1)
	}
	s.changes.noteAll()
	fails := func(d httpkey.Digest) {
		t.Helper()
		b.Before(httpkeytest.Fail(errDown))
		defer b.Before(nil)
		expect(t, s, b, d, "", errDown, 1)
	}
	for range 100 {
		fails(digest(1))
	}
	expect(t, s, b, digest(2), "", nil, 1)
	for n := range 100 {
		fails(digest(3 + n%(known/2)))
		if n%(outageAfter-1) == 0 {
			expect(t, s, b, digest(known/2+3+n/(outageAfter-1)), "", nil, 1)
		}
	}
	if got := seen.take(); got != "" {
		t.Errorf("observed %q", got)
	}
}
