package integration

import (
	"testing"

	"github.com/httpkey/httpkey/sqlstore"
	"github.com/httpkey/httpkey/storetest"
	"github.com/httpkey/httpkey/usage"
)

func testSQLUsage(t *testing.T, b *sqlBackend) {
	storetest.RunUsage(t, func(t *testing.T) func() usage.Store {
		tables := b.newTables(t)
		pool := tables.pools(t)
		return func() usage.Store { return sqlstore.NewUsage(pool(), tables.dialect) }
	})
}
