package integration

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/sqlstore"
)

// firstShape returns tables as the first shape of the package has made and filled them.
func (b *sqlBackend) firstShape(t *testing.T) *sqlTables {
	t.Helper()
	tables := b.noTables(t)
	if b.driver == "sqlite" {
		// The file has the default prefix.
		tables.dialect, tables.prefix = sqlstore.SQLite, "httpkey_"
		database, err := os.ReadFile("testdata/first-shape.sqlite")
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(t.TempDir(), "httpkey.db")
		if err := os.WriteFile(path, database, 0o600); err != nil {
			t.Fatal(err)
		}
		tables.dsn = "file:" + path + sqliteOptions
		return tables
	}
	dump, err := os.ReadFile(map[string]string{
		"pgx": "testdata/first-shape-postgresql.sql", "mysql": "testdata/first-shape-mariadb.sql",
	}[b.driver])
	if err != nil {
		t.Fatal(err)
	}
	tables.run(t, strings.Split(strings.TrimSpace(tables.named(string(dump))), ";\n"))
	return tables
}

// A database of the first shape works after the upgrade, which eight begin at once: its keys,
// their limits, and the links of its rotations.
func testUpgradeFirstShape(t *testing.T, b *sqlBackend) {
	tables := b.firstShape(t)
	migrate := func(int) error { return sqlstore.Migrate(t.Context(), tables.open(t), tables.dialect) }
	atOnce(t, 8, migrate)
	atOnce(t, 2, migrate) // and again
	if n := tables.count(t, "httpkey_migrations"); n != latestVersion {
		t.Errorf("%d migrations are recorded, want %d", n, latestVersion)
	}
	tables.hasFirstShape(t)
	tables.works(t)
}

// hasFirstShape checks that all is there that firstShape has put there.
func (b *sqlTables) hasFirstShape(t *testing.T) {
	t.Helper()
	ctx, db := t.Context(), b.open(t)
	store := sqlstore.New(db, b.dialect, nil)
	guard := httpkey.New(store, sqlstore.NewLimiter(db, b.dialect), &httpkey.Options{
		ImportedMinLength: 16, Timeout: unhurried,
	})
	defer func() { _ = guard.Close(context.Background()) }()
	burst := httpkey.Limit{Rate: 10, Burst: 3, Period: 1_000_001 * time.Microsecond}
	for id, want := range map[string]struct {
		limits []httpkey.Limit
		err    error
	}{
		"plain":     {},
		"limited":   {limits: []httpkey.Limit{httpkey.PerMinute(5)}},
		"burst":     {limits: []httpkey.Limit{burst}},
		"rotated":   {limits: []httpkey.Limit{httpkey.PerHour(7)}},
		"successor": {limits: []httpkey.Limit{httpkey.PerHour(7)}},
		"revoked":   {limits: []httpkey.Limit{httpkey.PerMinute(9)}, err: httpkey.ErrInvalidKey},
		"expired":   {limits: []httpkey.Limit{httpkey.PerHour(7)}, err: httpkey.ErrInvalidKey},
	} {
		_, err := guard.Verify(ctx, "first-shape-"+id)
		token, getErr := store.Get(ctx, id)
		if !errors.Is(err, want.err) || getErr != nil || !reflect.DeepEqual(token.Limits, want.limits) {
			t.Errorf("%s: %v; %+v, %v", id, err, token, getErr)
		}
	}
	plain, err := store.Get(ctx, "plain")
	if err != nil || !reflect.DeepEqual(plain.Scopes, []string{"pages:read", "pages:write"}) ||
		plain.LastUsed.Before(time.Date(2026, 5, 6, 7, 8, 9, 123_456_000, time.UTC)) {
		t.Errorf("%+v, %v", plain, err)
	}
	named, err := store.Get(ctx, "burst")
	end := time.Date(2999, 12, 31, 23, 59, 59, 999_999_000, time.UTC)
	if err != nil || named.Label != "ünï 🔑" || !named.ExpiredAt.Equal(end) {
		t.Errorf("%+v, %v", named, err)
	}
	successors, err := store.List(ctx, httpkey.Filter{RotatedFrom: "rotated"})
	if err != nil || len(successors) != 2 {
		t.Errorf("the successors of a token: %+v, %v", successors, err)
	}

	// The limit applies, and a rotation of today carries it on, with links both ways.
	for n := range 6 {
		a, err := guard.Admit(ctx, "first-shape-limited", 1)
		switch {
		case n < 5 && (err != nil || a.Result.Remaining != 4-n):
			t.Errorf("request %d of 5: %+v, %v", n+1, a, err)
		case n == 5 && err == nil:
			t.Errorf("request 6 of 5 passes: %+v", a)
		}
	}
	created, err := guard.Rotate(ctx, "limited", 0)
	next, five := created.Token, []httpkey.Limit{httpkey.PerMinute(5)}
	if err != nil || next.RotatedFrom != "limited" || !reflect.DeepEqual(next.Limits, five) {
		t.Errorf("a rotation: %+v, %v", created, err)
	}
	if old, err := store.Get(ctx, "limited"); err != nil || old.RotatedTo != next.ID {
		t.Errorf("the rotated token: %+v, %v", old, err)
	}
	if err := guard.Revoke(ctx, "successor", "of no use"); err != nil {
		t.Error(err)
	}
	got, err := store.Get(ctx, "successor")
	if err != nil || got.IsActive || got.RevokedFor != "of no use" || got.RevokedAt.IsZero() {
		t.Errorf("the revoked token: %+v, %v", got, err)
	}
}

// Where there are no transactions for tables, an upgrade that ended after any of its
// statements goes on from there, and keeps all limits.
func testUpgradeHalfDone(t *testing.T, b *sqlBackend) {
	if b.dialect.String() != "MySQL" {
		t.Skip("all is one transaction here")
	}
	for done := 1; done <= len(b.noTables(t).statements(t, 2)); done++ {
		tables := b.firstShape(t)
		tables.run(t, tables.statements(t, 2)[:done])
		if err := sqlstore.Migrate(t.Context(), tables.open(t), tables.dialect); err != nil {
			t.Fatalf("after %d statements: %v", done, err)
		}
		tables.hasFirstShape(t)
	}
}
