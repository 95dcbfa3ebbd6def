package cachestore

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/httpkeytest"
)

// held returns a backend whose Lookups wait, once they have read, until release is closed.
func held() (b *backend, release chan struct{}) {
	b, release = newBackend(), make(chan struct{})
	b.After(func(ctx context.Context, method string) error {
		if method != "Lookup" {
			return nil
		}
		select {
		case <-release:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	})
	return b, release
}

func TestHerdMakesOneLookup(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]error{"a token": nil, "no token": httpkey.ErrNotFound, "a failure": errDown} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b, release := held()
				if want == nil {
					create(t, b, token(1))
				}
				if errors.Is(want, errDown) {
					b.Before(func(context.Context, string) error { httpkeytest.Elapse(time.Millisecond); return errDown })
				}
				s := New(b, nil)
				var wg sync.WaitGroup
				scopes := make([]string, 1000)
				for i := range scopes {
					wg.Go(func() {
						got, err := s.Lookup(t.Context(), digest(1))
						if !errors.Is(err, want) {
							t.Errorf("%v, want %v", err, want)
						}
						if want == nil {
							scopes[i] = got.Scopes[0]
							got.Scopes[0] = "spoiled"
						}
					})
				}
				synctest.Wait()
				close(release)
				wg.Wait()
				if n := b.Calls("Lookup"); n != 1 {
					t.Errorf("%d Lookups, want 1", n)
				}
				for _, scope := range scopes {
					if want == nil && scope != "read" {
						t.Fatalf("somebody got the scope %q: callers share Scopes", scope)
					}
				}
			})
		})
	}
}

// A caller that found nothing in memory loads nothing if another just has.
func TestLoadAfterAnotherLoad(t *testing.T) {
	t.Parallel()
	b := newBackend()
	s := New(b, nil)
	create(t, b, token(1))
	for i, want := range []error{nil, httpkey.ErrNotFound} {
		n := i + 1
		expect(t, s, b, digest(n), "", want, 1)
		l, _ := s.join(t.Context(), digest(n))
		<-l.done
		if !errors.Is(l.err, want) || want == nil && l.token.Digest != digest(n) {
			t.Errorf("%v, %v", l.token, l.err)
		}
		if calls := b.Calls("Lookup"); calls != n {
			t.Errorf("%d Lookups, want %d", calls, n)
		}
	}
}

