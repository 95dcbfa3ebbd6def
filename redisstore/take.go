package redisstore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/go-redis/redis_rate/v10"
	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/internal/batch"
	"github.com/httpkey/httpkey/internal/charge"
	"github.com/httpkey/httpkey/internal/failover"
	"github.com/httpkey/httpkey/internal/gcra"
	"github.com/redis/go-redis/v9"
)

// The sorts of buckets in takeScript.
const (
	steadySort = "steady" // in the form of redis_rate
	logSort    = "log"    // a strict window
	quotaSort  = "quota"  // a counter of a day or a month
)

// order takes n from all of a payer's buckets if all have room, or if forced is set.
type order struct {
	payer     string
	n         int
	forced    bool
	questions []question
}

// question asks about one bucket.
type question struct {
	key  string
	sort string
	item charge.Item
	held float64 // the seconds of held permits to give back first
	span float64 // Period in seconds if steady, in microseconds if a log; the lifetime of a quota's key in milliseconds
}

// reading is the answer about one bucket.
type reading struct {
	hasRoom bool
	used    int64 // the requests that count, in a log and a quota
	reset   int64 // until the bucket is full: in nanoseconds if it is steady, in microseconds if it is a log
	retry   int64 // until n passes, in the same unit; 0 if it passes or never will
}

// taken is the answer to one order.
type taken struct {
	readings []reading
	err      error
}

// spare is the time for which the counter of a quota outlives its day or month, for processes
// with slow clocks.
const spare = time.Hour

func newQuestion(key, sort string, item charge.Item) question {
	q := question{key: key, sort: sort, item: item}
	switch sort {
	case steadySort:
		q.span = item.Limit.Period.Seconds()
	case logSort:
		q.span = float64(item.Limit.Period.Microseconds())
	case quotaSort:
		q.span = float64(item.Terms.Left/1000 + spare.Milliseconds())
	}
	return q
}

// taker takes from buckets. Orders to one server that coincide share a call.
type taker struct {
	rdb      redis.Scripter
	rate     *redis_rate.Limiter
	servers  servers
	together batch.Gatherer[*redis.Client, *order, taken]
}

func newTaker(rdb redis.Scripter) *taker {
	t := &taker{rdb: rdb, rate: redis_rate.NewLimiter(scripter{rdb})}
	t.servers.init(rdb)
	t.together.Ask, t.together.Payer = t.ask, func(o *order) string { return o.payer }
	return t
}

// decide takes for c and returns the Result.
func (t *taker) decide(ctx context.Context, c *httpkey.Charge, questions []question) (httpkey.Result, error) {
	if len(questions) == 0 {
		return c.Join(nil), nil
	}
	readings, err := t.take(ctx, &order{payer: c.Bucket, n: c.Cost, forced: c.Forced, questions: questions})
	if err != nil {
		return httpkey.Result{}, fmt.Errorf("httpkey: take from a bucket in Redis: %w", err)
	}
	if len(questions) == 1 {
		return questions[0].result(c.Cost, readings[0], c.Forced || readings[0].hasRoom), nil
	}
	each := make([]httpkey.Result, len(questions))
	for i := range questions {
		each[i] = questions[i].result(c.Cost, readings[i], c.Forced || readings[i].hasRoom)
	}
	return c.Join(each), nil
}

// resetScript is a script, because a Scripter has no other way to delete a key.
var resetScript = redis.NewScript(`return redis.call('DEL', unpack(KEYS))`)

// reset deletes buckets of one payer. A bucket that does not exist is full.
func (t *taker) reset(ctx context.Context, keys []string) error {
	if len(keys) == 0 {
		return nil
	}
	if err := resetScript.Run(ctx, t.rdb, keys).Err(); err != nil {
		return fmt.Errorf("httpkey: reset buckets in Redis: %w", err)
	}
	return nil
}

// errUndecided says that a server has not decided on an order, because it lacks the script or
// the slot.
var errUndecided = errors.New("the server has not decided")

// take carries out an order, together with others if they coincide.
func (t *taker) take(ctx context.Context, o *order) ([]reading, error) {
	server := t.servers.of(ctx, o.questions[0].key)
	if server == nil {
		return t.alone(ctx, o)
	}
	answer, err := t.together.Do(ctx, server, o)
	switch {
	case err != nil:
		return nil, err
	case errors.Is(answer.err, errUndecided):
		return t.byScript(ctx, o) // by redis_rate, the server would lack takeScript again at the next call
	}
	return answer.readings, answer.err
}

