package sqlstore

import (
	"archive/zip"
	"bytes"
	"context"
	"database/sql"
	"database/sql/driver"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"strings"
	"time"
)

// ErrNewerSchema is wrapped by the error of [Migrate] if a later version of this package
// has migrated the database. Migrate leaves the tables alone.
var ErrNewerSchema = errors.New("httpkey: the database has a newer schema than this program knows")

//go:embed migrations
var migrations embed.FS

// Migrations returns the numbered SQL files that make d's tables, in the root of the file
// system. A program can apply them with another tool: goose, golang-migrate and atlas read
// them as they are. Each statement ends at the end of a line. A file needs one connection.
// There are no down migrations.
func Migrations(d Dialect) fs.FS {
	d.mustBeOne()
	archive, err := d.archive()
	if err != nil {
		panic(fmt.Sprintf("httpkey: embedded migrations: %v", err)) // a mistake of the build
	}
	return archive
}

// archive returns the files with d's names in them. It makes a zip archive, because the
// standard library reads one as a file system.
func (d Dialect) archive() (fs.FS, error) {
	directory := path.Join("migrations", strings.ToLower(d.engine.name))
	files, err := fs.ReadDir(migrations, directory)
	if err != nil {
		return nil, err
	}
	var archive bytes.Buffer
	w := zip.NewWriter(&archive)
	for _, file := range files {
		text, err := fs.ReadFile(migrations, path.Join(directory, file.Name()))
		if err != nil {
			return nil, err
		}
		entry, err := w.Create(file.Name())
		if err != nil {
			return nil, err
		}
		if _, err := entry.Write([]byte(d.named(string(text)))); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return zip.NewReader(bytes.NewReader(archive.Bytes()), int64(archive.Len()))
}

// Migrate creates the tables of d in db, or upgrades them. Call it at every start of the
// program: if the tables are current, it only reads. Any number of
// processes may call it concurrently; one does the work, and the others wait.
//
// In PostgreSQL and SQLite a migration is one transaction. MySQL has no transactions for
// tables: there each statement is atomic and can be repeated. If a process is killed, the
// next Migrate continues.
//
// An upgrade can drop columns. Programs of the previous version then fail until they are
// replaced. README.md names the columns.
//
// Migrate refuses a SQLite database in memory if each connection has a database of its own. It
// waits up to ten minutes for another process.
//
// Errors wrap [ErrNewerSchema] or are the database's. Migrate panics if db is nil or d is
// zero.
func Migrate(ctx context.Context, db *sql.DB, d Dialect) error {
	mustHave(db, d)
	steps, err := readSteps(Migrations(d))
	if err == nil {
		err = d.repeatFor(ctx, migrationPatience, func() error { return migrate(ctx, db, d, steps) })
	}
	if err != nil {
		return fmt.Errorf("httpkey: migrate %s: %w", d, err)
	}
	return nil
}

// step is a migration. Steps have the versions 1, 2, 3 and so on.
type step struct{ statements []string }

func readSteps(files fs.FS) ([]step, error) {
	names, err := fs.Glob(files, "*.sql")
	if err != nil {
		return nil, err
	}
	var steps []step
	for i, name := range names {
		number, _, _ := strings.Cut(name, "_")
		if version, err := strconv.Atoi(number); err != nil || version != i+1 {
			return nil, fmt.Errorf("%s should begin with %04d", name, i+1)
		}
		text, err := fs.ReadFile(files, name)
		if err != nil {
			return nil, err
		}
		var statements []string
		for statement := range strings.SplitSeq(string(text), ";\n") {
			if statement = strings.TrimSpace(statement); statement != "" {
				statements = append(statements, statement)
			}
		}
		steps = append(steps, step{statements})
	}
	return steps, nil
}

func migrate(ctx context.Context, db *sql.DB, d Dialect, steps []step) error {
	if err := d.engine.check(ctx, db); err != nil {
		return err
	}
	// A role that may only read and write rows must be able to start. An error here means
	// that there is no table, or occurs again below. PgBouncer keeps the name of a statement that
	// it could not prepare, so apply reads the version with another statement.
	var version int
	err := db.QueryRowContext(ctx, d.named("SELECT max(version) FROM httpkey_migrations")).Scan(&version)
	if err == nil && version >= len(steps) {
		return known(version, steps)
	}
	conn, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	err = d.engine.lock(ctx, conn, d.named("httpkey_migrations"))
	if err == nil {
		err = apply(ctx, conn, d, steps)
	}
	if err == nil {
		_, err = conn.ExecContext(ctx, d.engine.unlock)
	}
	if err == nil && d.engine.inProcess {
		err = mustShare(ctx, db, conn, d)
	}
	if err != nil {
		discard(conn)
	}
	return err
}

// mustShare returns an error if conn has a database in memory that other connections do not see.
func mustShare(ctx context.Context, db *sql.DB, conn *sql.Conn, d Dialect) error {
	var file sql.Null[string]
	err := conn.QueryRowContext(ctx, "SELECT file FROM pragma_database_list WHERE name = 'main'").Scan(&file)
	if err != nil || file.V != "" || db.Stats().MaxOpenConnections == 1 {
		return err
	}
	other, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = other.Close() }()
	if _, err := other.ExecContext(ctx, d.named("SELECT count(*) FROM httpkey_migrations")); err != nil {
		return fmt.Errorf("each connection has a database of its own in memory (%w); "+
			"use a file, or call db.SetMaxOpenConns(1) before Migrate", err)
	}
	return nil
}

