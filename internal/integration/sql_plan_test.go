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
// So they take as long as among few, give or take what is not in a CPU's cache.
func testPlans(t *testing.T, b *sqlBackend) {
	few, many := plannedCalls(t, b, 1000), plannedCalls(t, b, tokenCount())
	for i, call := range many.calls {
		many.recorder.take()
		if err := call.run(t.Context()); err != nil { // prepared now
			t.Fatalf("%s: %v", call.name, err)
		}
		plans := ""
		for _, statement := range many.recorder.take() {
			if strings.Contains(statement.query, "_tokens") && !strings.HasPrefix(statement.query, "INSERT") {
				plans += many.explain(t, statement)
			}
		}
		if call.index != "" && !regexp.MustCompile(call.index).MatchString(plans) {
			t.Errorf("%s does not use the index %q:\n%s", call.name, call.index, plans)
		}
		if scan := many.scans(plans); scan != "" {
			t.Errorf("%s reads the whole table (%s):\n%s", call.name, scan, plans)
		}
		if call.untimed {
			continue
		}
		amongFew, amongMany := medianTimes(t, few.calls[i].run, call.run)
		t.Logf("%-20s %8v among %d tokens, %8v among %d", call.name, amongFew, few.tokens, amongMany, many.tokens)
		if amongMany > 10*amongFew {
			t.Errorf("%s takes %v among %d tokens, and %v among %d", call.name, amongFew, few.tokens, amongMany, many.tokens)
		}
	}
}

// planned holds tables with tokens, and the statements on them.
type planned struct {
	*sqlTables
	tokens   int
	recorder *recorder
	calls    []plannedCall
}

type plannedCall struct {
	name    string
	index   string // or a part of its name
	run     func(ctx context.Context) error
	untimed bool
}

func plannedCalls(t *testing.T, b *sqlBackend, tokens int) *planned {
	tables := b.newTables(t)
	tables.fill(t, tokens)
	db, recorder := tables.record(t)
	store, limiter := sqlstore.New(db, tables.dialect, nil), sqlstore.NewLimiter(db, tables.dialect)
	token := tables.some(t, tokens/2)
	list := func(f httpkey.Filter) func(context.Context) error {
		return func(ctx context.Context) error { _, err := store.List(ctx, f); return err }
	}
	touch := func(n int) func(context.Context) error {
		return func(ctx context.Context) error {
			used := make(map[string]time.Time)
			for i := range n {
				used[sqlToken(i*(tokens/n)).ID] = time.Now()
			}
			return store.Touch(ctx, used)
		}
	}
	const primary = "pkey|PRIMARY|autoindex|after reading const tables"
	return &planned{tables, tokens, recorder, []plannedCall{
		{name: "Lookup", index: `_digest|\(digest=`, run: func(ctx context.Context) error {
			_, err := store.Lookup(ctx, token.Digest)
			return err
		}},
		{name: "Lookups together", untimed: true, index: `_digest|\(digest=`, run: func(ctx context.Context) error {
			ctx, cancel := context.WithTimeout(ctx, time.Minute) // those without a deadline go alone
			defer cancel()
			atOnce(t, 200, func(int) error { _, err := store.Lookup(ctx, token.Digest); return err })
			return nil
		}},
		{name: "Get", index: primary, run: func(ctx context.Context) error {
			_, err := store.Get(ctx, token.ID)
			return err
		}},
		{name: "List", index: "newest", run: list(httpkey.Filter{})},
		{name: "List, a page", index: "newest", run: list(httpkey.Filter{After: token.Cursor()})},
		{name: "List of a user", index: "_user", run: list(httpkey.Filter{User: token.User, After: token.Cursor()})},
		{name: "List of a workspace", index: "_workspace", run: list(httpkey.Filter{
			Workspace: token.Workspace, After: token.Cursor(),
		})},
		{name: "List of successors", index: "_rotated", run: list(httpkey.Filter{RotatedFrom: token.ID, Limit: 1})},
		{name: "Touch of one", index: primary, run: touch(1)},
		{name: "Touch of 1,000", index: primary, run: touch(1000)},
		{name: "Allow", untimed: true, run: func(ctx context.Context) error {
			_, err := takeFrom(ctx, limiter, "key", 1, httpkey.PerMinute(60))
			return err
		}},
		{name: "Update", index: primary, untimed: true, run: func(ctx context.Context) error {
			return replaceToken(ctx, store, token)
		}},
		{name: "Delete", index: primary, untimed: true, run: func(ctx context.Context) error {
			return store.Delete(ctx, token.ID)
		}},
	}}
}

