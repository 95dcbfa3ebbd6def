package integration

import (
	"database/sql"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"testing"

	_ "github.com/jackc/pgx/v5/stdlib"

	"github.com/httpkey/httpkey/sqlstore"
)

func startPostgreSQL(t testing.TB, options ...string) *sqlBackend {
	t.Helper()
	postgres := postgreSQLProgram(t, "postgres")
	_, credential := account(t, "postgres")
	server := &sqlServer{directory: directoryOf(t, credential), port: freePort(t), quit: syscall.SIGINT}
	data := filepath.Join(server.directory, "data")
	as := func(command *exec.Cmd) *exec.Cmd {
		command.Dir = server.directory
		command.SysProcAttr = &syscall.SysProcAttr{Credential: credential}
		return command
	}
	mustRun(t, as(exec.Command(postgreSQLProgram(t, "initdb"),
		"-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync")))
	server.command = func() *exec.Cmd {
		return as(exec.Command(postgres, append([]string{"-D", data, "-p", strconv.Itoa(server.port),
			"-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=",
			"-c", "max_connections=600", "-c", "shared_buffers=256MB"}, options...)...))
	}
	backend := postgreSQLBackend(func(testing.TB) string {
		return fmt.Sprintf("postgres://postgres@127.0.0.1:%d/postgres?sslmode=disable", server.port)
	})
	backend.server = server
	server.ping = func() error {
		db, err := sql.Open(backend.driver, backend.dsn(t))
		if err != nil {
			return err
		}
		defer func() { _ = db.Close() }()
		return db.Ping()
	}
	server.start(t)
	t.Cleanup(func() { server.stop(server.quit) })
	return backend
}

func postgreSQLBackend(dsn func(testing.TB) string) *sqlBackend {
	return &sqlBackend{
		dialect:      sqlstore.PostgreSQL,
		driver:       "pgx",
		dsn:          dsn,
		outage:       "&connect_timeout=1",
		serializable: "&default_transaction_isolation=serializable",
		readOnly:     "ALTER SYSTEM SET default_transaction_read_only = on; SELECT pg_reload_conf()",
		readWrite:    "ALTER SYSTEM RESET default_transaction_read_only; SELECT pg_reload_conf()",
		superuser:    "postgres",
		connections:  "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'",
		deadlocks:    "SELECT sum(deadlocks) FROM pg_stat_database",
		zones:        []string{"&timezone=UTC", "&timezone=Asia/Kathmandu", "&timezone=America/St_Johns"},
	}
}

// postgreSQLProgram finds a program of the server, which Debian keeps out of the PATH.
func postgreSQLProgram(t testing.TB, name string) string {
	t.Helper()
	if path, err := exec.LookPath(name); err == nil {
		return path
	}
	paths, err := filepath.Glob(filepath.Join("/usr/lib/postgresql", "*", "bin", name))
	if err != nil {
		t.Fatal(err)
	}
	if len(paths) == 0 {
		missing(t, name, "postgresql")
	}
	return slices.Max(paths)
}
