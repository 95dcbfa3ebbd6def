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

// ErrNewerSchema is wrapped by the error of [Migrate] where a later version of
// this package has migrated the database. The tables are left alone.
var ErrNewerSchema = errors.New("httpkey: the database has a newer schema than this program knows")

//go:embed migrations
var migrations embed.FS

// Migrations returns the numbered SQL files that make d's tables, in the root of
// the file system, for a program that applies them with another tool: goose,
// golang-migrate and atlas read them as they are. Each statement ends with a line's
// end. All of a file needs one connection. There are no steps back.
func Migrations(d Dialect) fs.FS {
	d.mustBeOne()
	archive, err := d.archive()
	if err != nil {
		panic(fmt.Sprintf("httpkey: embedded migrations: %v", err)) // they were built in
	}
	return archive
}

// archive holds the files with d's names in them. A zip archive is a file system
// that the standard library has.
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

// Migrate makes the tables of d in db, or brings them up to date. Call it when
// the program starts, as often as you like: where there is nothing to do it
// asks one question and writes nothing. Any number of processes may do so at the same time;
// one does the work, and the others wait for it.
//
// In PostgreSQL and SQLite all of it is one transaction. MySQL has none for its tables:
// there each statement is whole by itself and may be repeated. If a process is killed, the
// next Migrate goes on from there.
//
// An upgrade takes columns away: programs of the version before fail until they are replaced.
// README.md says which, and why.
//
// Errors wrap [ErrNewerSchema] or are the database's. It panics if db is nil or d is zero.
func Migrate(ctx context.Context, db *sql.DB, d Dialect) error {
	mustHave(db, d)
	steps, err := readSteps(Migrations(d))
	if err == nil {
		err = migrate(ctx, db, d, steps)
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
	// A role that may only read and write rows must be able to start. An error here
	// says that there is no table, or comes again below.
	if version, err := schemaVersion(ctx, db, d); err == nil && version >= len(steps) {
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
	if err != nil {
		discard(conn)
	}
	return err
}

func apply(ctx context.Context, conn *sql.Conn, d Dialect, steps []step) error {
	const table = "CREATE TABLE IF NOT EXISTS httpkey_migrations " +
		"(version INT NOT NULL PRIMARY KEY, applied_at BIGINT NOT NULL)"
	if _, err := conn.ExecContext(ctx, d.named(table)); err != nil {
		return err
	}
	version, err := schemaVersion(ctx, conn, d)
	if err != nil {
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

func schemaVersion(ctx context.Context, db database, d Dialect) (version int, err error) {
	err = db.QueryRowContext(ctx, d.named("SELECT COALESCE(max(version), 0) FROM httpkey_migrations")).Scan(&version)
	return version, err
}

func known(version int, steps []step) error {
	if version > len(steps) {
		return fmt.Errorf("%w: it is at version %d, the program knows %d; upgrade the program",
			ErrNewerSchema, version, len(steps))
	}
	return nil
}

// discard ends a connection that may be in a transaction, or have a lock, and
// with it these.
func discard(conn *sql.Conn) { _ = conn.Raw(func(any) error { return driver.ErrBadConn }) }

// The locks go with the connection: nobody waits for the dead.

func lockPostgreSQL(ctx context.Context, conn *sql.Conn, name string) error {
	// Above this level the wait for the lock would end with a view of the tables from before it.
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

// mySQLLockSeconds is how long one process waits for another. It is also how long the
// server goes on waiting for a client that died.
const mySQLLockSeconds = 600

func lockMySQL(ctx context.Context, conn *sql.Conn, name string) error {
	// Locks are the whole server's, and their names have up to 64 characters. If there is no
	// database, the first table says so.
	const lock = "SELECT GET_LOCK(SHA1(CONCAT(COALESCE(DATABASE(), ''), '.', ?)), ?)"
	var locked sql.Null[int]
	err := conn.QueryRowContext(ctx, lock, name, mySQLLockSeconds).Scan(&locked)
	if err == nil && locked.V != 1 {
		err = errors.New("another process has been migrating for ten minutes")
	}
	return err
}
