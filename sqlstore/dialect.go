package sqlstore

import (
	"context"
	"database/sql"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// Dialect says which SQL a database speaks, and how the names of the tables
// begin. It is [PostgreSQL], [MySQL] or [SQLite], or comes from WithPrefix of one of
// them. The zero Dialect is none: functions that get it panic.
type Dialect struct {
	engine *engine
	prefix string
}

// The dialects. Their tables are httpkey_tokens, httpkey_changes, httpkey_revision,
// httpkey_buckets and httpkey_migrations.
var (
	PostgreSQL = Dialect{&postgreSQL, defaultPrefix} // 12 or later, and databases that speak its SQL
	MySQL      = Dialect{&mySQL, defaultPrefix}      // MySQL 8.0, MariaDB 10.6 or later
	SQLite     = Dialect{&sqLite, defaultPrefix}     // 3.38 or later
)

// engine holds the differences between databases.
type engine struct {
	name     string // as it is shown, and in lower case the directory of its migrations
	numbered bool   // its parameters are $1, $2, … rather than ?

	// prepares says that statements of the request path are prepared once for a
	// connection. Without that, MySQL's driver asks three times for each statement
	// and SQLite's parses it. PostgreSQL's drivers prepare by themselves, or are told
	// not to because a pooler stands between.
	prepares bool

	// takesTurns says that the callers of a process write one after the other, because
	// SQLite has them sleep, ever longer, until they find its lock free.
	takesTurns bool

	touch     string // see Store.Touch
	now       string // the moment in Unix microseconds
	divide    string // the operator for integers
	least     string // the function of two numbers
	greatest  string
	conflict  string                                                       // before the change of a row that is there
	proposed  string                                                       // a column as it was to be inserted
	newSingle func(l *Limiter) single                                      // see Limiter
	clear     string                                                       // see sweeper
	lock      func(ctx context.Context, conn *sql.Conn, name string) error // see Migrate
	unlock    string
}

var (
	postgreSQL = engine{
		name: "PostgreSQL", numbered: true, touch: touchPostgreSQL,
		now: "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint", divide: "/", least: "least", greatest: "greatest",
		conflict: "ON CONFLICT (id) DO UPDATE SET", proposed: "excluded.COLUMN", newSingle: newSinglePostgreSQL,
		clear: clearPostgreSQL, lock: lockPostgreSQL, unlock: "COMMIT",
	}
	mySQL = engine{
		name: "MySQL", prepares: true, touch: touchMySQL,
		now:    "TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6))",
		divide: "DIV", least: "LEAST", greatest: "GREATEST",
		conflict: "ON DUPLICATE KEY UPDATE", proposed: "VALUES(COLUMN)", newSingle: newSingleMySQL,
		clear: clearOthers, lock: lockMySQL, unlock: "DO RELEASE_ALL_LOCKS()",
	}
	sqLite = engine{
		name: "SQLite", prepares: true, takesTurns: true, touch: touchSQLite,
		now: "{now}", divide: "/", least: "min", greatest: "max", // SQLite's own clock has milliseconds
		conflict: "ON CONFLICT (id) DO UPDATE SET", proposed: "excluded.COLUMN", newSingle: newSingleSQLite,
		clear: clearOthers, lock: lockSQLite, unlock: "COMMIT",
	}
)

const defaultPrefix = "httpkey_"

var prefixes = regexp.MustCompile(`^[a-z][a-z0-9_]{0,31}$`)

// WithPrefix returns d with another beginning of the names of all tables and
// indexes than "httpkey_": a lower-case letter, then lower-case letters, digits
// and underscores, at most 32 in all. Anything else panics. The connection's search_path
// chooses a schema of PostgreSQL, and its DSN a database of MySQL.
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

// named puts d's names of tables and indexes into a text that has the default ones.
func (d Dialect) named(text string) string { return strings.ReplaceAll(text, defaultPrefix, d.prefix) }

// query makes a statement of d of one with ? for each parameter.
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
