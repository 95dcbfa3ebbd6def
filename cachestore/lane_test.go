package cachestore

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/httpkeytest"
	"github.com/httpkey/httpkey/internal/feed"
)

// gated is a backend that notes the order of its Lookups, and lets each pass once it is told.
type gated struct {
	*backend
	pass chan struct{}

	mu    sync.Mutex
	order []int // the numbers of the digests
	open  int   // Lookups in progress
	most  int   // the most at once
}

func newGated() *gated { return &gated{backend: newBackend(), pass: make(chan struct{})} }

func (g *gated) Lookup(ctx context.Context, d httpkey.Digest) (httpkey.Token, error) {
	g.note(+1, number(d))
	defer g.note(-1)
	select {
	case <-g.pass:
		return g.backend.Lookup(ctx, d)
	case <-ctx.Done():
		return httpkey.Token{}, ctx.Err()
	}
}

func (g *gated) note(change int, asked ...int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.order = append(g.order, asked...)
	g.open += change
	g.most = max(g.most, g.open)
}

// take returns the numbers of the digests that were looked up since it was last called.
func (g *gated) take() []int {
	g.mu.Lock()
	defer g.mu.Unlock()
	order := g.order
	g.order = nil
	return order
}

// call looks up digest(n) in a goroutine, and returns when the goroutine waits or has ended.
func call(ctx context.Context, s *Store, n int) (answer <-chan error) {
	c := make(chan error, 1)
	go func() {
		_, err := s.Lookup(ctx, digest(n))
		c <- err
	}()
	synctest.Wait()
	return c
}

// wantRest checks that no load is left.
func wantRest(t *testing.T, s *Store) {
	t.Helper()
	synctest.Wait()
	if s.lane.free != s.options.MaxUnknown || s.lane.waiting.Len() != 0 || len(s.loads) != 0 {
		t.Errorf("%d of %d may start, %d wait, and %d loads are left",
			s.lane.free, s.options.MaxUnknown, s.lane.waiting.Len(), len(s.loads))
	}
}

// At most MaxUnknown lookups of unknown keys run at once. The newest waiting lookup runs next,
// and a lookup that another caller joins becomes the newest.
func TestUnknownKeysTakeTurns(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newGated()
		s := New(g, &Options{MaxUnknown: 2})
		var answers []<-chan error
		for _, n := range []int{1, 2, 3, 4, 5, 6, 4} {
			answers = append(answers, call(t.Context(), s, n))
		}
		if got := g.take(); !slices.Equal(got, []int{1, 2}) {
			t.Errorf("at once it looked up %v", got)
		}
		for _, want := range []int{4, 6, 5, 3} {
			g.pass <- struct{}{}
			synctest.Wait()
			if got := g.take(); !slices.Equal(got, []int{want}) {
				t.Errorf("then it looked up %v, want %d", got, want)
			}
		}
		close(g.pass)
		for _, answer := range answers {
			if err := <-answer; !errors.Is(err, httpkey.ErrNotFound) {
				t.Error(err)
			}
		}
		if g.most != 2 || g.Calls("Lookup") != 6 {
			t.Errorf("%d Lookups, %d at once", g.Calls("Lookup"), g.most)
		}
		wantRest(t, s)
	})
}

