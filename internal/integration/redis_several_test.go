package integration

import (
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/cachestore"
	"github.com/httpkey/httpkey/httpkeytest"
	"github.com/redis/go-redis/v9"
)

// onServers runs a test with each limiter on a single server and on a Cluster.
func onServers(t *testing.T, test func(t *testing.T, open func() httpkey.Limiter)) {
	t.Helper()
	standalone, cluster := startRedis(t), startRedisCluster(t)
	for name, connect := range map[string]func(*testing.T) redis.UniversalClient{
		"standalone": func(t *testing.T) redis.UniversalClient { return standalone.client(t) },
		"cluster":    func(t *testing.T) redis.UniversalClient { return cluster.client(t, patientDial) },
	} {
		for _, l := range redisLimiters {
			t.Run(name+"/"+l.name, func(t *testing.T) {
				opts := emptied()
				test(t, func() httpkey.Limiter { return l.new(connect(t), opts) })
			})
		}
	}
}

// Of several limits, all are charged or none: 64 callers of four processes get the
// smallest room exactly, and the others lose just that.
func TestRedisSeveralLimits(t *testing.T) {
	t.Parallel()
	onServers(t, func(t *testing.T, open func() httpkey.Limiter) {
		day := time.Now().UTC().Day()
		limits := []httpkey.Limit{
			{Rate: 100, Period: 1000 * time.Hour}, {Name: "small", Rate: 40, Period: 1000 * time.Hour}, httpkey.PerMonth(70),
		}
		for i, payer := range []string{"payer", "}", "", "%{a}"} {
			var admitted atomic.Int64
			var group sync.WaitGroup
			for range 4 {
				limiter := open()
				for range 16 {
					group.Go(func() {
						for range 2 {
							r, err := limiter.Allow(t.Context(), of(payer, 1, limits...))
							if err != nil {
								t.Error(err)
							}
							if r.Allowed {
								admitted.Add(1)
							}
						}
					})
				}
			}
			group.Wait()
			r, err := open().Allow(t.Context(), of(payer, 0, limits...))
			if err != nil || admitted.Load() != 40 || r.Each[0].Remaining != 60 || r.Each[1].Remaining != 0 ||
				r.Each[2].Remaining != 30 && day == time.Now().UTC().Day() {
				t.Errorf("payer %d: %d passed, want 40, and then %+v, %v", i, admitted.Load(), r, err)
			}
			// A refund gives back to all, and one limit alone finds it.
			refund := of(payer, -5, limits...)
			refund.Forced = true
			if _, err := open().Allow(t.Context(), refund); err != nil {
				t.Fatal(err)
			}
			if r, err := open().Allow(t.Context(), of(payer, 1, limits[1])); err != nil || !r.Allowed || r.Remaining != 4 {
				t.Errorf("payer %d, after a refund: %+v, %v", i, r, err)
			}
		}
	})
}

// A limit that changes with every request admits no more than its highest would.
func TestRedisMovingLimits(t *testing.T) {
	t.Parallel()
	onServers(t, func(t *testing.T, open func() httpkey.Limiter) {
		const callers = 4
		var (
			mu       sync.Mutex
			admitted []admission
			group    sync.WaitGroup
		)
		begun := time.Now()
		for caller := range callers {
			random, limiter := rand.New(rand.NewPCG(1, uint64(caller))), open()
			group.Go(func() {
				for time.Since(begun) < 3*time.Second {
					a := admission{Asked: time.Now()}
					r, err := limiter.Allow(t.Context(), of("payer", 1, httpkey.PerSecond(41+random.IntN(20))))
					if err != nil {
						t.Error(err)
						return
					}
					if a.Answered = time.Now(); r.Allowed {
						mu.Lock()
						admitted = append(admitted, a)
						mu.Unlock()
					}
					time.Sleep(time.Millisecond) // or denials from memory would take all of the CPU
				}
			})
		}
		group.Wait()
		span := time.Since(begun)
		most := 60 + 60*span.Seconds() + 1
		t.Logf("%d passed within %v, at most %.0f were due", len(admitted), span, most)
		if got := float64(len(admitted)); got > most || got < 41 {
			t.Errorf("%v passed within %v, at most %.0f were due", got, span, most)
		}
	})
}

// A key that is rotated 30 times admits what one key does.
func TestRedisRotationsShareABucket(t *testing.T) {
	t.Parallel()
	s := newSite(t, startRedis(t).address(), redisLimiters[0].new, cachestore.Options{})
	hour := httpkey.PerHour(60)
	created := httpkeytest.Issue(t, s.Guard, httpkey.Token{Limits: []httpkey.Limit{hour}})
	admitted := 0
	for range 31 {
		for range 3 {
			if status := s.get(created.Secret.Reveal()); status == http.StatusOK {
				admitted++
			}
		}
		next, err := s.Rotate(t.Context(), created.Token.ID, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		created = next
	}
	if admitted < 60 || admitted > 62 { // one comes back each minute
		t.Errorf("%d passed with 31 keys, want 60", admitted)
	}
}
