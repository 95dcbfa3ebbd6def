package sqlstore

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/httpkey/httpkey"
)

// tokenServer is a database that has the tokens of some digests. It answers when it is released.
type tokenServer struct {
	driver.Conn
	rows     map[string][]driver.Value
	released chan struct{}
	failure  error // of each statement that looks up more than one digest

	mu      sync.Mutex
	queries []int // how many digests each lookup has asked for, repeated ones too
}

func newTokenServer(t *testing.T, digests ...byte) *tokenServer {
	t.Helper()
	s := &tokenServer{rows: make(map[string][]driver.Value), released: make(chan struct{})}
	for _, n := range digests {
		token := httpkey.Token{ID: fmt.Sprint(n), Digest: httpkey.Digest{n}, Scopes: []string{"a"}}
		r, err := rowOf(&token)
		if err != nil {
			t.Fatal(err)
		}
		s.rows[string(r.digest)] = valuesOf(r)
	}
	return s
}

// valuesOf returns the values of all columns as a driver has them.
func valuesOf(r *row) (values []driver.Value) {
	for _, value := range r.values() {
		if valuer, is := value.(driver.Valuer); is {
			value, _ = valuer.Value()
		}
		values = append(values, value)
	}
	return values
}

func (s *tokenServer) Connect(context.Context) (driver.Conn, error) { return s, nil }
func (*tokenServer) Driver() driver.Driver                          { return nil }
func (*tokenServer) Close() error                                   { return nil }

func (s *tokenServer) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	if strings.Contains(query, "client_encoding") {
		return &answers{{"UTF8"}}, nil
	}
	s.mu.Lock()
	s.queries = append(s.queries, len(args))
	s.mu.Unlock()
	select {
	case <-s.released:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if len(args) > 1 && s.failure != nil {
		return nil, s.failure
	}
	found := new(answers)
	for digest, row := range s.rows {
		if slices.ContainsFunc(args, func(arg driver.NamedValue) bool { return string(arg.Value.([]byte)) == digest }) {
			*found = append(*found, row)
		}
	}
	return found, nil
}

// asked returns how many digests each lookup has asked for, the fewest first.
func (s *tokenServer) asked() []int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(slices.Values(s.queries))
}

// answers are the rows of a result.
type answers [][]driver.Value

func (*answers) Columns() []string { return make([]string, strings.Count(columns, ",")+1) }
func (*answers) Close() error      { return nil }

func (a *answers) Next(row []driver.Value) error {
	if len(*a) == 0 {
		return io.EOF
	}
	copy(row, (*a)[0])
	*a = (*a)[1:]
	return nil
}

// begin begins a lookup of each digest, in this order. The server answers none before it is released.
func (s *tokenServer) begin(t *testing.T, store *Store, ctx context.Context, digests ...byte) (end func() []error) {
	t.Helper()
	errs := make([]error, len(digests))
	var callers sync.WaitGroup
	for i, n := range digests {
		callers.Go(func() {
			token, err := store.Lookup(ctx, httpkey.Digest{n})
			if err == nil && token.ID != fmt.Sprint(n) {
				t.Errorf("the lookup of %d got %+v", n, token)
			}
			errs[i] = err
		})
		synctest.Wait()
	}
	return func() []error {
		callers.Wait()
		return errs
	}
}

func (s *tokenServer) store(t *testing.T, dialect Dialect) *Store {
	t.Helper()
	db := sql.OpenDB(s)
	t.Cleanup(func() { _ = db.Close() })
	store := New(db, dialect, nil)
	store.checked.Store(true)
	return store
}

var errServer, errBroken = errors.New("the server has failed"), errors.New("the row is broken")

