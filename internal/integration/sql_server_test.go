package integration

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime/pprof"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// sqlServer is a database server of the test's own, in a directory and on a port of its own.
type sqlServer struct {
	directory string
	port      int
	command   func() *exec.Cmd
	ping      func() error
	quit      syscall.Signal // ends it in order, even with clients connected
	running   *exec.Cmd
	exited    chan struct{}
}

// start runs the server and waits until it answers.
func (s *sqlServer) start(t testing.TB) {
	t.Helper()
	deadline := time.Now().Add(60 * time.Second)
	for {
		s.run(t)
		for s.alive() && time.Now().Before(deadline) {
			if s.ping() == nil {
				return
			}
			time.Sleep(50 * time.Millisecond) // between two pings
		}
		if time.Now().After(deadline) {
			s.stop(syscall.SIGKILL)
			t.Fatalf("%s did not start:\n%s", s.running.Path, s.log())
		}
		time.Sleep(200 * time.Millisecond) // what a killed one left is not cleared away yet
	}
}

func (s *sqlServer) run(t testing.TB) {
	t.Helper()
	log, err := os.OpenFile(filepath.Join(s.directory, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = log.Close() }()
	s.running = s.command()
	s.running.Stdout, s.running.Stderr = log, log
	if err := s.running.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan struct{})
	s.exited = exited
	go func(running *exec.Cmd) {
		pprof.SetGoroutineLabels(context.Background()) // it outlives the test that has started the server again
		_ = running.Wait()
		close(exited)
	}(s.running)
}

func (s *sqlServer) alive() bool {
	select {
	case <-s.exited:
		return false
	default:
		return true
	}
}

// stop sends a signal and waits until the server is gone.
func (s *sqlServer) stop(signal syscall.Signal) {
	_ = s.running.Process.Signal(signal)
	select {
	case <-s.exited:
	case <-time.After(20 * time.Second):
		_ = s.running.Process.Kill()
		<-s.exited
	}
}

// stall stops the server's processes, but leaves its connections open, until resume or the test's end.
func (s *sqlServer) stall(t testing.TB) {
	t.Cleanup(func() { s.resume(t) })
	s.signal(t, syscall.SIGSTOP)
}

func (s *sqlServer) resume(t testing.TB) { s.signal(t, syscall.SIGCONT) }

// signal sends a signal to the server's first process, and then to those that this has
// started, which are as many as PostgreSQL has connections.
func (s *sqlServer) signal(t testing.TB, signal syscall.Signal) {
	t.Helper()
	first := s.running.Process.Pid
	if err := syscall.Kill(first, signal); err != nil {
		t.Fatal(err)
	}
	list, err := exec.Command("ps", "-A", "-o", "pid=,ppid=").Output()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(list)) {
		var pid, parent int
		if _, err := fmt.Sscan(line, &pid, &parent); err == nil && parent == first {
			_ = syscall.Kill(pid, signal) // unless it has just ended
		}
	}
}

func (s *sqlServer) address() string { return fmt.Sprintf("127.0.0.1:%d", s.port) }

func (s *sqlServer) log() string {
	text, _ := os.ReadFile(filepath.Join(s.directory, "log"))
	return string(text[max(0, len(text)-4000):])
}

// account is whom a server runs as, which must not be root: one of these users,
// or nil for whoever runs the tests.
func account(t testing.TB, names ...string) (name string, credential *syscall.Credential) {
	t.Helper()
	if os.Getuid() != 0 {
		return "", nil
	}
	for _, name := range append(names, "nobody") {
		account, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err := strconv.ParseUint(account.Uid, 10, 32)
		if err != nil {
			t.Fatal(err)
		}
		gid, err := strconv.ParseUint(account.Gid, 10, 32)
		if err != nil {
			t.Fatal(err)
		}
		return name, &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	}
	t.Fatal("there is no user but root to run a server as")
	return "", nil
}

// directoryOf makes a directory for a server that runs under credential.
func directoryOf(t testing.TB, credential *syscall.Credential) string {
	t.Helper()
	directory := t.TempDir()
	if credential != nil {
		if err := os.Chmod(filepath.Dir(directory), 0o711); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(directory, int(credential.Uid), int(credential.Gid)); err != nil {
			t.Fatal(err)
		}
	}
	return directory
}

func mustRun(t testing.TB, command *exec.Cmd) {
	t.Helper()
	var output bytes.Buffer
	command.Stdout, command.Stderr = &output, &output
	if err := command.Run(); err != nil {
		t.Fatalf("%v: %v\n%s", command.Args, err, output.String())
	}
}
