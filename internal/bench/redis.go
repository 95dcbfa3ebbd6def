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
	// room is the limit of a busy key, and far more than any key sends here.
	room = scenario{"allowed", limit{burst: 1000, hourly: 60_000}, http.StatusOK, drawUniform}
	// popular is one key that all send: leases are for it.
	popular  = scenario{"allowed, one key", limit{burst: 10_000_000, hourly: 10_000_000}, http.StatusOK, drawFirst}
	overdone = scenario{"denied, one key", single, http.StatusTooManyRequests, drawFirst}
)

// compareRedis measures the contestants that share limits and keys through Redis, all on
// one server.
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
	few := choose(contestants, "redis_rate.Allow", "httpkey", "httpkey, leases of a second")
	hot, err := server.compare(popular, few, keys[:1], o)
	if err != nil {
		return err
	}
	few = choose(contestants, "redis_rate.Allow", "redisstore.Limiter.Allow", "httpkey")
	denied, err := server.compare(overdone, few, keys[:1], o)
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

// choose returns the contestants of these names.
func choose(contestants []contestant, names ...string) []contestant {
	chosen := make([]contestant, len(names))
	for i, name := range names {
		chosen[i] = contestants[slices.IndexFunc(contestants, func(c contestant) bool { return c.name == name })]
	}
	return chosen
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

// redisRow is the measurements of one contestant, one per round.
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

// refill makes keys the only ones in Redis, for httpkey and for the contestant by hand.
func (s *redisServer) refill(keys []string) error {
	ctx := context.Background()
	if err := s.admin.FlushAll(ctx).Err(); err != nil {
		return err
	}
	guard := httpkey.New(s.store(), httpkey.Unlimited, nil)
	errs := make([]error, len(keys))
	inParallel(len(keys), func(_ *client, i int) {
		token := httpkey.Token{ID: redisID(i), Label: "bench", User: "u-1", IsActive: true}
		if _, errs[i] = guard.Import(ctx, httpkey.Secret(keys[i]), token); errs[i] == nil {
			errs[i] = s.admin.Set(ctx, byHand+keys[i], token.ID, 0).Err()
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
