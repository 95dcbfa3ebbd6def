package integration

import (
	"database/sql"
	"path/filepath"
	"strings"
	"testing"

	"github.com/httpkey/httpkey/sqlstore"
)

// Each connection may have its own database in memory. Migrate refuses that, and its error names
// settings that work.
func TestSQLiteInMemory(t *testing.T) {
	for _, tt := range []struct {
		name, dsn string
		most      int // connections
		refused   bool
	}{
		{"of each connection", ":memory:", 0, true},
		{"of each connection, at most two", ":memory:", 2, true},
		{"of each connection, named", "file:a?mode=memory", 0, true},
		{"without a name", "", 0, true},
		{"of the only connection", ":memory:", 1, false},
		{"shared", "file:shared?mode=memory&cache=shared", 0, false},
		{"a file", filepath.Join(t.TempDir(), "DRIVER.db"), 0, false},
	} {
		for _, driver := range []string{"sqlite", "sqlite3"} {
			t.Run(driver+" "+tt.name, func(t *testing.T) {
				b := sqliteFile(t, driver, "")
				db, err := sql.Open(driver, strings.Replace(tt.dsn, "DRIVER", driver, 1))
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { _ = db.Close() })
				db.SetMaxOpenConns(tt.most)
				err = sqlstore.Migrate(t.Context(), db, b.dialect)
				if tt.refused {
					if err == nil || !strings.Contains(err.Error(), "SetMaxOpenConns(1)") {
						t.Errorf("Migrate returned %v", err)
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				store := sqlstore.New(db, b.dialect, nil)
				atOnce(t, 8, func(i int) error { return createTokens(t.Context(), store, sqlToken(i)) })
			})
		}
	}
}
