package integration

import (
	"database/sql"
	"os"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// These tests use an empty server that already runs, such as a service of the public workflow. A
// variable names it.

func TestRunningPostgreSQL(t *testing.T) {
	dsn := running(t, "HTTPKEY_POSTGRESQL", "postgres://postgres@127.0.0.1/postgres?sslmode=disable")
	runSQLTests(t, postgreSQLBackend(func(testing.TB) string { return dsn }).awaited(t), sqlTests)
}

func TestRunningMySQL(t *testing.T) {
	dsn := running(t, "HTTPKEY_MYSQL", "root@tcp(127.0.0.1:3306)/httpkey?timeout=5s")
	runSQLTests(t, mySQLBackend(func(testing.TB) string { return dsn }).awaited(t), sqlTests)
}

func TestRunningRedis(t *testing.T) {
	address := running(t, "HTTPKEY_REDIS", "127.0.0.1:6379")
	eventually(t, time.Minute, func() error { return connect(t, address, patientDial).Ping(t.Context()).Err() })
	conforms(t, func(t *testing.T) redis.UniversalClient { return connect(t, address, patientDial) })
}

// running returns the value of a variable. Tests append options to it.
func running(t *testing.T, variable, example string) string {
	t.Helper()
	name := os.Getenv(variable)
	if name == "" {
		t.Skipf("set %s to an empty server, as in %s", variable, example)
	}
	return name
}

// awaited returns the backend as soon as its server answers: a service may have just been started.
func (b *sqlBackend) awaited(t *testing.T) *sqlBackend {
	t.Helper()
	db, err := sql.Open(b.driver, b.dsn(t))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	eventually(t, time.Minute, db.Ping)
	return b
}
