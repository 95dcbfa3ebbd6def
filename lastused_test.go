package httpkey_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/httpkeytest"
	"github.com/httpkey/httpkey/memstore"
)

// touching is a store with a Touch of its own.
type touching struct {
	*memstore.Store
	touch func(context.Context, map[string]time.Time) error
}

func (s *touching) Touch(ctx context.Context, used map[string]time.Time) error {
	return s.touch(ctx, used)
}

// newTouching returns one, and a store that counts its calls.
func newTouching() (*touching, *httpkeytest.Store) {
	tokens := &touching{Store: memstore.New()}
	return tokens, httpkeytest.NewStore(tokens)
}

// 100 tokens under 20,000 requests: each is written at most once per interval,
// and in the end the time of its last request is in the store.
func TestLastUsedIsCoalesced(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const users, requests, interval = 100, 20_000, time.Second
		tokens, store := newTouching()
		writes := make(map[string][]time.Time) // token -> when it was written
		tokens.touch = func(ctx context.Context, used map[string]time.Time) error {
			for id := range used {
				writes[id] = append(writes[id], time.Now())
				if used[id].Location() != time.UTC {
					t.Errorf("Touch got a time in %v", used[id].Location())
				}
			}
			return tokens.Store.Touch(ctx, used)
		}
		guard := httpkey.New(store, httpkey.Unlimited, nil)
		handler := guard.Handler(ok)
		keys, ids := make([]string, users), make([]string, users)
		for n := range users {
			key, token := issue(t, guard, httpkey.Token{})
			keys[n], ids[n] = key, token.ID
		}
		random := rand.New(rand.NewPCG(3, 4))
		last := make(map[string]time.Time)
		for range requests {
			n := random.IntN(users)
			httpkeytest.Get(handler, keys[n])
			last[ids[n]] = time.Now()
			httpkeytest.Elapse(time.Duration(random.IntN(1000)) * time.Microsecond) // 10 s in all
		}
		if err := guard.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		total := 0
		for id, at := range writes {
			total += len(at)
			for i := 1; i < len(at)-1; i++ { // the last one may be Close's
				if at[i].Sub(at[i-1]) < interval {
					t.Errorf("%s was written twice within %v", id, at[i].Sub(at[i-1]))
				}
			}
		}
		if most := users * 12; total > most || total < users {
			t.Errorf("%d writes for %d requests, want %d at most", total, requests, most)
		}
		t.Logf("%d requests: %d token writes in %d store calls", requests, total, store.Calls("Touch"))
		for _, id := range ids {
			got, err := store.Get(t.Context(), id)
			if err != nil || !got.LastUsed.Equal(last[id].Truncate(time.Microsecond)) {
				t.Errorf("last_used of %s is %v (%v), the last request came at %v", id, got.LastUsed, err, last[id])
			}
		}
	})
}

func TestThrottledRequestsMoveLastUsed(t *testing.T) {
	t.Parallel()
	for name, newStore := range map[string]func() httpkey.TokenStore{
		"in place":   func() httpkey.TokenStore { return memstore.New() },
		"by a write": func() httpkey.TokenStore { return httpkeytest.NewStore(memstore.New()) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := newStore()
				guard := httpkey.New(store, memstore.NewLimiter(), nil)
				key, token := issue(t, guard, httpkey.Token{Limits: limits(httpkey.PerHour(1))})
				httpkeytest.Get(guard.Handler(ok), key)
				httpkeytest.Elapse(10 * time.Second)
				if w := httpkeytest.Get(guard.Handler(ok), key); w.Code != http.StatusTooManyRequests {
					t.Fatalf("status %d", w.Code)
				}
				throttled := time.Now()
				httpkeytest.Elapse(time.Second)
				synctest.Wait()
				if got, _ := store.Get(t.Context(), token.ID); !got.LastUsed.Equal(throttled) {
					t.Errorf("last_used is %v, the throttled request came at %v", got.LastUsed, throttled)
				}
			})
		})
	}
}

