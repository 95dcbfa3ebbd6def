package redisstore

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/httpkeytest"
	"github.com/httpkey/httpkey/internal/charge"
	"github.com/httpkey/httpkey/internal/ram"
)

// asked counts how often Redis is asked, which decides as told after a round trip.
type asked struct {
	times  int
	answer httpkey.Result
	err    error
}

const roundTrip = 10 * time.Millisecond

// bucketOf returns the bucket of a payer under a limit without a name.
func bucketOf(payer string) bucket { return bucket{payer, ram.Term{Window: 1e6}} }

func (a *asked) ask() (httpkey.Result, error) {
	a.times++
	httpkeytest.Elapse(roundTrip)
	return a.answer, a.err
}

func TestDenialsAreRemembered(t *testing.T) {
	t.Parallel()
	limit := httpkey.Limit{Rate: 10, Burst: 10, Period: 10 * time.Second}
	no := httpkey.Result{Limit: limit, Remaining: 1, RetryAfter: time.Second, ResetAfter: 9 * time.Second}
	type request struct {
		after    time.Duration
		n        int
		asks     bool          // Redis
		retry    time.Duration // else
		resetFor time.Duration
	}
	for _, tt := range []struct {
		name     string
		steady   bool
		answer   httpkey.Result
		err      error
		requests []request
	}{
		{"counting down", true, no, nil, []request{
			{0, 2, false, time.Second, 9 * time.Second},
			{400 * time.Millisecond, 2, false, 600 * time.Millisecond, 8600 * time.Millisecond},
			{900 * time.Nanosecond, 2, false, 600 * time.Millisecond, 8600 * time.Millisecond},
			// The server may have decided as soon as it was asked.
			{590*time.Millisecond - 900*time.Nanosecond - 1, 2, false, 10*time.Millisecond + time.Microsecond,
				8010*time.Millisecond + time.Microsecond},
			{1, 2, true, 0, 0},
		}},
		{"more, of a steady limit", true, no, nil, []request{
			{0, 3, false, 2 * time.Second, 9 * time.Second},
			{0, 10, false, 9 * time.Second, 9 * time.Second},
			{0, 1, true, 0, 0},
		}},
		{"more, of a window", false, no, nil, []request{
			{0, 2, false, time.Second, 9 * time.Second}, {0, 3, true, 0, 0}, {0, 1, true, 0, 0},
		}},
		{"nothing", true, no, nil, []request{{0, 0, true, 0, 0}}},
		{"let in", true, httpkey.Result{Allowed: true, Limit: limit, ResetAfter: time.Second}, nil,
			[]request{{0, 2, true, 0, 0}}},
		{"no answer", true, httpkey.Result{}, errors.New("down"), []request{{0, 2, true, 0, 0}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				m := newMemo(Options{}, tt.steady)
				redis := &asked{answer: tt.answer, err: tt.err}
				if r, err := m.allow(bucketOf("key"), limit, 2, redis.ask); !equal(r, tt.answer) || !errors.Is(err, tt.err) {
					t.Fatalf("%+v, %v", r, err)
				}
				for _, request := range tt.requests {
					httpkeytest.Elapse(request.after)
					before := redis.times
					r, err := m.allow(bucketOf("key"), limit, request.n, redis.ask)
					if asks := redis.times > before; asks != request.asks {
						t.Fatalf("%+v: asked Redis: %v", request, asks)
					}
					if request.asks {
						continue
					}
					want := httpkey.Result{Limit: limit, Remaining: 1, RetryAfter: request.retry, ResetAfter: request.resetFor}
					if err != nil || !equal(r, want) {
						t.Errorf("%+v:\n%+v (%v), want\n%+v", request, r, err, want)
					}
				}
				other := bucketOf("key")
				other.term.Name = "other"
				for _, b := range []bucket{bucketOf("Key"), other} {
					before := redis.times
					if _, _ = m.allow(b, limit, 2, redis.ask); redis.times == before {
						t.Errorf("%v is another bucket", b)
					}
				}
			})
		})
	}
}

// Of two denials, the one of the smaller n answers more.
func TestSmallestDenialStays(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m, b, limit := newMemo(Options{}, false), bucketOf("key"), httpkey.PerMinute(10)
		redis := &asked{answer: httpkey.Result{Limit: limit, RetryAfter: time.Second, ResetAfter: time.Minute}}
		for _, request := range []struct{ n, asked int }{{5, 1}, {2, 2}, {5, 3}, {2, 3}} {
			if _, _ = m.allow(b, limit, request.n, redis.ask); redis.times != request.asked {
				t.Errorf("after %d was asked for, Redis was asked %d times, want %d", request.n, redis.times, request.asked)
			}
		}
		httpkeytest.Elapse(time.Second) // and then the other counts
		if _, _ = m.allow(b, limit, 5, redis.ask); redis.times != 4 {
			t.Error("a denial that is over was told")
		}
		if _, _ = m.allow(b, limit, 5, redis.ask); redis.times != 4 {
			t.Error("a denial was not remembered because of one that is over")
		}
	})
}

func TestMemoIsBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := newMemo(Options{}, true)
		redis := &asked{answer: httpkey.Result{Limit: httpkey.PerMinute(1), RetryAfter: 1000 * time.Hour}}
		for i := range 3*memoSize + 1 {
			_, _ = m.allow(bucketOf(fmt.Sprint(i)), redis.answer.Limit, 1, redis.ask)
			if size := len(m.young) + len(m.old); size > 2*memoSize {
				t.Fatalf("%d denials are kept", size)
			}
		}
		asked := redis.times
		_, _ = m.allow(bucketOf(fmt.Sprint(3*memoSize)), redis.answer.Limit, 1, redis.ask)
		_, _ = m.allow(bucketOf(fmt.Sprint(2*memoSize+1)), redis.answer.Limit, 1, redis.ask)
		if redis.times != asked {
			t.Error("the latest denials were forgotten")
		}
	})
}

