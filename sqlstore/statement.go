package sqlstore

import (
	"context"
	"database/sql"
	"sync/atomic"
)

// database is what statements run on: a *sql.DB, a *sql.Tx or a *sql.Conn.
type database interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
	PrepareContext(ctx context.Context, query string) (*sql.Stmt, error)
}

// statement is one of the request path. Where that pays it is prepared, at its
// first use: a constructor does no I/O. It is closed with its database.
type statement struct {
	db       database
	query    string
	prepares bool
	prepared atomic.Pointer[sql.Stmt]
}

func newStatement(db database, d Dialect, text string) *statement {
	return &statement{db: db, query: d.query(text), prepares: d.engine.prepares}
}

func (s *statement) exec(ctx context.Context, args ...any) (sql.Result, error) {
	if !s.prepares {
		return s.db.ExecContext(ctx, s.query, args...)
	}
	stmt, err := s.prepare(ctx)
	if err != nil {
		return nil, err
	}
	return stmt.ExecContext(ctx, args...)
}

// row scans the only row of the answer into dest; [sql.ErrNoRows] if there is none.
func (s *statement) row(ctx context.Context, args []any, dest ...any) error {
	if !s.prepares {
		return s.db.QueryRowContext(ctx, s.query, args...).Scan(dest...)
	}
	stmt, err := s.prepare(ctx)
	if err != nil {
		return err
	}
	return stmt.QueryRowContext(ctx, args...).Scan(dest...)
}

func (s *statement) prepare(ctx context.Context) (*sql.Stmt, error) {
	if stmt := s.prepared.Load(); stmt != nil {
		return stmt, nil
	}
	stmt, err := s.db.PrepareContext(ctx, s.query)
	if err != nil {
		return nil, err
	}
	if !s.prepared.CompareAndSwap(nil, stmt) { // another was quicker
		_ = stmt.Close()
	}
	return s.prepared.Load(), nil
}
