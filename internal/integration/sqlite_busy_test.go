package integration

import "testing"

// A connection that does not wait for a lock, as a data source name without a timeout makes it,
// is no error to a caller, whatever the driver.
func TestSQLiteBusy(t *testing.T) {
	for _, tt := range []struct{ name, driver, options string }{
		{"nothing set", "sqlite", "?_pragma=busy_timeout(0)"},
		{"with WAL", "sqlite", "?_pragma=busy_timeout(0)&_pragma=journal_mode(WAL)"},
		{"mattn, nothing set", "sqlite3", "?_busy_timeout=0"},
		{"mattn, as recommended", "sqlite3", mattnOptions},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b := sqliteFile(t, tt.driver, tt.options)
			runContended(t, b)
			t.Run("MigrateTogether", func(t *testing.T) { testMigrateTogether(t, b) })
		})
	}
}
