package integration

import (
	"context"
	"fmt"
	"net/http"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/cachestore"
	"github.com/httpkey/httpkey/redisstore"
)

// budget is what a request may wait, by default, and leeway what the rest of it may take.
const budget, leeway = 100 * time.Millisecond, 50 * time.Millisecond

// slowly is a limit of which nothing comes back during a test: 20,000 in a hundred days.
var slowly = httpkey.Limit{Rate: 20_000, Period: 2400 * time.Hour}

// outages are the ways in which a server fails to answer. down makes it fail, in front of p
// or itself, and returns what ends that.
var outages = []struct {
	name    string
	direct  bool // without the proxy
	answers bool // the store does, if late, so that for it that is no outage
	down    func(s *redisServer, p *proxy) (up func())
}{
	{"refused", true, false, func(s *redisServer, _ *proxy) func() {
		s.must("SAVE")
		s.end()
		return s.start
	}},
	{"stopped, warm pool", true, false, func(s *redisServer, _ *proxy) func() {
		s.stall()
		return s.resume
	}},
	{"stopped, cold pool", true, false, func(s *redisServer, _ *proxy) func() {
		s.must("CLIENT", "KILL", "TYPE", "normal")
		s.stall()
		return s.resume
	}},
	{"black hole, accepting", false, false, func(_ *redisServer, p *proxy) func() {
		p.silent.Store(true)
		return func() {
			p.silent.Store(false)
			p.cut() // what it swallowed does not come back
		}
	}},
	{"black hole, not accepting", false, false, func(_ *redisServer, p *proxy) func() { return p.jam() }},
	{"closed after the script", false, false, func(_ *redisServer, p *proxy) func() { // which go-redis by default tries again
		p.close.Store(true)
		return func() { p.close.Store(false) }
	}},
	{"reset after the script", false, false, func(_ *redisServer, p *proxy) func() {
		p.reset.Store(true)
		return func() { p.reset.Store(false) }
	}},
	{"slow, 200 ms", false, true, func(_ *redisServer, p *proxy) func() {
		p.delay.Store(int64(200 * time.Millisecond))
		return func() { p.delay.Store(0) }
	}},
}

// An outage of Redis is not one of the program: every request is answered within its
// budget, known keys go on, unknown ones are told to come back, nothing is charged
// twice, and soon after Redis is back all is as before.
//
// It does not run beside other tests, whose load and goroutines it would measure.
func TestRedisOutages(t *testing.T) {
	for _, o := range outages {
		for i, l := range redisLimiters {
			if i > 0 && !o.direct {
				continue
			}
			for _, callers := range []int{1, 200} {
				t.Run(fmt.Sprintf("%s/%s/%d", o.name, l.name, callers), func(t *testing.T) {
					server := startRedis(t)
					p := startProxy(t, server.address())
					address := p.address()
					if o.direct {
						address = server.address()
					}
					inOutage(t, server, p, newSite(t, address, l.new, cachestore.Options{TTL: 500 * time.Millisecond}), l.new, callers,
						func() func() { return o.down(server, p) }, o.answers)
				})
			}
		}
	}
}

func inOutage(t *testing.T, server *redisServer, p *proxy, s *site, newLimiter newLimiter, callers int, down func() func(), answers bool) {
	once, known, stranger := s.issue(t, callers, slowly), s.issue(t, callers, slowly), strangers()
	each(callers, func(int) { // as many connections as the pool may have
		if err := s.client.Ping(t.Context()).Err(); err != nil {
			t.Error(err)
		}
	})
	for i := range callers {
		s.expect(t, once[i].key, http.StatusOK)
		s.expect(t, known[i].key, http.StatusOK)
	}
	goroutines := func() int { return runtime.NumGoroutine() - int(p.passing.Load()) }
	before := goroutines()

	stop := measureLateness()
	up := down()
	var herd timings
	each(callers, func(i int) { herd.add(s.expect(t, once[i].key, http.StatusOK)) })
	var unknown timings
	each(callers, func(int) { unknown.add(s.expect(t, stranger(), http.StatusServiceUnavailable)) })
	s.load(t, callers, 2*time.Second, func(i int) {
		herd.add(s.expect(t, known[i].key, http.StatusOK))
		unknown.add(s.expect(t, stranger(), http.StatusServiceUnavailable))
	})
	// Now each breaker is open.
	var afterwards, afterwardsUnknown timings
	for range 300 {
		afterwards.add(s.expect(t, known[0].key, http.StatusOK))
		if !answers {
			afterwardsUnknown.add(s.expect(t, stranger(), http.StatusServiceUnavailable))
		}
	}

	late := stop()
	up()
	limits := eventually(t, 10*time.Second, func() error {
		s.get(known[0].key)
		if s.times(httpkey.EventLimiterUp) == 0 {
			return fmt.Errorf("limits do not come from Redis again")
		}
		return nil
	})
	keys := limits + eventually(t, 10*time.Second, func() error {
		if status := s.get(stranger()); status != http.StatusUnauthorized {
			return fmt.Errorf("an unknown key is answered %d", status)
		}
		return nil
	})
	t.Logf("quote | known %v | unknown %v | the machine was late by up to %v | open: known %v, unknown %v | limits back %v, keys back %v",
		&herd, &unknown, late.Round(time.Microsecond), afterwards.median(), afterwardsUnknown.median(), limits.Round(time.Millisecond), keys.Round(time.Millisecond))

	if recovery := max(limits, keys); recovery > 2*time.Second {
		t.Errorf("all was as before only %v after Redis was back", recovery)
	}
	for what, got := range map[string]*timings{"known keys": &herd, "unknown keys": &unknown} {
		if most := budget + leeway + late; got.quantile(1000) > most {
			t.Errorf("%s: %v, more than %v", what, got, most)
		}
	}
	if afterwards.median() > time.Millisecond || afterwardsUnknown.median() > time.Millisecond {
		t.Errorf("after the breaker opened a request took %v, and with an unknown key %v", afterwards.median(), afterwardsUnknown.median())
	}
	eventually(t, 5*time.Second, func() error { // a change is told just after it shows
		stores := s.times(cachestore.EventStoreDown)
		if limiterDown, limiterUp := s.times(httpkey.EventLimiterDown), s.times(httpkey.EventLimiterUp); limiterDown != 1 || limiterUp != 1 ||
			stores != s.times(cachestore.EventStoreUp) || stores != 1 && !answers {
			return fmt.Errorf("told were %v", s.told)
		}
		return nil
	})
	checkCharges(t, server, newLimiter, s, once, known[0])
	eventually(t, 10*time.Second, func() error {
		if n := goroutines(); n > before {
			return fmt.Errorf("%d goroutines, %d before", n, before)
		}
		return nil
	})
}

