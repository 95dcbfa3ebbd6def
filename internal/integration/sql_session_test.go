package integration

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/sqlstore"
)

// The first call refuses settings of a connection that lose decisions or change texts. The error
// says what to set.
func testSessionRefused(t *testing.T, b *sqlBackend) {
	tables := b.newTables(t)
	for options, want := range map[string]map[string]string{
		"mysql": {
			"&autocommit=0":   "autocommit=1",
			"&charset=latin1": "charset=utf8mb4",
			"&charset=utf8":   "charset=utf8mb4",
			"&character_set_results=latin1&charset=utf8mb4": "charset=utf8mb4",
		},
		"pgx": {"&client_encoding=LATIN1": "client_encoding=UTF8"},
	}[b.driver] {
		db := tables.open(t, options)
		store := sqlstore.New(db, tables.dialect, nil)
		ctx, end := context.WithCancel(t.Context())
		_, lookup := store.Lookup(t.Context(), sqlToken(1).Digest)
		_, get := store.Get(t.Context(), sqlToken(1).ID)
		_, list := store.List(t.Context(), httpkey.Filter{})
		_, create := store.Create(t.Context(), sqlToken(1))
		_, allow := takeFrom(t.Context(), sqlstore.NewLimiter(db, tables.dialect), "key", 1, httpkey.PerMinute(60))
		for what, err := range map[string]error{
			"Lookup": lookup, "Get": get, "List": list, "Create": create, "Allow": allow,
			"Delete":  store.Delete(t.Context(), "id"),
			"Touch":   store.Touch(t.Context(), map[string]time.Time{"id": time.Now()}),
			"Changes": store.Changes(ctx, end, func(httpkey.Digest) {}),
			"Migrate": sqlstore.Migrate(t.Context(), db, tables.dialect),
		} {
			if err == nil || !strings.HasPrefix(err.Error(), "httpkey: ") || !strings.Contains(err.Error(), want) {
				t.Errorf("%s with %s: %v", what, options, err)
			}
		}
	}
	if n := tables.count(t, "httpkey_tokens") + tables.count(t, "httpkey_buckets"); n != 0 {
		t.Errorf("%d rows were written", n)
	}
}

// Settings that make a server stricter or laxer make no difference.
func testSessionAccepted(t *testing.T, b *sqlBackend) {
	for _, options := range map[string][]string{
		"mysql": {
			"&sql_safe_updates=1", "&charset=utf8mb4", "&sql_mode=''", "&sql_mode='ANSI,TRADITIONAL,NO_BACKSLASH_ESCAPES'",
		},
		"pgx": {"&client_encoding=utf-8", "&client_encoding=UNICODE", "&standard_conforming_strings=off"},
	}[b.driver] {
		t.Run(options, func(t *testing.T) {
			t.Parallel()
			testSQLStore(t, b.with(options))
			tables := b.firstShape(t)
			tables.dsn += options
			if err := sqlstore.Migrate(t.Context(), tables.open(t), tables.dialect); err != nil {
				t.Fatal(err)
			}
			tables.hasFirstShape(t)
		})
	}
}

// In these modes of MariaDB, assignments do not see those before them, by which a charge is made.
func TestMariaDBAssignsInOrder(t *testing.T) {
	t.Parallel()
	tables := startMariaDB(t, "--innodb-flush-log-at-trx-commit=2").newTables(t)
	for _, mode := range []string{"SIMULTANEOUS_ASSIGNMENT", "ORACLE"} {
		db := tables.open(t, "&sql_mode='"+mode+"'")
		_, allow := takeFrom(t.Context(), sqlstore.NewLimiter(db, tables.dialect), "key", 1, httpkey.PerMinute(60))
		for what, err := range map[string]error{
			"Allow": allow, "Migrate": sqlstore.Migrate(t.Context(), db, tables.dialect),
		} {
			if err == nil || !strings.Contains(err.Error(), "without SIMULTANEOUS_ASSIGNMENT") {
				t.Errorf("%s in mode %s: %v", what, mode, err)
			}
		}
	}
}
