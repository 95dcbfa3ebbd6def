package integration

import (
	"context"
	"database/sql"
	"encoding/hex"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/pressly/goose/v3"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/sqlstore"
)

// These functions are the code of sqlstore/README.md. A test of examples/readme compares them.

func readmeOpen(ctx context.Context) (*httpkey.Guard, error) {
	db, err := sql.Open("pgx", os.Getenv("DATABASE_URL"))
	if err != nil {
		return nil, err
	}
	// Call Migrate at every start. It does nothing if the schema is up to date.
	if err := sqlstore.Migrate(ctx, db, sqlstore.PostgreSQL); err != nil {
		return nil, err
	}
	store, limiter := sqlstore.New(db, sqlstore.PostgreSQL, nil), sqlstore.NewLimiter(db, sqlstore.PostgreSQL)
	return httpkey.New(store, limiter, nil), nil
}

func readmePath(path string) string {
	dsn := "file:" + url.PathEscape(path) + "?_pragma=busy_timeout(10000)&_pragma=journal_mode(WAL)&_txlock=immediate"
	return dsn
}

func readmeGoose(ctx context.Context, db *sql.DB) error {
	provider, err := goose.NewProvider(goose.DialectPostgres, db, sqlstore.Migrations(sqlstore.PostgreSQL),
		goose.WithTableName("httpkey_goose"))
	if err != nil {
		return err
	}
	_, err = provider.Up(ctx)
	return err
}

// oldKey is a row of a program's own table.
type oldKey struct {
	ID, Key, Hash, Name, User string
	Created                   time.Time
	Revoked                   bool
}

func readmeImport(ctx context.Context, guard *httpkey.Guard, old oldKey) error {
	_, err := guard.Import(ctx, httpkey.Secret(old.Key), httpkey.Token{
		User: old.User, Label: old.Name, CreatedAt: old.Created, IsActive: !old.Revoked,
	})
	return err
}

func readmeImportHash(ctx context.Context, store *sqlstore.Store, old oldKey) error {
	digest, err := hex.DecodeString(old.Hash)
	if err != nil || len(digest) != len(httpkey.Digest{}) {
		return fmt.Errorf("key %s has no SHA-256", old.ID)
	}
	_, err = store.Create(ctx, httpkey.Token{
		ID: old.ID, Digest: httpkey.Digest(digest), Kind: httpkey.APIKey, User: old.User, Label: old.Name,
		IsActive: !old.Revoked, CreatedAt: old.Created,
	})
	return err
}

