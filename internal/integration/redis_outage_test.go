package integration

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/httpkey/httpkey/cachestore"
	"github.com/httpkey/httpkey/redisstore"
)

// redisOutages are the ways in which a Redis fails to answer. down makes it fail, in front of p
// or itself, and returns what ends that.
var redisOutages = []struct {
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
			p.cut() // the swallowed bytes do not come back
		}
	}},
	{"black hole, not accepting", false, false, func(_ *redisServer, p *proxy) func() { return p.jam() }},
	// This one, go-redis by default tries again.
	{"closed after the script", false, false, func(_ *redisServer, p *proxy) func() {
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

// An outage of Redis is not one of the program: every request is answered, known keys go on,
// unknown ones are told to come back, nothing is charged twice, and soon after Redis is back
// all is as before.
//
// It does not run beside other tests, whose load it would measure.
func TestRedisOutages(t *testing.T) {
	for _, o := range redisOutages {
		for i, l := range redisLimiters {
			if i > 0 && !o.direct {
				continue
			}
			for _, callers := range []int{1, 200} {
				t.Run(fmt.Sprintf("%s/%s/%d", o.name, l.name, callers), func(t *testing.T) {
					t.Parallel()
					labelGoroutines(t)
					server := startRedis(t)
					p := startProxy(t, server.address())
					address := p.address()
					if o.direct {
						address = server.address()
					}
					client := connect(t, address, advisedDial)
					inOutage(t, &outage{
						site: newSiteOn(t, redisstore.New(client, nil), l.new(client, nil),
							cachestore.Options{TTL: 500 * time.Millisecond}, budget),
						proxy:   p,
						limiter: l.new(connect(t, server.address(), patientDial), &redisstore.Options{AskAlways: true}),
						warm: func() {
							each(callers, func(int) {
								if err := client.Ping(t.Context()).Err(); err != nil {
									t.Error(err)
								}
							})
						},
						down:    func() func() { return o.down(server, p) },
						answers: o.answers,
					}, callers)
				})
			}
		}
	}
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

			client := connect(t, server.address(), advisedDial)
			s := newSiteOn(t, redisstore.New(client, nil), l.new(client, nil), cachestore.Options{}, budget)
			s.follow(t)
			madeUpKey := madeUpKeySource()
			var took timings
			for range 20 {
				took.add(s.expect(t, known.key, http.StatusServiceUnavailable))
				took.add(s.expect(t, madeUpKey(), http.StatusServiceUnavailable))
			}
			server.start()
			back := eventually(t, 10*time.Second, func() error {
				if a, b := s.get(known.key), s.get(madeUpKey()); a != http.StatusOK || b != http.StatusUnauthorized {
					return fmt.Errorf("a known key is answered %d, another %d", a, b)
				}
				return nil
			})
			t.Logf("quote | down at the start: %v | back after %v", &took, back.Round(time.Millisecond))
			if took.quantile(1000) > slow {
				t.Errorf("%v, more than %v", &took, slow)
			}
		})
	}
}