func apply(ctx context.Context, conn *sql.Conn, d Dialect, steps []step) error {
	const table = "CREATE TABLE IF NOT EXISTS httpkey_migrations " +
		"(version INT NOT NULL PRIMARY KEY, applied_at BIGINT NOT NULL)"
	if _, err := conn.ExecContext(ctx, d.named(table)); err != nil {
		return err
	}
	var version int
	latest := d.named("SELECT COALESCE(max(version), 0) FROM httpkey_migrations")
	if err := conn.QueryRowContext(ctx, latest).Scan(&version); err != nil {
		return err
	}
	for version < len(steps) {
		for _, statement := range steps[version].statements {
			if _, err := conn.ExecContext(ctx, statement); err != nil {
				return fmt.Errorf("version %d: %w", version+1, err)
			}
		}
		version++
		record := d.query("INSERT INTO httpkey_migrations (version, applied_at) VALUES (?, ?)")
		if _, err := conn.ExecContext(ctx, record, version, time.Now().UnixMicro()); err != nil {
			return fmt.Errorf("version %d: %w", version, err)
		}
	}
	return known(version, steps)
}

func known(version int, steps []step) error {
	if version > len(steps) {
		return fmt.Errorf("%w: it is at version %d, the program knows %d; upgrade the program",
			ErrNewerSchema, version, len(steps))
	}
	return nil
}

// migrationPatience is the time for which one process waits for another's migration. For a
// client that died, MySQL waits just as long.
const migrationPatience = 10 * time.Minute

// discard closes a connection, and so ends its transaction and releases its locks.
func discard(conn *sql.Conn) { _ = conn.Raw(func(any) error { return driver.ErrBadConn }) }

// The connection holds the locks, so the death of a process releases them.

func lockPostgreSQL(ctx context.Context, conn *sql.Conn, name string) error {
	// At a higher level, the transaction would see the tables as they were before the wait.
	_, err := conn.ExecContext(ctx, "BEGIN ISOLATION LEVEL READ COMMITTED")
	if err == nil {
		_, err = conn.ExecContext(ctx, "SELECT pg_advisory_xact_lock(hashtext($1))", name)
	}
	return err
}

func lockSQLite(ctx context.Context, conn *sql.Conn, _ string) error {
	_, err := conn.ExecContext(ctx, "BEGIN IMMEDIATE")
	return err
}

func lockMySQL(ctx context.Context, conn *sql.Conn, name string) error {
	// The names of locks belong to the whole server, and have up to 64 characters. If no
	// database is selected, the creation of the first table reports it.
	const lock = "SELECT GET_LOCK(SHA2(CONCAT(COALESCE(DATABASE(), ''), '.', ?), 256), ?)"
	var locked sql.Null[int]
	err := conn.QueryRowContext(ctx, lock, name, migrationPatience/time.Second).Scan(&locked)
	if err == nil && locked.V != 1 {
		err = errors.New("another process has been migrating for ten minutes")
	}
	return err
}
