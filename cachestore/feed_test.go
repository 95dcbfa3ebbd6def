package cachestore

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/httpkeytest"
	"github.com/httpkey/httpkey/internal/feed"
	"github.com/httpkey/httpkey/memstore"
)

func TestRunWithoutFeed(t *testing.T) {
	t.Parallel()
	if err := New(httpkeytest.NewStore(memstore.New()), nil).Run(t.Context()); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("Run returned %v", err)
	}
}

// A change elsewhere shows as soon as the feed tells of it. Run follows a broken feed again
// after pauses that grow, and then all tokens are outdated. Until then the TTL holds. The
// observer is told once that the feed is down, and once that it is up again. Nothing is
// left when ctx ends.
func TestFeed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBackend()
		var seen events
		s := New(b, &Options{Observers: []httpkey.Observer{&seen}})
		create(t, b, labeled(token(1), "0"), labeled(token(2), "untouched"))
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- s.Run(ctx) }()
		synctest.Wait()
		expect(t, s, b, digest(1), "0", nil, 1)
		update := func(label string) {
			if err := relabel(t.Context(), b, 1, label); err != nil {
				t.Fatal(err)
			}
		}
		update("1")
		expect(t, s, b, digest(1), "1", nil, 1)

		b.cut(nil)
		synctest.Wait()
		update("2")
		expect(t, s, b, digest(1), "1", nil, 0) // the feed has not reported it
		httpkeytest.Elapse(feed.MinPause)
		synctest.Wait()
		expect(t, s, b, digest(1), "2", nil, 1)
		if got := seen.take(); got != "feed_down: the feed is broken, feed_up" {
			t.Errorf("observed %q", got)
		}

		errRefused := errors.New("refused")
		b.cut(errRefused)
		synctest.Wait()
		update("3")
		start := time.Now()
		httpkeytest.Elapse(30*time.Second - feed.MinPause - 1)
		expect(t, s, b, digest(1), "2", nil, 0)
		httpkeytest.Elapse(feed.MinPause + 1)
		expect(t, s, b, digest(1), "3", nil, 1) // by the TTL
		httpkeytest.Elapse(10*time.Minute - time.Since(start))
		synctest.Wait()
		b.mu.Lock()
		calls := b.calls
		b.mu.Unlock()
		least := int(10 * time.Minute / feed.MaxPause)
		if most := 2*least + 10; calls < least || calls > most {
			t.Errorf("%d attempts in 10 minutes, want from %d to %d", calls, least, most)
		}
		if got := seen.take(); got != "feed_down: the feed is broken" {
			t.Errorf("observed %q", got)
		}

		expect(t, s, b, digest(1), "3", nil, 1)
		update("4")
		b.cut(nil)
		httpkeytest.Elapse(feed.MaxPause)
		synctest.Wait()
		expect(t, s, b, digest(1), "4", nil, 1)
		if got := seen.take(); got != "feed_up" {
			t.Errorf("observed %q", got)
		}
		b.cut(nil)
		httpkeytest.Elapse(feed.MinPause) // the pause is short again after a feed that worked
		synctest.Wait()
		if b.followedBy() != 1 {
			t.Error("the pause did not become short again")
		}
		seen.take()
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("Run returned %v", err)
		}
		if b.followedBy() != 0 {
			t.Error("the feed is still followed")
		}
		if got := seen.take(); got != "" { // to end it is no outage
			t.Errorf("observed %q", got)
		}
	}) // which fails if a goroutine is left
}

// Run ends during its pause too.
func TestRunEndsInPause(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBackend()
		b.cut(errBroken)
		ctx, cancel := context.WithTimeout(t.Context(), feed.MinPause/4)
		defer cancel()
		start := time.Now()
		if err := New(b, nil).Run(ctx); !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != feed.MinPause/4 {
			t.Errorf("Run returned %v after %v", err, time.Since(start))
		}
	})
}

// A change of one token makes no other be loaded anew, unless it shares its slot.
func TestChangeOfOneLeavesTheOthers(t *testing.T) {
	t.Parallel()
	const tokens = 1000
	b := newBackend()
	s := New(b, nil)
	follow(t, s, b)
	for n := range tokens {
		create(t, b.silent, token(n))
		expect(t, s, b, digest(n), "", nil, 1)
	}
	if err := relabel(t.Context(), b, 0, "new"); err != nil { // the feed tells
		t.Fatal(err)
	}
	if err := relabel(t.Context(), s, 1, "new"); err != nil { // the change goes through this store
		t.Fatal(err)
	}
	before := b.Calls("Lookup")
	for n := range tokens {
		if _, err := s.Lookup(t.Context(), digest(n)); err != nil {
			t.Fatal(err)
		}
	}
	if n := b.Calls("Lookup") - before; n < 2 || n > 20 { // of 3 slots in 4096, 1,000 tokens have 1.5
		t.Errorf("%d tokens of %d were loaded anew", n, tokens)
	}
}

var _ httpkey.ChangeFeed = (*backend)(nil)
