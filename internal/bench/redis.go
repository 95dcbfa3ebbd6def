package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"time"

	"github.com/httpkey/httpkey"
)

// callers is how many requests are under way at once.
const callers = 64

var (
	// room is what a busy key is allowed, and far more than any sends here.
	room = scenario{"allowed", limit{burst: 1000, hourly: 60_000}, http.StatusOK, drawUniform}
	// popular is one key that all send: what leases are for.
	popular  = scenario{"allowed, one key", limit{burst: 10_000_000, hourly: 10_000_000}, http.StatusOK, drawFirst}
	overdone = scenario{"denied, one key", single, http.StatusTooManyRequests, drawFirst}
)

// compareRedis measures who shares limits and keys through Redis, all on one server.
func compareRedis(out io.Writer, o options) error {
	server, err := startRedis()
	if err != nil {
		return err
	}
	defer server.end()

	keys := issue(o.keys)
	contestants := redisContestants(server)
	for _, c := range contestants {
		if err := server.check(c, keys[:100]); err != nil {
			return err
		}
	}
	if err := server.refill(keys); err != nil {
		return err
	}
	rows, err := server.compare(room, contestants, keys, o)
	if err != nil {
		return err
	}
	few := []contestant{contestants[0], *named(contestants, "httpkey"), *named(contestants, "httpkey, leases of a second")}
	hot, err := server.compare(popular, few, keys[:1], o)
	if err != nil {
		return err
	}
	denied, err := server.compare(overdone, []contestant{contestants[0], *named(contestants, "redisstore.Limiter.Allow"), contestants[2]}, keys[:1], o)
	if err != nil {
		return err
	}
	revoked, err := server.revoke(keys, o)
	if err != nil {
		return err
	}
	report{out}.redis(server, o, rows, hot, denied, revoked)
	return nil
}

func named(contestants []contestant, name string) *contestant {
	return &contestants[slices.IndexFunc(contestants, func(c contestant) bool { return c.name == name })]
}

// check is that of the contestant, each time with nothing in Redis but the keys: to
// redis_rate a bucket is the same under another limit.
func (s *redisServer) check(c contestant, keys []string) error {
	for _, sc := range []scenario{room, overdone} {
		if err := s.refill(keys); err != nil {
			return err
		}
		if err := c.checkIn(keys, sc); err != nil {
			return err
		}
	}
	return nil
}

// redisRow is what was measured of one contestant, a measurement per round.
type redisRow struct {
	contestant
	rounds []redisMeasurement
}

// compare measures contestants side by side, as the function does.
func (s *redisServer) compare(sc scenario, contestants []contestant, keys []string, o options) ([]redisRow, error) {
	rows := make([]redisRow, len(contestants))
	for i, c := range contestants {
		rows[i].contestant = c
	}
	load := sc.load(keys)
	for round := range o.rounds {
		fmt.Fprintf(os.Stderr, "redis, %s, round %d of %d\n", sc.name, round+1, o.rounds)
		for i := range rows {
			r := &rows[(i+round)%len(rows)]
			m, err := s.run(r.contestant, load, sc.limit, o.time)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", r.name, err)
			}
			r.rounds = append(r.rounds, m)
		}
	}
	return rows, nil
}

// run measures c, connected and, if it is to deny, with nothing left.
func (s *redisServer) run(c contestant, l load, limit limit, d time.Duration) (redisMeasurement, error) {
	h, end := c.build(ok, l.keys, limit)
	defer end()
	inParallel(min(len(l.keys), 10*callers), func(caller *client, i int) { caller.send(h, l.keys[i:i+1]) })
	return s.measure(d, func(caller *client, i int) bool {
		key := l.order[i%len(l.order)]
		return caller.send(h, l.keys[key:key+1:key+1]) == l.want
	})
}

// refill makes keys the only ones in Redis, for httpkey and for who does it by hand.
func (s *redisServer) refill(keys []string) error {
	ctx := context.Background()
	if err := s.admin.FlushAll(ctx).Err(); err != nil {
		return err
	}
	guard := httpkey.New(s.store(), httpkey.Unlimited, nil)
	errs := make([]error, len(keys))
	inParallel(len(keys), func(_ *client, i int) {
		id := redisID(i)
		if _, errs[i] = guard.Import(ctx, httpkey.Secret(keys[i]), httpkey.Token{ID: id, Label: "bench", User: "u-1"}); errs[i] == nil {
			errs[i] = s.admin.Set(ctx, byHand+keys[i], id, 0).Err()
		}
	})
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// redisID returns the ID of a key's token, which is as long as a UUID.
func redisID(i int) string { return fmt.Sprintf("%036d", i) }