// ask carries out orders in one round trip to a server.
func (t *taker) ask(ctx context.Context, server *redis.Client, orders []*order) ([]taken, error) {
	switch {
	case len(orders) == 1:
		readings, err := t.alone(ctx, orders[0])
		return []taken{{readings: readings}}, err
	case t.servers.haveSlots.Load():
		return t.pipeline(ctx, server, orders)
	}
	answers, err := run(ctx, server, orders)
	if err != nil && namesSlots(err) { // a server of a Cluster, or a proxy of one
		t.servers.haveSlots.Store(true)
		answers = make([]taken, len(orders))
		for i := range answers {
			answers[i].err = errUndecided
		}
		return answers, nil
	}
	return answers, err
}

// alone carries out one order, by redis_rate if it can.
func (t *taker) alone(ctx context.Context, o *order) ([]reading, error) {
	if o.isUsual() {
		switch r, err := t.askRate(ctx, &o.questions[0], o.n); {
		case err == nil:
			return []reading{r}, nil
		case !isAnswer(err): // otherwise redis_rate has changed nothing
			return nil, err
		}
	}
	return t.byScript(ctx, o)
}

// byScript carries out one order by takeScript. A server that lacks the script has it then.
func (t *taker) byScript(ctx context.Context, o *order) ([]reading, error) {
	answers, err := run(ctx, t.rdb, []*order{o})
	if err != nil {
		return nil, err
	}
	return answers[0].readings, answers[0].err
}

// isUsual reports whether redis_rate can carry out o.
func (o *order) isUsual() bool {
	q := &o.questions[0]
	return len(o.questions) == 1 && q.sort == steadySort && q.held == 0 && !o.forced && o.n <= q.item.Limit.Burst
}

// run carries out orders by takeScript.
func run(ctx context.Context, rdb redis.Scripter, orders []*order) ([]taken, error) {
	keys, args := arguments(orders)
	reply, err := takeScript.Run(ctx, rdb, keys, args...).Slice()
	switch {
	case err != nil:
		return nil, err
	case len(reply) != len(orders):
		return nil, errOdd
	}
	answers := make([]taken, len(orders))
	for i, o := range orders {
		answers[i] = o.read(reply[i])
	}
	return answers, nil
}

// pipeline carries out orders by a script for each, since their keys may be in different slots.
// The pipeline of a ClusterClient would repeat all of them after some errors.
func (t *taker) pipeline(ctx context.Context, server *redis.Client, orders []*order) ([]taken, error) {
	pipe := server.Pipeline()
	replies := make([]*redis.Cmd, len(orders))
	for i := range orders {
		keys, args := arguments(orders[i : i+1])
		replies[i] = takeScript.EvalSha(ctx, pipe, keys, args...)
	}
	_, _ = pipe.Exec(ctx) // each reply has its error
	answers, failures := make([]taken, len(orders)), 0
	for i, o := range orders {
		reply, err := replies[i].Slice()
		switch {
		case err == nil && len(reply) == 1:
			answers[i] = o.read(reply[0])
		case err == nil:
			answers[i].err = errOdd
		case isUndecided(err):
			answers[i].err = errUndecided
		default:
			if failures++; failures > 1 { // they have one cause
				err = fmt.Errorf("%w: %w", failover.ErrNotAsked, err)
			}
			answers[i].err = err
		}
	}
	if failures > 0 {
		t.servers.reload(ctx)
	}
	if failures == len(orders) {
		return nil, answers[0].err
	}
	return answers, nil
}

// isUndecided reports whether a server has refused to run a script for a reason that another
// call may overcome.
func isUndecided(err error) bool {
	for _, reason := range []string{"NOSCRIPT", "MOVED", "ASK", "TRYAGAIN", "CLUSTERDOWN"} {
		if redis.HasErrorPrefix(err, reason) {
			return true
		}
	}
	return false
}

// result converts r to the decision on one limit.
func (q *question) result(n int, r reading, allowed bool) httpkey.Result {
	switch q.sort {
	case steadySort:
		return result(q.item.Limit, n, allowed, time.Duration(r.reset), time.Duration(r.retry))
	case quotaSort:
		return q.item.Result(q.item.Terms.Result(allowed, r.used, int64(n)))
	}
	log := gcra.Result{Allowed: allowed, Remaining: max(0, q.item.Terms.Rate-r.used), ResetAfter: r.reset}
	if !allowed {
		log.RetryAfter = r.retry
	}
	return q.item.Result(log)
}
