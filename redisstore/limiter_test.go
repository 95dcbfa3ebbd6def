package redisstore

import (
	"context"
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/go-redis/redis_rate/v10"
	"github.com/httpkey/httpkey"
	"github.com/redis/go-redis/v9"
)

// replying is a server that answers every script with the same.
type replying struct {
	redis.Scripter
	reply any
	panic any
}

func (r replying) EvalSha(ctx context.Context, _ string, _ []string, _ ...any) *redis.Cmd {
	if r.panic != nil {
		panic(r.panic)
	}
	cmd := redis.NewCmd(ctx)
	cmd.SetVal(r.reply)
	return cmd
}

var perMinute = httpkey.PerMinute(60)

// of returns the charge of n from a payer.
func of(payer string, n int, limits ...httpkey.Limit) *httpkey.Charge {
	return &httpkey.Charge{Bucket: payer, Limits: limits, Cost: n}
}

// equal reports whether two results are the same.
func equal(a, b httpkey.Result) bool { return reflect.DeepEqual(a, b) }

// Every reply of a server is an error or a decision, and never a panic.
func TestOddRepliesAreErrors(t *testing.T) {
	t.Parallel()
	for name, reply := range map[string]any{
		"nothing":            nil,
		"text":               "OK",
		"a number":           int64(1),
		"an empty array":     []any{},
		"three values":       []any{int64(1), int64(59), "-1"},
		"a double":           []any{int64(1), 59.0, "-1", "1"}, // as Dragonfly answers
		"numbers":            []any{int64(1), int64(59), int64(-1), int64(1)},
		"nulls":              []any{nil, nil, nil, nil},
		"words":              []any{int64(1), int64(59), "soon", "later"},
		"not a number":       []any{int64(1), int64(59), "-1", "nan"},
		"infinity":           []any{int64(1), int64(59), "-1", "inf"},
		"minus infinity":     []any{int64(1), int64(59), "-1", "-inf"},
		"too long":           []any{int64(1), int64(59), "-1", "62"},
		"owing too much":     []any{int64(0), int64(0), "1", "121"},
		"no debt":            []any{int64(1), int64(59), "-1", "0"},
		"a negative debt":    []any{int64(1), int64(59), "-1", "-1"},
		"another n":          []any{int64(2), int64(58), "-1", "2"},
		"no retry":           []any{int64(0), int64(0), "-1", "60"},
		"a retry too long":   []any{int64(0), int64(0), "121", "60"},
		"retry never":        []any{int64(0), int64(0), "inf", "60"},
		"retry not a number": []any{int64(0), int64(0), "nan", "60"},
		"a map":              map[any]any{"a": "b"},
		"an empty text":      []any{""},
		"numbers as text":    []any{[]any{"1", "0", "1", "0"}},
		"a null of four":     []any{[]any{int64(1), nil, int64(1), int64(0)}},
		"a negative of four": []any{[]any{int64(1), int64(-1), int64(0), int64(0)}},
		"a reset too long":   []any{[]any{int64(1), int64(0), int64(121e9 + 1), int64(0)}},
		"a negative reset":   []any{int64(-1)},
		"far too long":       []any{int64(math.MaxInt64)},
		"a wait too long":    []any{[]any{int64(0), int64(0), int64(0), int64(121e9 + 1)}},
		"two answers":        []any{int64(1), int64(1)},
		"eight":              []any{[]any{int64(1), int64(0), int64(1), int64(0), int64(1), int64(0), int64(1), int64(0)}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rdb := replying{reply: reply}
			for _, limiter := range []httpkey.Limiter{NewLimiter(rdb, nil), NewWindow(rdb, nil)} {
				if r, err := limiter.Allow(t.Context(), of("payer", 1, perMinute)); err == nil || !equal(r, httpkey.Result{}) {
					t.Errorf("%T: %+v and the error %v", limiter, r, err)
				} else if !strings.HasPrefix(err.Error(), "httpkey: ") {
					t.Errorf("%T: the error %q does not say whose it is", limiter, err)
				}
			}
		})
	}
}

// A panic that is not about the reply, of a hook for example, goes on.
func TestOtherPanicsGoOn(t *testing.T) {
	t.Parallel()
	mine := errors.New("mine")
	defer func() {
		if p := recover(); p != any(mine) {
			t.Errorf("recovered %v", p)
		}
	}()
	_, _ = NewLimiter(replying{panic: mine}, nil).Allow(t.Context(), of("payer", 1, perMinute))
}