// While lookups of unknown keys fill the lane, lookups of keys in memory do not wait, whatever
// made the keys outdated. No other method waits either.
func TestKeysInMemoryDoNotWait(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		outdate func(t *testing.T, s *Store, b *backend)
		loads   int
	}{
		"fresh":    {func(*testing.T, *Store, *backend) {}, 0},
		"TTL over": {func(*testing.T, *Store, *backend) { httpkeytest.Elapse(30 * time.Second) }, 1},
		"StaleFor over": {func(*testing.T, *Store, *backend) {
			httpkeytest.Elapse(2 * time.Minute)
		}, 1},
		"changed": {func(t *testing.T, s *Store, _ *backend) {
			if err := relabel(t.Context(), s, 1, "new"); err != nil {
				t.Fatal(err)
			}
		}, 1},
		"changed elsewhere": {func(t *testing.T, _ *Store, b *backend) {
			if err := relabel(t.Context(), b, 1, "new"); err != nil {
				t.Fatal(err)
			}
		}, 1},
		"flush": {func(_ *testing.T, _ *Store, b *backend) {
			b.cut(nil)
			httpkeytest.Elapse(feed.MinPause)
			synctest.Wait()
		}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := newBackend()
				s := New(b, &Options{MaxUnknown: 2, Timeout: time.Hour})
				follow(t, s, b)
				create(t, b.silent, token(1))
				expect(t, s, b, digest(1), "", nil, 1)
				ctx, cancel := context.WithCancel(t.Context())
				var unknown []<-chan error
				b.Before(httpkeytest.Stall("Lookup"))
				for n := range 10 {
					unknown = append(unknown, call(ctx, s, 100+n))
				}
				b.Before(nil)
				test.outdate(t, s, b)
				start, before := time.Now(), b.Calls("Lookup")
				if _, err := s.Lookup(t.Context(), digest(1)); err != nil {
					t.Error(err)
				}
				if n := b.Calls("Lookup") - before; n != test.loads {
					t.Errorf("%d Lookups in the store, want %d", n, test.loads)
				}
				_, getErr := s.Get(t.Context(), token(1).ID)
				_, listErr := s.List(t.Context(), httpkey.Filter{})
				_, createErr := s.Create(t.Context(), token(2))
				touchErr := s.Touch(t.Context(), map[string]time.Time{token(1).ID: time.Now()})
				err := errors.Join(getErr, listErr, createErr, touchErr, relabel(t.Context(), s, 1, "newer"),
					s.Delete(t.Context(), token(1).ID))
				if err != nil {
					t.Error(err)
				}
				expect(t, s, b, digest(1), "", httpkey.ErrNotFound, 1)
				if took := time.Since(start); took != 0 {
					t.Errorf("that took %v", took)
				}
				cancel()
				for _, lookup := range unknown {
					if err := <-lookup; !errors.Is(err, context.Canceled) {
						t.Error(err)
					}
				}
				httpkeytest.Elapse(time.Hour)
				wantRest(t, s)
			})
		})
	}
}

// Callers of one digest also share a load that waits. If a caller leaves, even the first, the
// others keep the load. When the last caller leaves, the load ends.
func TestCallersOfAWaitingLoadLeave(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newGated()
		s := New(g, &Options{MaxUnknown: 1})
		create(t, g, token(2))
		turn := call(t.Context(), s, 1)
		canceled, cancel := context.WithCancel(t.Context())
		late, cancelLate := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancelLate()
		first, second, patient := call(canceled, s, 2), call(late, s, 2), call(t.Context(), s, 2)
		alone := call(canceled, s, 3)
		cancel()
		for _, left := range []<-chan error{first, alone} {
			if err := <-left; !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "MaxUnknown") {
				t.Errorf("a caller that canceled got %v", err)
			}
		}
		if len(s.loads) != 2 || s.lane.waiting.Len() != 1 {
			t.Errorf("%d loads, %d wait", len(s.loads), s.lane.waiting.Len())
		}
		if err := <-second; !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "MaxUnknown") {
			t.Errorf("a caller that was late got %v", err)
		}
		close(g.pass)
		if err := <-patient; err != nil {
			t.Errorf("the caller that waited got %v", err)
		}
		if err := <-turn; !errors.Is(err, httpkey.ErrNotFound) {
			t.Error(err)
		}
		if got := g.take(); !slices.Equal(got, []int{1, 2}) {
			t.Errorf("it looked up %v", got)
		}
		wantRest(t, s)
	})
}

// A caller without a deadline waits no longer than Timeout for its turn.
func TestWaitEndsByTimeout(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBackend()
		s := New(b, &Options{MaxUnknown: 1, Timeout: 300 * time.Millisecond})
		b.Before(httpkeytest.Lag(200*time.Millisecond, "Lookup"))
		start := time.Now()
		oldest := call(t.Context(), s, 1)
		waiting := call(t.Context(), s, 2)
		for n := 3; n < 9; n++ { // each is newer than the one that waits
			_ = call(t.Context(), s, n)
			httpkeytest.Elapse(100 * time.Millisecond)
		}
		if err := <-oldest; !errors.Is(err, httpkey.ErrNotFound) {
			t.Error(err)
		}
		select {
		case err := <-waiting:
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Error(err)
			}
		default:
			t.Errorf("a caller waits for longer than %v", time.Since(start))
		}
		httpkeytest.Elapse(time.Second)
		wantRest(t, s)
	})
}