// medianTimes runs two in turn, and each once before, so that what they need is in memory.
func medianTimes(t *testing.T, one, other func(context.Context) error) (first, second time.Duration) {
	t.Helper()
	var times [2][]time.Duration
	for round := range 52 {
		for i, run := range []func(context.Context) error{one, other} {
			begun := time.Now()
			if err := run(t.Context()); err != nil {
				t.Fatal(err)
			}
			if round > 0 {
				times[i] = append(times[i], time.Since(begun).Round(time.Microsecond))
			}
		}
	}
	for i := range times {
		slices.Sort(times[i])
	}
	return times[0][25], times[1][25]
}

// tokenCount is how many are many: $HTTPKEY_TOKENS, or else 20,000, below which it
// can be quicker to read all.
func tokenCount() int {
	if n, err := strconv.Atoi(os.Getenv("HTTPKEY_TOKENS")); err == nil && n >= 20_000 {
		return n
	}
	return 20_000
}

// fill inserts tokens as sqlToken makes them, but for the digests.
func (b *sqlTables) fill(t *testing.T, tokens int) {
	t.Helper()
	series := map[string]string{
		"pgx": "SELECT 'token-' || lpad(n::text, 9, '0'), sha256(n::text::bytea), n FROM generate_series(0, %d) AS n",
		"mysql": "WITH RECURSIVE s (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM s WHERE n < %d) " +
			"SELECT CONCAT('token-', LPAD(n, 9, '0')), UNHEX(SHA2(n, 256)), n FROM s",
		"sqlite": "WITH RECURSIVE s (n) AS (VALUES (0) UNION ALL SELECT n + 1 FROM s WHERE n < %d) " +
			"SELECT printf('token-%%09d', n), randomblob(32), n FROM s",
	}[b.driver]
	concat := map[string]string{
		"pgx": "concat('%s-', n %% %d)", "mysql": "CONCAT('%s-', n %% %d)", "sqlite": "'%s-' || (n %% %d)",
	}[b.driver]
	fill := "INSERT INTO httpkey_tokens " +
		"(id, digest, hint, kind, label, description, user_id, workspace_id, scopes, is_active, created_at) " +
		"WITH series (id, digest, n) AS (" + fmt.Sprintf(series, tokens-1) + ") " +
		"SELECT id, digest, 'abcd', 'api_key', 'a label', '', " +
		fmt.Sprintf(concat, "user", max(tokens/20, 1)) + ", " + fmt.Sprintf(concat, "workspace", max(tokens/200, 1)) +
		", '[\"a:read\"]', TRUE, 1700000000000000 + n FROM series"
	if b.driver == "pgx" {
		fill = strings.Replace(fill, `'["a:read"]'`, `'["a:read"]'::jsonb`, 1)
	}
	db := b.open(t)
	statements := []string{fill, map[string]string{
		"pgx": "ANALYZE httpkey_tokens", "mysql": "ANALYZE TABLE httpkey_tokens", "sqlite": "ANALYZE",
	}[b.driver]}
	for _, statement := range statements {
		if _, err := db.Exec(b.named(statement)); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
}

func (b *sqlTables) some(t *testing.T, n int) httpkey.Token {
	t.Helper()
	token, err := sqlstore.New(b.open(t), b.dialect, nil).Get(t.Context(), sqlToken(n).ID)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// explain returns a plan, a line for each step.
func (b *sqlTables) explain(t *testing.T, s recordedStatement) string {
	t.Helper()
	explain := map[string]string{
		"pgx": "EXPLAIN ", "mysql": "EXPLAIN FORMAT=TRADITIONAL ", "sqlite": "EXPLAIN QUERY PLAN ",
	}[b.driver]
	args := make([]any, len(s.args))
	for i, arg := range s.args {
		args[i] = arg.Value
	}
	query := regexp.MustCompile(`^/\*.*?\*/`).ReplaceAllString(s.query, "")
	rows, err := b.open(t).Query(explain+query, args...)
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

// BeginTx makes a level of isolation possible.
func (c *recordedConn) BeginTx(ctx context.Context, opts driver.TxOptions) (driver.Tx, error) {
	return c.Conn.(driver.ConnBeginTx).BeginTx(ctx, opts)
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
