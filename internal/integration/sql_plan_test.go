package integration

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/sqlstore"
)

// testPlans asks the database how it would run the very statements that the
// package sends, among many tokens: each by an index, and none reads the table.
func testPlans(t *testing.T, b *sqlBackend) {
	tables := b.newTables(t)
	tokens := tokenCount()
	tables.fill(t, tokens)
	db, recorder := tables.record(t)
	store, limiter := sqlstore.New(db, tables.dialect), sqlstore.NewLimiter(db, tables.dialect)
	token := tables.some(t, tokens/2)
	used := make(map[string]time.Time)
	for n := range 1000 {
		used[sqlToken(n*(tokens/1000)).ID] = time.Now()
	}
	for _, call := range []struct {
		name  string
		index string // or a part of its name
		run   func(ctx context.Context) error
	}{
		{"Lookup", "digest", func(ctx context.Context) error { _, err := store.Lookup(ctx, token.Digest); return err }},
		{"Get", "pkey|PRIMARY|autoindex", func(ctx context.Context) error { _, err := store.Get(ctx, token.ID); return err }},
		{"List", "newest", func(ctx context.Context) error { _, err := store.List(ctx, httpkey.Filter{}); return err }},
		{"List, a page", "newest", func(ctx context.Context) error {
			_, err := store.List(ctx, httpkey.Filter{After: token.Cursor()})
			return err
		}},
		{"List of a user", "_user", func(ctx context.Context) error {
			_, err := store.List(ctx, httpkey.Filter{User: token.User, After: token.Cursor()})
			return err
		}},
		{"List of a workspace", "_workspace", func(ctx context.Context) error {
			_, err := store.List(ctx, httpkey.Filter{Workspace: token.Workspace, After: token.Cursor()})
			return err
		}},
		{"List of successors", "_rotated", func(ctx context.Context) error {
			_, err := store.List(ctx, httpkey.Filter{RotatedFrom: token.ID, Limit: 1})
			return err
		}},
		{"Touch of one", "pkey|PRIMARY|autoindex", func(ctx context.Context) error {
			return store.Touch(ctx, map[string]time.Time{token.ID: time.Now()})
		}},
		{"Touch of 1,000", "pkey|PRIMARY|autoindex", func(ctx context.Context) error { return store.Touch(ctx, used) }},
		{"Update", "pkey|PRIMARY|autoindex", func(ctx context.Context) error { return store.Update(ctx, token) }},
		{"Allow", "", func(ctx context.Context) error {
			_, err := limiter.Allow(ctx, "key", httpkey.PerMinute(60), 1)
			return err
		}},
		{"Delete", "pkey|PRIMARY|autoindex", func(ctx context.Context) error { return store.Delete(ctx, token.ID) }},
	} {
		recorder.take()
		if err := call.run(t.Context()); err != nil { // prepared now
			t.Fatalf("%s: %v", call.name, err)
		}
		statements := recorder.take()
		if call.name != "Delete" && call.name != "Update" {
			t.Logf("%-20s %8v with %d tokens", call.name, medianTime(t, call.run), tokens)
		}
		if tokens < 20_000 {
			continue // of so few, it can be quicker to read all
		}
		plans := ""
		for _, statement := range statements {
			if strings.Contains(statement.query, "_tokens") && !strings.HasPrefix(statement.query, "INSERT") {
				plans += tables.explain(t, statement)
			}
		}
		if call.index != "" && !regexp.MustCompile(call.index).MatchString(plans) {
			t.Errorf("%s does not use the index %q:\n%s", call.name, call.index, plans)
		}
		if scan := tables.scans(plans); scan != "" {
			t.Errorf("%s reads the whole table (%s):\n%s", call.name, scan, plans)
		}
	}
}

func medianTime(t *testing.T, run func(context.Context) error) time.Duration {
	t.Helper()
	times := make([]time.Duration, 51)
	for i := range times {
		begun := time.Now()
		if err := run(t.Context()); err != nil {
			t.Fatal(err)
		}
		times[i] = time.Since(begun)
	}
	slices.Sort(times)
	return times[len(times)/2].Round(time.Microsecond)
}

// tokenCount is how many tokens there are in the tables of testPlans: $HTTPKEY_TOKENS, or else 20,000.
func tokenCount() int {
	if n, err := strconv.Atoi(os.Getenv("HTTPKEY_TOKENS")); err == nil && n >= 1000 {
		return n
	}
	return 20_000
}

