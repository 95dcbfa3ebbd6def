package integration

import (
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/sqlstore"
)

func migrateChild(t *testing.T, db *sql.DB, d sqlstore.Dialect) {
	_ = db.Ping() // SQLite does not wait if two connections switch a new file to WAL
	fmt.Println("ready")
	if err := sqlstore.Migrate(t.Context(), db, d); err != nil {
		t.Fatal(err)
	}
}

const latestVersion = 4

// Eight processes that start together: one applies each migration, all succeed.
func testMigrateTogether(t *testing.T, b *sqlBackend) {
	tables := b.noTables(t)
	var children []*sqlChild
	for range 8 {
		children = append(children, tables.spawn(t, "migrate"))
	}
	for _, child := range children {
		child.wait(t, "")
	}
	tables.works(t)
	if n := tables.count(t, "httpkey_migrations"); n != latestVersion {
		t.Errorf("%d migrations are recorded, want %d", n, latestVersion)
	}
	if n := tables.count(t, "httpkey_revision"); n != 1 {
		t.Errorf("httpkey_revision has %d rows", n)
	}
}

// So do processes that find an older schema: none goes by a version that another has changed since.
func testUpgradeTogether(t *testing.T, b *sqlBackend) {
	if len(b.nodes) > 0 {
		t.Skip("each server has locks of its own")
	}
	for _, isolation := range []string{"", b.serializable} {
		tables := b.noTables(t)
		tables.migrateTo(t, 2)
		atOnce(t, 8, func(int) error { return sqlstore.Migrate(t.Context(), tables.open(t, isolation), tables.dialect) })
		tables.works(t)
		if n := tables.count(t, "httpkey_migrations"); n != latestVersion {
			t.Errorf("%d migrations are recorded, want %d", n, latestVersion)
		}
	}
}

// Migrate says that the DSN names no database.
func testMigrateNowhere(t *testing.T, b *sqlBackend) {
	if b.driver != "mysql" {
		t.Skip("a connection is always to a database here")
	}
	tables := b.noTables(t)
	tables.dsn = strings.Replace(tables.dsn, "/httpkey?", "/?", 1)
	err := sqlstore.Migrate(t.Context(), tables.open(t), tables.dialect)
	if err == nil || !strings.Contains(err.Error(), "No database selected") {
		t.Errorf("the error %v", err)
	}
}

// A role that may only read and write rows can start where there is nothing to do, and gets an
// error where there is.
func testMigrateUnprivileged(t *testing.T, b *sqlBackend) {
	options := ""
	if b.driver == "sqlite" {
		options = "&mode=ro"
	}
	tables := b.newTables(t)
	user := tables.asUser(t)
	if err := sqlstore.Migrate(t.Context(), user.open(t, options), user.dialect); err != nil {
		t.Error(err)
	}
	tables.must(t, tables.open(t), tables.named("DELETE FROM httpkey_migrations WHERE version > 1"))
	if err := sqlstore.Migrate(t.Context(), user.open(t, options), user.dialect); err == nil {
		t.Error("it has made tables")
	}
}

// A process that is killed while it migrates leaves nothing that the next one could not complete.
func testMigrateKilled(t *testing.T, b *sqlBackend) {
	midway := 0
	for _, delay := range []int{0, 0, 0, 1, 2, 3, 5, 8, 13, 21, 34, 55} { // a migration takes some 3 to 60 ms
		tables := b.noTables(t)
		child := tables.spawn(t, "migrate")
		child.next(t, "ready")
		time.Sleep(time.Duration(delay) * time.Millisecond) // so that each is killed at another step
		child.kill(t, "")
		db := tables.open(t)
		var version int
		err := db.QueryRow(tables.named("SELECT max(version) FROM httpkey_migrations")).Scan(&version)
		if err != nil || version < latestVersion {
			midway++
		}
		if err := sqlstore.Migrate(t.Context(), db, tables.dialect); err != nil {
			t.Fatalf("after another was killed: %v", err)
		}
		tables.works(t)
	}
	t.Logf("%d of 12 were killed before the end", midway)
	if midway == 0 {
		t.Error("none was killed before the end")
	}
}

// Where there are no transactions for tables, any number of the statements may be done already.
func testMigrateHalfDone(t *testing.T, b *sqlBackend) {
	if b.dialect.String() != "MySQL" {
		t.Skip("all is one transaction here")
	}
	for done := 1; ; done++ {
		tables := b.noTables(t)
		statements := tables.statements(t)
		if done > len(statements) {
			return
		}
		db := tables.open(t)
		tables.run(t, statements[:done])
		if err := sqlstore.Migrate(t.Context(), db, tables.dialect); err != nil {
			t.Fatalf("after %d of %d statements: %v", done, len(statements), err)
		}
		tables.works(t)
	}
}

// The files alone, as another tool applies them, make the same tables.
func testMigrateByHand(t *testing.T, b *sqlBackend) {
	tables := b.noTables(t)
	tables.run(t, tables.statements(t))
	tables.works(t)
}

func testMigrateAgain(t *testing.T, b *sqlBackend) {
	tables := b.newTables(t)
	db := tables.open(t)
	applied := func() (at int64) {
		if err := db.QueryRow(tables.named("SELECT sum(applied_at) FROM httpkey_migrations")).Scan(&at); err != nil {
			t.Fatal(err)
		}
		return at
	}
	tables.works(t)
	before := applied()
	if err := sqlstore.Migrate(t.Context(), db, tables.dialect); err != nil || applied() != before {
		t.Errorf("a second time: %v", err)
	}
	if _, err := db.Exec(tables.named("INSERT INTO httpkey_migrations (version, applied_at) VALUES (99, 0)")); err != nil {
		t.Fatal(err)
	}
	err := sqlstore.Migrate(t.Context(), db, tables.dialect)
	if !errors.Is(err, sqlstore.ErrNewerSchema) || !strings.Contains(err.Error(), "99") {
		t.Errorf("a newer schema: %v", err)
	}
	tables.works(t)
}