func TestHerdWithoutBubble(t *testing.T) {
	t.Parallel()
	b := newBackend()
	create(t, b, token(1))
	s := New(b, nil)
	var wg sync.WaitGroup
	for range 1000 { // some before, some during and some after the load
		wg.Go(func() {
			if _, err := s.Lookup(t.Context(), digest(1)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := b.Calls("Lookup"); n != 1 {
		t.Errorf("%d Lookups, want 1", n)
	}
}

// A caller whose context ends gets its answer at once. That neither ends the load nor fails
// another caller, even if the one that left was the first.
func TestCallersLeave(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b, release := held()
		create(t, b, labeled(token(1), "here"))
		s := New(b, nil)
		type answer struct {
			label string
			err   error
			after time.Duration
		}
		ask := func(ctx context.Context) chan answer {
			c, start := make(chan answer, 1), time.Now()
			go func() {
				label, err := lookup(ctx, s, digest(1))
				c <- answer{label, err, time.Since(start)}
			}()
			synctest.Wait()
			return c
		}
		canceled, cancel := context.WithCancel(t.Context())
		late, cancelLate := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancelLate()
		first, second, patient := ask(canceled), ask(late), ask(t.Context())
		httpkeytest.Elapse(50 * time.Millisecond)
		cancel()
		if got := <-first; got != (answer{"", context.Canceled, 50 * time.Millisecond}) {
			t.Errorf("the caller that canceled got %+v", got)
		}
		if got := <-second; got != (answer{"", context.DeadlineExceeded, 100 * time.Millisecond}) {
			t.Errorf("the caller that was late got %+v", got)
		}
		close(release)
		if got := <-patient; got != (answer{"here", nil, 100 * time.Millisecond}) {
			t.Errorf("the caller that waited got %+v", got)
		}
		if n := b.Calls("Lookup"); n != 1 {
			t.Errorf("%d Lookups, want 1", n)
		}
		if got := <-ask(canceled); got.label != "here" || got.err != nil {
			t.Errorf("a caller that has left got %+v for a token in memory", got)
		}
		if err := s.Delete(t.Context(), token(1).ID); err != nil {
			t.Fatal(err)
		}
		if got := <-ask(t.Context()); !errors.Is(got.err, httpkey.ErrNotFound) {
			t.Errorf("a deleted token: %+v", got)
		}
		if got := <-ask(canceled); !errors.Is(got.err, httpkey.ErrNotFound) {
			t.Errorf("a caller that has left got %+v for an absence in memory", got)
		}
		if _, err := s.Lookup(canceled, digest(2)); !errors.Is(err, context.Canceled) || b.Calls("Lookup") != 2 {
			t.Errorf("a caller that has left still made a load: %v", err)
		}
	})
}

// A load that all callers have left ends by its timeout, and leaves nothing behind.
func TestAbandonedLoadEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b, _ := held()
		s := New(b, &Options{Timeout: 300 * time.Millisecond})
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		start := time.Now()
		if _, err := s.Lookup(ctx, digest(1)); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		if _, err := s.Lookup(t.Context(), digest(1)); !errors.Is(err, context.DeadlineExceeded) || b.Calls("Lookup") != 1 {
			t.Errorf("%v after %d Lookups", err, b.Calls("Lookup"))
		}
		if took := time.Since(start); took != 300*time.Millisecond {
			t.Errorf("the load took %v", took)
		}
		if len(s.loads) != 0 {
			t.Error("the load is still there")
		}
	}) // which fails if a goroutine is left
}

// A token is the same from memory as from the store, also where no Guard would have issued
// it: "read write" as one scope does not become two.
func TestTokenInMemoryIsTheOneInTheStore(t *testing.T) {
	t.Parallel()
	for i, scopes := range [][]string{nil, {"read"}, {"read", "write"}, {"read write"}, {"", "read"}, {""}} {
		b := newBackend()
		s := New(b, nil)
		stored := token(i)
		stored.Scopes = scopes
		create(t, b, stored)
		for range 2 {
			got, err := s.Lookup(t.Context(), digest(i))
			if err != nil || !slices.Equal(got.Scopes, scopes) {
				t.Errorf("%q and %v, want %q", got.Scopes, err, scopes)
			}
		}
	}
}

// The values of the caller's context reach the store: traces do.
func TestLoadHasValuesOfItsFirstCaller(t *testing.T) {
	t.Parallel()
	type key struct{}
	b := newBackend()
	b.Before(func(ctx context.Context, _ string) error {
		if _, ok := ctx.Deadline(); !ok || ctx.Value(key{}) != "trace" {
			t.Error("the context has no deadline, or lost its values")
		}
		return nil
	})
	_, _ = New(b, nil).Lookup(context.WithValue(t.Context(), key{}, "trace"), digest(1))
}

// A store that panics does so for its callers, as it would without a cache. A store that
// ends its goroutine leaves no caller waiting.
func TestStoreThatDoesNotReturn(t *testing.T) {
	t.Parallel()
	b := newBackend()
	s := New(b, nil)
	for range 2 {
		b.Before(func(context.Context, string) error { panic("at the store") })
		func() {
			defer func() {
				if got := recover(); got != "at the store" {
					t.Errorf("recovered %v", got)
				}
			}()
			_, err := s.Lookup(t.Context(), digest(1))
			t.Errorf("returned %v", err)
		}()
		b.Before(func(context.Context, string) error { runtime.Goexit(); return nil })
		if _, err := s.Lookup(t.Context(), digest(1)); !errors.Is(err, errNoAnswer) {
			t.Error(err)
		}
	}
	b.Before(nil)
	create(t, b, token(1))
	if _, err := s.Lookup(t.Context(), digest(1)); err != nil {
		t.Error(err)
	}
}
