package sqlstore

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/httpkey/httpkey"
)

// Errors as the drivers have them.
type (
	stateError  string                  // jackc/pgx, lib/pq
	numberError struct{ Number uint16 } // go-sql-driver/mysql
	textError   string                  // SQLite's
)

func (e stateError) Error() string    { return "ERROR (SQLSTATE " + string(e) + ")" }
func (e stateError) SQLState() string { return string(e) }
func (e *numberError) Error() string  { return fmt.Sprint("Error ", e.Number) }
func (e textError) Error() string     { return string(e) }

// conflicts has a conflict of each database.
var conflicts = map[Dialect]error{
	PostgreSQL: stateError("40001"), MySQL: &numberError{1213}, SQLite: textError("database is locked (5) (SQLITE_BUSY)"),
}

var errLost = errors.New("unexpected EOF")

func TestConflicts(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		dialect Dialect
		err     error
		want    bool
	}{
		{PostgreSQL, stateError("40001"), true}, // serialization failure
		{PostgreSQL, stateError("40P01"), true}, // deadlock
		{PostgreSQL, stateError("23505"), false},
		{PostgreSQL, stateError("57014"), false}, // the statement was cancelled
		{PostgreSQL, stateError("40003"), false}, // it is not known whether the statement was done
		{MySQL, &numberError{1213}, true},        // deadlock, or another server of a cluster came first
		{MySQL, &numberError{1020}, true},        // the record has changed
		{MySQL, &numberError{1205}, true},        // a lock was held too long
		{MySQL, &numberError{1062}, false},
		{MySQL, stateError("40001"), false}, // not of a driver for MySQL
		{SQLite, textError("database is locked"), true},
		{SQLite, textError("database table is locked: httpkey_tokens"), true},
		{SQLite, textError("UNIQUE constraint failed: httpkey_tokens.id"), false},
	} {
		for _, err := range []error{tt.err, fmt.Errorf("version 3: %w", tt.err)} {
			if got := tt.dialect.engine.again(err); got != tt.want {
				t.Errorf("%s: %v is a conflict: %v, want %v", tt.dialect, err, got, tt.want)
			}
		}
	}
	for _, dialect := range dialects {
		for _, err := range []error{
			errLost, io.EOF, driver.ErrBadConn, context.DeadlineExceeded, sql.ErrNoRows, httpkey.ErrConflict,
		} {
			if dialect.engine.again(err) {
				t.Errorf("%s: %v is a conflict", dialect, err)
			}
		}
	}
}

// A conflict that does not end is an error once the context is done, or after patience.
func TestRepeatIsBounded(t *testing.T) {
	t.Parallel()
	for _, dialect := range dialects {
		synctest.Test(t, func(t *testing.T) {
			conflict, start, times := conflicts[dialect], time.Now(), 0
			ask := func() error {
				times++
				return conflict
			}
			err := dialect.repeat(t.Context(), ask)
			if took := time.Since(start); took <= patience || took > patience+longestPause || !errors.Is(err, conflict) {
				t.Errorf("%s: after %v: %v", dialect, took, err)
			}
			if fewest := int(patience / longestPause); times < fewest || times > 10*fewest {
				t.Errorf("%s: it asked %d times, want from %d to %d", dialect, times, fewest, 10*fewest)
			}
			start = time.Now()
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			defer cancel()
			err = dialect.repeat(ctx, ask)
			if took := time.Since(start); took != 100*time.Millisecond ||
				!errors.Is(err, conflict) || !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%s: after %v: %v", dialect, took, err)
			}
		})
	}
}

// flaky is a database in which one step fails.
type flaky struct {
	steps []string
	fails int // the step, from 0
	err   error
}

func (f *flaky) step(text string) error {
	f.steps = append(f.steps, strings.Fields(text)[0])
	if len(f.steps) == f.fails+1 {
		return f.err
	}
	return nil
}

func (f *flaky) Connect(context.Context) (driver.Conn, error) { return f, nil }
func (f *flaky) Driver() driver.Driver                        { return nil }
func (f *flaky) Prepare(query string) (driver.Stmt, error)    { return &flakyStatement{f, query}, nil }
func (f *flaky) Close() error                                 { return nil }
func (f *flaky) Begin() (driver.Tx, error)                    { return nil, errors.New("it has BeginTx") }
func (f *flaky) Commit() error                                { return f.step("COMMIT") }
func (f *flaky) Rollback() error                              { return f.step("ROLLBACK") }
func (f *flaky) BeginTx(context.Context, driver.TxOptions) (driver.Tx, error) {
	return f, f.step("BEGIN")
}

