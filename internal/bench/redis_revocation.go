package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"github.com/httpkey/httpkey"
)

// revocation is the cost of a revocation, and how long others let the key in.
type revocation struct {
	rounds    []redisMeasurement
	latencies []time.Duration // from the call of Revoke until another Guard refuses, sorted
}

// revoke revokes keys with one Guard, while another, which has a cache of its own,
// follows the feed. No token can be revoked twice, so it goes through them.
func (s *redisServer) revoke(keys []string, o options) (revocation, error) {
	here, endHere := s.guard(redisSetup{}, nil)
	defer endHere()
	elsewhere, endElsewhere := s.guard(redisSetup{}, nil)
	defer endElsewhere()

	var r revocation
	timed := min(200, len(keys)/4)
	for i := range timed {
		latency, err := untilRefused(here, elsewhere, keys[i], redisID(i))
		if err != nil {
			return r, fmt.Errorf("revoke: %w", err)
		}
		if i > 0 { // for the first one the feed may have had to begin
			r.latencies = append(r.latencies, latency)
		}
	}
	slices.Sort(r.latencies)

	var revoked atomic.Int64
	revoked.Store(int64(timed))
	for round := range o.rounds {
		fmt.Fprintf(os.Stderr, "redis, revocation, round %d of %d\n", round+1, o.rounds)
		m, err := s.measure(o.time, func(caller *client, _ int) bool {
			i := int(revoked.Add(1)) - 1
			return i < len(keys) && here.Revoke(caller.request.Context(), redisID(i), "") == nil
		})
		if err != nil {
			return r, fmt.Errorf("revoke: %w", err)
		}
		r.rounds = append(r.rounds, m)
	}
	return r, nil
}

// untilRefused returns how long elsewhere still lets in a key that it knows, from the
// call on that revokes it here.
func untilRefused(here, elsewhere *httpkey.Guard, key, id string) (time.Duration, error) {
	ctx := context.Background()
	if _, err := elsewhere.Verify(ctx, key); err != nil {
		return 0, err
	}
	start, answer := time.Now(), make(chan error, 1)
	go func() { answer <- here.Revoke(ctx, id, "") }()
	for {
		_, err := elsewhere.Verify(ctx, key)
		switch {
		case errors.Is(err, httpkey.ErrInvalidKey):
			return time.Since(start), <-answer
		case err != nil:
			return 0, err
		case time.Since(start) > 10*time.Second:
			return 0, errors.New("another Guard still lets in a key that was revoked ten seconds ago")
		}
	}
}