// checkCharges checks what the buckets have lost in Redis, now that it is back: of those who
// asked once before and once in the outage, at most twice, and one more for one who asks now.
func checkCharges(t *testing.T, server *redisServer, newLimiter newLimiter, s *site, once []holder, now holder) {
	t.Helper()
	limiter := newLimiter(connect(t, server.address(), advisedDial), &redisstore.Options{AskAlways: true})
	charged := func(h holder) int {
		var r httpkey.Result
		eventually(t, 5*time.Second, func() (err error) {
			r, err = limiter.Allow(t.Context(), h.id, slowly, 0)
			return err
		})
		return r.Limit.Burst - r.Remaining
	}
	counts := make(map[int]int)
	for _, h := range once {
		counts[charged(h)]++
	}
	if counts[1]+counts[2] != len(once) {
		t.Errorf("of those who asked twice, this many were charged as often: %v", counts)
	}
	was := charged(now)
	s.expect(t, now.key, http.StatusOK)
	if got := charged(now); got != was+1 {
		t.Errorf("back again, a request was charged %d times", got-was)
	}
}

// expect sends a request and returns how long it took.
func (s *site) expect(t *testing.T, key string, status int) time.Duration {
	t.Helper()
	start := time.Now()
	got := s.get(key)
	took := time.Since(start)
	if got != status {
		t.Errorf("answered %d, want %d", got, status)
	}
	return took
}

// each calls f for each caller, all at once.
func each(callers int, f func(i int)) {
	var group sync.WaitGroup
	for i := range callers {
		group.Go(func() { f(i) })
	}
	group.Wait()
}

// load has callers call f every 50 ms, so that what is measured is the wait and not the CPU.
func (s *site) load(t *testing.T, callers int, duration time.Duration, f func(i int)) {
	ctx, cancel := context.WithTimeout(t.Context(), duration)
	defer cancel()
	each(callers, func(i int) {
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for {
			f(i)
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
		}
	})
}

// measureLateness begins to look how late this process gets to run, on a machine that does
// other things too, and returns what tells the most that it was late.
func measureLateness() (stop func() time.Duration) {
	ctx, cancel := context.WithCancel(context.Background())
	latest := make(chan time.Duration)
	go func() {
		most := time.Duration(0)
		for ctx.Err() == nil {
			start := time.Now()
			<-time.After(time.Millisecond)
			most = max(most, time.Since(start)-time.Millisecond)
		}
		latest <- most
	}()
	return func() time.Duration {
		cancel()
		return <-latest
	}
}

// timings are what requests took.
type timings struct {
	mu  sync.Mutex
	all []time.Duration
}

func (l *timings) add(took time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, took)
}

// quantile returns what this many of a thousand did not exceed.
func (l *timings) quantile(perMille int) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.all) == 0 {
		return 0
	}
	slices.Sort(l.all)
	return l.all[min(len(l.all)*perMille/1000, len(l.all)-1)].Round(time.Microsecond)
}

func (l *timings) median() time.Duration { return l.quantile(500) }

func (l *timings) String() string {
	return fmt.Sprintf("%d requests, median %v, p99 %v, max %v", len(l.all), l.median(), l.quantile(990), l.quantile(1000))
}

// A program that starts while Redis is down answers at once, lets nobody in that it cannot
// know, and works as soon as Redis does.
func TestRedisIsDownAtTheStart(t *testing.T) {
	for _, l := range redisLimiters {
		t.Run(l.name, func(t *testing.T) {
			server := startRedis(t)
			known := newSite(t, server.address(), l.new, cachestore.Options{}).issue(t, 1, slowly)[0]
			server.must("SAVE")
			server.end()

			s := newSite(t, server.address(), l.new, cachestore.Options{})
			s.follow(t)
			stranger := strangers()
			var took timings
			for range 20 {
				took.add(s.expect(t, known.key, http.StatusServiceUnavailable))
				took.add(s.expect(t, stranger(), http.StatusServiceUnavailable))
			}
			server.start()
			back := eventually(t, 10*time.Second, func() error {
				if a, b := s.get(known.key), s.get(stranger()); a != http.StatusOK || b != http.StatusUnauthorized {
					return fmt.Errorf("a known key is answered %d, another %d", a, b)
				}
				return nil
			})
			t.Logf("quote | down at the start: %v | back after %v", &took, back.Round(time.Millisecond))
			if took.quantile(1000) > budget+leeway {
				t.Errorf("%v, more than %v", &took, budget+leeway)
			}
			if back > 2*time.Second {
				t.Errorf("it works only %v after Redis is up", back)
			}
		})
	}
}