// A store in memory has a use at once, to the millisecond, and nothing is written for it.
func TestUsesAreNotedInPlace(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := memstore.New()
		guard := httpkey.New(store, httpkey.Unlimited, nil)
		key, token := issue(t, guard, httpkey.Token{})
		for _, pause := range []time.Duration{0, time.Millisecond, 300 * time.Microsecond, 699 * time.Microsecond,
			time.Microsecond, time.Hour} {
			httpkeytest.Elapse(pause)
			httpkeytest.Get(guard.Handler(ok), key)
			if got, _ := store.Get(t.Context(), token.ID); time.Since(got.LastUsed) >= time.Millisecond {
				t.Errorf("%v after the one before, a request came at %v, but last_used is %v", pause, time.Now(), got.LastUsed)
			}
		}
	})
}

func TestRefusedRequestsDoNotMoveLastUsed(t *testing.T) {
	t.Parallel()
	store := httpkeytest.NewStore(memstore.New())
	guard := httpkey.New(store, memstore.NewLimiter(), nil)
	key, token := issue(t, guard, httpkey.Token{})
	if err := guard.Revoke(t.Context(), token.ID, ""); err != nil {
		t.Fatal(err)
	}
	httpkeytest.Get(guard.Handler(ok), key)
	if err := guard.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := store.Calls("Touch"); n != 0 {
		t.Errorf("%d writes for a refused request", n)
	}
}

// A store that fails for a while loses nothing: the uses are written when it is back.
func TestFailedWritesAreRepeated(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := httpkeytest.NewStore(memstore.New())
		var seen events
		guard := httpkey.New(store, memstore.NewLimiter(), &httpkey.Options{Observers: observers(&seen)})
		key, token := issue(t, guard, httpkey.Token{})
		other, otherToken := issue(t, guard, httpkey.Token{})
		store.Before(httpkeytest.Fail(errors.New("down"), "Touch"))
		httpkeytest.Get(guard.Handler(ok), key)
		first := time.Now()
		for range 5 {
			httpkeytest.Elapse(time.Second)
			httpkeytest.Get(guard.Handler(ok), other)
		}
		last := time.Now()
		synctest.Wait()
		if e := seen.last(t); store.Calls("Touch") < 4 {
			t.Errorf("%d attempts, last event %+v", store.Calls("Touch"), e)
		}
		failures := 0
		for _, e := range seen.all {
			if e.Type == httpkey.EventFlushFailed && strings.Contains(fmt.Sprint(e.Err), "down") {
				failures++
			}
		}
		if failures != store.Calls("Touch") {
			t.Errorf("%d failures observed of %d", failures, store.Calls("Touch"))
		}
		store.Before(nil)
		httpkeytest.Elapse(2 * time.Second)
		synctest.Wait()
		for id, want := range map[string]time.Time{token.ID: first, otherToken.ID: last} {
			if got, _ := store.Get(t.Context(), id); !got.LastUsed.Equal(want) {
				t.Errorf("last_used is %v, want %v", got.LastUsed, want)
			}
		}
	})
}

// A use that comes while a flush is under way, and is the last one, is written by the next.
func TestUsesDuringAFlushAreWritten(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		tokens, store := newTouching()
		tokens.touch = func(ctx context.Context, used map[string]time.Time) error {
			httpkeytest.Elapse(100 * time.Millisecond)
			return tokens.Store.Touch(ctx, used)
		}
		guard := httpkey.New(store, httpkey.Unlimited, nil)
		key, token := issue(t, guard, httpkey.Token{})
		httpkeytest.Get(guard.Handler(ok), key)
		httpkeytest.Elapse(1050 * time.Millisecond)
		httpkeytest.Get(guard.Handler(ok), key)
		last := time.Now()
		httpkeytest.Elapse(2 * time.Second)
		synctest.Wait()
		if got, _ := store.Get(t.Context(), token.ID); !got.LastUsed.Equal(last) || store.Calls("Touch") != 2 {
			t.Errorf("last_used is %v after %d writes, want %v", got.LastUsed, store.Calls("Touch"), last)
		}
	})
}

