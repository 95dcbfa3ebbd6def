//go:build linux || darwin

package main

import (
	"bytes"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
)

// patience is the time that a command may take on a busy machine.
const patience = 30 * time.Second

// binary is the built command, which every test shares.
var binary string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "httpkey")
	if err != nil {
		panic(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil { //nolint:gosec // another user runs it in a test
		panic(err)
	}
	binary = filepath.Join(dir, "httpkey")
	build := exec.CommandContext(context.Background(), "go", "build", "-o", binary, ".")
	if text, err := build.CombinedOutput(); err != nil {
		panic(string(text))
	}
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// program returns the built command with a database.
func program(t *testing.T, dsn string, args ...string) *exec.Cmd {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, binary, args...)
	cmd.Env = append(os.Environ(), "HTTPKEY_DSN="+dsn, "HTTPKEY_PEPPER=")
	return cmd
}

// output runs the built command, which must succeed.
func output(t *testing.T, dsn string, args ...string) string {
	t.Helper()
	var messages bytes.Buffer
	cmd := program(t, dsn, args...)
	cmd.Stderr = &messages
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("httpkey %q: %v: %s", args, err, &messages)
	}
	return strings.TrimSuffix(string(out), "\n")
}

// migrated returns the DSN of a new database, in a directory that others may enter.
func migrated(t *testing.T) (dsn, dir string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "httpkey") //nolint:usetesting // the parents of t.TempDir are private
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = os.Chmod(dir, 0o700) //nolint:gosec // its owner removes what is in it
		_ = os.RemoveAll(dir)
	})
	dsn = "sqlite:" + filepath.Join(dir, "keys.db")
	output(t, dsn, "migrate")
	return dsn, dir
}

// conversation is a command on a terminal.
type conversation struct {
	t      *testing.T
	cmd    *exec.Cmd
	screen *os.File
	seen   string
}

func converse(t *testing.T, dsn string, args ...string) *conversation {
	t.Helper()
	cmd := program(t, dsn, args...)
	screen, err := pty.Start(cmd)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = screen.Close() })
	return &conversation{t: t, cmd: cmd, screen: screen}
}

// await reads the screen until it shows a text.
func (c *conversation) await(text string) {
	c.t.Helper()
	buffer := make([]byte, 1024)
	for !strings.Contains(c.seen, text) {
		n, err := c.screen.Read(buffer)
		c.seen += string(buffer[:n])
		if err != nil {
			c.t.Fatalf("the screen shows %q, and not %q: %v", c.seen, text, err)
		}
	}
}

func (c *conversation) send(text string) {
	c.t.Helper()
	if _, err := io.WriteString(c.screen, text); err != nil {
		c.t.Fatal(err)
	}
}

// end waits for the end of the command, and returns its exit code.
func (c *conversation) end() int {
	rest, _ := io.ReadAll(c.screen) // it ends with an error on Linux
	c.seen += string(rest)
	_ = c.cmd.Wait() // the exit code says it
	return c.cmd.ProcessState.ExitCode()
}

// On a terminal, the command asks before it ends a key, and does not show a key that is typed.
func TestTerminal(t *testing.T) {
	t.Parallel()
	dsn, _ := migrated(t)
	key := output(t, dsn, "issue", "--label", "ci")
	token := id.FindString(output(t, dsn, "list"))

	no := converse(t, dsn, "revoke", token)
	no.await("Revoke " + token + " (ci)? [y/N] ")
	no.send("\n")
	if code := no.end(); code != exitRefused || !strings.Contains(no.seen, "nothing was changed") {
		t.Errorf("exit %d: %s", code, no.seen)
	}
	interrupted := converse(t, dsn, "delete", token)
	interrupted.await("[y/N] ")
	interrupted.send("\x03")
	if code := interrupted.end(); code != exitFailure || !strings.Contains(interrupted.seen, "httpkey: interrupted") {
		t.Errorf("exit %d: %s", code, interrupted.seen)
	}
	verify := converse(t, dsn, "verify")
	verify.await("Key: ")
	verify.send(key + "\r") // as the key Enter does
	if code := verify.end(); code != exitOK || strings.Contains(verify.seen, key) {
		t.Errorf("exit %d: %s", code, verify.seen)
	}
	yes := converse(t, dsn, "revoke", token)
	yes.await("[y/N] ")
	yes.send("y\n")
	if code := yes.end(); code != exitOK || !strings.Contains(yes.seen, "is revoked") {
		t.Errorf("exit %d: %s", code, yes.seen)
	}
	if shown := output(t, dsn, "show", token); !strings.Contains(shown, "revoked") {
		t.Errorf("the key is as it was: %s", shown)
	}
}

