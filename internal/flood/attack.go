// Package flood attacks a Guard with made-up keys, and measures what clients with valid keys
// notice. It works in a bubble of testing/synctest and in real time.
package flood

import (
	"context"
	"errors"
	"net/http"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/httpkeytest"
)

// The rates of the valid traffic beside the flood are the capacity divided by these numbers.
const (
	perInUse   = 20  // requests with a key in use
	perUnused  = 50  // requests with a key that was never used before
	perRevoked = 200 // revocations of a key in use
)

// keysInUse is the number of keys in use. Requests use them in turn.
const keysInUse = 50

const (
	stall  = time.Second             // of the store, while the flood begins
	leadIn = 1700 * time.Millisecond // of the flood alone; a breaker is shut again by then
	prompt = 100 * time.Millisecond  // the time in which a revocation must succeed
)

// Attack is a flood of made-up keys on a Guard, and the traffic of valid keys beside it.
type Attack struct {
	Guard    *httpkey.Guard // under attack
	Issuer   *httpkey.Guard // over the same store by another way: it issues the valid keys
	Events   *Events        // the Observer of everything under attack
	Capacity int            // the calls a second that the store's connections can carry
	Load     float64        // the rate of made-up keys, as a share of Capacity
	Time     time.Duration  // the length of the traffic of valid keys
	Stall    func()         // stalls the store
	Resume   func()         // ends the stall

	handler http.Handler
	open    atomic.Int64 // requests under way
	mu      sync.Mutex   // guards the shares of the Figures
}

// Figures are what an attack did.
type Figures struct {
	InUse      Share // requests with a key in use that were admitted
	Unused     Share // first requests with a valid key that were admitted
	Revoked    Share // revocations that took effect promptly
	MadeUp     Share // requests with a made-up key that were answered 401
	Goroutines int   // the most, beside one for each request under way
	Open       int   // the most requests under way

	Events map[httpkey.EventType]int // how many the Guard and the cache reported
}

// Share is a count of successes.
type Share struct {
	Good int // successes
	All  int // attempts
}

// Of returns the share as a number from 0 to 1.
func (s Share) Of() float64 { return float64(s.Good) / float64(s.All) }

// Run issues the valid keys, brings those in use into memory, and attacks. The store stalls when
// the flood begins, because that leaves a backlog. Run counts only what happens afterwards.
func (a *Attack) Run(ctx context.Context) (Figures, error) {
	a.handler = a.Guard.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	inUse, err1 := a.issue(ctx, keysInUse)
	revoked, err2 := a.issue(ctx, calls(a.Capacity/perRevoked, a.Time))
	unused, err3 := a.issue(ctx, calls(a.Capacity/perUnused, a.Time))
	if err := errors.Join(err1, err2, err3); err != nil {
		return Figures{}, err
	}
	for _, k := range slices.Concat(revoked, inUse) {
		a.get(k)
	}

	var f Figures
	var streams sync.WaitGroup
	madeUp, rate := madeUpKeys(), int(a.Load*float64(a.Capacity))
	stop := a.watch(&f)
	a.Stall()
	streams.Go(func() { a.every(rate, leadIn, func(int) { a.get(madeUp()) }) })
	time.Sleep(stall) // the schedule of the attack, in the time of a bubble or of a benchmark, as below
	a.Resume()
	time.Sleep(leadIn - stall) // the rest of the schedule
	a.Events.take()
	for _, stream := range []struct {
		rate  int
		share *Share
		do    func(n int) (isGood bool)
	}{
		{rate, &f.MadeUp, func(int) bool { return a.get(madeUp()) == http.StatusUnauthorized }},
		{a.Capacity / perInUse, &f.InUse, func(n int) bool { return a.get(inUse[n%len(inUse)]) == http.StatusOK }},
		{a.Capacity / perUnused, &f.Unused, func(n int) bool { return a.get(unused[n]) == http.StatusOK }},
		{a.Capacity / perRevoked, &f.Revoked, func(n int) bool { return a.revoke(ctx, revoked[n]) }},
	} {
		streams.Go(func() { a.every(stream.rate, a.Time, func(n int) { a.count(stream.share, stream.do(n)) }) })
	}
	streams.Wait()
	stop()
	f.Events = a.Events.take()
	return f, nil
}

// calls returns the number of calls at a rate for some time.
func calls(rate int, during time.Duration) int {
	return int(time.Duration(rate) * during / time.Second)
}

// issue returns n new keys whose limits admit every request.
func (a *Attack) issue(ctx context.Context, n int) (issued []key, err error) {
	for range n {
		created, err := a.Issuer.Issue(ctx, httpkey.Token{Limits: []httpkey.Limit{httpkey.PerMinute(100_000)}})
		if err != nil {
			return nil, err
		}
		issued = append(issued, key{created.Token.ID, created.Secret.Reveal()})
	}
	return issued, nil
}

// key is a valid key, or a made-up key, which has no ID.
type key struct{ id, secret string }

// every calls do rate times a second, each time in a goroutine, and returns when all have ended.
func (a *Attack) every(rate int, during time.Duration, do func(n int)) {
	var running sync.WaitGroup
	start := time.Now()
	for n := range calls(rate, during) {
		// A benchmark needs the real rate; in a bubble the time passes by itself.
		time.Sleep(time.Until(start.Add(time.Duration(n) * time.Second / time.Duration(rate))))
		a.open.Add(1)
		running.Go(func() {
			do(n)
			a.open.Add(-1)
		})
	}
	running.Wait()
}

// count adds an outcome to a share.
func (a *Attack) count(s *Share, isGood bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	s.All++
	if isGood {
		s.Good++
	}
}

// get sends a request with a key and returns the status.
func (a *Attack) get(k key) int { return httpkeytest.Get(a.handler, k.secret).Code }

// revoke reports whether a revocation takes effect promptly.
func (a *Attack) revoke(ctx context.Context, k key) bool {
	ctx, cancel := context.WithTimeout(ctx, prompt)
	defer cancel()
	return a.Guard.Revoke(ctx, k.id, "lost") == nil && a.get(k) == http.StatusUnauthorized
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

// madeUpKeys returns a function that makes up keys. They have the right shape and checksum, and
// no store has them. The function is safe for concurrent use.
func madeUpKeys() func() key {
	elsewhere := httpkey.New(nowhere{}, httpkey.Unlimited, nil)
	return func() key {
		created, err := elsewhere.Issue(context.Background(), httpkey.Token{})
		if err != nil {
			panic(err)
		}
		return key{secret: created.Secret.Reveal()}
	}
}

// nowhere is a store that keeps nothing.
type nowhere struct{ httpkey.TokenStore }

func (nowhere) Create(_ context.Context, t httpkey.Token) (httpkey.Token, error) { return t, nil }
func (nowhere) Touch(context.Context, map[string]time.Time) error                { return nil }
