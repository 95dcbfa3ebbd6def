package sqlstore

import (
	"context"
	"database/sql"
	"fmt"
	"io"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/internal/charge"
	"github.com/httpkey/httpkey/internal/gcra"
	"github.com/httpkey/httpkey/memstore"
)

// Limiter is an [httpkey.Limiter] that runs GCRA and quotas in a SQL database, so that all
// processes on it share the buckets. Make one with [NewLimiter].
//
// It counts as memstore.Limiter does, in integers and exact to the microsecond. Time is
// the database's; only the day or month of a quota is the process's. (SQLite has no clock
// of its own: there all time is the machine's.)
//
// One limit takes one statement, in SQLite two. Several limits, quotas and forced charges
// take a transaction that locks their buckets. A denial takes one read in PostgreSQL and SQLite,
// and changes no row in any database.
//
// In PostgreSQL the buckets are an unlogged table: a crash of the server, or a replica
// that takes over, but not a restart, makes all of them full.
//
// A bucket that is full again is the same as none. The limiter removes such buckets: every
// 256th call of Allow starts a goroutine, which looks at up to 512 of them,
// removes the full ones and ends. So the table holds at most about twice
// the buckets that are in use.
//
// It is safe for concurrent use and has nothing to be closed.
type Limiter struct {
	db      *sql.DB
	dialect Dialect
	single  single
	several [maxLimits]several // of 1, 2, … buckets
	turn    chan struct{}      // holds a value while a caller writes; nil: they need no turns
	sweeper *sweeper
}

// maxLimits is how many limits a charge may have.
const maxLimits = 8

// NewLimiter returns a Limiter in the tables of db that [Migrate] makes. It
// panics if db is nil or dialect is zero. It does no I/O.
func NewLimiter(db *sql.DB, dialect Dialect) *Limiter {
	mustHave(db, dialect)
	l := &Limiter{db: db, dialect: dialect}
	if dialect.engine.takesTurns {
		l.turn = make(chan struct{}, 1)
	}
	for i := range l.several {
		l.several[i] = newSeveral(db, dialect, i+1)
	}
	l.single = dialect.engine.newSingle(l)
	l.sweeper = newSweeper(l)
	return l
}

// Fallback returns a limiter in memory: in an outage of the database, each process counts
// by itself.
func (*Limiter) Fallback() httpkey.Limiter { return memstore.NewLimiter() }

// Allow implements [httpkey.Limiter].
func (l *Limiter) Allow(ctx context.Context, c *httpkey.Charge) (httpkey.Result, error) {
	if err := c.Validate(); err != nil {
		return httpkey.Result{}, err
	}
	if len(c.Limits) == 0 {
		return c.Join(nil), nil
	}
	q := newQuestion(c, charge.Items(c, time.Now()))
	each, err := l.decide(ctx, q)
	if err != nil {
		return httpkey.Result{}, fmt.Errorf("httpkey: ask for the limit: %w", err)
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
		case owed < 0:
			return nil, gcra.ErrDamaged
		case decided:
			return []httpkey.Result{b.answer(owed, q.cost)}, nil
		}
		// Other callers took what this one had seen, so at least they have got on.
	}
}

// takeTurn waits until the caller may write. It calls release then.
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

// Format keeps the DSN, and all else that the database may hold, out of a printed Limiter.
func (l *Limiter) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "sqlstore.Limiter") }
