package sqlstore

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/httpkey/httpkey"
)

// raced is a database in which another has inserted the digest meanwhile, as MySQL tells it,
// and which is gone after that.
type raced struct{ refused bool }

func (r *raced) Connect(context.Context) (driver.Conn, error) {
	if r.refused {
		return nil, errUnreachable
	}
	return r, nil
}

func (*raced) Driver() driver.Driver                { return nil }
func (*raced) Prepare(string) (driver.Stmt, error)  { return nil, errUnreachable }
func (*raced) Close() error                         { return nil }
func (r *raced) Begin() (driver.Tx, error)          { return r, nil }
func (*raced) Commit() error                        { return nil }
func (*raced) Rollback() error                      { return nil }
func (*raced) Columns() []string                    { return []string{"n"} }
func (r *raced) ResetSession(context.Context) error { return r.gone() }
func (r *raced) IsValid() bool                      { return !r.refused }
func (r *raced) gone() error {
	if r.refused {
		return driver.ErrBadConn
	}
	return nil
}

func (r *raced) ExecContext(_ context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	if !strings.HasPrefix(query, "INSERT INTO httpkey_tokens") {
		return driver.RowsAffected(1), nil
	}
	r.refused = true
	for _, arg := range args {
		if digest, ok := arg.Value.([]byte); ok {
			return nil, errors.New("Duplicate entry '" + string(digest) + "' for key 'httpkey_tokens_digest'")
		}
	}
	return nil, errors.New("the digest is missing")
}

func (r *raced) QueryContext(context.Context, string, []driver.NamedValue) (driver.Rows, error) {
	return &count{}, nil
}

// count is one row of a 0.
type count struct {
	raced
	read bool
}

func (c *count) Next(row []driver.Value) error {
	if c.read {
		return io.EOF
	}
	row[0], c.read = int64(0), true
	return nil
}

// An error of Create does not show the digest, as MySQL's of an entry that is there already does.
func TestCreateTellsNoDigest(t *testing.T) {
	t.Parallel()
	db := sql.OpenDB(&raced{})
	digest := httpkey.Digest([]byte("0123456789abcdef0123456789abcdef"))
	_, err := New(db, SQLite, nil).Create(t.Context(), httpkey.Token{ID: "id", Kind: httpkey.APIKey, Digest: digest})
	if !errors.Is(err, errUnreachable) || strings.Contains(err.Error(), "0123456789abcdef") {
		t.Errorf("Create returned %v", err)
	}
}
