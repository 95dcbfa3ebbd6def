package sqlstore

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/memstore"
)

// Limiter is an [httpkey.Limiter] that runs GCRA in a SQL database, so that all
// processes on it share the buckets. Make one with [NewLimiter].
//
// A decision is one statement, by the database's clock, in integers and exact
// to the microsecond, as with memstore.Limiter. (SQLite has no clock of its own, nor
// a way to it: there it is the machine's, and to admit takes two statements.) A
// denial changes no row.
//
// In PostgreSQL the buckets are an unlogged table: a crash of the server, or a replica
// that takes over, but not a restart, makes all of them full.
//
// A bucket that is full again is the same as none. Nobody need remove them: every
// 256th call of Allow starts a goroutine, which looks at up to 512 of them,
// removes the full ones and ends. So the table holds at most about twice
// the buckets that are in use.
//
// It is safe for concurrent use and has nothing to be closed.
type Limiter struct {
	charge  charger
	sweeper *sweeper
}

// NewLimiter returns a Limiter in the tables of db that [Migrate] makes. It
// panics if db is nil or dialect is zero. It does no I/O.
func NewLimiter(db *sql.DB, dialect Dialect) *Limiter {
	mustHave(db, dialect)
	return &Limiter{
		charge:  dialect.engine.charger(db, dialect),
		sweeper: newSweeper(db, dialect),
	}
}

// Fallback implements [httpkey.FallbackLimiter]: in an outage of the database, each
// process counts by itself.
func (*Limiter) Fallback() httpkey.Limiter { return memstore.NewLimiter() }

// Allow implements [httpkey.Limiter].
func (l *Limiter) Allow(ctx context.Context, key string, limit httpkey.Limit, n int) (httpkey.Result, error) {
	limit, err := limit.Resolve(n)
	if err != nil {
		return httpkey.Result{}, err
	}
	b := newBucket(key, limit, n)
	for {
		debt, decided, err := l.charge(ctx, b)
		if err != nil {
			return httpkey.Result{}, fmt.Errorf("httpkey: ask for the limit: %w", err)
		}
		if decided {
			l.sweeper.afterCall()
			return b.result(debt), nil
		}
		// Others took what we had seen, so that they at least have got on.
	}
}

// Format keeps the DSN, and what else the database may hold, out of a printed Limiter.
func (l *Limiter) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "sqlstore.Limiter") }

// bucket is what a statement must know to charge a bucket.
//
// The state is what the bucket owes, its debt, as of a moment. A request owes
// Period, and Rate is paid off in each microsecond; so every number is whole,
// and none exceeds Burst × Period.
type bucket struct {
	id    []byte
	limit httpkey.Limit
	rate  int64
	cost  int64 // in request-microseconds, as all that is owed
	room  int64 // the most that may be owed before, for cost to be admitted
}

func newBucket(key string, limit httpkey.Limit, n int) bucket {
	period := limit.Period.Microseconds()
	cost := int64(n) * period
	return bucket{
		id:    bucketID(key, limit),
		limit: limit,
		rate:  int64(limit.Rate),
		cost:  cost,
		room:  int64(limit.Burst)*period - cost,
	}
}

// bucketID names the bucket of key and limit, together, in the same few bytes
// whatever the key.
func bucketID(key string, limit httpkey.Limit) []byte {
	name := make([]byte, 0, 24+len(key))
	for _, part := range []int64{int64(limit.Rate), int64(limit.Burst), limit.Period.Microseconds()} {
		name = binary.BigEndian.AppendUint64(name, uint64(part))
	}
	id := sha256.Sum256(append(name, key...))
	return id[:]
}