// A Guard that is closed before its first use starts nothing in the background either.
func TestCloseBeforeUse(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := httpkeytest.NewStore(memstore.New())
		guard := httpkey.New(store, httpkey.Unlimited, nil)
		if err := guard.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		key, _ := issue(t, guard, httpkey.Token{})
		httpkeytest.Get(guard.Handler(ok), key)
		httpkeytest.Elapse(time.Minute)
		synctest.Wait()
		if n := store.Calls("Touch"); n != 0 {
			t.Errorf("%d writes in the background", n)
		}
	})
}

// A store whose Touch never answers delays no request, and what waits for it is bounded.
func TestHangingTouchDelaysNoRequest(t *testing.T) {
	t.Parallel()
	for name, heedsContext := range map[string]bool{"that heeds its context": true, "that ignores it": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				tokens, store := newTouching()
				release := make(chan struct{})
				tokens.touch = func(ctx context.Context, _ map[string]time.Time) error {
					if heedsContext {
						<-ctx.Done()
						return ctx.Err()
					}
					<-release
					return nil
				}
				guard := httpkey.New(store, httpkey.Unlimited, nil)
				key, _ := issue(t, guard, httpkey.Token{})
				for range 100 {
					asked := time.Now()
					httpkeytest.Get(guard.Handler(ok), key)
					if took := time.Since(asked); took != 0 { // in the bubble, time passes only while all goroutines wait
						t.Fatalf("a request waited %v", took)
					}
					httpkeytest.Elapse(300 * time.Millisecond)
				}
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				asked := time.Now()
				if err := guard.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("Close returned %v", err)
				}
				if took := time.Since(asked); took > time.Second {
					t.Errorf("Close took %v, its context a second", took)
				}
				close(release)
			})
		})
	}
}

// A store that fails, and one that hangs with a batch in its hands, cannot make
// the Guard hold more than the bound.
func TestPendingUsesAreBounded(t *testing.T) {
	// Not parallel: it looks at the heap.
	const room = 1 << 17
	for name, hangs := range map[string]bool{"failing": false, "hanging": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := &everyToken{fails: true, hangs: hangs, release: make(chan struct{})}
				guard := httpkey.New(store, httpkey.Unlimited, &httpkey.Options{ImportedMinLength: 16})
				use := func(from, to int) {
					for n := from; n < to; n++ {
						if _, err := guard.Verify(t.Context(), fmt.Sprintf("key-%016d", n)); err != nil {
							t.Fatal(err)
						}
					}
				}
				before := heap()
				use(0, 5*room/4)
				httpkeytest.Elapse(1500 * time.Millisecond) // the first flush fails, or hangs
				use(5*room/4, 5*room/2)
				full := heap()
				use(5*room/2, 11*room/4)
				httpkeytest.Elapse(time.Millisecond)
				if grown := heap() - full; grown > 1<<20 {
					t.Errorf("beyond the bound, the heap grew by %d KB more", grown>>10)
				}
				t.Logf("%d tokens used with a %s store: %d KB pending", 11*room/4, name, (full-before)>>10)
				if full-before > 30<<20 {
					t.Errorf("%d KB are pending", (full-before)>>10)
				}
				close(store.release)
				synctest.Wait()
				use(0, 1) // known, and so not too much
				again := time.Now()
				for _, lost := range []bool{true, false} { // a loss is reported once
					err := guard.Close(t.Context())
					if err == nil || !strings.Contains(err.Error(), "tokens is not written") ||
						strings.Contains(err.Error(), " 0 uses are lost") == lost {
						t.Errorf("Close returned %v", err)
					}
				}
				store.fails, store.hangs = false, false
				if err := guard.Close(t.Context()); err != nil || store.touched < room*9/10 || store.touched > 2*room {
					t.Errorf("when the store was back, Close wrote %d tokens (%v), want about %d", store.touched, err, room)
				}
				if !hangs && !store.latest.Equal(again) { // else it was on its way, and is not known any more
					t.Errorf("the latest use written is of %v, want %v", store.latest, again)
				}
			})
		})
	}
}

