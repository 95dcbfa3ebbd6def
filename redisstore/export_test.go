package redisstore

import (
	"context"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/internal/charge"
	"github.com/redis/go-redis/v9"
)

// Crowd makes each order to a limiter share its call with one that needs no key. With slots, the
// server seems to be one of a Cluster.
func Crowd(limiter httpkey.Limiter, slots bool) httpkey.Limiter {
	t := takerOf(limiter)
	t.servers.haveSlots.Store(slots)
	item := charge.Item{Limit: httpkey.PerMinute(0)}
	another := &order{payer: "another", n: 1, questions: []question{newQuestion("another", steadySort, item)}}
	ask := t.together.Ask
	t.together.Ask = func(ctx context.Context, server *redis.Client, orders []*order) ([]taken, error) {
		answers, err := ask(ctx, server, append([]*order{another}, orders...))
		if err != nil {
			return nil, err
		}
		return answers[1:], nil
	}
	return limiter
}

// Patient makes the orders of a limiter wait for calls in progress, however slow the machine is.
func Patient(limiter httpkey.Limiter) { takerOf(limiter).together.Patience = time.Hour }

// PatientLookups is Patient for the Lookups of a store.
func PatientLookups(store *Store) { store.lookups.Patience = time.Hour }

// Load returns the number of calls to server in progress, and of orders that wait for one.
func Load(limiter httpkey.Limiter, server *redis.Client) (calls, waiting int) {
	return takerOf(limiter).together.Load(server)
}

// LoadOfLookups returns the number of Lookups in progress, and of those that wait.
func LoadOfLookups(store *Store) (calls, waiting int) { return store.lookups.Load(struct{}{}) }

func takerOf(limiter httpkey.Limiter) *taker {
	if w, ok := limiter.(*Window); ok {
		return w.taker
	}
	return limiter.(*Limiter).taker
}
