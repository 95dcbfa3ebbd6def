package sqlstore

import (
	"context"
	"database/sql"
	"fmt"
	"io"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/internal/charge"
	"github.com/httpkey/httpkey/internal/gather"
	"github.com/httpkey/httpkey/internal/gcra"
	"github.com/httpkey/httpkey/internal/limit"
	"github.com/httpkey/httpkey/internal/memo"
	"github.com/httpkey/httpkey/memstore"
)

// Limiter is an [httpkey.Limiter] that runs GCRA and quotas in a SQL database, so that all
// processes on it share the buckets. Make one with [NewLimiter].
//
// It counts as memstore.Limiter does, in integers and exact to the microsecond. It uses the
// clock of the database; SQLite uses the clock of the machine. The day or month of a quota
// follows the clock of the process.
//
// A Limiter repeats a statement or a transaction that conflicts with others. It does so while
// the context allows, for ten seconds at most. It never repeats one that may have been
// committed.
//
// A single limit takes one statement, in SQLite two. Several limits, quotas and forced
// charges take a transaction that locks their buckets. A denial takes one read in PostgreSQL
// and SQLite, and changes no row in any database.
//
// The Limiter remembers a denial until a bucket may have more room, for a second at most. In
// that time it answers the same charge from memory. An admission, a forced charge, a refund or
// a reset of the payer by this Limiter ends the denial. A refund or a reset by another process,
// and a deleted row, take effect within the second. So does a forced charge by another process:
// until then, RetryAfter may be too short.
//
// The Limiter makes one call for a payer at a time. It charges the requests that come meanwhile
// together in the next call, so their Remaining is the same. A client with many requests at once
// takes no connection from other clients, and causes no outage.
//
// In PostgreSQL the buckets are an unlogged table. After a crash of the server, and on a
// replica that takes over, all buckets are full. A restart keeps them.
//
// A full bucket is the same as none, and the Limiter removes full buckets. Every 256th call
// of Allow starts a goroutine, which checks up to 512 buckets, removes the full ones and
// ends. So the table holds at most about twice the buckets that are in use.
//
// It is safe for concurrent use and needs no Close. The remembered denials take some 5 MB,
// and more if the charges of a payer differ.
type Limiter struct {
	*pool
	single   single
	several  [limit.Most]several // of 1, 2, … buckets
	turn     chan struct{}       // holds a value while a caller writes; nil: callers take no turns
	sweeper  *sweeper
	denied   *memo.Memo
	gatherer gather.Gatherer
}

// NewLimiter returns a Limiter in the tables of db that [Migrate] makes. It
// panics if db is nil or dialect is zero. It does no I/O.
func NewLimiter(db *sql.DB, dialect Dialect) *Limiter {
	mustHave(db, dialect)
	l := &Limiter{
		pool: &pool{db: db, dialect: dialect}, denied: memo.New(false),
	}
	if dialect.engine.inProcess {
		l.turn = make(chan struct{}, 1)
	}
	for i := range l.several {
		l.several[i] = newSeveral(l.pool, i+1)
	}
	l.single = dialect.engine.newSingle(l)
	l.sweeper = newSweeper(l)
	return l
}

// Fallback returns a new limiter in memory, with which each process counts by itself during
// an outage of the database.
func (*Limiter) Fallback() httpkey.Limiter { return memstore.NewLimiter() }

// Allow implements [httpkey.Limiter].
func (l *Limiter) Allow(ctx context.Context, c *httpkey.Charge) (httpkey.Result, error) {
	if err := c.Validate(); err != nil {
		return httpkey.Result{}, err
	}
	if len(c.Limits) == 0 {
		return c.Join(nil), nil
	}
	return l.denied.Allow(ctx, c, func() (httpkey.Result, error) {
		result, err := l.gatherer.Allow(ctx, c, l.ask)
		if err != nil {
			return httpkey.Result{}, fmt.Errorf("httpkey: ask for the limit: %w", err)
		}
		return result, nil
	})
}

// Reset implements [httpkey.Resetter].
func (l *Limiter) Reset(ctx context.Context, c *httpkey.Charge) error {
	items, err := charge.ToReset(c, time.Now())
	if err != nil || len(items) == 0 {
		return err
	}
	return l.denied.Reset(c.Bucket, func() error {
		if err := l.clearAll(ctx, newQuestion(c, items)); err != nil {
			return fmt.Errorf("httpkey: reset buckets: %w", err)
		}
		return nil
	})
}

func (l *Limiter) ask(ctx context.Context, c *httpkey.Charge) (httpkey.Result, error) {
	each, err := l.decide(ctx, newQuestion(c, charge.Items(c, time.Now())))
	if err != nil {
		return httpkey.Result{}, err
	}
	l.sweeper.afterCall()
	return c.Join(each), nil
}

func (l *Limiter) decide(ctx context.Context, q *question) ([]httpkey.Result, error) {
	if !q.isOne() {
		return l.decideAll(ctx, q)
	}
	b := &q.buckets[0]
	for {
		owed, decided, err := l.single(ctx, b, q.cost)
		switch {
		case err != nil:
			return nil, err
		case owed == farAhead:
			return l.decideAll(ctx, q)
		case owed == damagedRow:
			return nil, gcra.ErrDamaged
		case decided:
			return []httpkey.Result{b.answer(owed, q.cost)}, nil
		}
		// The statement decides nothing only if other callers made progress in between.
	}
}

// takeTurn waits until the caller may write. The caller calls release afterwards.
func (l *Limiter) takeTurn(ctx context.Context) (release func(), err error) {
	if l.turn == nil {
		return func() {}, nil
	}
	select {
	case l.turn <- struct{}{}:
		return func() { <-l.turn }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Format keeps the DSN and the rest of the database handle out of a printed Limiter.
func (l *Limiter) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "sqlstore.Limiter") }
