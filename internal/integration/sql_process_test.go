package integration

import (
	"bufio"
	"database/sql"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/httpkey/httpkey/sqlstore"
)

// Some tests need processes of their own. They start the test binary anew, to
// run one of these and nothing else.
var sqlChildren = map[string]func(*testing.T, *sql.DB, sqlstore.Dialect){
	"migrate": migrateChild,
	"limit":   limitChild,
	"create":  createChild,
	"use":     useChild,
	"notice":  noticeChild,
	"stick":   stickChild,
}

const (
	childEnv  = "HTTPKEY_TEST_CHILD"
	driverEnv = "HTTPKEY_TEST_DRIVER"
	dsnEnv    = "HTTPKEY_TEST_DSN"
	prefixEnv = "HTTPKEY_TEST_PREFIX"
)

func TestSQLChild(t *testing.T) {
	run := sqlChildren[os.Getenv(childEnv)]
	if run == nil {
		t.Skip("this is for tests that need a process of their own")
	}
	db, err := sql.Open(os.Getenv(driverEnv), os.Getenv(dsnEnv))
	if err != nil {
		t.Fatal(err)
	}
	dialect := map[string]sqlstore.Dialect{
		"pgx": sqlstore.PostgreSQL, "postgres": sqlstore.PostgreSQL, "mysql": sqlstore.MySQL, "sqlite": sqlstore.SQLite,
		"sqlite3": sqlstore.SQLite,
	}[os.Getenv(driverEnv)]
	run(t, db, dialect.WithPrefix(os.Getenv(prefixEnv)))
}

// sqlChild is a process and the lines that it has written.
type sqlChild struct {
	command *exec.Cmd
	lines   chan string // closed at its end
}

func (b *sqlTables) spawn(t *testing.T, name string) *sqlChild {
	t.Helper()
	command := exec.Command(os.Args[0], "-test.run=^TestSQLChild$", "-test.v")
	command.Env = append(os.Environ(), childEnv+"="+name, driverEnv+"="+b.driver, dsnEnv+"="+b.dsn, prefixEnv+"="+b.prefix)
	command.Stderr = os.Stderr
	output, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	child := &sqlChild{command, make(chan string, 1<<20)}
	go func() {
		defer close(child.lines)
		for scanner := bufio.NewScanner(output); scanner.Scan(); {
			child.lines <- scanner.Text()
		}
	}()
	t.Cleanup(func() { _ = command.Process.Kill() })
	return child
}

// wait waits for the end of the process and returns the lines that have the prefix.
func (c *sqlChild) wait(t *testing.T, prefix string) []string {
	t.Helper()
	var found, all []string
	for line := range c.lines {
		all = append(all, line)
		if rest, ok := strings.CutPrefix(line, prefix); ok {
			found = append(found, rest)
		}
	}
	if err := c.command.Wait(); err != nil {
		t.Errorf("the process ended with %v:\n%s", err, strings.Join(all[max(0, len(all)-20):], "\n"))
	}
	return found
}

// next returns what follows a prefix in the next line that has it.
func (c *sqlChild) next(t *testing.T, prefix string) string {
	t.Helper()
	for line := range c.lines {
		if rest, ok := strings.CutPrefix(line, prefix); ok {
			return rest
		}
	}
	t.Fatalf("the process ended without %q", prefix)
	return ""
}

// kill ends the process at once and returns the lines that it had written.
func (c *sqlChild) kill(t *testing.T, prefix string) []string {
	t.Helper()
	if err := c.command.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	var found []string
	for line := range c.lines {
		if rest, ok := strings.CutPrefix(line, prefix); ok {
			found = append(found, rest)
		}
	}
	_ = c.command.Wait()
	return found
}

// loadTime is how long tests under load take: $HTTPKEY_LOAD_SECONDS, or else 2.
func loadTime() time.Duration {
	seconds, err := strconv.Atoi(os.Getenv("HTTPKEY_LOAD_SECONDS"))
	if err != nil || seconds < 1 {
		seconds = 2
	}
	return time.Duration(seconds) * time.Second
}