// everyToken finds a token for every digest, and has trouble with Touch.
type everyToken struct {
	memstore.Store
	fails, hangs bool
	release      chan struct{} // ends the hanging
	touched      int
	latest       time.Time
}

func (s *everyToken) Lookup(_ context.Context, d httpkey.Digest) (httpkey.Token, error) {
	return httpkey.Token{ID: hex.EncodeToString(d[:9]), Digest: d, IsActive: true}, nil
}

func (s *everyToken) Touch(_ context.Context, used map[string]time.Time) error {
	if s.hangs {
		<-s.release
	}
	if s.fails {
		return errors.New("down")
	}
	s.touched += len(used)
	for _, at := range used {
		if at.After(s.latest) {
			s.latest = at
		}
	}
	return nil
}

// When Close is called, the background stops after the batch that it is writing.
func TestCloseStopsTheBackground(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := &slowToken{}
		guard := httpkey.New(store, httpkey.Unlimited, &httpkey.Options{ImportedMinLength: 16})
		for n := range 20_000 {
			if _, err := guard.Verify(t.Context(), fmt.Sprintf("key-%016d", n)); err != nil {
				t.Fatal(err)
			}
		}
		httpkeytest.Elapse(1500 * time.Millisecond) // the first of twenty batches is being written
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := guard.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Close returned %v", err)
		}
		httpkeytest.Elapse(time.Hour)
		if n := store.batches.Load(); n != 1 {
			t.Errorf("%d batches were written, want the one that was under way", n)
		}
		if err := guard.Close(t.Context()); err != nil || store.batches.Load() != 20 {
			t.Errorf("closing again: %v, %d batches", err, store.batches.Load())
		}
	})
}

// slowToken takes four seconds for a batch, and ignores its context.
type slowToken struct {
	everyToken
	batches atomic.Int64
}

func (s *slowToken) Touch(context.Context, map[string]time.Time) error {
	s.batches.Add(1)
	httpkeytest.Elapse(4 * time.Second)
	return nil
}

// heap returns the bytes of live objects.
func heap() int {
	runtime.GC()
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return int(stats.HeapAlloc)
}

func TestCloseFlushesAndIsIdempotent(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := httpkeytest.NewStore(memstore.New())
		guard := httpkey.New(store, memstore.NewLimiter(), nil)
		key, token := issue(t, guard, httpkey.Token{})
		if err := guard.Close(t.Context()); err != nil || store.Calls("Touch") != 0 {
			t.Errorf("closing an idle guard: %v, %d writes", err, store.Calls("Touch"))
		}
		httpkeytest.Get(guard.Handler(ok), key)
		used := time.Now()
		for range 3 {
			if err := guard.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if got, _ := store.Get(t.Context(), token.ID); !got.LastUsed.Equal(used) || store.Calls("Touch") != 1 {
			t.Errorf("last_used is %v after %d writes, want %v after 1", got.LastUsed, store.Calls("Touch"), used)
		}
		httpkeytest.Elapse(10 * time.Second)
		if w := httpkeytest.Get(guard.Handler(ok), key); w.Code != http.StatusOK {
			t.Errorf("after Close, a request got %d", w.Code)
		}
		httpkeytest.Elapse(10 * time.Second)
		synctest.Wait()
		if n := store.Calls("Touch"); n != 1 {
			t.Errorf("after Close, the background wrote: %d writes", n)
		}
		if err := guard.Close(t.Context()); err != nil || store.Calls("Touch") != 2 {
			t.Errorf("closing again: %v, %d writes", err, store.Calls("Touch"))
		}
	})
}

