package integration

import (
	"testing"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/sqlstore"
	"github.com/httpkey/httpkey/storetest"
)

func testSQLStore(t *testing.T, b *sqlBackend) {
	storetest.Run(t, func(t *testing.T) func() httpkey.TokenStore {
		tables := b.newTables(t)
		pool := tables.pools(t)
		return func() httpkey.TokenStore { return sqlstore.New(pool(), tables.dialect, nil) }
	})
}

func testSQLLimiter(t *testing.T, b *sqlBackend) {
	factory := storetest.LimiterFactory{
		New: func(t *testing.T) func() httpkey.Limiter {
			tables := b.newTables(t)
			pool := tables.pools(t)
			return func() httpkey.Limiter { return sqlstore.NewLimiter(pool(), tables.dialect) }
		},
		Wait: time.Sleep, // the server's clock is real
	}
	if b.driver == "sqlite" {
		factory.Wait = nil // the clock is ours, so that all rules are exact
	}
	storetest.RunLimiter(t, factory)
}