// In front of a limiter the memo changes no decision, whatever the latency and the costs.
func TestMemoDecidesAsRedisDoes(t *testing.T) {
	t.Parallel()
	for _, steady := range []bool{true, false} {
		t.Run(fmt.Sprint("steady ", steady), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				model := newModel(steady)
				limits := []httpkey.Limit{ // of one window
					{Rate: 7, Burst: 7, Period: time.Second}, {Rate: 5, Burst: 5, Period: time.Second},
				}
				m := newMemo(Options{}, steady)
				random := rand.New(rand.NewPCG(5, 6))
				known := 0
				for range 20_000 {
					b, limit := bucketOf(fmt.Sprint(random.IntN(3))), limits[random.IntN(len(limits))]
					n := random.IntN(limit.Rate + 1)
					asks := false
					r, err := m.allow(b, limit, n, func() (httpkey.Result, error) {
						asks = true
						httpkeytest.Elapse(time.Duration(random.IntN(2000)) * time.Microsecond)
						r, err := model.Allow(t.Context(), of(b.payer, n, limit))
						httpkeytest.Elapse(time.Duration(random.IntN(2000)) * time.Microsecond)
						return r, err
					})
					if err != nil {
						t.Fatal(err)
					}
					if !asks {
						known++
						// The limiter says this now, without taking.
						now, err := model.Allow(t.Context(), of(b.payer, 0, limit))
						if err != nil || r.Allowed || now.Remaining >= n {
							t.Fatalf("%d of %v is denied from memory with %+v, but there is %+v", n, b, r, now)
						}
					}
					httpkeytest.Elapse(time.Duration(random.IntN(60)) * time.Millisecond)
				}
				t.Logf("%d of 20,000 were denied from memory", known)
				if known < 500 {
					t.Error("that shows little")
				}
			})
		})
	}
}

// A forced charge ends the denials of its buckets, including those of calls in progress.
func TestForcedChargesEndDenials(t *testing.T) {
	t.Parallel()
	limit := httpkey.PerMinute(60).Resolve()
	items := []charge.Item{{Limit: limit, Term: bucketOf("key").term}}
	refund := &httpkey.Charge{Bucket: "key", Limits: []httpkey.Limit{limit}, Cost: -1, Forced: true}
	refunded := func() (httpkey.Result, error) { return httpkey.Result{Allowed: true}, nil }
	for name, meanwhile := range map[string]bool{"after the denial": false, "while it is under way": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				m := newMemo(Options{}, true)
				redis := &asked{answer: httpkey.Result{Limit: limit, RetryAfter: time.Second, ResetAfter: time.Minute}}
				if meanwhile {
					go func() {
						httpkeytest.Elapse(roundTrip / 2)
						_, _ = m.charge(refund, items, refunded)
					}()
				}
				_, _ = m.allow(bucketOf("key"), limit, 1, redis.ask)
				if !meanwhile {
					_, _ = m.charge(refund, items, refunded)
				}
				httpkeytest.Elapse(1)
				if _, _ = m.allow(bucketOf("key"), limit, 1, redis.ask); redis.times != 2 {
					t.Errorf("after the refund Redis was asked %d times, want 2", redis.times)
				}
				if _, _ = m.allow(bucketOf("key"), limit, 1, redis.ask); redis.times != 2 {
					t.Error("a denial after the refund was not remembered")
				}
			})
		})
	}
}

// A charge ends a denial of its bucket, which told of more.
func TestChargesEndDenials(t *testing.T) {
	t.Parallel()
	limit := httpkey.PerMinute(60).Resolve()
	items := []charge.Item{{Limit: limit, Term: bucketOf("key").term}}
	admit := func() (httpkey.Result, error) { return httpkey.Result{Allowed: true, Limit: limit}, nil }
	for name, take := range map[string]func(*memo){
		"alone":    func(m *memo) { _, _ = m.allow(bucketOf("key"), limit, 1, admit) },
		"together": func(m *memo) { _, _ = m.charge(of("key", 1, limit), items, admit) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				m := newMemo(Options{}, true)
				redis := &asked{answer: httpkey.Result{Limit: limit, Remaining: 1, RetryAfter: time.Hour}}
				_, _ = m.allow(bucketOf("key"), limit, 2, redis.ask)
				take(m)
				if _, _ = m.allow(bucketOf("key"), limit, 2, redis.ask); redis.times != 2 {
					t.Errorf("Redis was asked %d times, want 2", redis.times)
				}
			})
		})
	}
}

// A denial under one limit says nothing of another of the same window.
func TestDenialsAreOfOneLimit(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m, low, high := newMemo(Options{}, true), httpkey.PerMinute(41).Resolve(), httpkey.PerMinute(60).Resolve()
		redis := &asked{answer: httpkey.Result{Limit: low, RetryAfter: time.Hour}}
		_, _ = m.allow(bucketOf("key"), low, 1, redis.ask)
		redis.answer = httpkey.Result{Allowed: true, Limit: high}
		if r, err := m.allow(bucketOf("key"), high, 1, redis.ask); err != nil || !r.Allowed {
			t.Errorf("the raised limit was answered %+v (%v)", r, err)
		}
	})
}