func TestRepliesAreRounded(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name         string
		limit        httpkey.Limit
		n            int
		reset, retry float64 // seconds; retry -1: admitted
		want         httpkey.Result
	}{
		{"one request", perMinute, 1, 1, -1, httpkey.Result{Allowed: true, Remaining: 59, ResetAfter: time.Second}},
		{"a little too much", perMinute, 1, 1.0000002, -1, httpkey.Result{Allowed: true, Remaining: 59,
			ResetAfter: time.Second}},
		{"a little too little", perMinute, 1, 0.9999999, -1, httpkey.Result{Allowed: true, Remaining: 59,
			ResetAfter: time.Second}},
		{"a microsecond more", perMinute, 1, 1.000001, -1, httpkey.Result{Allowed: true, Remaining: 58,
			ResetAfter: 1000001 * time.Microsecond}},
		{"the last", perMinute, 1, 60, -1, httpkey.Result{Allowed: true, ResetAfter: time.Minute}},
		{"the last, a little too much", perMinute, 1, 60.0000002, -1, httpkey.Result{Allowed: true, ResetAfter: time.Minute}},
		{"below empty", perMinute, 1, 90.5, 31.5, httpkey.Result{ResetAfter: 90500 * time.Millisecond,
			RetryAfter: 31500001 * time.Microsecond}},
		{"denied", perMinute, 1, 60, 1, httpkey.Result{ResetAfter: time.Minute, RetryAfter: 1000001 * time.Microsecond}},
		{"denied by nearly nothing", perMinute, 1, 59.0000001, 0.00000006,
			httpkey.Result{ResetAfter: 59 * time.Second, RetryAfter: time.Microsecond}},
		{"denied 5, one less is there", perMinute, 5, 56, 1, httpkey.Result{Remaining: 4, ResetAfter: 56 * time.Second,
			RetryAfter: 1000001 * time.Microsecond}},
		{"nothing of nothing", perMinute, 0, 60.0000001, 0.0000001, httpkey.Result{Allowed: true, ResetAfter: time.Minute}},
		{"nothing of all", perMinute, 0, 0, -1, httpkey.Result{Allowed: true, Remaining: 60}},
		{"a third", httpkey.PerSecond(3), 1, 1. / 3, -1, httpkey.Result{Allowed: true, Remaining: 2,
			ResetAfter: 333334 * time.Microsecond}},
		{"two thirds", httpkey.PerSecond(3), 1, 2. / 3, -1, httpkey.Result{Allowed: true, Remaining: 1,
			ResetAfter: 666667 * time.Microsecond}},
		{"five million a second", httpkey.PerSecond(5e6), 1, 0.0000002, -1,
			httpkey.Result{Allowed: true, Remaining: 5e6 - 1}},
		{"one in a century", httpkey.Limit{Rate: 1, Period: 876_000 * time.Hour}, 1, 876_000 * 3600, -1,
			httpkey.Result{Allowed: true, ResetAfter: 876_000 * time.Hour}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			limit := tt.limit.Resolve()
			seconds := func(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }
			reply := redis_rate.Result{ResetAfter: seconds(tt.reset), RetryAfter: -1, Allowed: tt.n}
			if tt.retry >= 0 {
				reply.RetryAfter, reply.Allowed = seconds(tt.retry), 0
			}
			tt.want.Limit = limit
			got := result(limit, tt.n, reply.Allowed == tt.n, reply.ResetAfter, reply.RetryAfter)
			if !isPlausible(&reply, limit, tt.n) || !equal(got, tt.want) {
				t.Errorf("%+v, want\n%+v", got, tt.want)
			}
		})
	}
}

// named notes the keys that a script is run with.
type named struct {
	replying
	keys *[]string
}

func (n named) EvalSha(ctx context.Context, sha string, keys []string, args ...any) *redis.Cmd {
	*n.keys = append(*n.keys, keys...)
	return n.replying.EvalSha(ctx, sha, keys, args...)
}

