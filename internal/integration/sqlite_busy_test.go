package integration

import "testing"

// A connection that does not wait for a lock, as a data source name without a timeout makes it,
// is no error to a caller, whatever the driver. (The files do not wait for the disk.)
func TestSQLiteBusy(t *testing.T) {
	for _, tt := range []struct{ name, driver, options string }{
		{"nothing set", "sqlite", "?_pragma=busy_timeout(0)&_pragma=synchronous(OFF)"},
		{"with WAL", "sqlite", "?_pragma=busy_timeout(0)&_pragma=synchronous(OFF)&_pragma=journal_mode(WAL)"},
		{"mattn, nothing set", "sqlite3", "?_busy_timeout=0&_synchronous=OFF"},
		{"mattn, as recommended", "sqlite3", mattnOptions},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := sqliteFile(t, tt.driver, tt.options)
			runContended(t, b)
			t.Run("MigrateTogether", func(t *testing.T) { testMigrateTogether(t, b) })
		})
	}
}
