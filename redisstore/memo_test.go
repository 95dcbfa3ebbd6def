package redisstore

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/httpkey/httpkey"
)

// asked counts how often Redis is asked, which decides as told after a round trip.
type asked struct {
	times  int
	answer httpkey.Result
	err    error
}

const roundTrip = 10 * time.Millisecond

func (a *asked) ask() (httpkey.Result, error) {
	a.times++
	elapse(roundTrip)
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
			{590*time.Millisecond - 900*time.Nanosecond - 1, 2, false, 10*time.Millisecond + time.Microsecond, 8010*time.Millisecond + time.Microsecond},
			{1, 2, true, 0, 0},
		}},
		{"more, of a steady limit", true, no, nil, []request{
			{0, 3, false, 2 * time.Second, 9 * time.Second}, {0, 10, false, 9 * time.Second, 9 * time.Second}, {0, 1, true, 0, 0},
		}},
		{"more, of a window", false, no, nil, []request{{0, 2, false, time.Second, 9 * time.Second}, {0, 3, true, 0, 0}, {0, 1, true, 0, 0}}},
		{"nothing", true, no, nil, []request{{0, 0, true, 0, 0}}},
		{"let in", true, httpkey.Result{Allowed: true, Limit: limit, ResetAfter: time.Second}, nil, []request{{0, 2, true, 0, 0}}},
		{"no answer", true, httpkey.Result{}, errors.New("down"), []request{{0, 2, true, 0, 0}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				m := newMemo(Options{}, tt.steady)
				redis := &asked{answer: tt.answer, err: tt.err}
				if r, err := m.allow(bucket{"key", limit}, 2, redis.ask); r != tt.answer || !errors.Is(err, tt.err) {
					t.Fatalf("%+v, %v", r, err)
				}
				for _, request := range tt.requests {
					elapse(request.after)
					before := redis.times
					r, err := m.allow(bucket{"key", limit}, request.n, redis.ask)
					if asks := redis.times > before; asks != request.asks {
						t.Fatalf("%+v: asked Redis: %v", request, asks)
					}
					if request.asks {
						continue
					}
					want := httpkey.Result{Limit: limit, Remaining: 1, RetryAfter: request.retry, ResetAfter: request.resetFor}
					if err != nil || r != want {
						t.Errorf("%+v:\n%+v (%v), want\n%+v", request, r, err, want)
					}
				}
				for _, other := range []bucket{{"Key", limit}, {"key", httpkey.PerSecond(10)}} {
					before := redis.times
					if _, _ = m.allow(other, 2, redis.ask); redis.times == before {
						t.Errorf("%v is another bucket", other)
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
		m, b := newMemo(Options{}, false), bucket{"key", httpkey.PerMinute(10)}
		redis := &asked{answer: httpkey.Result{Limit: b.limit, RetryAfter: time.Second, ResetAfter: time.Minute}}
		for _, request := range []struct{ n, asked int }{{5, 1}, {2, 2}, {5, 3}, {2, 3}} {
			if _, _ = m.allow(b, request.n, redis.ask); redis.times != request.asked {
				t.Errorf("after %d was asked for, Redis was asked %d times, want %d", request.n, redis.times, request.asked)
			}
		}
		elapse(time.Second) // and then the other counts
		if _, _ = m.allow(b, 5, redis.ask); redis.times != 4 {
			t.Error("a denial that is over was told")
		}
		if _, _ = m.allow(b, 5, redis.ask); redis.times != 4 {
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
			_, _ = m.allow(bucket{fmt.Sprint(i), redis.answer.Limit}, 1, redis.ask)
			if size := len(m.young) + len(m.old); size > 2*memoSize {
				t.Fatalf("%d denials are kept", size)
			}
		}
		asked := redis.times
		_, _ = m.allow(bucket{fmt.Sprint(3 * memoSize), redis.answer.Limit}, 1, redis.ask)
		_, _ = m.allow(bucket{fmt.Sprint(2*memoSize + 1), redis.answer.Limit}, 1, redis.ask)
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
				m := newMemo(Options{}, steady)
				random := rand.New(rand.NewPCG(5, 6))
				known := 0
				for range 20_000 {
					b := bucket{fmt.Sprint(random.IntN(3)), httpkey.Limit{Rate: 7, Burst: 7, Period: time.Second}}
					n := random.IntN(8)
					asks := false
					r, err := m.allow(b, n, func() (httpkey.Result, error) {
						asks = true
						elapse(time.Duration(random.IntN(2000)) * time.Microsecond)
						r, err := model.Allow(t.Context(), b.key, b.limit, n)
						elapse(time.Duration(random.IntN(2000)) * time.Microsecond)
						return r, err
					})
					if err != nil {
						t.Fatal(err)
					}
					if !asks {
						known++
						// What the limiter would say now, without taking.
						now, err := model.Allow(t.Context(), b.key, b.limit, 0)
						if err != nil || r.Allowed || now.Remaining >= n {
							t.Fatalf("%d of %v is denied from memory with %+v, but there is %+v", n, b, r, now)
						}
					}
					elapse(time.Duration(random.IntN(60)) * time.Millisecond)
				}
				t.Logf("%d of 20,000 were denied from memory", known)
				if known < 1000 {
					t.Error("that shows little")
				}
			})
		})
	}
}
