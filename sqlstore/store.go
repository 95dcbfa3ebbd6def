// Package sqlstore keeps tokens and rate limits in a SQL database of the program:
// PostgreSQL, MySQL, MariaDB or SQLite. It imports no driver; it takes a [sql.DB] and a
// [Dialect].
//
//	db, err := sql.Open("pgx", "postgres://…")
//	…
//	err = sqlstore.Migrate(ctx, db, sqlstore.PostgreSQL)
//	…
//	guard := httpkey.New(sqlstore.New(db, sqlstore.PostgreSQL, nil), sqlstore.NewLimiter(db, sqlstore.PostgreSQL), nil)
//
// [Store] is a token store with a change feed. [Limiter] runs GCRA and quotas, which all
// processes on one database share. README.md in this directory describes the tables, the
// recommended DSNs, and the import of existing keys.
package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/httpkey/httpkey"
)

// Store is an [httpkey.TokenStore] and an [httpkey.ChangeFeed] in a SQL database. Make one
// with [New]; it is safe for concurrent use. It needs no Close: its prepared statements are
// closed with their database.
//
// Reads are one statement each, and Touch is one for each thousand tokens. Create, Update and
// Delete are a short transaction each. These transactions of all processes run one after the
// other, in the order in which Changes reports them. A Store repeats a statement or a
// transaction that conflicts with others, while the context allows, for ten seconds at most.
//
// At most two lookups with a deadline are in progress at a time, except in SQLite. Those that come
// meanwhile share the next statement. If lookups take longer than 10 ms, up to 16 are in progress.
// A lookup without a deadline goes alone, and waits for none.
//
// The first call checks that the connections commit each statement and have the character set
// UTF-8 (utf8mb4 in MySQL). Otherwise it returns an error that says what to set.
type Store struct {
	pollInterval time.Duration

	*pool
	lookups *lookups
}

// Options are the settings of a [Store]. The zero Options are the defaults.
type Options struct {
	// PollInterval is how often Changes asks the database. Zero: a second.
	PollInterval time.Duration
}

// New returns a Store in the tables of db that [Migrate] makes. Nil opts are the defaults.
// It panics if db is nil, dialect is zero, or opts are invalid, with an error that wraps
// [httpkey.ErrInvalidOptions] and names the field. It does no I/O.
func New(db *sql.DB, dialect Dialect, opts *Options) *Store {
	mustHave(db, dialect)
	p := &pool{db: db, dialect: dialect}
	s := &Store{
		pollInterval: defaultPollInterval,
		pool:         p,
		lookups:      newLookups(p),
	}
	if opts == nil {
		return s
	}
	switch {
	case opts.PollInterval < 0:
		panic(fmt.Errorf("%w: PollInterval is %v, it must not be negative", httpkey.ErrInvalidOptions, opts.PollInterval))
	case opts.PollInterval > 0:
		s.pollInterval = opts.PollInterval
	}
	return s
}

func mustHave(db *sql.DB, dialect Dialect) {
	if db == nil {
		panic("httpkey: sqlstore needs a *sql.DB, as sql.Open makes one")
	}
	dialect.mustBeOne()
}

// Create implements [httpkey.TokenStore]. It refuses a token that
// [httpkey.Token.Validate] refuses.
func (s *Store) Create(ctx context.Context, t httpkey.Token) (httpkey.Token, error) {
	if err := t.Validate(); err != nil {
		return httpkey.Token{}, err // some databases would truncate a text that is too long
	}
	r, err := rowOf(&t)
	if err != nil {
		return httpkey.Token{}, err
	}
	var refused error
	err = s.change(ctx, func(tx database) ([]byte, error) {
		// This change holds the lock of all changes, so no other comes between the statements.
		taken, err := s.exists(ctx, tx, r)
		if err != nil {
			return nil, err
		}
		if taken {
			return nil, httpkey.ErrConflict
		}
		insert := s.dialect.query("INSERT INTO httpkey_tokens (" + columns + ") VALUES (" + placeholders + ")")
		_, refused = tx.ExecContext(ctx, insert, r.values()...)
		return r.digest, refused
	})
	if refused != nil { // an INSERT by hand may have come first; MySQL's error then shows the digest
		var taken bool
		unknown := s.repeat(ctx, func() (err error) {
			taken, err = s.exists(ctx, s.db, r)
			return err
		})
		switch {
		case unknown != nil:
			err = unknown
		case taken:
			err = httpkey.ErrConflict
		}
	}
	switch {
	case errors.Is(err, httpkey.ErrConflict):
		return httpkey.Token{}, httpkey.ErrConflict
	case err != nil:
		return httpkey.Token{}, fmt.Errorf("httpkey: create a token: %w", err)
	}
	return r.token()
}

