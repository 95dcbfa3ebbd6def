package sqlstore

import (
	"context"
	"database/sql"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// Dialect is the SQL of a database and the prefix of the table names. It is [PostgreSQL],
// [MySQL] or [SQLite], or the result of WithPrefix on one of them. Functions panic if they
// get the zero Dialect.
type Dialect struct {
	engine *engine
	prefix string
}

// The dialects. Their tables are httpkey_tokens, httpkey_changes, httpkey_revision,
// httpkey_buckets, httpkey_usage, httpkey_usage_clients and httpkey_migrations.
var (
	PostgreSQL = Dialect{&postgreSQL, defaultPrefix} // 12 or later, and databases that speak its SQL
	MySQL      = Dialect{&mySQL, defaultPrefix}      // MySQL 8.0 or later, MariaDB 10.6 or later, TiDB
	SQLite     = Dialect{&sqLite, defaultPrefix}     // 3.38 or later
)

// engine holds the differences between databases.
type engine struct {
	name     string // for people, and in lower case the directory of its migrations
	numbered bool   // its parameters are $1, $2, … rather than ?

	// prepares says that statements of the request path are prepared once for a
	// connection. Otherwise MySQL's driver needs three round trips for each statement,
	// and SQLite's driver parses it each time. PostgreSQL's drivers prepare by themselves,
	// or are configured not to because of a pooler.
	prepares bool

	// inlines says that the statements of a transaction have no parameters: see inlined.
	inlines bool

	// inProcess says that there is no server. The callers of a process then take turns to
	// write. Otherwise SQLite makes them sleep, longer each time, until they find its lock
	// free. A database in memory may belong to a single connection.
	inProcess bool

	// isolation is the isolation level of transactions. Under a stricter level, PostgreSQL ends
	// a transaction that has waited for a lock with an error. 0: the level of the connection.
	isolation sql.IsolationLevel

	again func(error) bool // reports whether an error is a conflict: see Dialect.repeat

	// current ends a SELECT in a transaction. Without it, TiDB reads the rows as they were when
	// the transaction began.
	current string

	check     func(ctx context.Context, db database) error // see pool
	touch     func(uses []use) (query string, args []any)  // see Store.Touch
	addUsage  func([]number) (query string, args []any)    // see Usage.Add
	sawClient func([]client) (query string, args []any)    // see Usage.Add
	now       string                                       // the present in Unix microseconds
	divide    string                                       // the operator of integer division
	mistyped  string                                       // finds a value of another type in a row, see engine.owed
	least     string                                       // the function of two numbers
	greatest  string
	conflict  string                                                       // begins the update of an existing row
	newSingle func(l *Limiter) single                                      // see Limiter
	clear     string                                                       // see sweeper
	lock      func(ctx context.Context, conn *sql.Conn, name string) error // see Migrate
	unlock    string
}

var (
	postgreSQL = engine{
		name: "PostgreSQL", numbered: true, check: checkPostgreSQL, touch: touchPostgreSQL,
		addUsage: addUsagePostgreSQL, sawClient: sawClientPostgreSQL,
		isolation: sql.LevelReadCommitted, again: againPostgreSQL,
		now: "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint", divide: "/", least: "least", greatest: "greatest",
		conflict: "ON CONFLICT (id) DO UPDATE SET", newSingle: newSinglePostgreSQL,
		clear: clearPostgreSQL, lock: lockPostgreSQL, unlock: "COMMIT",
	}
	mySQL = engine{
		name: "MySQL", prepares: true, inlines: true, check: checkMySQL, touch: touchMySQL, again: againMySQL,
		addUsage: addUsageMySQL, sawClient: sawClientMySQL,
		now:    "TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6))",
		divide: "DIV", least: "LEAST", greatest: "GREATEST", current: " FOR UPDATE",
		conflict: "ON DUPLICATE KEY UPDATE", newSingle: newSingleMySQL,
		clear: clearOthers, lock: lockMySQL, unlock: "DO RELEASE_ALL_LOCKS()",
	}
	sqLite = engine{
		name: "SQLite", prepares: true, inProcess: true, check: checkSQLite, touch: touchSQLite, again: againSQLite,
		addUsage: addUsageSQLite, sawClient: sawClientSQLite,
		now: "{now}", divide: "/", least: "min", greatest: "max", // SQLite's own clock has milliseconds
		conflict: "ON CONFLICT (id) DO UPDATE SET", newSingle: newSingleSQLite,
		mistyped: " WHEN typeof(@debt) || typeof(@as_of) || typeof(@rate) <> 'integerintegerinteger' THEN -1",
		clear:    clearOthers, lock: lockSQLite, unlock: "COMMIT",
	}
)

const defaultPrefix = "httpkey_"

var prefixes = regexp.MustCompile(`^[a-z][a-z0-9_]{0,31}$`)

// WithPrefix returns d with another prefix of the table and index names than "httpkey_".
// It is a lower-case letter, then lower-case letters, digits and underscores, at most 32 in
// all; WithPrefix panics otherwise. To choose a schema of PostgreSQL, set the connection's
// search_path; to choose a database of MySQL, set it in the data source name.
func (d Dialect) WithPrefix(prefix string) Dialect {
	d.mustBeOne()
	if !prefixes.MatchString(prefix) {
		panic(fmt.Sprintf("httpkey: the prefix is %q, it must be a lower-case letter "+
			"and up to 31 lower-case letters, digits and underscores", prefix))
	}
	d.prefix = prefix
	return d
}

// String returns the name of the database.
func (d Dialect) String() string {
	if d.engine == nil {
		return "no dialect"
	}
	return d.engine.name
}

func (d Dialect) mustBeOne() {
	if d.engine == nil {
		panic("httpkey: the dialect must be sqlstore.PostgreSQL, sqlstore.MySQL or sqlstore.SQLite")
	}
}

// named replaces the default prefix of the names in text by d's prefix.
func (d Dialect) named(text string) string { return strings.ReplaceAll(text, defaultPrefix, d.prefix) }

// query converts a statement with ? for each parameter to the parameters of d.
func (d Dialect) query(text string) string {
	text = d.named(text)
	if !d.engine.numbered {
		return text
	}
	var b strings.Builder
	for i, part := range strings.Split(text, "?") {
		if i > 0 {
			b.WriteString("$" + strconv.Itoa(i))
		}
		b.WriteString(part)
	}
	return b.String()
}
