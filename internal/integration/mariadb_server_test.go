package integration

import (
	"database/sql"
	"fmt"
	"io"
	"log"
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
	install, err := exec.LookPath("mariadb-install-db")
	if err != nil {
		missing(t, "mariadb-install-db", "mariadb-server")
	}
	name, credential := account(t, "mysql")
	server := &sqlServer{directory: directoryOf(t, credential), port: freePort(t), quit: syscall.SIGTERM}
	data := filepath.Join(server.directory, "data")
	as := func(command *exec.Cmd) *exec.Cmd {
		command.Dir = server.directory
		if name != "" {
			command.Args = append(command.Args, "--user="+name)
		}
		return command
	}
	mustRun(t, as(exec.Command(install,
		"--no-defaults", "--datadir="+data, "--auth-root-authentication-method=normal", "--skip-test-db")))
	server.command = func() *exec.Cmd {
		program, err := exec.LookPath("mariadbd")
		if err != nil {
			program = "/usr/sbin/mariadbd" // not in every PATH
		}
		return as(exec.Command(program, append([]string{"--no-defaults", "--datadir=" + data,
			"--port=" + strconv.Itoa(server.port), "--bind-address=127.0.0.1",
			"--socket=" + filepath.Join(server.directory, "socket"), "--pid-file=" + filepath.Join(server.directory, "pid"),
			"--max-connections=300", "--innodb-buffer-pool-size=512M", "--innodb-log-file-size=256M"}, options...)...))
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
	return &sqlBackend{
		dialect:      sqlstore.MySQL,
		driver:       "mysql",
		server:       server,
		dsn:          func(testing.TB) string { return dsn("httpkey") },
		outage:       "&timeout=1s",
		serializable: "&tx_isolation='SERIALIZABLE'",
		readOnly:     "SET GLOBAL read_only = ON",
		readWrite:    "SET GLOBAL read_only = OFF",
		superuser:    "root",
		connections:  "SELECT count(*) FROM information_schema.processlist WHERE command <> 'Daemon'",
		zones: []string{
			"&time_zone='%2B00:00'", "&time_zone='%2B13:00'&parseTime=true&loc=Local", "&time_zone='-09:30'",
		},
	}
}