func (s *Store) exists(ctx context.Context, db database, r *row) (bool, error) {
	var n int
	count := s.dialect.query("SELECT count(*) FROM httpkey_tokens WHERE id = ? OR digest = ?")
	err := db.QueryRowContext(ctx, count, r.id, r.digest).Scan(&n)
	return n > 0, err
}

// errMixed means that a driver received the answer to another statement. It is not ErrNotFound,
// which caches keep.
var errMixed = errors.New("httpkey: the database sent the answer to another statement; " +
	"behind a pooler, lib/pq needs binary_parameters=yes")

// Get implements [httpkey.TokenStore].
func (s *Store) Get(ctx context.Context, id string) (httpkey.Token, error) {
	if !isText(id) {
		return httpkey.Token{}, httpkey.ErrNotFound
	}
	var r row
	err := s.readRow(ctx, tokenOfID, []any{id}, r.places()...)
	t, err := found(&r, err)
	if err == nil && t.ID != id {
		return httpkey.Token{}, errMixed
	}
	return t, err
}

const tokenOfID = "SELECT " + columns + " FROM httpkey_tokens WHERE id = ?"

func found(r *row, err error) (httpkey.Token, error) {
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return httpkey.Token{}, httpkey.ErrNotFound
	case err != nil:
		return httpkey.Token{}, fmt.Errorf("httpkey: read a token: %w", err)
	}
	return r.token()
}

// List implements [httpkey.TokenStore]. Indexes serve the lists of a user, of a workspace,
// of a token's successors and of all tokens. A list of one Kind alone also scans the tokens
// of the other.
func (s *Store) List(ctx context.Context, f httpkey.Filter) ([]httpkey.Token, error) {
	where, args := conditions(f)
	if slices.ContainsFunc(args, func(arg any) bool { text, is := arg.(string); return is && !isText(text) }) {
		return nil, nil
	}
	query := fmt.Sprintf("SELECT %s FROM httpkey_tokens%s ORDER BY created_at DESC, id DESC LIMIT %d",
		columns, where, f.PageSize())
	rows, err := readAll(ctx, s.pool, query, args, (*row).places)
	if err != nil {
		return nil, fmt.Errorf("httpkey: list tokens: %w", err)
	}
	page := make([]httpkey.Token, len(rows))
	for i := range rows {
		page[i], err = rows[i].token()
		if err == nil && !f.Matches(&page[i]) {
			err = errMixed
		}
		if err != nil {
			return nil, err
		}
	}
	return page, nil
}

// conditions returns the WHERE clause of f, if it has one, and its arguments.
func conditions(f httpkey.Filter) (string, []any) {
	var (
		where []string
		args  []any
	)
	for _, field := range []struct{ column, value string }{
		{"user_id", f.User}, {"workspace_id", f.Workspace},
		{"kind", string(f.Kind)}, {"rotated_from", f.RotatedFrom},
	} {
		if field.value != "" {
			where = append(where, field.column+" = ?")
			args = append(args, field.value)
		}
	}
	if f.After != (httpkey.Cursor{}) {
		// MySQL uses the index only for the first condition. It finds no range in the second,
		// nor in (created_at, id) < (?, ?).
		where = append(where, "created_at <= ? AND (created_at < ? OR id < ?)")
		at := f.After.CreatedAt.UnixMicro()
		args = append(args, at, at, f.After.ID)
	}
	if len(where) == 0 {
		return "", nil
	}
	return " WHERE " + strings.Join(where, " AND "), args
}