// A bucket is named by payer, Name and window, in one slot of a Cluster for each payer.
func TestBucketsAreNamedByPayerAndWindow(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)
	limits := []httpkey.Limit{
		{Rate: 10, Burst: 25, Period: time.Hour}, {Name: "search", Rate: 7, Period: time.Second},
		httpkey.PerDay(5), httpkey.PerMonth(5),
	}
	for _, tt := range []struct {
		payer, prefix string
		want          [2]string
	}{
		{"user:a", "", [2]string{
			"rate:httpkey:{user:a}::9000000000 rate:httpkey:{user:a}:search:1000000 " +
				"httpkey:{user:a}::2026-11-27 httpkey:{user:a}::2026-11",
			"httpkey:window:{user:a}::3600000000 httpkey:window:{user:a}:search:1000000 " +
				"httpkey:window:{user:a}::2026-11-27 httpkey:window:{user:a}::2026-11",
		}},
		{"}%{", "app:", [2]string{
			"rate:app:{%7D%25{}::9000000000 rate:app:{%7D%25{}:search:1000000 app:{%7D%25{}::2026-11-27 app:{%7D%25{}::2026-11",
			"app:window:{%7D%25{}::3600000000 app:window:{%7D%25{}:search:1000000 " +
				"app:window:{%7D%25{}::2026-11-27 app:window:{%7D%25{}::2026-11",
		}},
		{"", "", [2]string{
			"rate:httpkey:{%}::9000000000 rate:httpkey:{%}:search:1000000 httpkey:{%}::2026-11-27 httpkey:{%}::2026-11",
			"httpkey:window:{%}::3600000000 httpkey:window:{%}:search:1000000 " +
				"httpkey:window:{%}::2026-11-27 httpkey:window:{%}::2026-11",
		}},
	} {
		var keys []string
		rdb, opts := named{keys: &keys}, &Options{Prefix: tt.prefix}
		for i, allow := range []func(context.Context, *httpkey.Charge, time.Time) (httpkey.Result, error){
			NewLimiter(rdb, opts).allow, NewWindow(rdb, opts).allow,
		} {
			keys = nil
			_, _ = allow(t.Context(), of(tt.payer, 1, limits...), now)
			if got := strings.Join(keys, " "); got != tt.want[i] {
				t.Errorf("the keys of %q are\n%s, want\n%s", tt.payer, got, tt.want[i])
			}
		}
	}
	var keys []string
	_, _ = NewLimiter(named{keys: &keys}, nil).Allow(t.Context(), of("user:a", 1, limits[0]))
	if want := "rate:httpkey:{user:a}::9000000000"; keys[0] != want {
		t.Errorf("redis_rate is asked about %s, want %s", keys[0], want)
	}
}

func TestWhatCannotWorkPanics(t *testing.T) {
	t.Parallel()
	client := redis.NewClient(&redis.Options{})
	t.Cleanup(func() { _ = client.Close() })
	ring := redis.NewRing(&redis.RingOptions{Addrs: map[string]string{"a": "127.0.0.1:1"}})
	t.Cleanup(func() { _ = ring.Close() })
	for name, tt := range map[string]struct {
		construct func()
		says      string
	}{
		"a Store without a client":   {func() { New(nil, nil) }, "rdb is nil"},
		"a Limiter without a client": {func() { NewLimiter(nil, nil) }, "rdb is nil"},
		"a Window without a client":  {func() { NewWindow(nil, nil) }, "rdb is nil"},
		"a Store on a Ring":          {func() { New(ring, nil) }, "Ring"},
		"a Store with a tag":         {func() { New(client, &Options{Prefix: "a{b}"}) }, "Prefix"},
		"a Limiter with a tag":       {func() { NewLimiter(client, &Options{Prefix: "{"}) }, "Prefix"},
		"a negative Lease":           {func() { NewLimiter(client, &Options{Lease: -1}) }, "Lease"},
		"a Window with a tag":        {func() { NewWindow(client, &Options{Prefix: "}"}) }, "Prefix"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			defer func() {
				text := ""
				switch p := recover().(type) {
				case error:
					text = p.Error()
				case string:
					text = p
				}
				if !strings.HasPrefix(text, "httpkey: ") || !strings.Contains(text, tt.says) {
					t.Errorf("the panic says %q, want %q", text, tt.says)
				}
			}()
			tt.construct()
		})
	}
	NewLimiter(ring, nil)
	NewWindow(ring, nil)
}