// Lookups that come while two are in progress share a statement. Each gets its own token or error.
func TestLookupsShareAStatement(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		failure error
		spoil   func(rows map[string][]driver.Value)
		asked   []int
		want    map[error]int // how many callers get each error
	}{
		"all answered": {asked: []int{1, 1, 8}, want: map[error]int{nil: 5, httpkey.ErrNotFound: 2}},
		"the shared statement fails": { // for one caller; each other one asks again
			failure: errServer,
			asked:   []int{1, 1, 1, 1, 1, 1, 8}, want: map[error]int{nil: 4, httpkey.ErrNotFound: 2, errServer: 1},
		},
		"one row is broken": {
			spoil: func(rows map[string][]driver.Value) { rows[digest(5)][6] = "no JSON" },
			asked: []int{1, 1, 8}, want: map[error]int{nil: 4, httpkey.ErrNotFound: 2, errBroken: 1},
		},
		"a row of another statement": { // as for the failure, and the lookup of 5 gets it again
			spoil: func(rows map[string][]driver.Value) { rows[digest(5)] = rows[digest(9)] },
			asked: []int{1, 1, 1, 1, 1, 1, 8}, want: map[error]int{nil: 3, httpkey.ErrNotFound: 2, errMixed: 2},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := newTokenServer(t, 1, 2, 3, 4, 5, 9)
				if s.failure = tt.failure; tt.spoil != nil {
					tt.spoil(s.rows)
				}
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				end := s.begin(t, s.store(t, PostgreSQL), ctx, 1, 2, 3, 6, 4, 7, 5)
				close(s.released)
				got := make(map[error]int)
				for _, err := range end() {
					got[kindOf(err)]++
				}
				if !maps.Equal(got, tt.want) || !slices.Equal(s.asked(), tt.asked) {
					t.Errorf("the callers got %v, want %v; statements asked for %v digests, want %v",
						got, tt.want, s.asked(), tt.asked)
				}
			})
		})
	}
}

func digest(n byte) string { d := httpkey.Digest{n}; return string(d[:]) }

func kindOf(err error) error {
	if err == nil {
		return nil
	}
	for _, kind := range []error{httpkey.ErrNotFound, errServer, errMixed, context.Canceled} {
		if errors.Is(err, kind) {
			return kind
		}
	}
	return errBroken
}

// A caller that hangs up gets its own error, whether it waits for a statement or in one. The others
// get their tokens.
func TestLookupsOfOthersOutliveACaller(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newTokenServer(t, 1, 2, 3, 4)
		store := s.store(t, PostgreSQL)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		hasty, hangUp := context.WithTimeout(ctx, time.Second)
		first := s.begin(t, store, ctx, 1)
		second := s.begin(t, store, hasty, 2)
		waiting := s.begin(t, store, ctx, 3)
		leaving := s.begin(t, store, hasty, 4)
		hangUp()
		for _, end := range []func() []error{second, leaving} {
			if err := end()[0]; !errors.Is(err, context.Canceled) {
				t.Errorf("the caller that hung up got %v", err)
			}
		}
		close(s.released)
		for _, end := range []func() []error{first, waiting} {
			if err := end()[0]; err != nil {
				t.Errorf("another caller got %v", err)
			}
		}
	})
}

// A lookup without a deadline could keep others waiting for ever, so it goes alone.
func TestLookupsWithoutADeadlineGoAlone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newTokenServer(t, 1, 2, 3, 4)
		end := s.begin(t, s.store(t, PostgreSQL), t.Context(), 1, 2, 3, 4)
		if got := s.asked(); !slices.Equal(got, []int{1, 1, 1, 1}) {
			t.Errorf("without a deadline, statements asked for %v digests", got)
		}
		close(s.released)
		if err := errors.Join(end()...); err != nil {
			t.Error(err)
		}
	})
}

// The statements have one parameter for each digest that a shared call may have.
func TestLookupsInAllSizes(t *testing.T) {
	t.Parallel()
	for _, callers := range []int{3, 4, 5, 66, 67, 130, 131, 200} {
		synctest.Test(t, func(t *testing.T) {
			all := make([]byte, callers)
			for i := range all {
				all[i] = byte(i + 1)
			}
			s := newTokenServer(t, all...)
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			end := s.begin(t, s.store(t, PostgreSQL), ctx, all...)
			close(s.released)
			if err := errors.Join(end()...); err != nil {
				t.Errorf("%d callers: %v", callers, err)
			}
		})
	}
}
