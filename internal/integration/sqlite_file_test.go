package integration

import (
	"database/sql"
	"fmt"
	"path/filepath"
	"testing"

	_ "github.com/mattn/go-sqlite3"
	_ "modernc.org/sqlite"

	"github.com/httpkey/httpkey/sqlstore"
)

// The options that sqlstore/README.md recommends.
const (
	sqliteOptions = "?_pragma=busy_timeout(10000)&_pragma=journal_mode(WAL)" +
		"&_pragma=synchronous(NORMAL)&_txlock=immediate"
	mattnOptions = "?_busy_timeout=10000&_journal_mode=WAL&_synchronous=NORMAL&_txlock=immediate"
)

func sqliteBackend(t testing.TB) *sqlBackend { return sqliteFile(t, "sqlite", sqliteOptions) }

// sqliteFile returns a backend whose files a driver opens with some options.
func sqliteFile(t testing.TB, driver, options string) *sqlBackend {
	t.Helper()
	db, err := sql.Open(driver, ":memory:")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	if err := db.Ping(); err != nil { // go-sqlite3 is in C
		missing(t, fmt.Sprintf("a C compiler (%v)", err), "gcc")
	}
	return &sqlBackend{
		dialect: sqlstore.SQLite,
		driver:  driver,
		dsn: func(t testing.TB) string {
			return "file:" + filepath.Join(t.TempDir(), "httpkey.db") + options
		},
		zones: []string{"", "&_timezone=Asia/Kathmandu", "&_timezone=America/St_Johns"},
	}
}
