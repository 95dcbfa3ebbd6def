package sqlstore

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/httpkey/httpkey"
)

// changesServer is a database with one change, whose digest may be damaged.
type changesServer struct {
	driver.Conn
	digest []byte
}

func (s changesServer) Connect(context.Context) (driver.Conn, error) { return s, nil }
func (changesServer) Driver() driver.Driver                          { return nil }
func (changesServer) Close() error                                   { return nil }

func (s changesServer) QueryContext(_ context.Context, query string, _ []driver.NamedValue) (driver.Rows, error) {
	if query == latestRevision {
		return &changeRow{values: []driver.Value{int64(7)}}, nil
	}
	return &changeRow{values: []driver.Value{int64(8), int64(8), s.digest}}, nil
}

type changeRow struct {
	values []driver.Value
	isRead bool
}

func (r *changeRow) Columns() []string { return make([]string, len(r.values)) }
func (*changeRow) Close() error        { return nil }

func (r *changeRow) Next(row []driver.Value) error {
	if r.isRead {
		return io.EOF
	}
	r.isRead = true
	copy(row, r.values)
	return nil
}

// A change without a digest does not say what to drop. So it ends the feed, and a cache drops
// everything.
func TestFeedEndsAtADamagedChange(t *testing.T) {
	t.Parallel()
	for _, length := range []int{0, 31, 33, 64} {
		synctest.Test(t, func(t *testing.T) {
			db := sql.OpenDB(changesServer{digest: make([]byte, length)})
			defer func() { _ = db.Close() }()
			isReady := false
			err := New(db, SQLite, nil).Changes(t.Context(), func() { isReady = true },
				func(httpkey.Digest) { t.Errorf("%d bytes were reported as a digest", length) })
			if !isReady || err == nil || !strings.HasPrefix(err.Error(), "httpkey: ") ||
				!strings.Contains(err.Error(), fmt.Sprint(length, " bytes")) {
				t.Errorf("after a change with a digest of %d bytes, the feed ended with %v", length, err)
			}
		})
	}
}