// errRefused ends a transaction in place of the caller's error, which repeat could take for a
// conflict.
var errRefused = errors.New("the caller refused the update")

// Update implements [httpkey.TokenStore]. It calls change in a transaction for which all other
// changes of the store wait, so change must not call the Store. If the transaction conflicts
// with another, Update calls change again.
func (s *Store) Update(ctx context.Context, id string, change func(*httpkey.Token) error) (httpkey.Token, error) {
	var (
		updated httpkey.Token
		refused error
	)
	err := s.changeExisting(ctx, id, func(tx database, r *row) error {
		t, err := r.token()
		if err != nil {
			return err
		}
		if t, refused = t.Apply(change); refused != nil {
			return errRefused
		}
		if r, err = rowOf(&t); err != nil {
			return err
		}
		update := s.dialect.query("UPDATE httpkey_tokens SET " + assignments + " WHERE id = ?")
		if _, err = tx.ExecContext(ctx, update, append(r.changing(), r.id)...); err != nil {
			return err
		}
		updated, err = r.token()
		return err
	})
	switch {
	case errors.Is(err, errRefused):
		return httpkey.Token{}, refused
	case errors.Is(err, httpkey.ErrNotFound):
		return httpkey.Token{}, httpkey.ErrNotFound
	case err != nil:
		return httpkey.Token{}, fmt.Errorf("httpkey: update a token: %w", err)
	}
	return updated, nil
}

// Delete implements [httpkey.TokenStore].
func (s *Store) Delete(ctx context.Context, id string) error {
	err := s.changeExisting(ctx, id, func(tx database, _ *row) error {
		_, err := tx.ExecContext(ctx, s.dialect.query("DELETE FROM httpkey_tokens WHERE id = ?"), id)
		return err
	})
	if err != nil && !errors.Is(err, httpkey.ErrNotFound) {
		return fmt.Errorf("httpkey: delete a token: %w", err)
	}
	return nil
}

// changeExisting runs write in a change of the token with this ID, and passes the current row.
func (s *Store) changeExisting(ctx context.Context, id string, write func(database, *row) error) error {
	if !isText(id) {
		return httpkey.ErrNotFound
	}
	return s.change(ctx, func(tx database) (digest []byte, err error) {
		var r row
		err = tx.QueryRowContext(ctx, s.dialect.query(tokenOfID+s.dialect.engine.current), id).Scan(r.places()...)
		switch {
		case errors.Is(err, sql.ErrNoRows):
			return nil, httpkey.ErrNotFound
		case err != nil:
			return nil, err
		case r.id != id:
			return nil, errMixed
		}
		return r.digest, write(tx, &r)
	})
}

// Touch implements [httpkey.TokenStore], in one statement for each thousand tokens.
//
// Several processes touch the same tokens at the same time. Each locks its rows in the order
// of their IDs, so that they never deadlock. Touch waits for rows that others hold. It cannot
// skip them: the other process may write an earlier time, and this use would be lost.
func (s *Store) Touch(ctx context.Context, used map[string]time.Time) error {
	uses := make([]use, 0, len(used))
	for id, at := range used {
		if isText(id) && !at.IsZero() {
			uses = append(uses, use{id, at.UnixMicro()})
		}
	}
	slices.SortFunc(uses, func(a, b use) int { return strings.Compare(a.id, b.id) })
	for batch := range slices.Chunk(uses, touchBatch) {
		query, args := s.dialect.engine.touch(batch)
		if err := s.exec(ctx, query, args...); err != nil {
			return fmt.Errorf("httpkey: write last_used of %d tokens: %w", len(uses), err)
		}
	}
	return nil
}

// Format keeps the DSN and the rest of the database handle out of a printed Store.
func (s *Store) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "sqlstore.Store") }
