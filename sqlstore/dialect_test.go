package sqlstore

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/httpkey/httpkey"
)

var dialects = []Dialect{PostgreSQL, MySQL, SQLite}

func TestPrefix(t *testing.T) {
	t.Parallel()
	for _, prefix := range []string{"a", "acme_", "acme2_keys_", strings.Repeat("a", 32)} {
		got := SQLite.WithPrefix(prefix).query("SELECT id FROM httpkey_tokens")
		if got != "SELECT id FROM "+prefix+"tokens" {
			t.Errorf("with the prefix %q: %s", prefix, got)
		}
	}
	for _, prefix := range []string{
		"", "_a", "1a", "Acme_", "a-b", "a.b", "a b", "a;", "ä", `a"`, strings.Repeat("a", 33), "a\n",
	} {
		mustPanic(t, fmt.Sprintf("%q", prefix), func() { SQLite.WithPrefix(prefix) })
	}
	if SQLite.WithPrefix("a_"); SQLite.prefix != "httpkey_" {
		t.Error("WithPrefix changed the dialect itself")
	}
}

func TestParameters(t *testing.T) {
	t.Parallel()
	const text = "UPDATE httpkey_buckets SET rate = {rate} WHERE id = {id0} OR id = {id1} OR debt > {rate}"
	const plain = "UPDATE httpkey_buckets SET rate = ? WHERE id = ? OR id = ? OR debt > ?"
	for dialect, want := range map[Dialect][]string{
		PostgreSQL: {
			"UPDATE httpkey_buckets SET rate = $1::bigint WHERE id = $2::bytea OR id = $3::bytea OR debt > $1::bigint",
			"rate", "id0", "id1",
		},
		MySQL:  {plain, "rate", "id0", "id1", "rate"},
		SQLite: {plain, "rate", "id0", "id1", "rate"},
	} {
		query, names := dialect.bind(text)
		if got := append([]string{query}, names...); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", dialect, got, want)
		}
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

// A wrong configuration does not start.
func TestConstructorsPanic(t *testing.T) {
	t.Parallel()
	db := sql.OpenDB(noConnector{})
	for name, call := range map[string]func(){
		"New without a database":          func() { New(nil, SQLite, nil) },
		"New without a dialect":           func() { New(db, Dialect{}, nil) },
		"NewLimiter without a database":   func() { NewLimiter(nil, SQLite) },
		"NewLimiter without a dialect":    func() { NewLimiter(db, Dialect{}) },
		"Migrate without a database":      func() { _ = Migrate(context.Background(), nil, SQLite) },
		"Migrate without a dialect":       func() { _ = Migrate(context.Background(), db, Dialect{}) },
		"Migrations without a dialect":    func() { Migrations(Dialect{}) },
		"WithPrefix of the zero dialect":  func() { Dialect{}.WithPrefix("a_") },
		"a prefix that is not a name":     func() { MySQL.WithPrefix("x; DROP TABLE y") },
		"a prefix that is empty, as well": func() { MySQL.WithPrefix("") },
	} {
		mustPanic(t, name, call)
	}
}

func TestInvalidOptionsPanic(t *testing.T) {
	t.Parallel()
	db := sql.OpenDB(noConnector{})
	defer func() {
		err, _ := recover().(error)
		if !errors.Is(err, httpkey.ErrInvalidOptions) || !strings.Contains(err.Error(), "PollInterval is -1s") {
			t.Errorf("it panicked with %v", err)
		}
	}()
	for interval, want := range map[time.Duration]time.Duration{0: time.Second, time.Minute: time.Minute} {
		if got := New(db, SQLite, &Options{PollInterval: interval}).pollInterval; got != want {
			t.Errorf("PollInterval %v: the store asks each %v", interval, got)
		}
	}
	New(db, SQLite, &Options{PollInterval: -time.Second})
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

// Constructors do not ask the database; methods that do return its error.
func TestUnreachable(t *testing.T) {
	t.Parallel()
	for _, dialect := range dialects {
		db := sql.OpenDB(noConnector{})
		store, limiter, ctx := New(db, dialect, nil), NewLimiter(db, dialect), t.Context()
		_, lookup := store.Lookup(ctx, httpkey.Digest{1})
		_, get := store.Get(ctx, "id")
		_, list := store.List(ctx, httpkey.Filter{})
		_, create := store.Create(ctx, httpkey.Token{ID: "id", Kind: httpkey.APIKey})
		_, update := store.Update(ctx, "id", func(*httpkey.Token) error { return nil })
		one := []httpkey.Limit{httpkey.PerMinute(60)}
		_, allow := limiter.Allow(ctx, &httpkey.Charge{Limits: one, Cost: 1})
		_, look := limiter.Allow(ctx, &httpkey.Charge{Limits: one})
		_, several := limiter.Allow(ctx, &httpkey.Charge{Limits: append(one, httpkey.PerDay(9)), Cost: 1})
		for what, err := range map[string]error{
			"Lookup": lookup, "Get": get, "List": list, "Create": create, "Update": update,
			"Allow": allow, "Allow of 0": look, "Allow under several limits": several,
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
	for _, value := range []any{New(db, MySQL, nil), NewLimiter(db, MySQL)} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
			if text := fmt.Sprintf(verb, value); strings.Contains(text, "password") || !strings.HasPrefix(text, "sqlstore.") {
				t.Errorf("%s prints %s", verb, text)
			}
		}
	}
}
