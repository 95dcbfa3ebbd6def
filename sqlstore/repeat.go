package sqlstore

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"time"
)

// A database may end a statement or a transaction that conflicts with a concurrent one. The
// database has then undone it, so a repetition charges nothing twice. After a lost connection,
// nothing is repeated, because the last statement may have been committed.

const (
	patience     = 10 * time.Second // as the busy timeout that README.md recommends for SQLite
	longestPause = 5 * time.Millisecond
)

// repeat runs ask, and runs it again while it fails with a conflict. It gives up when ctx is
// done, or after patience. The pauses are random and grow, so that the callers do not conflict
// again.
func (d Dialect) repeat(ctx context.Context, ask func() error) error {
	return d.repeatFor(ctx, patience, ask)
}

func (d Dialect) repeatFor(ctx context.Context, patience time.Duration, ask func() error) error {
	start := time.Now()
	for limit := time.Millisecond; ; limit = min(2*limit, longestPause) {
		err := ask()
		if err == nil || !d.engine.again(err) || time.Since(start) > patience {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", ctx.Err(), err)
		case <-time.After(rand.N(limit)):
		}
	}
}

// This package imports no driver, so the functions below cannot name the types of its errors.

func againPostgreSQL(err error) bool {
	var e interface{ SQLState() string }
	if !errors.As(err, &e) {
		return false
	}
	state := e.SQLState()
	return state == "40001" || state == "40P01" // serialization failure, deadlock
}

func againMySQL(err error) bool {
	for ; err != nil; err = errors.Unwrap(err) {
		e := reflect.Indirect(reflect.ValueOf(err))
		if e.Kind() != reflect.Struct {
			continue
		}
		if number := e.FieldByName("Number"); number.IsValid() && number.CanUint() {
			switch number.Uint() {
			case 1213, 1020, 1205: // deadlock, a record has changed, a lock was held too long
				return true
			}
		}
	}
	return false
}

// againSQLite recognizes SQLITE_BUSY and SQLITE_LOCKED by the texts of SQLite, because each
// driver has another type for the codes, or none.
func againSQLite(err error) bool { return strings.Contains(err.Error(), "is locked") }
