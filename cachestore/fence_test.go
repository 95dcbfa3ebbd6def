package cachestore

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/httpkeytest"
	"github.com/httpkey/httpkey/internal/feed"
)

// changesTo are all the ways in which the cache learns of a change. The token of digest(1)
// is labeled "old", or absent, before it. After it the answer is label, or err.
var changesTo = []struct {
	name   string
	exists bool // before
	feed   bool // whether the feed reports it
	change func(ctx context.Context, s *Store, b *backend) error
	label  string
	err    error
}{
	{"Update", true, false, func(ctx context.Context, s *Store, _ *backend) error {
		return relabel(ctx, s, 1, "new")
	}, "new", nil},
	{"Delete", true, false, func(ctx context.Context, s *Store, _ *backend) error {
		return s.Delete(ctx, token(1).ID)
	}, "", httpkey.ErrNotFound},
	{"Create", false, false, func(ctx context.Context, s *Store, _ *backend) error {
		_, err := s.Create(ctx, labeled(token(1), "new"))
		return err
	}, "new", nil},
	{"Create under another digest", true, false, func(ctx context.Context, s *Store, b *backend) error {
		if err := b.silent.Delete(ctx, token(1).ID); err != nil { // elsewhere, and unheard of
			return err
		}
		t := token(1)
		t.Digest = digest(2)
		_, err := s.Create(ctx, t)
		return err
	}, "", httpkey.ErrNotFound},
	{"feed: update", true, true, func(ctx context.Context, _ *Store, b *backend) error {
		return relabel(ctx, b, 1, "new")
	}, "new", nil},
	{"feed: delete", true, true, func(ctx context.Context, _ *Store, b *backend) error {
		return b.Delete(ctx, token(1).ID)
	}, "", httpkey.ErrNotFound},
	{"feed: create", false, true, func(ctx context.Context, _ *Store, b *backend) error {
		_, err := b.Create(ctx, labeled(token(1), "new"))
		return err
	}, "new", nil},
	{"flush", true, true, func(ctx context.Context, _ *Store, b *backend) error {
		b.cut(nil)
		defer httpkeytest.Elapse(feed.MinPause)
		return relabel(ctx, b, 1, "new")
	}, "new", nil},
	{"flush of what was absent", false, true, func(ctx context.Context, _ *Store, b *backend) error {
		b.cut(nil)
		defer httpkeytest.Elapse(feed.MinPause)
		_, err := b.Create(ctx, labeled(token(1), "new"))
		return err
	}, "new", nil},
	{"Update whose answer is lost", true, false, func(ctx context.Context, s *Store, b *backend) error {
		b.After(httpkeytest.Fail(errDown, "Update"))
		if err := relabel(ctx, s, 1, "new"); !errors.Is(err, errDown) {
			return errors.New("nothing was lost")
		}
		return nil
	}, "new", nil},
}

func followIf(t *testing.T, s *Store, b *backend, feed bool) {
	t.Helper()
	if feed {
		follow(t, s, b)
	}
}

// A change shows at the next Lookup. A load that began before it does not bring the old
// token back, nor its absence. A Lookup after it does not wait for that load.
func TestChangesShowAtOnce(t *testing.T) {
	t.Parallel()
	for _, test := range changesTo {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := newBackend()
				s := New(b, nil)
				followIf(t, s, b, test.feed)
				if test.exists {
					create(t, b.silent, labeled(token(1), "old"))
				}
				// Into memory.
				before, errBefore := lookup(t.Context(), s, digest(1))
				expect(t, s, b, digest(1), before, errBefore, 0)
				if err := test.change(t.Context(), s, b); err != nil {
					t.Fatal(err)
				}
				expect(t, s, b, digest(1), test.label, test.err, 1)
				expect(t, s, b, digest(1), test.label, test.err, 0)
			})
		})
		t.Run(test.name+" during a load", func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b, release := held()
				s := New(b, nil)
				followIf(t, s, b, test.feed)
				if test.exists {
					create(t, b.silent, labeled(token(1), "old"))
				}
				var wg sync.WaitGroup
				wg.Go(func() { // began before the change, so it may see either
					label, err := lookup(t.Context(), s, digest(1))
					if label != "old" && !errors.Is(err, httpkey.ErrNotFound) {
						t.Errorf("%q, %v", label, err)
					}
				})
				synctest.Wait() // it has read
				if err := test.change(t.Context(), s, b); err != nil {
					t.Fatal(err)
				}
				wg.Go(func() { // begins while the old load is under way
					label, err := lookup(t.Context(), s, digest(1))
					if label != test.label || !errors.Is(err, test.err) {
						t.Errorf("during the old load: %q and %v, want %q and %v", label, err, test.label, test.err)
					}
				})
				synctest.Wait()
				close(release)
				wg.Wait()
				expect(t, s, b, digest(1), test.label, test.err, 0)
			})
		})
		t.Run(test.name+" during a load that nobody repeats", func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b, release := held()
				s := New(b, nil)
				followIf(t, s, b, test.feed)
				if test.exists {
					create(t, b.silent, labeled(token(1), "old"))
				}
				go func() { _, _ = s.Lookup(t.Context(), digest(1)) }()
				synctest.Wait()
				if err := test.change(t.Context(), s, b); err != nil {
					t.Fatal(err)
				}
				close(release)
				synctest.Wait()
				expect(t, s, b, digest(1), test.label, test.err, 1)
			})
		})
	}
}