type flakyStatement struct {
	*flaky
	query string
}

func (s *flakyStatement) NumInput() int { return -1 }
func (s *flakyStatement) Exec([]driver.Value) (driver.Result, error) {
	return flakyResult{}, s.step(s.query)
}

func (s *flakyStatement) Query([]driver.Value) (driver.Rows, error) {
	if err := s.step(s.query); err != nil {
		return nil, err
	}
	switch {
	case strings.HasPrefix(s.query, "SELECT count"), strings.Contains(s.query, "RETURNING debt"):
		return &oneRow{values: []driver.Value{int64(0)}}, nil
	case strings.HasPrefix(s.query, "SELECT current_setting"):
		return &oneRow{values: []driver.Value{"UTF8"}}, nil
	case strings.HasPrefix(s.query, "SELECT @@autocommit"):
		return &oneRow{values: []driver.Value{true, "utf8mb4", "utf8mb4", "utf8mb4", ""}}, nil
	case strings.Contains(s.query, "RETURNING"):
		return &oneRow{values: []driver.Value{int64(0), true}}, nil
	}
	return &oneRow{read: true}, nil
}

type flakyResult struct{}

func (flakyResult) LastInsertId() (int64, error) { return 0, nil }
func (flakyResult) RowsAffected() (int64, error) { return 1, nil }

type oneRow struct {
	values []driver.Value
	read   bool
}

func (r *oneRow) Columns() []string { return make([]string, max(1, len(r.values))) }
func (r *oneRow) Close() error      { return nil }
func (r *oneRow) Next(row []driver.Value) error {
	if r.read {
		return io.EOF
	}
	copy(row, r.values)
	r.read = true
	return nil
}

// Whichever step of a statement or a transaction meets a conflict, all of it is repeated. No
// other error is: the database may have committed.
func TestWhatIsRepeated(t *testing.T) {
	t.Parallel()
	one := []httpkey.Limit{httpkey.PerHour(10)}
	calls := map[string]func(ctx context.Context, db *sql.DB, d Dialect) error{
		"Create": func(ctx context.Context, db *sql.DB, d Dialect) error {
			_, err := New(db, d, nil).Create(ctx, httpkey.Token{ID: "id", Kind: httpkey.APIKey})
			return err
		},
		"Touch": func(ctx context.Context, db *sql.DB, d Dialect) error {
			return New(db, d, nil).Touch(ctx, map[string]time.Time{"id": time.Now()})
		},
		"List": func(ctx context.Context, db *sql.DB, d Dialect) error {
			_, err := New(db, d, nil).List(ctx, httpkey.Filter{})
			return err
		},
		"Allow": func(ctx context.Context, db *sql.DB, d Dialect) error {
			_, err := NewLimiter(db, d).Allow(ctx, &httpkey.Charge{Bucket: "a", Limits: one, Cost: 1})
			return err
		},
		"Allow under several limits": func(ctx context.Context, db *sql.DB, d Dialect) error {
			limits := append(slices.Clone(one), httpkey.PerDay(9))
			_, err := NewLimiter(db, d).Allow(ctx, &httpkey.Charge{Bucket: "a", Limits: limits, Cost: 1})
			return err
		},
	}
	for name, call := range calls {
		for _, dialect := range dialects {
			synctest.Test(t, func(t *testing.T) {
				run := func(fails int, err error) ([]string, error) {
					f := &flaky{fails: fails, err: err}
					db := sql.OpenDB(f)
					defer func() { _ = db.Close() }()
					err = call(t.Context(), db, dialect)
					return f.steps, err
				}
				good, err := run(-1, nil)
				if err != nil || len(good) == 0 {
					t.Fatalf("%s, %s: %v, %v", dialect, name, good, err)
				}
				for i, failed := range good {
					begin := slices.Index(good, "BEGIN") // of the transaction, with which each of these calls ends
					if begin < 0 || begin > i {
						begin = i
					}
					want := slices.Clone(good[:i+1])
					if begin < i && failed != "COMMIT" {
						want = append(want, "ROLLBACK")
					}
					want = append(want, good[begin:]...)
					got, err := run(i, conflicts[dialect])
					if err != nil || !reflect.DeepEqual(got, want) {
						t.Errorf("%s, %s, a conflict at %s: %v, %v, want %v", dialect, name, failed, got, err, want)
					}
					got, err = run(i, errLost)
					if err == nil || slices.Contains(got[i+1:], failed) {
						t.Errorf("%s, %s, a connection lost at %s: %v, %v", dialect, name, failed, got, err)
					}
				}
			})
		}
	}
}
