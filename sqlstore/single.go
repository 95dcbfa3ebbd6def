package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"strings"
)

// single charges one bucket if it has room. It returns the debt before the charge, or
// damagedRow or farAhead. If decided is false, another caller came first, and the caller
// tries again.
type single func(ctx context.Context, b *bucket, cost int64) (owed int64, decided bool, err error)

// A single charge returns these for a row that it cannot use.
const (
	damagedRow = -1
	farAhead   = -2 // decideAll heals it: see gcra.Bucket.Heal
)

// values returns the arguments of the statement of a single charge.
func (b *bucket) values(cost int64) values {
	return values{
		"id": b.id, "cost": cost * b.Terms.Period, "rate": b.Terms.Rate,
		"capacity": b.Terms.Capacity(), "room": b.Terms.Capacity() - cost*b.Terms.Period,
	}
}

// owed returns [checked] and gcra.Bucket.Owed of a row at a moment, in SQL.
//
// DEBT is gcra.Rescale, up to two capacities. Rates have 31 bits, and comparisons bound the
// quotient and the elapsed time, so that nothing overflows.
func (e *engine) owed(row, now string) string {
	text := `CASE` + e.mistyped + `
	WHEN @debt < 0 OR @debt > 4611686018427387904 OR @as_of < 0 OR @rate < 0 OR @rate > 2147483647 THEN -1
	WHEN @rate = 0 AND @debt > 0 THEN -1
	WHEN @debt = 0 OR NOW - @as_of > MOST / RATE THEN 0
	WHEN @as_of - NOW > MOST / RATE THEN -2
	WHEN (@as_of - NOW) * RATE > MOST - DEBT THEN -2
	ELSE GREATEST(0, DEBT + (@as_of - NOW) * RATE) END`
	text = strings.ReplaceAll(text, "DEBT", "(CASE WHEN @debt / @rate > MOST / RATE THEN MOST "+
		"ELSE LEAST(MOST, @debt / @rate * RATE + (@debt % @rate * RATE + @rate - 1) / @rate) END)")
	return strings.NewReplacer("@", row, "NOW", now, "RATE", "{rate}", "MOST", "(2 * {capacity})", "/", e.divide,
		"LEAST", e.least, "GREATEST", e.greatest).Replace(text)
}

// newSingleUpsert charges without a read before, because most charges are admitted. The statement
// returns no row if it changes none. Then a read has the numbers of the denial. SQLite reads first,
// so that a denial does not wait for the only writer.
func newSingleUpsert(l *Limiter) single {
	e := l.dialect.engine
	locked := e.owed("b.", "excluded.as_of")
	clock := "(SELECT " + e.now + " AS now) AS clock"
	charge := newStatement(l.pool, `
INSERT INTO httpkey_buckets AS b (id, debt, as_of, rate, full_at)
SELECT {id}, {cost}, now, {rate}, now + ({cost} - 1) / {rate} + 1 FROM `+clock+` WHERE true
ON CONFLICT (id) DO UPDATE SET
	debt = `+locked+` + excluded.debt, as_of = excluded.as_of, rate = excluded.rate,
	full_at = excluded.as_of + (`+locked+` + excluded.debt - 1) / {rate} + 1
WHERE `+locked+` BETWEEN 0 AND {room}
RETURNING debt - {cost}`)
	look := newStatement(l.pool, "SELECT "+e.owed("b.", "now")+" FROM httpkey_buckets AS b, "+clock+" WHERE id = {id}")
	deny := func(ctx context.Context, b *bucket, cost int64) (owed int64, denied bool, err error) {
		err = look.row(ctx, b.values(cost), &owed)
		if errors.Is(err, sql.ErrNoRows) {
			return 0, false, nil // a full bucket
		}
		return owed, owed < 0 || !b.Terms.HasRoom(owed, cost), err
	}
	return func(ctx context.Context, b *bucket, cost int64) (owed int64, decided bool, err error) {
		if e.inProcess {
			if owed, decided, err = deny(ctx, b, cost); decided || err != nil {
				return owed, decided, err
			}
		}
		owed, err = l.upsert(ctx, charge, b.values(cost))
		if errors.Is(err, sql.ErrNoRows) {
			return deny(ctx, b, cost)
		}
		return owed, err == nil, err
	}
}

// upsert runs the statement of a single charge in the caller's turn.
func (l *Limiter) upsert(ctx context.Context, charge *statement, v values) (owed int64, err error) {
	release, err := l.takeTurn(ctx)
	if err != nil {
		return 0, err
	}
	defer release()
	ask := charge.rowOnce
	if l.dialect.engine.inProcess { // no connection gets lost there
		ask = charge.row
	}
	err = ask(ctx, v, &owed)
	return owed, err
}

// newSingleMySQL returns the debt as the statement's insert ID, which is 0 for a new bucket.
// MySQL assigns from left to right, and each assignment sees the earlier ones. The sign of
// full_at says whether the later ones change the row.
func newSingleMySQL(l *Limiter) single {
	e := l.dialect.engine
	owed := e.owed("", e.now)
	charge := newStatement(l.pool, `
INSERT INTO httpkey_buckets (id, debt, as_of, rate, full_at)
VALUES ({id}, {cost}, `+e.now+`, {rate}, `+e.now+` + ({cost} - 1) DIV {rate} + 1)
ON DUPLICATE KEY UPDATE
	full_at = IF(LAST_INSERT_ID(`+owed+`) BETWEEN 0 AND {room}, -(`+owed+` + {cost}), full_at),
	debt = IF(full_at < 0, -full_at, debt),
	as_of = IF(full_at < 0, `+e.now+`, as_of),
	rate = IF(full_at < 0, {rate}, rate),
	full_at = IF(full_at < 0, as_of + (debt - 1) DIV rate + 1, full_at)`)
	return func(ctx context.Context, b *bucket, cost int64) (owed int64, decided bool, err error) {
		result, err := charge.exec(ctx, b.values(cost))
		if err != nil {
			return 0, false, err
		}
		owed, err = result.LastInsertId()
		return owed, true, err
	}
}
