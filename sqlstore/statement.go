package sqlstore

import (
	"context"
	"database/sql"
	"regexp"
	"slices"
	"strconv"
	"sync/atomic"
	"time"
)

// database is a *sql.DB, a *sql.Tx or a *sql.Conn.
type database interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// readRow scans the only row of a query's answer into dest. It repeats a query that
// conflicts with others.
func (p *pool) readRow(ctx context.Context, query string, args []any, dest ...any) error {
	return p.repeat(ctx, func() error { return p.db.QueryRowContext(ctx, p.dialect.query(query), args...).Scan(dest...) })
}

// readAll returns all rows of a query's answer. It scans each into the destinations that places
// returns, and repeats a query that conflicts with others.
func readAll[T any](
	ctx context.Context, p *pool, query string, args []any, places func(*T) []any,
) (all []T, err error) {
	err = p.repeat(ctx, func() error {
		rows, err := p.db.QueryContext(ctx, p.dialect.query(query), args...)
		if err != nil {
			return err
		}
		defer func() { _ = rows.Close() }()
		for all = nil; rows.Next(); {
			var row T
			if err := rows.Scan(places(&row)...); err != nil {
				return err
			}
			all = append(all, row)
		}
		return rows.Err()
	})
	return all, err
}

// statement is a statement of the request path. If the engine prepares, it is prepared at
// its first use, because a constructor does no I/O. It is closed with its database.
type statement struct {
	*pool
	query      string
	parameters []string // their names, in order
	prepared   atomic.Pointer[sql.Stmt]
}

func newStatement(p *pool, text string) *statement {
	query, parameters := p.dialect.bind(text)
	return &statement{pool: p, query: query, parameters: parameters}
}

var parameter = regexp.MustCompile(`\{([a-z]+)[0-9]*\}`)

// bind converts a statement with named parameters, as in {rate} or {id2}, to the parameters
// of d. It returns the names in the order in which the statement takes them.
//
// In PostgreSQL each parameter gets a type cast. Otherwise a driver that does not ask the
// server for the types assumes that a number has 32 bits.
func (d Dialect) bind(text string) (query string, names []string) {
	query = parameter.ReplaceAllStringFunc(d.named(text), func(match string) string {
		name := match[1 : len(match)-1]
		known := slices.Index(names, name)
		if !d.engine.numbered {
			known = -1
		}
		if known < 0 {
			names = append(names, name)
			known = len(names) - 1
		}
		switch kind := parameter.FindStringSubmatch(match)[1]; {
		case !d.engine.numbered:
			return "?"
		case kind == "id" || kind == "digest":
			return "$" + strconv.Itoa(known+1) + "::bytea"
		default:
			return "$" + strconv.Itoa(known+1) + "::bigint"
		}
	})
	return query, names
}

// values are the arguments of a statement, by their names. The argument now may be missing.
type values map[string]any

func (s *statement) args(v values) []any {
	args := make([]any, len(s.parameters))
	for i, name := range s.parameters {
		if args[i] = v[name]; name == "now" {
			args[i] = time.Now().UnixMicro()
		}
	}
	return args
}

// runnable is a statement that is prepared, or a text.
type runnable interface {
	ExecContext(ctx context.Context, args ...any) (sql.Result, error)
	QueryContext(ctx context.Context, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, args ...any) *sql.Row
}

// text is a statement that is not prepared.
type text struct {
	in    database
	query string
}

func (t text) ExecContext(ctx context.Context, args ...any) (sql.Result, error) {
	return t.in.ExecContext(ctx, t.query, args...)
}

func (t text) QueryContext(ctx context.Context, args ...any) (*sql.Rows, error) {
	return t.in.QueryContext(ctx, t.query, args...)
}

func (t text) QueryRowContext(ctx context.Context, args ...any) *sql.Row {
	return t.in.QueryRowContext(ctx, t.query, args...)
}

// within returns the statement in a transaction or on a connection. It is not prepared there,
// because that may need a second connection of the pool.
func (s *statement) within(db database) runnable { return text{db, s.query} }

// alone runs the statement outside of a transaction, and repeats it if it conflicts with others.
func (s *statement) alone(ctx context.Context, run func(runnable) error) error {
	return s.repeat(ctx, func() error {
		if !s.dialect.engine.prepares {
			return run(text{s.db, s.query})
		}
		stmt, err := s.prepare(ctx)
		if err != nil {
			return err
		}
		return run(stmt)
	})
}

func (s *statement) exec(ctx context.Context, v values) (result sql.Result, err error) {
	err = s.alone(ctx, func(r runnable) error {
		result, err = r.ExecContext(ctx, s.args(v)...)
		return err
	})
	return result, err
}

// row scans the only row of the answer into dest. It returns [sql.ErrNoRows] if there is none.
func (s *statement) row(ctx context.Context, v values, dest ...any) error {
	return s.alone(ctx, func(r runnable) error { return r.QueryRowContext(ctx, s.args(v)...).Scan(dest...) })
}

// rowOnce is a row that database/sql does not repeat on another connection. Some drivers make it
// do that although the server may have run the statement: lib/pq, and pgx with the simple protocol.
func (s *statement) rowOnce(ctx context.Context, v values, dest ...any) error {
	return s.repeat(ctx, func() error {
		conn, err := s.db.Conn(ctx)
		if err != nil {
			return err
		}
		defer func() { _ = conn.Close() }()
		return s.within(conn).QueryRowContext(ctx, s.args(v)...).Scan(dest...)
	})
}

func (s *statement) prepare(ctx context.Context) (*sql.Stmt, error) {
	if stmt := s.prepared.Load(); stmt != nil {
		return stmt, nil
	}
	made, err := s.db.PrepareContext(ctx, s.query)
	if err != nil {
		return nil, err
	}
	if !s.prepared.CompareAndSwap(nil, made) { // another was quicker
		_ = made.Close()
	}
	return s.prepared.Load(), nil
}