// A program that starts before the tables exist works once they exist. PgBouncer refuses once more
// a statement that it could not prepare, and closes the connection.
func testMigrateLate(t *testing.T, b *sqlBackend) {
	tables := b.noTables(t)
	db := tables.open(t)
	db.SetMaxOpenConns(1)
	store, limiter := sqlstore.New(db, tables.dialect, nil), sqlstore.NewLimiter(db, tables.dialect)
	ask := func() map[string]error {
		_, lookup := store.Lookup(t.Context(), sqlToken(1).Digest)
		_, get := store.Get(t.Context(), sqlToken(1).ID)
		_, list := store.List(t.Context(), httpkey.Filter{})
		_, allow := takeFrom(t.Context(), limiter, "key", 1, httpkey.PerMinute(60))
		return map[string]error{"Lookup": lookup, "Get": get, "List": list, "Allow": allow}
	}
	for what, err := range ask() {
		if err == nil {
			t.Errorf("%s succeeds without tables", what)
		}
	}
	if err := sqlstore.Migrate(t.Context(), db, tables.dialect); err != nil {
		t.Fatal(err)
	}
	if err := createTokens(t.Context(), store, sqlToken(1)); err != nil {
		t.Error(err)
	}
	ask()
	for what, err := range ask() {
		if err != nil && !errors.Is(err, httpkey.ErrNotFound) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// statements are those of the migrations after some versions.
func (b *sqlTables) statements(t *testing.T, after ...int) []string {
	t.Helper()
	files := sqlstore.Migrations(b.dialect)
	names, err := fs.Glob(files, "*.sql")
	if err != nil {
		t.Fatal(err)
	}
	for _, version := range after {
		names = names[version:]
	}
	var statements []string
	for _, name := range names {
		text, err := fs.ReadFile(files, name)
		if err != nil {
			t.Fatal(err)
		}
		statements = append(statements, strings.Split(strings.TrimSpace(string(text)), ";\n")...)
	}
	return statements
}

// run runs statements on one connection, as a tool for migrations does.
func (b *sqlTables) run(t *testing.T, statements []string) {
	t.Helper()
	db := b.open(t)
	db.SetMaxOpenConns(1)
	for _, statement := range statements {
		if _, err := db.Exec(statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
}

// migrateTo makes the tables as they were at a version.
func (b *sqlTables) migrateTo(t *testing.T, version int) {
	t.Helper()
	all := b.statements(t)
	b.run(t, all[:len(all)-len(b.statements(t, version))])
	record := []string{"CREATE TABLE httpkey_migrations (version INT NOT NULL PRIMARY KEY, applied_at BIGINT NOT NULL)"}
	for v := range version {
		record = append(record, fmt.Sprint("INSERT INTO httpkey_migrations (version, applied_at) VALUES (", v+1, ", 0)"))
	}
	b.run(t, strings.Split(b.named(strings.Join(record, "\n")), "\n"))
}

// works checks that the tables are there.
func (b *sqlTables) works(t *testing.T) {
	t.Helper()
	db := b.open(t)
	store, limiter := sqlstore.New(db, b.dialect, nil), sqlstore.NewLimiter(db, b.dialect)
	token := sqlToken(rand.IntN(1 << 30))
	if err := createTokens(t.Context(), store, token); err != nil {
		t.Fatal(err)
	}
	if got, err := store.Lookup(t.Context(), token.Digest); err != nil || got.ID != token.ID {
		t.Fatalf("%+v, %v", got, err)
	}
	if r, err := takeFrom(t.Context(), limiter, token.ID, 1, httpkey.PerMinute(60)); err != nil || r.Remaining != 59 {
		t.Fatalf("%+v, %v", r, err)
	}
}

// named puts the prefix of the test into the names of tables.
func (b *sqlTables) named(query string) string {
	return strings.ReplaceAll(query, "httpkey_", b.prefix)
}

func (b *sqlTables) count(t *testing.T, table string) (n int) {
	t.Helper()
	if err := b.open(t).QueryRow(b.named("SELECT count(*) FROM " + table)).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// A change by hand, as README.md shows it, ends every feed, so that every cache starts anew.
func testChangeByHand(t *testing.T, b *sqlBackend) {
	readme, err := os.ReadFile("../../sqlstore/README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, block, _ := strings.Cut(string(readme), "```sql\nBEGIN;\n")
	block, _, found := strings.Cut(block, "COMMIT;")
	if !found {
		t.Fatal("README.md shows no change by hand")
	}
	tables := b.newTables(t)
	db := tables.open(t)
	token := sqlToken(1)
	token.User = "ann"
	if err := createTokens(t.Context(), sqlstore.New(db, tables.dialect, nil), token); err != nil {
		t.Fatal(err)
	}
	f := tables.follow(t)
	tx, err := db.Begin()
	if err != nil {
		t.Fatal(err)
	}
	for _, statement := range strings.Split(strings.TrimSpace(block), ";\n") {
		if _, err := tx.Exec(tables.named(statement)); err != nil {
			t.Fatal(err)
		}
	}
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	f.breaks(t, "a change by hand")
	tables.follow(t) // and starts well anew
	if got, err := sqlstore.New(db, tables.dialect, nil).Get(t.Context(), token.ID); err != nil || got.IsActive {
		t.Errorf("%+v, %v", got, err)
	}
}
