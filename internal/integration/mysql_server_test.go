package integration

import (
	"database/sql"
	"fmt"
	"io"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"

	"github.com/go-sql-driver/mysql"

	"github.com/httpkey/httpkey/sqlstore"
)

func init() {
	// It reports connections that a killed server closes.
	_ = mysql.SetLogger(log.New(io.Discard, "", 0))
}

func startMariaDB(t testing.TB, options ...string) *sqlBackend {
	t.Helper()
	install := tool(t, "mariadb-install-db", "mariadb-server")
	program, err := exec.LookPath("mariadbd")
	if err != nil {
		program = "/usr/sbin/mariadbd" // not in every PATH
	}
	backend := startMySQLServer(t,
		exec.Command(install, "--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db"),
		exec.Command(program, append([]string{"--no-defaults", "--innodb-log-file-size=256M",
			"--max-recursive-iterations=10000000"}, options...)...))
	backend.serializable = "&tx_isolation='SERIALIZABLE'"
	backend.connections = "SELECT variable_value FROM information_schema.global_status " +
		"WHERE variable_name = 'Threads_connected'"
	backend.deadlocks = "SELECT variable_value FROM information_schema.global_status " +
		"WHERE variable_name = 'Innodb_deadlocks'"
	return backend
}

// startMySQL starts the newest MySQL, which Debian has only in sid.
func startMySQL(t testing.TB, options ...string) *sqlBackend {
	t.Helper()
	usr := sidFolder(t) + "/usr"
	mysqld := func(options ...string) *exec.Cmd {
		installed := []string{"--no-defaults", "--basedir=" + usr,
			"--lc-messages-dir=" + usr + "/share/mysql", "--plugin-dir=" + usr + "/lib/mysql/plugin", "--secure-file-priv=NULL"}
		return sidCommand(t, "mysqld", append(installed, options...)...)
	}
	backend := startMySQLServer(t, mysqld("--initialize-insecure"),
		mysqld(append([]string{"--mysqlx=OFF", "--skip-log-bin", "--innodb-redo-log-capacity=256M",
			"--cte-max-recursion-depth=10000000"}, options...)...))
	backend.serializable = "&transaction_isolation='SERIALIZABLE'"
	backend.connections = "SELECT variable_value FROM performance_schema.global_status " +
		"WHERE variable_name = 'Threads_connected'"
	backend.deadlocks = "SELECT count FROM information_schema.innodb_metrics WHERE name = 'lock_deadlocks'"
	backend.deprecations = "SELECT sum(sum_error_raised) FROM performance_schema.events_errors_summary_global_by_error " +
		"WHERE error_name LIKE '%DEPRECATED%'"
	return backend
}

// startMySQLServer runs install and then program. Both have the same new data directory.
func startMySQLServer(t testing.TB, install, program *exec.Cmd) *sqlBackend {
	t.Helper()
	name, credential := account(t, "mysql")
	server := &sqlServer{directory: directoryOf(t, credential), port: freePort(t), quit: syscall.SIGTERM}
	command := func(of *exec.Cmd, options ...string) *exec.Cmd {
		// The first option must be --no-defaults.
		command := exec.Command(of.Path, append(of.Args[1:len(of.Args):len(of.Args)],
			append(options, "--datadir="+filepath.Join(server.directory, "data"))...)...)
		command.Dir = server.directory
		command.Env = append(os.Environ(), "TMPDIR="+server.directory) // MariaDB clears it when it starts
		if name != "" {
			command.Args = append(command.Args, "--user="+name)
		}
		return command
	}
	mustRun(t, command(install))
	server.command = func() *exec.Cmd {
		return command(program, "--port="+strconv.Itoa(server.port), "--bind-address=127.0.0.1",
			"--socket="+filepath.Join(server.directory, "socket"), "--pid-file="+filepath.Join(server.directory, "pid"),
			"--max-connections=600", "--innodb-buffer-pool-size=512M")
	}
	dsn := func(database string) string {
		return fmt.Sprintf("root@tcp(127.0.0.1:%d)/%s?", server.port, database)
	}
	server.ping = func() error {
		db, err := sql.Open("mysql", dsn(""))
		if err != nil {
			return err
		}
		defer func() { _ = db.Close() }()
		_, err = db.Exec("CREATE DATABASE IF NOT EXISTS httpkey")
		return err
	}
	server.start(t)
	t.Cleanup(func() { server.stop(server.quit) })
	backend := mySQLBackend(func(testing.TB) string { return dsn("httpkey") })
	backend.server = server
	return backend
}

func mySQLBackend(dsn func(testing.TB) string) *sqlBackend {
	return &sqlBackend{
		dialect:   sqlstore.MySQL,
		driver:    "mysql",
		dsn:       dsn,
		outage:    "&timeout=1s",
		readOnly:  "SET GLOBAL read_only = ON",
		readWrite: "SET GLOBAL read_only = OFF",
		superuser: "root",
		zones: []string{
			"&time_zone='%2B00:00'", "&time_zone='%2B13:00'&parseTime=true&loc=Local", "&time_zone='-09:30'",
		},
	}
}