// A terminal that was hidden for a key shows again what is typed after an interrupt.
func TestInterruptRestoresTerminal(t *testing.T) {
	t.Parallel()
	dsn, _ := migrated(t)
	screen, tty, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = screen.Close() }()
	c := &conversation{t: t, cmd: program(t, dsn, "verify"), screen: screen}
	c.cmd.Stdin, c.cmd.Stdout, c.cmd.Stderr = tty, tty, tty
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	late := time.AfterFunc(patience, func() { _ = tty.Close() }) // ends a read of a screen that shows nothing
	defer late.Stop()
	c.await("Key: ")
	if err := c.cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	c.await("httpkey: interrupted")
	_ = c.cmd.Wait() // the exit code says it
	c.send("shown")
	c.await("shown")
	_ = tty.Close()
	if code := c.end(); code != exitFailure {
		t.Errorf("exit %d: %s", code, c.seen)
	}
}

// A reader that leaves ends a list without a message. A key that nobody could read is gone.
func TestBrokenPipe(t *testing.T) {
	t.Parallel()
	dsn, _ := migrated(t)
	output(t, dsn, "issue", "--label=known")
	for _, test := range []struct {
		args    []string
		code    int
		message string
	}{
		{[]string{"list"}, exitOK, ""},
		{[]string{"issue", "--label=lost"}, exitFailure, "could not be written, and is deleted"},
	} {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		_ = r.Close() // the reader has left
		var messages bytes.Buffer
		cmd := program(t, dsn, test.args...)
		cmd.Stdout, cmd.Stderr = w, &messages
		_ = cmd.Run() // the exit code says it
		_ = w.Close()
		if code := cmd.ProcessState.ExitCode(); code != test.code || !strings.Contains(messages.String(), test.message) ||
			test.message == "" && messages.Len() > 0 {
			t.Errorf("httpkey %q: exit %d: %s", test.args, code, &messages)
		}
	}
	if listed := output(t, dsn, "list"); strings.Contains(listed, "lost") {
		t.Errorf("a key that nobody has works:\n%s", listed)
	}
}

// A database that cannot be written can be read, and a change is one clear line.
func TestReadOnlyDatabase(t *testing.T) {
	t.Parallel()
	dsn, dir := migrated(t)
	output(t, dsn, "issue", "--label=known")
	if err := os.Chmod(filepath.Join(dir, "keys.db"), 0o444); err != nil { //nolint:gosec // another user is to read it
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o555); err != nil { //nolint:gosec // as above
		t.Fatal(err)
	}
	for _, test := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"list"}, exitOK, "known"},
		{[]string{"issue"}, exitFailure, "readonly database"},
		{[]string{"doctor"}, exitFailure, "2 of 4 checks found a fault"},
	} {
		var messages bytes.Buffer
		cmd := program(t, dsn, test.args...)
		cmd.Dir, cmd.SysProcAttr = "/", asNobody()
		cmd.Stderr = &messages
		out, _ := cmd.Output() // the exit code says it
		code, all := cmd.ProcessState.ExitCode(), string(out)+messages.String()
		if code != test.code || !strings.Contains(all, test.want) || strings.Count(messages.String(), "\n") > 1 {
			t.Errorf("httpkey %q: exit %d: %s", test.args, code, all)
		}
	}
}

// asNobody makes a command of root one of a user whom permissions bind.
func asNobody() *syscall.SysProcAttr {
	if os.Getuid() != 0 {
		return nil
	}
	return &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
}
