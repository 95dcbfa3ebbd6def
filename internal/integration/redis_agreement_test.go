package integration

import (
	"context"
	"fmt"
	"math/rand/v2"
	"reflect"
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

// step is a charge at a time since the beginning, with the answer of a limiter in memory.
type step struct {
	at     time.Duration
	charge *httpkey.Charge
	want   httpkey.Result
}

// timeline returns charges that keep their buckets between empty and full, with the answers of
// a limiter in memory.
func timeline(t *testing.T, limiter func() httpkey.Limiter) []step {
	random := rand.New(rand.NewPCG(4, 20_000))
	steps := make([]step, agreementSteps)
	synctest.Test(t, func(t *testing.T) {
		memory, start := limiter(), time.Now()
		for i := range steps {
			steps[i] = step{at: time.Since(start), charge: randomCharge(random)}
			var err error
			if steps[i].want, err = memory.Allow(t.Context(), steps[i].charge); err != nil {
				t.Fatal(err)
			}
			switch wait := random.IntN(100); {
			case wait == 0:
				elapse(time.Duration(random.Int64N(5e9)).Truncate(time.Microsecond))
			case wait < 20: // at the same microsecond
			case wait < 30:
				elapse(time.Microsecond)
			default:
				elapse(time.Duration(random.Int64N(2e8)).Truncate(time.Microsecond))
			}
		}
	})
	return steps
}

// inRedis calls a limiter in Redis on the same timeline, and returns its answers.
func inRedis(t *testing.T, steps []step, newLimiter newLimiter, check func(i int, got httpkey.Result)) {
	client := startRedis(t).client(t)
	synctest.Test(t, func(t *testing.T) { // also the process's clock is that of the steps: quotas go by it
		asked := redis.NewClient(&redis.Options{
			Addr: client.Options().Addr, MaxRetries: -1, PoolSize: 1, ReadTimeout: -1, WriteTimeout: -1,
		})
		defer func() { _ = asked.Close() }()
		start := time.Now()
		c := &clock{Scripter: asked}
		limiter := newLimiter(c, &redisstore.Options{AskAlways: true}) // the memo goes by the process's clock too
		for i, s := range steps {
			elapse(s.at - time.Since(start))
			c.now = time.Now().AddDate(26, 0, 0) // a bubble begins in 2000, and redis_rate's time in 2017
			got, err := limiter.Allow(t.Context(), s.charge)
			if err != nil {
				t.Fatalf("step %d: %v", i, err)
			}
			check(i, got)
		}
	})
}

const agreementSteps = 20_000

// eachOf returns the results of all limits of a charge.
func eachOf(c *httpkey.Charge, r httpkey.Result) []httpkey.Result {
	if len(c.Limits) == 1 {
		return []httpkey.Result{r}
	}
	return r.Each
}

// GCRA in Redis counts in floating point: its decisions are those of the memory, and
// its numbers are within what the comment of Limiter says.
func TestRedisLimiterAgreesWithMemory(t *testing.T) {
	t.Parallel()
	steps := timeline(t, func() httpkey.Limiter { return memstore.NewLimiter() })
	requests := make(map[string]int)
	denied, rounded, furthest := 0, 0, time.Duration(0)
	inRedis(t, steps, redisLimiters[0].new, func(i int, got httpkey.Result) {
		s := steps[i]
		if got.Allowed != s.want.Allowed {
			t.Fatalf("step %d, %+v:\n%+v in Redis\n%+v in memory", i, s.charge, got, s.want)
		}
		if !got.Allowed {
			denied++
		}
		wants := eachOf(s.charge, s.want)
		for n, g := range eachOf(s.charge, got) {
			w := wants[n]
			bucket := fmt.Sprint(s.charge.Bucket, w.Limit.Name, w.Limit.Window())
			requests[bucket]++
			// In memory, a change of Rate rounds the debt up to a whole part.
			drift := time.Duration(requests[bucket])*30*time.Nanosecond + time.Microsecond
			reset, retry := (g.ResetAfter - w.ResetAfter).Abs(), (g.RetryAfter - w.RetryAfter).Abs()
			if g.Allowed != w.Allowed || g.Limit != w.Limit || reset > drift+time.Microsecond ||
				retry > drift+2*time.Microsecond {
				t.Fatalf("step %d, %+v:\n%+v in Redis\n%+v in memory", i, s.charge, g, w)
			}
			furthest = max(furthest, reset)
			if g.Remaining == w.Remaining {
				continue
			}
			rounded++
			back := time.Duration(w.Limit.Burst-max(g.Remaining, w.Remaining)) * w.Limit.Period / time.Duration(w.Limit.Rate)
			if w.Limit.Period/time.Duration(w.Limit.Rate) > drift && (back-w.ResetAfter).Abs() > drift+2*time.Microsecond {
				t.Fatalf("step %d, %+v: no request comes back now\n%+v in Redis\n%+v in memory", i, s.charge, g, w)
			}
		}
	})
	t.Logf("%d steps, %d denied; Remaining differs in %d, ResetAfter by at most %v", len(steps), denied, rounded, furthest)
	if denied < len(steps)/10 || denied > len(steps)*9/10 {
		t.Errorf("%d of %d denied: that shows little", denied, len(steps))
	}
}

func TestRedisWindowEqualsMemory(t *testing.T) {
	t.Parallel()
	steps := timeline(t, func() httpkey.Limiter { return memstore.NewWindow() })
	denied := 0
	inRedis(t, steps, redisLimiters[1].new, func(i int, got httpkey.Result) {
		if !reflect.DeepEqual(got, steps[i].want) {
			t.Fatalf("step %d, %+v:\n%+v in Redis\n%+v in memory", i, steps[i].charge, got, steps[i].want)
		}
		if !got.Allowed {
			denied++
		}
	})
	t.Logf("%d steps, %d denied", len(steps), denied)
	if denied < len(steps)/10 || denied > len(steps)*9/10 {
		t.Errorf("%d of %d denied: that shows little", denied, len(steps))
	}
}
