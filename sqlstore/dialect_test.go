package sqlstore

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/httpkey/httpkey"
)

var dialects = []Dialect{PostgreSQL, MySQL, SQLite}

func TestPrefix(t *testing.T) {
	t.Parallel()
	for _, prefix := range []string{"a", "acme_", "acme2_keys_", strings.Repeat("a", 32)} {
		if got := SQLite.WithPrefix(prefix).query("SELECT id FROM httpkey_tokens"); got != "SELECT id FROM "+prefix+"tokens" {
			t.Errorf("with the prefix %q: %s", prefix, got)
		}
	}
	for _, prefix := range []string{"", "_a", "1a", "Acme_", "a-b", "a.b", "a b", "a;", "ä", `a"`, strings.Repeat("a", 33), "a\n"} {
		mustPanic(t, fmt.Sprintf("%q", prefix), func() { SQLite.WithPrefix(prefix) })
	}
	if SQLite.WithPrefix("a_"); SQLite.prefix != "httpkey_" {
		t.Error("WithPrefix changed the dialect itself")
	}
}

func TestPlaceholders(t *testing.T) {
	t.Parallel()
	const query = "UPDATE httpkey_tokens SET a = ?, b = ? WHERE c = ?"
	for dialect, want := range map[Dialect]string{
		PostgreSQL: "UPDATE httpkey_tokens SET a = $1, b = $2 WHERE c = $3", MySQL: query, SQLite: query,
	} {
		if got := dialect.query(query); got != want {
			t.Errorf("%s: %s", dialect, got)
		}
	}
}

// What is configured wrongly does not start.
func TestConstructorsPanic(t *testing.T) {
	t.Parallel()
	db := sql.OpenDB(noConnector{})
	for what, call := range map[string]func(){
		"New without a database":          func() { New(nil, SQLite) },
		"New without a dialect":           func() { New(db, Dialect{}) },
		"NewLimiter without a database":   func() { NewLimiter(nil, SQLite) },
		"NewLimiter without a dialect":    func() { NewLimiter(db, Dialect{}) },
		"Migrate without a database":      func() { _ = Migrate(context.Background(), nil, SQLite) },
		"Migrate without a dialect":       func() { _ = Migrate(context.Background(), db, Dialect{}) },
		"Migrations without a dialect":    func() { Migrations(Dialect{}) },
		"WithPrefix of the zero dialect":  func() { Dialect{}.WithPrefix("a_") },
		"a prefix that is not a name":     func() { MySQL.WithPrefix("x; DROP TABLE y") },
		"a prefix that is empty, as well": func() { MySQL.WithPrefix("") },
	} {
		mustPanic(t, what, call)
	}
}

func mustPanic(t *testing.T, what string, call func()) {
	t.Helper()
	defer func() {
		if text, _ := recover().(string); !strings.HasPrefix(text, "httpkey: ") {
			t.Errorf("%s: it panicked with %q", what, text)
		}
	}()
	call()
}

// noConnector is a database that cannot be reached.
type noConnector struct{ dsn string }

var errUnreachable = errors.New("unreachable")

func (noConnector) Connect(context.Context) (driver.Conn, error) { return nil, errUnreachable }
func (noConnector) Driver() driver.Driver                        { return nil }

// Constructors do not ask the database; whatever does returns its error.
func TestUnreachable(t *testing.T) {
	t.Parallel()
	for _, dialect := range dialects {
		db := sql.OpenDB(noConnector{})
		store, limiter, ctx := New(db, dialect), NewLimiter(db, dialect), t.Context()
		_, lookup := store.Lookup(ctx, httpkey.Digest{1})
		_, get := store.Get(ctx, "id")
		_, list := store.List(ctx, httpkey.Filter{})
		_, allow := limiter.Allow(ctx, "key", httpkey.PerMinute(60), 1)
		_, look := limiter.Allow(ctx, "key", httpkey.PerMinute(60), 0)
		for what, err := range map[string]error{
			"Lookup": lookup, "Get": get, "List": list, "Allow": allow, "Allow of 0": look,
			"Create":  store.Create(ctx, httpkey.Token{ID: "id", Kind: httpkey.APIKey}),
			"Update":  store.Update(ctx, httpkey.Token{ID: "id", Kind: httpkey.APIKey}),
			"Delete":  store.Delete(ctx, "id"),
			"Changes": store.Changes(ctx, func() { t.Error("ready") }, func(httpkey.Digest) {}),
			"Migrate": Migrate(ctx, db, dialect),
		} {
			if !errors.Is(err, errUnreachable) || !strings.HasPrefix(err.Error(), "httpkey: ") {
				t.Errorf("%s, %s: %v", dialect, what, err)
			}
		}
	}
}

// A printed store or limiter does not show how the database is reached.
func TestPrintsNoDSN(t *testing.T) {
	t.Parallel()
	db := sql.OpenDB(noConnector{"user:password@host"})
	for _, value := range []any{New(db, MySQL), NewLimiter(db, MySQL)} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
			if text := fmt.Sprintf(verb, value); strings.Contains(text, "password") || !strings.HasPrefix(text, "sqlstore.") {
				t.Errorf("%s prints %s", verb, text)
			}
		}
	}
}
