package redisstore_test

import (
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/httpkey/httpkey"
	"github.com/redis/go-redis/v9"
)

// miniredis keeps real time, but lets no key expire by itself; the module
// internal/integration runs the same suites on real servers.

// newServer returns a server of the test's own.
func newServer(t *testing.T) *miniredis.Miniredis {
	t.Helper()
	return miniredis.RunT(t)
}

// newClient returns a client of server with the options that the package comment names.
func newClient(t *testing.T, server *miniredis.Miniredis) *redis.Client {
	t.Helper()
	client := redis.NewClient(&redis.Options{
		Addr: server.Addr(), MaxRetries: -1, ContextTimeoutEnabled: true, DialTimeout: time.Second,
	})
	t.Cleanup(func() { _ = client.Close() })
	return client
}

// of returns the charge of n from a payer.
func of(payer string, n int, limits ...httpkey.Limit) *httpkey.Charge {
	return &httpkey.Charge{Bucket: payer, Limits: limits, Cost: n}
}
