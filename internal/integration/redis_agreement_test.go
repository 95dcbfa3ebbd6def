package integration

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/memstore"
	"github.com/httpkey/httpkey/redisstore"
	"github.com/redis/go-redis/v9"
)

// clock is a client whose scripts read the time from it instead of the server's TIME.
type clock struct {
	redis.Scripter
	now time.Time
}

func (c *clock) EvalSha(ctx context.Context, _ string, _ []string, _ ...any) *redis.Cmd {
	cmd := redis.NewCmd(ctx)
	cmd.SetErr(noScript("NOSCRIPT")) // and so the script comes to Eval
	return cmd
}

func (c *clock) Eval(ctx context.Context, script string, keys []string, args ...any) *redis.Cmd {
	n := len(args)
	for _, call := range []string{`redis.call("TIME")`, `redis.call('TIME')`} {
		script = strings.Replace(script, call, fmt.Sprintf("{ARGV[%d], ARGV[%d]}", n+1, n+2), 1)
	}
	args = append(args, c.now.Unix(), c.now.Nanosecond()/1000)
	return c.Scripter.Eval(ctx, script, keys, args...)
}

// noScript is an error of the server.
type noScript string

func (e noScript) Error() string { return string(e) }
func (noScript) RedisError()     {}

// step is a request at a time since the beginning.
type step struct {
	at    time.Duration
	key   string
	limit httpkey.Limit
	n     int
}

// timeline returns requests that keep their buckets between empty and full.
func timeline(steps int) []step {
	random := rand.New(rand.NewPCG(4, 20_000))
	limits := []httpkey.Limit{
		httpkey.PerSecond(10), httpkey.PerMinute(7), httpkey.PerMinute(60), httpkey.PerHour(100),
		{Rate: 3, Burst: 20, Period: time.Second}, {Rate: 7, Burst: 1, Period: 300 * time.Millisecond},
		{Rate: 1000, Burst: 50, Period: time.Minute},
	}
	var timeline []step
	at := time.Duration(0)
	for range steps {
		switch wait := random.IntN(100); {
		case wait == 0:
			at += time.Duration(random.Int64N(int64(5 * time.Second)))
		case wait < 20:
			// at the same microsecond
		case wait < 30:
			at += time.Microsecond
		default:
			at += time.Duration(random.Int64N(int64(20 * time.Millisecond)))
		}
		at = at.Truncate(time.Microsecond)
		limit := limits[random.IntN(len(limits))]
		n := 1
		if random.IntN(2) == 0 {
			n = random.IntN(min(limit.Rate, max(limit.Burst, 1)) + 1)
		}
		timeline = append(timeline, step{at, fmt.Sprint(random.IntN(3)), limit, n})
	}
	return timeline
}

// inMemory returns what a limiter in memory answers.
func inMemory(t *testing.T, steps []step, newLimiter func() httpkey.Limiter) []httpkey.Result {
	results := make([]httpkey.Result, len(steps))
	synctest.Test(t, func(t *testing.T) {
		limiter, start := newLimiter(), time.Now()
		for i, s := range steps {
			elapse(s.at - time.Since(start))
			var err error
			if results[i], err = limiter.Allow(t.Context(), s.key, s.limit, s.n); err != nil {
				t.Fatal(err)
			}
		}
	})
	return results
}

// inRedis returns what a limiter in Redis answers on the same timeline.
func inRedis(t *testing.T, steps []step, newLimiter func(redis.Scripter, *redisstore.Options) httpkey.Limiter) []httpkey.Result {
	start := time.Now().Truncate(time.Microsecond)
	c := &clock{Scripter: startRedis(t).client(t)}
	limiter := newLimiter(c, &redisstore.Options{AskAlways: true}) // the memo keeps real time
	results := make([]httpkey.Result, len(steps))
	for i, s := range steps {
		c.now = start.Add(s.at)
		var err error
		if results[i], err = limiter.Allow(t.Context(), s.key, s.limit, s.n); err != nil {
			t.Fatalf("step %d: %v", i, err)
		}
	}
	return results
}

const agreementSteps = 20_000

// GCRA in Redis counts in floating point: its decisions are those of the memory, and
// its numbers are within what the comment of Limiter says.
func TestRedisLimiterAgreesWithMemory(t *testing.T) {
	t.Parallel()
	steps := timeline(agreementSteps)
	want := inMemory(t, steps, func() httpkey.Limiter { return memstore.NewLimiter() })
	got := inRedis(t, steps, redisLimiters[0].new)
	requests := make(map[string]int)
	denied, rounded, furthest := 0, 0, time.Duration(0)
	for i, s := range steps {
		bucket := fmt.Sprint(s.key, s.limit)
		requests[bucket]++
		g, w := got[i], want[i]
		drift := time.Duration(requests[bucket]) * 30 * time.Nanosecond
		reset, retry := (g.ResetAfter - w.ResetAfter).Abs(), (g.RetryAfter - w.RetryAfter).Abs()
		if g.Allowed != w.Allowed || g.Limit != w.Limit || reset > drift+time.Microsecond || retry > drift+2*time.Microsecond {
			t.Fatalf("step %d, %+v:\n%+v in Redis\n%+v in memory", i, s, g, w)
		}
		if g.Remaining != w.Remaining {
			rounded++
			if full := time.Duration(w.Limit.Burst-max(g.Remaining, w.Remaining)) * w.Limit.Period / time.Duration(w.Limit.Rate); (full - w.ResetAfter).Abs() > drift+2*time.Microsecond {
				t.Fatalf("step %d, %+v: not at the moment when a request comes back\n%+v in Redis\n%+v in memory", i, s, g, w)
			}
		}
		if !w.Allowed {
			denied++
		}
		furthest = max(furthest, reset)
	}
	t.Logf("%d steps, %d denied; Remaining differs in %d, ResetAfter by at most %v", len(steps), denied, rounded, furthest)
	if denied < len(steps)/10 || denied > len(steps)*9/10 {
		t.Errorf("%d of %d denied: that shows little", denied, len(steps))
	}
}

func TestRedisWindowEqualsMemory(t *testing.T) {
	t.Parallel()
	steps := timeline(agreementSteps)
	want := inMemory(t, steps, func() httpkey.Limiter { return memstore.NewWindow() })
	got := inRedis(t, steps, redisLimiters[1].new)
	denied := 0
	for i := range steps {
		if got[i] != want[i] {
			t.Fatalf("step %d, %+v:\n%+v in Redis\n%+v in memory", i, steps[i], got[i], want[i])
		}
		if !want[i].Allowed {
			denied++
		}
	}
	t.Logf("%d steps, %d denied", len(steps), denied)
	if denied < len(steps)/10 || denied > len(steps)*9/10 {
		t.Errorf("%d of %d denied: that shows little", denied, len(steps))
	}
}