// result returns the decision about a bucket that owed debt before it.
func (b *bucket) result(debt int64) httpkey.Result {
	result := httpkey.Result{Allowed: debt <= b.room, Limit: b.limit}
	if result.Allowed {
		debt += b.cost
	} else {
		result.RetryAfter = microseconds(ceilDiv(debt-b.room, b.rate))
	}
	result.Remaining = int((b.room + b.cost - debt) / b.limit.Period.Microseconds())
	result.ResetAfter = microseconds(ceilDiv(debt, b.rate))
	return result
}

func microseconds(n int64) time.Duration { return time.Duration(n) * time.Microsecond }

// ceilDiv returns a / b rounded up, for a >= 0 and b > 0; a + b - 1 could overflow.
func ceilDiv(a, b int64) int64 {
	q := a / b
	if q*b != a {
		q++
	}
	return q
}

// charger charges a bucket if it has room. It returns what was owed before; the
// bucket was charged if that is at most its room. If it is not decided, others
// were quicker, and it is to be called again.
type charger func(ctx context.Context, b bucket) (debt int64, decided bool, err error)

// The moment of a decision, in Unix microseconds. The server's time zone has no part in it.
const (
	nowPostgreSQL = "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint"
	nowMySQL      = "TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6))"
	nowSQLite     = "?" // SQLite's own is in milliseconds
)

// clock returns the argument that nowSQLite asks for, and none for the others.
func (e *engine) clock() []any {
	if e.now != nowSQLite {
		return nil
	}
	return []any{time.Now().UnixMicro()}
}

// owed is the debt of a row at a moment, in SQL, of as_of and debt in the table
// that row names. Callers may come a little out of order: time does not run
// backwards for that. The second case is there also because the product of the
// third could overflow.
func (e *engine) owed(row, now, rate string) string {
	return strings.NewReplacer("@", row, "NOW", now, "RATE", rate, "/", e.divide).Replace(
		"CASE WHEN NOW <= @as_of THEN @debt WHEN NOW - @as_of > @debt / RATE THEN 0 ELSE @debt - (NOW - @as_of) * RATE END")
}

// chargePostgreSQL looks at the bucket as the statement's snapshot has it, which
// takes no lock, so that a denial costs a read. Then the upsert decides on the
// row as it is. Where the first would admit and the second does not, the
// snapshot was too old to give the numbers of a denial.
func chargePostgreSQL(db database, d Dialect) charger {
	look := newLook(db, d)
	locked := d.engine.owed("b.", "excluded.as_of", "$3::bigint")
	charge := newStatement(db, d, `
WITH clock AS MATERIALIZED (SELECT `+nowPostgreSQL+` AS now),
seen AS MATERIALIZED (
	SELECT `+d.engine.owed("b.", "now", "$3::bigint")+` AS owed FROM httpkey_buckets AS b, clock WHERE b.id = $1
), charged AS (
	INSERT INTO httpkey_buckets AS b (id, debt, as_of, full_at)
	SELECT $1, $2::bigint, now, now + ($2 - 1) / $3 + 1 FROM clock WHERE NOT EXISTS (SELECT 1 FROM seen WHERE owed > $4)
	ON CONFLICT (id) DO UPDATE SET
		debt = `+locked+` + excluded.debt,
		as_of = greatest(b.as_of, excluded.as_of),
		full_at = greatest(b.as_of, excluded.as_of) + (`+locked+` + excluded.debt - 1) / $3 + 1
	WHERE `+locked+` <= $4::bigint
	RETURNING b.debt - $2 AS owed
)
SELECT owed, true FROM charged
UNION ALL SELECT owed, false FROM seen WHERE NOT EXISTS (SELECT 1 FROM charged)`)
	return func(ctx context.Context, b bucket) (debt int64, decided bool, err error) {
		if b.cost == 0 {
			return look.owed(ctx, b)
		}
		var charged bool
		err = charge.row(ctx, []any{b.id, b.cost, b.rate, b.room}, &debt, &charged)
		if errors.Is(err, sql.ErrNoRows) { // the bucket is newer than the snapshot
			return 0, false, nil
		}
		return debt, charged || debt > b.room, err
	}
}