// Every use that came before Close is in the store when Close returns, also
// while a flush in the background is under way and requests are in flight.
func TestCloseWithRequestsInFlight(t *testing.T) {
	t.Parallel()
	for round := range 20 {
		store := httpkeytest.NewStore(memstore.New())
		guard := httpkey.New(store, httpkey.Unlimited, &httpkey.Options{LastUsedInterval: time.Microsecond})
		var keys, ids []string
		for range 20 {
			key, token := issue(t, guard, httpkey.Token{})
			keys, ids = append(keys, key), append(ids, token.ID)
		}
		handler := guard.Handler(ok)
		var mu sync.Mutex
		answered := make(map[string]time.Time) // as known before Close was called
		stop := make(chan struct{})
		var wg sync.WaitGroup
		for worker := range 4 {
			wg.Go(func() {
				for n := worker; ; n++ {
					select {
					case <-stop:
						return
					default:
					}
					asked := time.Now()
					httpkeytest.Get(handler, keys[n%len(keys)])
					mu.Lock()
					if asked.After(answered[ids[n%len(ids)]]) {
						answered[ids[n%len(ids)]] = asked
					}
					mu.Unlock()
				}
			})
		}
		for range round {
			runtime.Gosched()
		}
		mu.Lock()
		before := make(map[string]time.Time)
		for id, at := range answered {
			before[id] = at
		}
		mu.Unlock()
		if err := guard.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		for id, at := range before {
			if got, _ := store.Get(t.Context(), id); got.LastUsed.Before(at.Truncate(time.Microsecond)) {
				t.Errorf("last_used is %v, a request came at %v, before Close", got.LastUsed, at)
			}
		}
		close(stop)
		wg.Wait()
		if err := guard.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

// last_used in the store never moves backwards, in any order of uses and writes.
func TestLastUsedNeverMovesBackwards(t *testing.T) {
	t.Parallel()
	tokens, store := newTouching()
	var latest time.Time
	tokens.touch = func(ctx context.Context, used map[string]time.Time) error {
		err := tokens.Store.Touch(ctx, used)
		for id := range used {
			got, _ := tokens.Get(ctx, id)
			if got.LastUsed.Before(latest) {
				t.Errorf("it was moved back by %v", latest.Sub(got.LastUsed))
			}
			latest = got.LastUsed
		}
		if rand.IntN(2) == 0 {
			return errors.New("down, after it was done")
		}
		return err
	}
	guard := httpkey.New(store, httpkey.Unlimited, &httpkey.Options{LastUsedInterval: time.Microsecond})
	key, _ := issue(t, guard, httpkey.Token{})
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 500 {
				httpkeytest.Get(guard.Handler(ok), key)
			}
		})
	}
	wg.Wait()
	for guard.Close(t.Context()) != nil { // until the store is in the mood
	}
}

// A Guard passes at most 1,000 at a time.
func TestBatchesAreBounded(t *testing.T) {
	t.Parallel()
	most := 0
	tokens, store := newTouching()
	tokens.touch = func(_ context.Context, used map[string]time.Time) error {
		most = max(most, len(used))
		return nil
	}
	guard := httpkey.New(store, httpkey.Unlimited, &httpkey.Options{LastUsedInterval: time.Hour})
	for range 1001 {
		key, _ := issue(t, guard, httpkey.Token{})
		if _, err := guard.Verify(t.Context(), key); err != nil {
			t.Fatal(err)
		}
	}
	if err := guard.Close(t.Context()); err != nil || most != 1000 || store.Calls("Touch") != 2 {
		t.Errorf("%d writes of up to %d tokens (%v)", store.Calls("Touch"), most, err)
	}
}

// No goroutine is left after Close, nor is there one where nothing was used.
func TestNoGoroutineIsLeft(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) { // which fails if a goroutine of the bubble is left waiting
		bubble := regexp.MustCompile(`synctest bubble \d+`)
		inBubble := func() int {
			buf := make([]byte, 1<<20)
			buf = buf[:runtime.Stack(buf, true)]
			own := bubble.Find(buf) // the first goroutine is this one
			return bytes.Count(buf, append(own, ']')) + bytes.Count(buf, append(own, ','))
		}
		before := inBubble()
		for range 50 {
			guard := newGuard(nil)
			key, _ := issue(t, guard, httpkey.Token{})
			httpkeytest.Get(guard.Handler(ok), key)
			if err := guard.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		if after := inBubble(); after != before {
			t.Errorf("%d goroutines before, %d after", before, after)
		}
	})
}
