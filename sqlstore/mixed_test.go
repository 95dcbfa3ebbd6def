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

// mixed is a database that answers each query with the same row. Some drivers receive the answer
// to another query from a pooler.
type mixed struct {
	driver.Conn
	row *row
}

func (m *mixed) Connect(context.Context) (driver.Conn, error)                 { return m, nil }
func (*mixed) Driver() driver.Driver                                          { return nil }
func (*mixed) Close() error                                                   { return nil }
func (m *mixed) Begin() (driver.Tx, error)                                    { return m, nil }
func (m *mixed) BeginTx(context.Context, driver.TxOptions) (driver.Tx, error) { return m, nil }
func (*mixed) Commit() error                                                  { return errors.New("it was written") }
func (*mixed) Rollback() error                                                { return nil }

func (*mixed) ExecContext(context.Context, string, []driver.NamedValue) (driver.Result, error) {
	return driver.RowsAffected(1), nil
}

func (m *mixed) QueryContext(_ context.Context, query string, _ []driver.NamedValue) (driver.Rows, error) {
	if strings.Contains(query, "client_encoding") {
		return &answer{[]driver.Value{"UTF8"}}, nil
	}
	return &answer{valuesOf(m.row)}, nil
}

// answer is a result of one row.
type answer struct{ row []driver.Value }

func (a *answer) Columns() []string { return make([]string, len(a.row)) }
func (*answer) Close() error        { return nil }

func (a *answer) Next(row []driver.Value) error {
	if a.row == nil {
		return io.EOF
	}
	copy(row, a.row)
	a.row = nil
	return nil
}

// A row that does not match the query is an error. The token would let a caller in as another, and
// caches would keep ErrNotFound.
func TestAnswersOfOthers(t *testing.T) {
	t.Parallel()
	token := httpkey.Token{
		ID: "theirs", Digest: httpkey.Digest{1}, Kind: httpkey.APIKey, User: "they", Workspace: "their", RotatedFrom: "old",
		IsActive: true,
	}
	r, err := rowOf(&token)
	if err != nil {
		t.Fatal(err)
	}
	store, ctx := New(sql.OpenDB(&mixed{row: r}), PostgreSQL, nil), t.Context()
	lookup := func(d httpkey.Digest) func() error {
		return func() error { _, err := store.Lookup(ctx, d); return err }
	}
	get := func(id string) func() error { return func() error { _, err := store.Get(ctx, id); return err } }
	list := func(f httpkey.Filter) func() error {
		return func() error { _, err := store.List(ctx, f); return err }
	}
	change := func(*httpkey.Token) error { t.Error("Update changes a token of others"); return nil }
	for name, ask := range map[string]struct {
		call  func() error
		right bool
	}{
		"Lookup":                      {call: lookup(httpkey.Digest{2})},
		"Lookup of it":                {call: lookup(token.Digest), right: true},
		"Get":                         {call: get("mine")},
		"Get of it":                   {call: get(token.ID), right: true},
		"List of a user":              {call: list(httpkey.Filter{User: "me"})},
		"List of a workspace":         {call: list(httpkey.Filter{User: "they", Workspace: "my"})},
		"List of a kind":              {call: list(httpkey.Filter{Kind: httpkey.ServiceToken})},
		"List of a token's followers": {call: list(httpkey.Filter{RotatedFrom: "theirs"})},
		"List of it": {right: true, call: list(httpkey.Filter{
			User: "they", Workspace: "their", Kind: httpkey.APIKey, RotatedFrom: "old",
		})},
		"Update": {call: func() error { _, err := store.Update(ctx, "mine", change); return err }},
		"Delete": {call: func() error { return store.Delete(ctx, "mine") }},
	} {
		err := ask.call()
		if ask.right != (err == nil) || !ask.right && !errors.Is(err, errMixed) || errors.Is(err, httpkey.ErrNotFound) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