// chargeMySQL has the answer come back as the statement's insert ID, which is 0
// where the bucket is new, and so owed nothing. Assignments are done from left to
// right, each seeing the ones before: the sign of debt tells whether to go on.
func chargeMySQL(db database, d Dialect) charger {
	look := newLook(db, d)
	owed := d.engine.owed("", nowMySQL, "?")
	charge := newStatement(db, d, `
INSERT INTO httpkey_buckets (id, debt, as_of, full_at) VALUES (?, ?, `+nowMySQL+`, `+nowMySQL+` + (? - 1) DIV ? + 1)
ON DUPLICATE KEY UPDATE
	debt = IF(LAST_INSERT_ID(`+owed+`) <= ?, -(`+owed+` + ?), debt),
	as_of = IF(debt < 0, GREATEST(as_of, `+nowMySQL+`), as_of),
	debt = ABS(debt),
	full_at = as_of + (debt - 1) DIV ? + 1`)
	return func(ctx context.Context, b bucket) (debt int64, decided bool, err error) {
		if b.cost == 0 {
			return look.owed(ctx, b)
		}
		result, err := charge.exec(ctx, b.id, b.cost, b.cost, b.rate, b.rate, b.rate, b.room, b.rate, b.rate, b.cost, b.rate)
		if err != nil {
			return 0, false, err
		}
		debt, err = result.LastInsertId()
		return debt, true, err
	}
}

// chargeSQLite looks first, which does not wait for the one writer: a denial is
// a read. There is no way over a network to be saved. Those who are to write take turns
// here, because SQLite has them sleep, ever longer, until they find its lock free.
func chargeSQLite(db database, d Dialect) charger {
	look := newLook(db, d)
	owed := d.engine.owed("", "excluded.as_of", "?")
	charge := newStatement(db, d, `
INSERT INTO httpkey_buckets (id, debt, as_of, full_at) VALUES (?, ?, ?, ?)
ON CONFLICT (id) DO UPDATE SET
	debt = `+owed+` + excluded.debt,
	as_of = max(as_of, excluded.as_of),
	full_at = max(as_of, excluded.as_of) + (`+owed+` + excluded.debt - 1) / ? + 1
WHERE `+owed+` <= ?
RETURNING debt - ?`)
	turn := make(chan struct{}, 1) // holds a value while somebody writes
	return func(ctx context.Context, b bucket) (debt int64, decided bool, err error) {
		debt, decided, err = look.owed(ctx, b)
		if err != nil || b.cost == 0 || debt > b.room {
			return debt, decided, err
		}
		select {
		case turn <- struct{}{}:
			defer func() { <-turn }()
		case <-ctx.Done():
			return 0, false, ctx.Err()
		}
		now := time.Now().UnixMicro()
		err = charge.row(ctx, []any{b.id, b.cost, now, now + ceilDiv(b.cost, b.rate),
			b.rate, b.rate, b.rate, b.rate, b.rate, b.rate, b.rate, b.room, b.cost}, &debt)
		if errors.Is(err, sql.ErrNoRows) {
			return 0, false, nil
		}
		return debt, true, err
	}
}

// look reads what a bucket owes.
type look struct {
	*statement
	engine *engine
}

func newLook(db database, d Dialect) look {
	return look{newStatement(db, d, "SELECT "+d.engine.owed("b.", "now", "?")+
		" FROM httpkey_buckets AS b, (SELECT "+d.engine.now+" AS now) AS clock WHERE b.id = ?"), d.engine}
}

// owed returns the debt; it is always decided, so that it can stand for a charge of nothing.
func (l look) owed(ctx context.Context, b bucket) (debt int64, decided bool, err error) {
	args := append([]any{b.rate, b.rate}, l.engine.clock()...)
	err = l.row(ctx, append(args, b.id), &debt)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, true, nil
	}
	return debt, err == nil, err
}