func sqlReadme(t testing.TB) string {
	t.Helper()
	text, err := os.ReadFile("../../sqlstore/README.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// The tests of SQLite use the data source names that the table shows.
func TestSQLReadmeDSNs(t *testing.T) {
	t.Parallel()
	for _, options := range []string{sqliteOptions, mattnOptions} {
		if !strings.Contains(sqlReadme(t), "`file:httpkey.db"+options+"`") {
			t.Errorf("README.md does not recommend %s", options)
		}
	}
	for _, driver := range []string{"sqlite", "sqlite3"} {
		sqliteFile(t, driver, "")
		path := filepath.Join(t.TempDir(), "a#b?c%d e.db")
		db, err := sql.Open(driver, readmePath(path))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = db.Close() }()
		if err := sqlstore.Migrate(t.Context(), db, sqlstore.SQLite); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(path); err != nil {
			t.Errorf("%s: %v", driver, err)
		}
	}
}

func TestSQLReadmeOnPostgreSQL(t *testing.T) {
	b := startPostgreSQL(t, "-c", "fsync=off")
	dsn := b.dsn(t)
	db, err := sql.Open(b.driver, dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()

	// The team has a migration of its own, with the version of one of ours.
	own := fstest.MapFS{"00001_own.sql": {Data: []byte("-- +goose Up\nCREATE TABLE own (a INT);\n")}}
	team, err := goose.NewProvider(goose.DialectPostgres, db, own)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := team.Up(t.Context()); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time, nothing is to be done
		if err := readmeGoose(t.Context(), db); err != nil {
			t.Fatal(err)
		}
	}
	if version, err := team.GetDBVersion(t.Context()); err != nil || version != 1 {
		t.Errorf("the team's version is %d, %v", version, err)
	}
	old := oldKey{ID: "old", Name: "n", User: "ann", Created: time.UnixMicro(1_700_000_000_000_000).UTC()}
	digest := digestOf("a key of another system")
	store := sqlstore.New(db, b.dialect, nil)
	for hash, good := range map[string]bool{
		hex.EncodeToString(digest[:]): true, hex.EncodeToString(digest[:20]): false, "": false, "x": false,
	} {
		old.Hash = hash
		if err := readmeImportHash(t.Context(), store, old); (err == nil) != good {
			t.Errorf("the hash %q: %v", hash, err)
		}
	}
	if got, err := store.Lookup(t.Context(), digest); err != nil || got.ID != "old" || !got.IsActive {
		t.Errorf("%+v, %v", got, err)
	}
	guard := httpkey.New(store, httpkey.Unlimited, &httpkey.Options{ImportedMinLength: 16, Timeout: unhurried})
	old.Key = "another-key-with-its-text"
	if err := readmeImport(t.Context(), guard, old); err != nil {
		t.Error(err)
	}
	if got, err := guard.Verify(t.Context(), old.Key); err != nil || got.Label != "n" || got.User != "ann" {
		t.Errorf("%+v, %v", got, err)
	}

	must := func(statement string) {
		if _, err := db.Exec(statement); err != nil {
			t.Fatal(err)
		}
	}
	must("DROP TABLE httpkey_tokens, httpkey_changes, httpkey_revision, httpkey_buckets, " +
		"httpkey_usage, httpkey_usage_clients")
	t.Setenv("DATABASE_URL", dsn)
	opened, err := readmeOpen(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := opened.Issue(t.Context(), httpkey.Token{}); err != nil {
		t.Error(err)
	}
}

// oldKeys makes the table from which README.md imports.
func (b *sqlTables) oldKeys(t *testing.T, db *sql.DB) {
	t.Helper()
	b.must(t, db, map[string]string{
		"PostgreSQL": "CREATE TABLE old_keys " +
			"(key TEXT, hash TEXT, name TEXT, owner TEXT, revoked BOOLEAN, created TIMESTAMPTZ)",
		"MySQL": "CREATE TABLE old_keys " +
			"(`key` TEXT, hash TEXT, name TEXT, owner TEXT, revoked BOOLEAN, created DATETIME(6)) CHARACTER SET latin1",
		"SQLite": "CREATE TABLE old_keys (key TEXT, hash TEXT, name TEXT, owner TEXT, revoked BOOLEAN, created TEXT)",
	}[b.dialect.String()])
	t.Cleanup(func() { b.must(t, db, "DROP TABLE old_keys") })
}

// The statements of README.md import keys, also from rows without a name, and never from rows
// without a valid digest.
func testImportInSQL(t *testing.T, b *sqlBackend) {
	tables := b.newTables(t)
	db := tables.open(t)
	tables.oldKeys(t, db)
	dialect := b.dialect.String()
	marker := map[string]string{"PostgreSQL": "gen_random_uuid()", "MySQL": "UUID()", "SQLite": "randomblob"}[dialect]
	statement := ""
	for block := range strings.SplitSeq(sqlReadme(t), "```") {
		if strings.HasPrefix(block, "sql\nINSERT INTO httpkey_tokens") && strings.Contains(block, marker) {
			statement = tables.named(strings.TrimSuffix(strings.TrimPrefix(block, "sql\n"), ";\n"))
		}
	}
	const key = `Ein\alter Schlüssel!`
	digest := digestOf(key)
	quoted, created := "'"+key+"'", "'2026-01-02 03:04:05'"
	switch dialect {
	case "MySQL":
		quoted = strings.ReplaceAll(quoted, `\`, `\\`)
	case "PostgreSQL":
		created = "'2026-01-02 03:04:05Z'"
	}
	row := func(hash, name, owner, revoked string) string {
		values := strings.Join([]string{quoted, hash, name, owner, revoked, created}, ", ")
		return "INSERT INTO old_keys VALUES (" + values + ")"
	}
	hash := "'" + hex.EncodeToString(digest[:]) + "'"
	imports := func(t *testing.T, statement string, want httpkey.Token) {
		t.Helper()
		tables.must(t, db, statement)
		store := sqlstore.New(db, tables.dialect, nil)
		got, err := store.Lookup(t.Context(), digest)
		want.ID, want.Digest, want.Kind = got.ID, digest, httpkey.APIKey
		want.CreatedAt = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
		if err != nil || !reflect.DeepEqual(got, want) || got.Validate() != nil {
			t.Errorf("%+v, %v, want %+v", got, err, want)
		}
		tables.must(t, db, "DELETE FROM old_keys; "+tables.named("DELETE FROM httpkey_tokens"))
	}

	tables.must(t, db, row(hash, "'n'", "'ann'", "false"))
	imports(t, statement, httpkey.Token{Label: "n", User: "ann", IsActive: true})
	tables.must(t, db, row(hash, "NULL", "NULL", "NULL"))
	imports(t, statement, httpkey.Token{IsActive: true})
	tables.must(t, db, row(hash, "'n'", "'ann'", "true"))
	imports(t, statement, httpkey.Token{Label: "n", User: "ann"})

	for _, bad := range []string{
		"NULL", "''", hash[:41] + "'", hash[:64] + "'", "'00" + hash[1:], "'" + strings.Repeat("x", 64) + "'",
	} {
		tables.must(t, db, row(hash, "'n'", "'ann'", "false")+"; "+row(bad, "'n'", "'ann'", "false"))
		if _, err := db.Exec(statement); err == nil || tables.count(t, "httpkey_tokens") != 0 {
			t.Errorf("with the hash %s: %v, and %d rows", bad, err, tables.count(t, "httpkey_tokens"))
		}
		tables.must(t, db, "DELETE FROM old_keys")
	}

	_, table, _ := strings.Cut(sqlReadme(t), "instead of the empty hint |")
	if dialect == "SQLite" {
		return // it has no SHA-256
	}
	line := regexp.MustCompile("(?m)^\\| " + dialect + " \\| `+(.*?)`+ \\| `+(.*?)`+ \\|$")
	cells := line.FindStringSubmatch(table)
	if cells == nil {
		t.Fatal("README.md does not import plaintext keys")
	}
	fromKey := regexp.MustCompile(`\bhash\b`).ReplaceAllLiteralString(statement, cells[1])
	tables.must(t, db, row("NULL", "'n'", "'ann'", "false"))
	imports(t, strings.Replace(fromKey, "'', 'api_key'", cells[2]+", 'api_key'", 1),
		httpkey.Token{Hint: "sel!", Label: "n", User: "ann", IsActive: true})
}
