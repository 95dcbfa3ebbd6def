package integration

import "testing"

// Without a timeout in the data source name, a connection does not wait for a lock. No caller gets
// an error even so, whatever the driver. (The files do not wait for the disk.)
func TestSQLiteBusy(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, driver, options string }{
		{"nothing set", "sqlite", "?_pragma=busy_timeout(0)&_pragma=synchronous(OFF)"},
		{"with WAL", "sqlite", "?_pragma=busy_timeout(0)&_pragma=synchronous(OFF)&_pragma=journal_mode(WAL)"},
		{"mattn, nothing set", "sqlite3", "?_busy_timeout=0&_synchronous=OFF"},
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