// A load that has not begun stays good after a change, because it sees the change.
func TestChangeWhileALoadWaits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newGated()
		s := New(g, &Options{MaxUnknown: 1})
		create(t, g, labeled(token(2), "old"))
		_ = call(t.Context(), s, 1)
		first := call(t.Context(), s, 2)
		if err := relabel(t.Context(), s, 2, "new"); err != nil {
			t.Fatal(err)
		}
		second := call(t.Context(), s, 2)
		close(g.pass)
		if err := errors.Join(<-first, <-second); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		expect(t, s, g.backend, digest(2), "new", nil, 0)
		if got := g.take(); !slices.Equal(got, []int{1, 2}) {
			t.Errorf("it looked up %v", got)
		}
		wantRest(t, s)
	})
}

// Failed lookups of keys in memory begin an outage, and those of unknown keys do not. Any answer
// ends an outage.
func TestUnknownKeysBeginNoOutage(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBackend()
		var seen events
		s := New(b, &Options{Observers: []httpkey.Observer{&seen}, StaleFor: -1})
		for n := range outageAfter {
			create(t, b, token(n))
			expect(t, s, b, digest(n), "", nil, 1)
		}
		b.Before(httpkeytest.Fail(errDown))
		for n := range 100 * outageAfter {
			expect(t, s, b, digest(1000+n), "", errDown, 1)
		}
		if got := seen.take(); got != "" {
			t.Errorf("after failures of unknown keys the Observer got %q", got)
		}
		httpkeytest.Elapse(30 * time.Second)
		for n := range outageAfter {
			expect(t, s, b, digest(n), "", errDown, 1)
		}
		synctest.Wait()
		if got := seen.take(); got != "store_down: the store is down" {
			t.Errorf("after failures of keys in memory the Observer got %q", got)
		}
		b.Before(nil)
		httpkeytest.Elapse(retryAfter)
		expect(t, s, b, digest(5000), "", httpkey.ErrNotFound, 1)
		synctest.Wait()
		if got := seen.take(); got != "store_up" {
			t.Errorf("after an answer for an unknown key the Observer got %q", got)
		}

		released := make(chan struct{})
		b.Before(func(context.Context, string) error { <-released; return nil })
		old := call(t.Context(), s, 5001)
		b.Before(httpkeytest.Fail(errDown))
		for n := range outageAfter {
			expect(t, s, b, digest(n), "", errDown, 1)
		}
		close(released)
		if err := <-old; !errors.Is(err, httpkey.ErrNotFound) {
			t.Error(err)
		}
		synctest.Wait()
		if got := seen.take(); got != "store_down: the store is down, store_up" {
			t.Errorf("after the late answer for an unknown key the Observer got %q", got)
		}
	})
}

// In an outage, the probe of the store does not wait for loads that hang.
func TestProbeDoesNotWait(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBackend()
		s := New(b, &Options{MaxUnknown: 1, Timeout: time.Hour})
		for n := range outageAfter {
			create(t, b, token(n))
			expect(t, s, b, digest(n), "", nil, 1)
		}
		ctx, cancel := context.WithCancel(t.Context())
		b.Before(httpkeytest.Stall())
		hanging := []<-chan error{call(ctx, s, 100), call(ctx, s, 101)} // one runs, one waits
		b.Before(httpkeytest.Fail(errDown))
		s.changes.noteAll()
		for n := range outageAfter {
			expect(t, s, b, digest(n), "", errDown, 1)
		}
		expect(t, s, b, digest(200), "", errDown, 0) // nobody waits now
		b.Before(nil)
		httpkeytest.Elapse(retryAfter)
		expect(t, s, b, digest(201), "", httpkey.ErrNotFound, 1)
		expect(t, s, b, digest(0), "", nil, 1)
		cancel()
		for _, h := range hanging {
			if err := <-h; err == nil {
				t.Error("a made-up key was found")
			}
		}
		httpkeytest.Elapse(time.Hour)
		wantRest(t, s)
	})
}

