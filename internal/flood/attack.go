// Package flood attacks a Guard with made-up keys, and measures what clients with good keys
// notice. It works in a bubble of testing/synctest and in real time.
package flood

import (
	"context"
	"net/http"
	"net/http/httptest"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/httpkey/httpkey"
)

// The traffic of good keys beside the flood.
const (
	cachedKeys = 50  // used in turn
	cached     = 100 // requests a second with them
	uncached   = 40  // requests a second with a key that was never used before, each with another
	revoked    = 5   // revocations a second, each of a key that is in use
)

const (
	stall  = time.Second             // of the store, while the flood begins
	leadIn = 1700 * time.Millisecond // of the flood alone; a breaker is shut again by then
	prompt = 100 * time.Millisecond  // in which a revocation must succeed
)

// Attack is a flood of made-up keys on a Guard, and the traffic of good keys beside it.
type Attack struct {
	Guard  *httpkey.Guard // under attack
	Issuer *httpkey.Guard // over the same store by another way: it issues the good keys
	Events *Events        // the Observer of everything under attack
	Rate   int            // made-up keys a second
	Time   time.Duration  // of the traffic of good keys
	Stall  func()         // stalls the store
	Resume func()         // ends that

	handler http.Handler
	open    atomic.Int64 // requests under way
}

// Figures are what an attack did.
type Figures struct {
	Cached     Share // requests with a key in memory that were admitted
	Revoked    Share // revocations that took effect promptly
	Uncached   Share // requests with a key that is not in memory that were admitted
	MadeUp     Share // requests with made-up keys that were answered 401
	Goroutines int   // the most, beside one for each request under way
	Open       int   // the most requests under way

	Events map[httpkey.EventType]int // that the Guard and the cache told, by their types
}

// Share is a count of successes.
type Share struct {
	Good int64 // successes
	All  int64 // attempts
}

// Of returns the share as a number from 0 to 1.
func (s Share) Of() float64 { return float64(s.Good) / float64(s.All) }

// count adds an outcome.
func (s *Share) count(isGood bool) {
	atomic.AddInt64(&s.All, 1)
	if isGood {
		atomic.AddInt64(&s.Good, 1)
	}
}

// Run issues the good keys, uses those that are to be in memory, and attacks.
func (a *Attack) Run(ctx context.Context) (Figures, error) {
	a.handler = a.Guard.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	inMemory, err := a.issue(ctx, cachedKeys)
	if err != nil {
		return Figures{}, err
	}
	seconds := int(a.Time/time.Second) + 1
	toRevoke, err := a.issue(ctx, revoked*seconds)
	if err != nil {
		return Figures{}, err
	}
	unused, err := a.issue(ctx, uncached*seconds)
	if err != nil {
		return Figures{}, err
	}
	for _, created := range append(toRevoke, inMemory...) {
		a.get(created.Secret.Reveal())
	}

	var f Figures
	var streams sync.WaitGroup
	madeUp := strangers()
	stop := a.watch(&f)
	a.Stall()
	streams.Go(func() { a.every(a.Rate, leadIn, func(int) { a.get(madeUp()) }) })
	time.Sleep(stall)
	a.Resume()
	time.Sleep(leadIn - stall)
	a.Events.take()
	streams.Go(func() {
		a.every(a.Rate, a.Time, func(int) { f.MadeUp.count(a.get(madeUp()) == http.StatusUnauthorized) })
	})
	streams.Go(func() {
		a.every(cached, a.Time, func(n int) {
			f.Cached.count(a.get(inMemory[n%len(inMemory)].Secret.Reveal()) == http.StatusOK)
		})
	})
	streams.Go(func() {
		a.every(uncached, a.Time, func(n int) { f.Uncached.count(a.get(unused[n].Secret.Reveal()) == http.StatusOK) })
	})
	streams.Go(func() {
		a.every(revoked, a.Time, func(n int) { f.Revoked.count(a.revoke(ctx, toRevoke[n])) })
	})
	streams.Wait()
	stop()
	f.Events = a.Events.take()
	return f, nil
}

// issue returns n new keys that have room for every request.
func (a *Attack) issue(ctx context.Context, n int) ([]httpkey.Created, error) {
	keys := make([]httpkey.Created, n)
	for i := range keys {
		var err error
		if keys[i], err = a.Issuer.Issue(ctx, httpkey.Token{Limits: []httpkey.Limit{httpkey.PerMinute(100_000)}}); err != nil {
			return nil, err
		}
	}
	return keys, nil
}

// every calls do rate times a second, each time in a goroutine, and returns when all have ended.
func (a *Attack) every(rate int, during time.Duration, do func(n int)) {
	var calls sync.WaitGroup
	start := time.Now()
	for n := range rate * int(during/time.Millisecond) / 1000 {
		time.Sleep(time.Until(start.Add(time.Duration(n) * time.Second / time.Duration(rate))))
		a.open.Add(1)
		calls.Go(func() {
			do(n)
			a.open.Add(-1)
		})
	}
	calls.Wait()
}

// get sends a request with a key and returns the status.
func (a *Attack) get(key string) int {
	r := httptest.NewRequest(http.MethodGet, "/", http.NoBody)
	r.Header.Set("X-Api-Key", key)
	w := httptest.NewRecorder()
	a.handler.ServeHTTP(w, r)
	return w.Code
}

// revoke reports whether a revocation takes effect promptly.
func (a *Attack) revoke(ctx context.Context, created httpkey.Created) bool {
	ctx, cancel := context.WithTimeout(ctx, prompt)
	defer cancel()
	return a.Guard.Revoke(ctx, created.Token.ID, "lost") == nil &&
		a.get(created.Secret.Reveal()) == http.StatusUnauthorized
}

// watch notes the most goroutines and requests until stop is called.
func (a *Attack) watch(f *Figures) (stop func()) {
	before := runtime.NumGoroutine()
	end, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for tick := time.NewTicker(10 * time.Millisecond); ; {
			select {
			case <-end:
				tick.Stop()
				return
			case <-tick.C:
				open := int(a.open.Load())
				f.Open = max(f.Open, open)
				f.Goroutines = max(f.Goroutines, runtime.NumGoroutine()-before-open)
			}
		}
	}()
	return func() { close(end); <-ended }
}

// Events counts events by their type. It is safe for concurrent use.
type Events struct {
	mu    sync.Mutex
	types map[httpkey.EventType]int
}

// Observe implements [httpkey.Observer].
func (e *Events) Observe(_ context.Context, event *httpkey.Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.types == nil {
		e.types = make(map[httpkey.EventType]int)
	}
	e.types[event.Type]++
}

// take returns the counts since it was last called.
func (e *Events) take() map[httpkey.EventType]int {
	e.mu.Lock()
	defer e.mu.Unlock()
	counts := e.types
	e.types = nil
	return counts
}

// strangers returns a function whose every call returns another key that looks good and is
// in no store. It is safe for concurrent use.
func strangers() func() string {
	elsewhere := httpkey.New(nowhere{}, httpkey.Unlimited, nil)
	return func() string {
		created, err := elsewhere.Issue(context.Background(), httpkey.Token{})
		if err != nil {
			panic(err)
		}
		return created.Secret.Reveal()
	}
}

// nowhere keeps nothing.
type nowhere struct{ httpkey.TokenStore }

func (nowhere) Create(_ context.Context, t httpkey.Token) (httpkey.Token, error) { return t, nil }
func (nowhere) Touch(context.Context, map[string]time.Time) error                { return nil }
