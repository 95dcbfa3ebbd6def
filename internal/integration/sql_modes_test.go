package integration

import (
	"testing"

	_ "github.com/lib/pq"
)

// mode is a way in which a driver sends statements. Some modes ask the server for the types of
// parameters, and some write parameters into the text of a statement.
type mode struct {
	name    string
	driver  string
	options string
}

var modes = map[string][]mode{
	"pgx": {
		{"cache_describe", "pgx", "&default_query_exec_mode=cache_describe"},
		{"describe_exec", "pgx", "&default_query_exec_mode=describe_exec"},
		{"exec", "pgx", "&default_query_exec_mode=exec"},
		{"simple_protocol", "pgx", "&default_query_exec_mode=simple_protocol"},
		{"lib/pq", "postgres", ""},
		{"lib/pq, binary parameters", "postgres", "&binary_parameters=yes"},
	},
	"mysql": {{"interpolated", "mysql", "&interpolateParams=true"}},
}

// in returns the backend in another mode.
func (b *sqlBackend) in(m mode) *sqlBackend {
	variant := b.with(m.options)
	variant.driver = m.driver
	return variant
}

// with returns the backend for connections with other options.
func (b *sqlBackend) with(options string) *sqlBackend {
	variant := *b
	variant.dsn = func(t testing.TB) string { return b.dsn(t) + options }
	return &variant
}

// Stores, limiters and migrations work in all modes of the drivers.
func testModes(t *testing.T, b *sqlBackend) {
	steps := randomSteps(t, 1000)
	for _, m := range modes[b.driver] {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			variant := b.in(m)
			t.Run("Agrees", func(t *testing.T) { variant.newTables(t).newClock(t).agrees(t, steps) })
			conformsSQL(t, variant)
		})
	}
}

// conformsSQL runs the tests that any mode passes, also behind a pooler.
func conformsSQL(t *testing.T, b *sqlBackend) {
	for _, test := range []sqlTest{
		{"MigrateTogether", testMigrateTogether},
		{"MigrateLate", testMigrateLate},
		{"Store", testSQLStore},
		{"Limiter", testSQLLimiter},
		{"FeedTells", testFeedTells},
		{"SeveralDenied", testSeveralDenied},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, b) })
	}
}
