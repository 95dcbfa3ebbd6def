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

// Databases end a statement or a transaction that conflicts with a concurrent one, and ask
// their client to repeat it. They have undone it then, so that nothing is charged twice. A
// lost connection is another matter: its last statement may have been committed.

const (
	patience     = 10 * time.Second // as the busy timeout that README.md recommends for SQLite
	longestPause = 5 * time.Millisecond
)

// repeat runs ask, and again while another statement or transaction makes it fail. It gives up
// when ctx is done, or after patience. The pauses are random and grow, so that callers that
// conflict come apart.
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

// The drivers' own types of errors cannot be named here, because this package imports no driver.

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

// againSQLite knows SQLITE_BUSY and SQLITE_LOCKED by their texts, which are SQLite's: each
// driver has another type for the codes, or none.
func againSQLite(err error) bool { return strings.Contains(err.Error(), "is locked") }