// A lookup that panics, or ends its goroutine, lets the next lookup run.
func TestPanicLetsTheNextLookupRun(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBackend()
		s := New(b, &Options{MaxUnknown: 1})
		for n := range 3 {
			b.Before(func(context.Context, string) error { panic("at the store") })
			func() {
				defer func() { _ = recover() }()
				_, _ = s.Lookup(t.Context(), digest(n))
				t.Error("it did not panic")
			}()
			b.Before(func(context.Context, string) error { runtime.Goexit(); return nil })
			expect(t, s, b, digest(n), "", errNoAnswer, 1)
		}
		b.Before(nil)
		expect(t, s, b, digest(0), "", httpkey.ErrNotFound, 1)
		wantRest(t, s)
	})
}

// A load that waits has no goroutine of its own. The test counts all goroutines, so no other
// test runs beside it.
func TestWaitingLoadHasNoGoroutine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const callers, limit = 1000, 4
		b, release := held()
		s := New(b, &Options{MaxUnknown: limit})
		before := runtime.NumGoroutine()
		for n := range callers {
			go func() { _, _ = s.Lookup(t.Context(), digest(n)) }()
		}
		synctest.Wait()
		if n := runtime.NumGoroutine() - before - callers; n > limit {
			t.Errorf("%d callers have %d goroutines more, want %d at most", callers, n, limit)
		}
		close(release)
		wantRest(t, s)
	})
}

// Whatever callers do, at most MaxUnknown lookups of unknown keys run at once. Each caller gets
// the right answer or the error of its context, and no load is left.
func TestLaneUnderRandomCallers(t *testing.T) {
	t.Parallel()
	for _, limit := range []int{1, 3, 16} {
		t.Run(fmt.Sprint(limit), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				const valid, digests = 20, 200
				random := rand.New(rand.NewPCG(3, uint64(limit)))
				g := newGated()
				close(g.pass)
				g.Before(httpkeytest.Lag(7*time.Millisecond, "Lookup"))
				s := New(&onlyAbsent{g, valid}, &Options{MaxUnknown: limit, TTL: time.Hour})
				for n := range valid {
					create(t, g.silent, token(n))
				}
				var callers sync.WaitGroup
				for n := range 2 * limit { // all at once, so that they fill the lane
					callers.Go(func() {
						if _, err := s.Lookup(t.Context(), digest(digests+n)); !errors.Is(err, httpkey.ErrNotFound) {
							t.Error(err)
						}
					})
				}
				callers.Wait()
				for range 5000 {
					n, budget := random.IntN(digests), time.Duration(1+random.IntN(40))*time.Millisecond
					leaves := random.IntN(4) == 0
					callers.Go(func() {
						ctx, cancel := context.WithTimeout(t.Context(), budget)
						defer cancel()
						if leaves {
							time.AfterFunc(budget/2, cancel)
						}
						_, err := s.Lookup(ctx, digest(n))
						isRight := err == nil && n < valid || errors.Is(err, httpkey.ErrNotFound) && n >= valid
						if !isRight && (ctx.Err() == nil || !errors.Is(err, ctx.Err())) {
							t.Errorf("digest %d: %v", n, err)
						}
					})
					if random.IntN(10) == 0 { // the others come at once
						httpkeytest.Elapse(time.Duration(random.IntN(10)) * time.Millisecond)
					}
					if random.IntN(100) == 0 {
						s.changes.noteID(token(n).ID) // outdates the loads in progress
					}
				}
				callers.Wait()
				httpkeytest.Elapse(time.Second)
				wantRest(t, s)
				if g.most != limit {
					t.Errorf("%d lookups of unknown keys at once, want %d", g.most, limit)
				}
			})
		})
	}
}

// onlyAbsent excludes digests that a token has from the gate's count, because they may be in memory.
type onlyAbsent struct {
	*gated
	valid int
}

func (o *onlyAbsent) Lookup(ctx context.Context, d httpkey.Digest) (httpkey.Token, error) {
	if number(d) < o.valid {
		return o.backend.Lookup(ctx, d)
	}
	return o.gated.Lookup(ctx, d)
}