// fill inserts tokens as sqlToken makes them, but for the digests.
func (b *sqlTables) fill(t *testing.T, tokens int) {
	t.Helper()
	series := map[string]string{
		"pgx":    "SELECT 'token-' || lpad(n::text, 9, '0'), sha256(n::text::bytea), n FROM generate_series(0, %d) AS n",
		"mysql":  "SELECT CONCAT('token-', LPAD(seq, 9, '0')), UNHEX(SHA2(seq, 256)), seq FROM seq_0_to_%d",
		"sqlite": "WITH RECURSIVE s (n) AS (VALUES (0) UNION ALL SELECT n + 1 FROM s WHERE n < %d) SELECT printf('token-%%09d', n), randomblob(32), n FROM s",
	}[b.driver]
	concat := map[string]string{"pgx": "concat('%s-', n %% %d)", "mysql": "CONCAT('%s-', n %% %d)", "sqlite": "'%s-' || (n %% %d)"}[b.driver]
	fill := "INSERT INTO httpkey_tokens (id, digest, hint, kind, label, description, user_id, workspace_id, scopes, is_active, created_at) " +
		"WITH series (id, digest, n) AS (" + fmt.Sprintf(series, tokens-1) + ") SELECT id, digest, 'abcd', 'api_key', 'a label', '', " +
		fmt.Sprintf(concat, "user", max(tokens/20, 1)) + ", " + fmt.Sprintf(concat, "workspace", max(tokens/200, 1)) + ", '[\"a:read\"]', TRUE, 1700000000000000 + n FROM series"
	if b.driver == "pgx" {
		fill = strings.Replace(fill, `'["a:read"]'`, `'["a:read"]'::jsonb`, 1)
	}
	db := b.open(t)
	statements := []string{fill, map[string]string{"pgx": "ANALYZE httpkey_tokens", "mysql": "ANALYZE TABLE httpkey_tokens", "sqlite": "ANALYZE"}[b.driver]}
	for _, statement := range statements {
		if _, err := db.Exec(b.named(statement)); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
}

func (b *sqlTables) some(t *testing.T, n int) httpkey.Token {
	t.Helper()
	token, err := sqlstore.New(b.open(t), b.dialect).Get(t.Context(), sqlToken(n).ID)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// explain returns a plan, a line for each step.
func (b *sqlTables) explain(t *testing.T, s recordedStatement) string {
	t.Helper()
	explain := "EXPLAIN "
	if b.driver == "sqlite" {
		explain = "EXPLAIN QUERY PLAN "
	}
	args := make([]any, len(s.args))
	for i, arg := range s.args {
		args[i] = arg.Value
	}
	rows, err := b.open(t).Query(explain+s.query, args...)
	if err != nil {
		t.Fatalf("%s: %v", s.query, err)
	}
	defer func() { _ = rows.Close() }()
	columns, err := rows.Columns()
	if err != nil {
		t.Fatal(err)
	}
	var plan strings.Builder
	for rows.Next() {
		values, places := make([]sql.NullString, len(columns)), make([]any, len(columns))
		for i := range values {
			places[i] = &values[i]
		}
		if err := rows.Scan(places...); err != nil {
			t.Fatal(err)
		}
		for i, value := range values {
			fmt.Fprintf(&plan, "%s=%s ", columns[i], value.String)
		}
		plan.WriteString("\n")
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return plan.String()
}

// scans returns the step of the plans that reads all tokens, if there is one.
func (b *sqlTables) scans(plans string) string {
	pattern := map[string]string{
		"pgx":    `Seq Scan on \w+_tokens.*`,
		"mysql":  `.*table=(\w+_tokens|t) type=ALL.*|.*Using filesort.*`,
		"sqlite": `SCAN \w+_tokens $|USE TEMP B-TREE FOR.*`,
	}[b.driver]
	return regexp.MustCompile(`(?m)` + pattern).FindString(plans)
}

type recordedStatement struct {
	query string
	args  []driver.NamedValue
}

// recorder is a driver that keeps the statements that go to another.
type recorder struct {
	driver driver.Driver
	dsn    string

	mu         sync.Mutex
	statements []recordedStatement
}

func (b *sqlTables) record(t *testing.T) (*sql.DB, *recorder) {
	t.Helper()
	r := &recorder{driver: b.open(t).Driver(), dsn: b.dsn}
	db := sql.OpenDB(r)
	t.Cleanup(func() { _ = db.Close() })
	return db, r
}

func (r *recorder) Connect(context.Context) (driver.Conn, error) {
	conn, err := r.driver.Open(r.dsn)
	return &recordedConn{conn, r}, err
}

func (r *recorder) Driver() driver.Driver { return r.driver }

func (r *recorder) take() []recordedStatement {
	r.mu.Lock()
	defer r.mu.Unlock()
	taken := r.statements
	r.statements = nil
	return taken
}

type recordedConn struct {
	driver.Conn
	recorder *recorder
}

func (c *recordedConn) Prepare(query string) (driver.Stmt, error) {
	stmt, err := c.Conn.Prepare(query)
	return &recordedStmt{stmt, c.recorder, query}, err
}

type recordedStmt struct {
	driver.Stmt
	recorder *recorder
	query    string
}

func (s *recordedStmt) keep(args []driver.NamedValue) {
	s.recorder.mu.Lock()
	defer s.recorder.mu.Unlock()
	s.recorder.statements = append(s.recorder.statements, recordedStatement{s.query, args})
}

func (s *recordedStmt) ExecContext(ctx context.Context, args []driver.NamedValue) (driver.Result, error) {
	s.keep(args)
	return s.Stmt.(driver.StmtExecContext).ExecContext(ctx, args)
}

func (s *recordedStmt) QueryContext(ctx context.Context, args []driver.NamedValue) (driver.Rows, error) {
	s.keep(args)
	return s.Stmt.(driver.StmtQueryContext).QueryContext(ctx, args)
}
