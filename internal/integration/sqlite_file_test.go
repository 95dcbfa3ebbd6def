package integration

import (
	"path/filepath"
	"testing"

	_ "modernc.org/sqlite"

	"github.com/httpkey/httpkey/sqlstore"
)

// sqliteOptions are those that sqlstore/README.md recommends.
const sqliteOptions = "?_pragma=busy_timeout(10000)&_pragma=journal_mode(WAL)" +
	"&_pragma=synchronous(NORMAL)&_txlock=immediate"

func sqliteBackend() *sqlBackend {
	return &sqlBackend{
		dialect: sqlstore.SQLite,
		driver:  "sqlite",
		dsn: func(t testing.TB) string {
			return "file:" + filepath.Join(t.TempDir(), "httpkey.db") + sqliteOptions
		},
		zones: []string{"", "&_timezone=Asia/Kathmandu", "&_timezone=America/St_Johns"},
	}
}
