package sqlstore

import (
	"context"
	"database/sql"
	"sync/atomic"
)

// pool is the database of a Store or of a Limiter. All their statements go through repeat.
type pool struct {
	db      *sql.DB
	dialect Dialect
	checked atomic.Bool // whether the settings of a connection suit this package
}

// exec runs a statement that writes, and repeats it if it conflicts with others.
func (p *pool) exec(ctx context.Context, query string, args ...any) error {
	return p.repeat(ctx, func() error {
		_, err := p.db.ExecContext(ctx, p.dialect.query(query), args...)
		return err
	})
}

// repeat runs ask as [Dialect.repeat] does. It first checks the settings, which a constructor
// cannot do, because it does no I/O.
func (p *pool) repeat(ctx context.Context, ask func() error) error {
	if !p.checked.Load() {
		err := p.dialect.repeat(ctx, func() error { return p.dialect.engine.check(ctx, p.db) })
		if err != nil {
			return err
		}
		p.checked.Store(true)
	}
	return p.dialect.repeat(ctx, ask)
}
