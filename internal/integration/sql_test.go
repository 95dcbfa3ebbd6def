// Package integration runs the stores and limiters on real servers and files.
package integration

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/binary"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/sqlstore"
)

// sqlBackend is one kind of database.
type sqlBackend struct {
	dialect sqlstore.Dialect
	driver  string
	server  *sqlServer                // the test's own, if it is
	nodes   []string                  // servers with the same data; each pool takes the next; nil: the server
	options string                    // of each connection
	dsn     func(t testing.TB) string // of a database, for SQLite a new one; options may be appended
	zones   []string                  // options that set a time zone
	outage  string                    // options that make the driver give up in time

	serializable string // options that isolate transactions as much as can be

	readOnly, readWrite string // make the server refuse to write, and end that
	superuser           string // as a data source name has it
	connections         string // counts those to the server
	deadlocks           string // counts the deadlocks that the server has found; empty for SQLite
	deprecations        string // counts the uses of deprecated features; empty if the server does not count
}

// The servers do not wait for the disk: when they are killed they lose nothing
// for that, only a machine would.

func TestPostgreSQL(t *testing.T) {
	t.Parallel()
	runSQLTests(t, startPostgreSQL(t, "-c", "fsync=off"), sqlTests, ownServerTests)
}

func TestMariaDB(t *testing.T) {
	t.Parallel()
	runSQLTests(t, startMariaDB(t, "--innodb-flush-log-at-trx-commit=2"), sqlTests, ownServerTests)
}

func TestMySQL(t *testing.T) {
	t.Parallel()
	runSQLTests(t, startMySQL(t, "--innodb-flush-log-at-trx-commit=2"), sqlTests, ownServerTests)
}

func TestSQLite(t *testing.T) {
	t.Parallel()
	runSQLTests(t, sqliteBackend(t), sqlTests, ownServerTests)
}

// The servers have their outages at the same time, before the parallel tests: those take all of the CPU, and
// a request has little time here. MySQL needs none, because MariaDB has the same driver.
func TestSQLOutages(t *testing.T) {
	for name, start := range map[string]func(*testing.T) *sqlBackend{
		"PostgreSQL": func(t *testing.T) *sqlBackend { return startPostgreSQL(t, "-c", "fsync=off") },
		"MariaDB":    func(t *testing.T) *sqlBackend { return startMariaDB(t, "--innodb-flush-log-at-trx-commit=2") },
		"SQLite":     func(t *testing.T) *sqlBackend { return sqliteBackend(t) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			runSQLTests(t, start(t), outageTests)
		})
	}
}

type sqlTest struct {
	name string
	run  func(*testing.T, *sqlBackend)
}

var sqlTests = []sqlTest{
	{"Store", testSQLStore},
	{"Limiter", testSQLLimiter},
	{"Usage", testSQLUsage},
	{"UsageProcesses", testSQLUsageProcesses},
	{"NoticeProcesses", testNoticeProcesses},
	{"LimiterProcesses", testLimiterProcesses},
	{"LimiterFrozen", testLimiterFrozen},
	{"LimiterAgrees", testLimiterAgrees},
	{"SeveralFrozen", testSeveralFrozen},
	{"SeveralDenied", testSeveralDenied},
	{"LimiterClockSetBack", testLimiterClockSetBack},
	{"LimiterClockBehind", testLimiterClockBehind},
	{"LimiterMoves", testLimiterMoves},
	{"LimiterDamaged", testLimiterDamaged},
	{"LimiterDenialWritesNothing", testLimiterDenialWritesNothing},
	{"LimiterSweeps", testLimiterSweeps},
	{"LimiterZones", testLimiterZones},
	{"SessionRefused", testSessionRefused},
	{"HostileKeys", testHostileKeys},
	{"InvalidTokens", testInvalidTokens},
	{"TimeZones", testTimeZones},
	{"PagesAreStable", testPagesAreStable},
	{"Prefixes", testPrefixes},
	{"Queries", testQueries},
	{"MigrateTogether", testMigrateTogether},
	{"UpgradeTogether", testUpgradeTogether},
	{"UpgradeFirstShape", testUpgradeFirstShape},
	{"UpgradeHalfDone", testUpgradeHalfDone},
	{"MigrateKilled", testMigrateKilled},
	{"MigrateHalfDone", testMigrateHalfDone},
	{"MigrateByHand", testMigrateByHand},
	{"MigrateAgain", testMigrateAgain},
	{"MigrateLate", testMigrateLate},
	{"ImportInSQL", testImportInSQL},
	{"ChangeByHand", testChangeByHand},
	{"FeedTells", testFeedTells},
	{"FeedLateCommit", testFeedLateCommit},
	{"FeedManyWriters", testFeedManyWriters},
	{"FeedManyAtOnce", testFeedManyAtOnce},
	{"FeedBreaks", testFeedBreaks},
	{"FeedEnds", testFeedEnds},
	{"FeedIsBounded", testFeedIsBounded},
	{"TouchTogether", testTouchTogether},
	{"WritersTogether", testWritersTogether},
	{"KillProgram", testKillProgram},
}

// ownServerTests need many connections or a proxy, or know the superuser and the settings.
var ownServerTests = []sqlTest{
	{"Modes", testModes},
	{"SessionAccepted", testSessionAccepted},
	{"RevokeRaces", testRevokeRaces},
	{"Plans", testPlans},
	{"NothingDeprecated", testNothingDeprecated},
	{"MigrateNowhere", testMigrateNowhere},
	{"MigrateUnprivileged", testMigrateUnprivileged},
	{"LeastRights", testLeastRights},
	{"AdoptExample", testAdoptExample},
}

