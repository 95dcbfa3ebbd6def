package integration

import (
	"database/sql"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
)

// PgBouncer may run each transaction on another connection.
func TestPgBouncer(t *testing.T) {
	t.Parallel()
	b := startPgBouncer(t)
	for _, m := range []mode{
		{"pgx as it comes", "pgx", ""},
		{"cache_describe", "pgx", "&default_query_exec_mode=cache_describe"},
		{"exec", "pgx", "&default_query_exec_mode=exec"},
		{"simple_protocol", "pgx", "&default_query_exec_mode=simple_protocol"},
		{"lib/pq, binary parameters", "postgres", "&binary_parameters=yes"},
	} {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			conformsSQL(t, b.in(m))
		})
	}
}

// startPgBouncer starts the PgBouncer of Debian sid in front of a PostgreSQL. Versions before 1.21
// do not support prepared statements.
func startPgBouncer(t testing.TB) *sqlBackend {
	t.Helper()
	sidFolder(t) // before a PostgreSQL starts
	postgres := startPostgreSQL(t, "-c", "fsync=off")
	_, credential := account(t, "postgres")
	server := &sqlServer{directory: directoryOf(t, credential), port: freePort(t), quit: syscall.SIGINT}
	config, users := filepath.Join(server.directory, "pgbouncer.ini"), filepath.Join(server.directory, "users")
	settings := fmt.Sprintf(`[databases]
postgres = host=127.0.0.1 port=%d
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = %d
unix_socket_dir =
auth_type = trust
auth_file = %s
pool_mode = transaction
max_client_conn = 500
ignore_startup_parameters = extra_float_digits
`, postgres.server.port, server.port, users)
	for path, text := range map[string]string{config: settings, users: `"postgres" ""`} {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	server.command = func() *exec.Cmd {
		command := sidCommand(t, "pgbouncer", config)
		command.SysProcAttr = &syscall.SysProcAttr{Credential: credential}
		return command
	}
	backend := postgreSQLBackend(func(testing.TB) string {
		return fmt.Sprintf("postgres://postgres@127.0.0.1:%d/postgres?sslmode=disable", server.port)
	})
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
