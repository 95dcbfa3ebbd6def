package cachestore

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/httpkey/httpkey"
)

// changesTo are all the ways in which the cache learns of a change, and what
// the token of digest(1), "old" or absent before, is afterwards.
var changesTo = []struct {
	name   string
	exists bool // before
	feed   bool // whether the feed is what tells
	change func(ctx context.Context, s *Store, b *backend) error
	label  string
	err    error
}{
	{"Update", true, false, func(ctx context.Context, s *Store, _ *backend) error {
		t := labeled(token(1), "new")
		t.Digest = digest(99) // which is not to be looked at
		return s.Update(ctx, t)
	}, "new", nil},
	{"Delete", true, false, func(ctx context.Context, s *Store, _ *backend) error {
		return s.Delete(ctx, token(1).ID)
	}, "", httpkey.ErrNotFound},
	{"Create", false, false, func(ctx context.Context, s *Store, _ *backend) error {
		return s.Create(ctx, labeled(token(1), "new"))
	}, "new", nil},
	{"Create under another digest", true, false, func(ctx context.Context, s *Store, b *backend) error {
		if err := b.Store.Delete(ctx, token(1).ID); err != nil { // elsewhere, and unheard of
			return err
		}
		t := token(1)
		t.Digest = digest(2)
		return s.Create(ctx, t)
	}, "", httpkey.ErrNotFound},
	{"feed: update", true, true, func(ctx context.Context, _ *Store, b *backend) error {
		return b.Update(ctx, labeled(token(1), "new"))
	}, "new", nil},
	{"feed: delete", true, true, func(ctx context.Context, _ *Store, b *backend) error {
		return b.Delete(ctx, token(1).ID)
	}, "", httpkey.ErrNotFound},
	{"feed: create", false, true, func(ctx context.Context, _ *Store, b *backend) error {
		return b.Create(ctx, labeled(token(1), "new"))
	}, "new", nil},
	{"flush", true, true, func(ctx context.Context, _ *Store, b *backend) error {
		b.cut(nil)
		defer elapse(minFeedPause)
		return b.Update(ctx, labeled(token(1), "new"))
	}, "new", nil},
	{"flush of what was absent", false, true, func(ctx context.Context, _ *Store, b *backend) error {
		b.cut(nil)
		defer elapse(minFeedPause)
		return b.Create(ctx, labeled(token(1), "new"))
	}, "new", nil},
	{"Update whose answer is lost", true, false, func(ctx context.Context, s *Store, b *backend) error {
		s.store = lossy{b}
		if err := s.Update(ctx, labeled(token(1), "new")); !errors.Is(err, errDown) {
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

// lossy does what it is told to, and says that it failed.
type lossy struct{ *backend }

func (l lossy) Update(ctx context.Context, t httpkey.Token) error {
	return errors.Join(errDown, l.Store.Update(ctx, t))
}

// A change shows at the next Lookup, and a load that began before it does not
// bring back what was, in either cache; nor does a Lookup after it wait for that load.
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
					create(t, b.Store, labeled(token(1), "old"))
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
					create(t, b.Store, labeled(token(1), "old"))
				}
				var wg sync.WaitGroup
				wg.Go(func() { // began before the change, so it may see either
					if label, err := lookup(t.Context(), s, digest(1)); label != "old" && !errors.Is(err, httpkey.ErrNotFound) {
						t.Errorf("%q, %v", label, err)
					}
				})
				synctest.Wait() // it has read
				if err := test.change(t.Context(), s, b); err != nil {
					t.Fatal(err)
				}
				wg.Go(func() { // begins while the old load is under way
					if label, err := lookup(t.Context(), s, digest(1)); label != test.label || !errors.Is(err, test.err) {
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
					create(t, b.Store, labeled(token(1), "old"))
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

// during calls something while a write is under way, before it is made.
type during struct {
	*backend
	write func()
}

func (d during) Create(ctx context.Context, t httpkey.Token) error {
	d.write()
	return d.backend.Create(ctx, t)
}

func (d during) Update(ctx context.Context, t httpkey.Token) error {
	d.write()
	return d.backend.Update(ctx, t)
}

func (d during) Delete(ctx context.Context, id string) error {
	d.write()
	return d.backend.Delete(ctx, id)
}

// What is read while a write is under way is outdated when that is acknowledged.
func TestReadDuringWrite(t *testing.T) {
	t.Parallel()
	for _, test := range changesTo[:3] {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			b := newBackend()
			s := New(b, nil)
			s.store = during{b, func() { _, _ = s.Lookup(t.Context(), digest(1)) }}
			if test.exists {
				create(t, b, labeled(token(1), "old"))
			}
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
		b.after = nil
		if err := s.Update(t.Context(), labeled(token(1), "new")); err != nil {
			t.Fatal(err)
		}
		expect(t, s, b, digest(1), "new", nil, 1)
		close(first)
		synctest.Wait()
		expect(t, s, b, digest(1), "new", nil, 0)
	})
}

// What changed is not served in an outage either.
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
				create(t, b.Store, labeled(token(1), "old"))
				expect(t, s, b, digest(1), "old", nil, 1)
				if err := test.change(t.Context(), s, b); err != nil {
					t.Fatal(err)
				}
				b.before = func(context.Context, httpkey.Digest) error { return errDown }
				expect(t, s, b, digest(1), "", errDown, 1)
			})
		})
	}
}

// Of the changes that come together, each outdates what was read before it. The
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
					_ = s.Update(t.Context(), labeled(token(n), "+"))
				default:
					_ = b.Update(t.Context(), labeled(token(n), "+"))
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