// outageTests stop the server.
var outageTests = []sqlTest{
	{"Outages", testSQLOutages},
	{"OutageWithoutCache", testOutageWithoutCache},
	{"HotPayer", testHotPayer},
	{"Waves", testWaves},
	{"LostAnswers", testLostAnswers},
	{"Unwritable", testUnwritable},
	{"KillServer", testKillServer},
}

func runSQLTests(t *testing.T, backend *sqlBackend, lists ...[]sqlTest) {
	for _, test := range slices.Concat(lists...) {
		t.Run(test.name, func(t *testing.T) { test.run(t, backend) })
	}
}

// sqlTables are the tables of one test.
type sqlTables struct {
	*sqlBackend
	dialect sqlstore.Dialect // with the prefix
	prefix  string           // of the test's own
	dsn     string
}

var tablePrefixes, poolsOpened atomic.Int64

// newTables migrates to tables of the test's own.
func (b *sqlBackend) newTables(t testing.TB) *sqlTables {
	t.Helper()
	tables := b.noTables(t)
	if err := sqlstore.Migrate(t.Context(), tables.open(t), tables.dialect); err != nil {
		t.Fatal(err)
	}
	return tables
}

func (b *sqlBackend) noTables(t testing.TB) *sqlTables {
	t.Helper()
	prefix := fmt.Sprintf("test%d_%d_", os.Getpid(), tablePrefixes.Add(1))
	return &sqlTables{b, b.dialect.WithPrefix(prefix), prefix, b.dsn(t)}
}

// sqlConnections is the size of the pool that sqlstore/README.md recommends.
const sqlConnections = 16

// open returns a pool of connections of its own.
func (b *sqlTables) open(t testing.TB, options ...string) *sql.DB {
	t.Helper()
	dsn := b.dsn + b.options + strings.Join(options, "")
	if len(b.nodes) > 0 {
		dsn = strings.Replace(dsn, b.nodes[0], b.nodes[int(poolsOpened.Add(1))%len(b.nodes)], 1)
	}
	db, err := sql.Open(b.driver, dsn)
	if err != nil {
		t.Fatal(err)
	}
	db.SetMaxOpenConns(sqlConnections)
	db.SetMaxIdleConns(sqlConnections)
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// asUser returns the tables as a user with the rights in sqlstore/README.md sees them.
func (b *sqlTables) asUser(t testing.TB) *sqlTables {
	t.Helper()
	user := *b
	if b.server == nil {
		return &user
	}
	db := b.open(t)
	b.must(t, db, "CREATE USER "+b.user())
	for _, grant := range b.grants(t, b.user()) {
		b.must(t, db, grant)
	}
	user.dsn = strings.Replace(b.dsn, b.superuser+"@", b.prefix+"user@", 1)
	return &user
}

// user is the name of the user of asUser in statements.
func (b *sqlTables) user() string {
	if b.dialect.String() == "MySQL" {
		return b.prefix + "user@'%'"
	}
	return b.prefix + "user"
}

func (b *sqlTables) must(t testing.TB, db *sql.DB, statements string) {
	t.Helper()
	for statement := range strings.SplitSeq(statements, "; ") {
		if _, err := db.Exec(statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
}

// pools returns a function that returns one of four pools in turn.
func (b *sqlTables) pools(t *testing.T) func() *sql.DB {
	pools := make([]*sql.DB, 4)
	for i := range pools {
		pools[i] = b.open(t)
	}
	var next atomic.Int64
	return func() *sql.DB { return pools[next.Add(1)%int64(len(pools))] }
}

// sqlToken returns a token that is different for each n.
func sqlToken(n int) httpkey.Token {
	t := httpkey.Token{
		ID: fmt.Sprintf("token-%09d", n), Kind: httpkey.APIKey, Label: fmt.Sprint("label ", n),
		User: fmt.Sprint("user-", n%1000), Workspace: fmt.Sprint("workspace-", n%100), IsActive: true,
		CreatedAt: time.UnixMicro(1_700_000_000_000_000 + int64(n)).UTC(),
	}
	binary.BigEndian.PutUint64(t.Digest[:], uint64(n)*0x9e3779b97f4a7c15) // spread, as digests are
	t.Digest[31] = 1
	return t
}

// createTokens creates tokens in a store.
func createTokens(ctx context.Context, store httpkey.TokenStore, tokens ...httpkey.Token) error {
	for _, token := range tokens {
		if _, err := store.Create(ctx, token); err != nil {
			return err
		}
	}
	return nil
}

// replaceToken makes the token of t's ID what t is.
func replaceToken(ctx context.Context, store httpkey.TokenStore, t httpkey.Token) error {
	_, err := store.Update(ctx, t.ID, func(old *httpkey.Token) error {
		*old = t
		return nil
	})
	return err
}

// takeFrom charges n to a payer under some limits.
func takeFrom(
	ctx context.Context, limiter httpkey.Limiter, payer string, n int, limits ...httpkey.Limit,
) (httpkey.Result, error) {
	return limiter.Allow(ctx, &httpkey.Charge{Bucket: payer, Limits: limits, Cost: n})
}

// atOnce runs n functions at the same time and reports what fails.
func atOnce(t testing.TB, n int, run func(i int) error) {
	t.Helper()
	errs := make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { errs[i] = run(i) })
	}
	wg.Wait()
	for i, err := range errs {
		if err != nil {
			t.Errorf("%d of %d: %v", i, n, err)
		}
	}
}

// digestOf returns the digest of a key without pepper.
func digestOf(key httpkey.Secret) httpkey.Digest { return sha256.Sum256([]byte(key.Reveal())) }