// A token that was read while a write was under way is outdated when that is acknowledged.
func TestReadDuringWrite(t *testing.T) {
	t.Parallel()
	for _, test := range changesTo[:3] {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			b := newBackend()
			s := New(b, nil)
			if test.exists {
				create(t, b.silent, labeled(token(1), "old"))
			}
			b.Before(func(ctx context.Context, method string) error {
				if method != "Lookup" { // the write
					_, _ = s.Lookup(ctx, digest(1))
				}
				return nil
			})
			if err := test.change(t.Context(), s, b); err != nil {
				t.Fatal(err)
			}
			expect(t, s, b, digest(1), test.label, test.err, 1)
		})
	}
}

// A load that was overtaken by a later one, and ends after it, changes nothing.
func TestOvertakenLoad(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b, first := held()
		s := New(b, nil)
		create(t, b, labeled(token(1), "old"))
		go func() { _, _ = s.Lookup(t.Context(), digest(1)) }()
		synctest.Wait()
		b.After(nil)
		if err := relabel(t.Context(), s, 1, "new"); err != nil {
			t.Fatal(err)
		}
		expect(t, s, b, digest(1), "new", nil, 1)
		close(first)
		synctest.Wait()
		expect(t, s, b, digest(1), "new", nil, 0)
	})
}

// A token that changed is not served in an outage either.
func TestChangedTokenIsNeverStale(t *testing.T) {
	t.Parallel()
	for _, test := range changesTo {
		if !test.exists {
			continue
		}
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := newBackend()
				s := New(b, nil)
				followIf(t, s, b, test.feed)
				create(t, b.silent, labeled(token(1), "old"))
				expect(t, s, b, digest(1), "old", nil, 1)
				if err := test.change(t.Context(), s, b); err != nil {
					t.Fatal(err)
				}
				b.Before(httpkeytest.Fail(errDown))
				expect(t, s, b, digest(1), "", errDown, 1)
			})
		})
	}
}

// Each of the changes that come together outdates the tokens that were read before it. The
// race detector watches.
func TestStormOfChanges(t *testing.T) {
	t.Parallel()
	const tokens, workers, rounds = 8, 6, 400
	b := newBackend()
	s := New(b, &Options{Size: tokens / 2, TTL: time.Millisecond})
	follow(t, s, b)
	for n := range tokens {
		create(t, s, labeled(token(n), "+"))
	}
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for round := range rounds {
				n := (w + round) % tokens
				switch {
				case round%50 == 0:
					b.cut(nil)
				case w%2 == 0:
					_ = relabel(t.Context(), s, n, "+")
				default:
					_ = relabel(t.Context(), b, n, "+")
				}
				if label, err := lookup(t.Context(), s, digest(n)); label != "+" || err != nil {
					t.Errorf("%q, %v", label, err)
				}
				_, _ = s.Lookup(t.Context(), digest(tokens+round))
			}
		})
	}
	wg.Wait()
	for n := range tokens {
		if err := s.Delete(t.Context(), token(n).ID); err != nil {
			t.Error(err)
		}
		if _, err := s.Lookup(t.Context(), digest(n)); !errors.Is(err, httpkey.ErrNotFound) {
			t.Errorf("a deleted token: %v", err)
		}
	}
}
