package integration

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// redisServer is a redis-server process.
type redisServer struct {
	t       testing.TB
	port    int
	dir     string
	args    []string
	command *exec.Cmd
	log     bytes.Buffer
}

// startRedis starts a server with nothing in it, which the end of the test ends. The
// settings are lines of a redis.conf.
func startRedis(t testing.TB, settings ...string) *redisServer {
	t.Helper()
	s := newRedis(t, settings...)
	s.start()
	eventually(t, 10*time.Second, s.ping)
	return s
}

func newRedis(t testing.TB, settings ...string) *redisServer {
	t.Helper()
	return redisProcess(t, append([]string{`save ""`, "appendonly no"}, settings...))
}

// redisProcess returns a process that is not started yet.
func redisProcess(t testing.TB, settings []string, args ...string) *redisServer {
	t.Helper()
	s := &redisServer{t: t, port: freePort(t), dir: t.TempDir()}
	config := append([]string{fmt.Sprint("port ", s.port), "bind 127.0.0.1", "dir " + s.dir}, settings...)
	file := filepath.Join(s.dir, "redis.conf")
	if err := os.WriteFile(file, []byte(strings.Join(config, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.args = append([]string{file}, args...)
	t.Cleanup(func() {
		s.end()
		if t.Failed() {
			t.Logf("the log of %s:\n%s", s.address(), s.log.String()[max(0, s.log.Len()-2000):])
		}
	})
	return s
}

func (s *redisServer) address() string { return fmt.Sprintf("127.0.0.1:%d", s.port) }

func (s *redisServer) start() {
	s.t.Helper()
	s.command = exec.Command(tool(s.t, "redis-server", "redis-server"), s.args...)
	s.command.Stdout, s.command.Stderr = &s.log, &s.log
	if err := s.command.Start(); err != nil {
		s.t.Fatal(err)
	}
}

// end kills the process and waits for its end; again, or of none, it does nothing.
func (s *redisServer) end() {
	if s.command == nil {
		return
	}
	_ = s.command.Process.Kill()
	_ = s.command.Wait()
	s.command = nil
}

// stall stops the process, but leaves its connections open, until resume.
func (s *redisServer) stall()  { _ = s.command.Process.Signal(syscall.SIGSTOP) }
func (s *redisServer) resume() { _ = s.command.Process.Signal(syscall.SIGCONT) }

// ping reports that the server is up, if only to ask for a password.
func (s *redisServer) ping() error {
	err := s.do(context.Background(), "PING").Err()
	if err != nil && strings.HasPrefix(err.Error(), "NOAUTH") {
		return nil
	}
	return err
}

// do sends one command on a connection of its own.
func (s *redisServer) do(ctx context.Context, args ...any) *redis.Cmd {
	client := redis.NewClient(&redis.Options{Addr: s.address(), MaxRetries: -1, PoolSize: 1})
	defer func() { _ = client.Close() }()
	return client.Do(ctx, args...)
}

func (s *redisServer) must(args ...any) {
	s.t.Helper()
	if err := s.do(s.t.Context(), args...).Err(); err != nil && !errors.Is(err, redis.Nil) {
		s.t.Fatalf("%v: %v", args, err)
	}
}

// How long a client may take to connect: as package redisstore advises, in tests
// of outages; in all others, long enough for a machine that is busy with tests.
const (
	advisedDial = 300 * time.Millisecond
	patientDial = 5 * time.Second
)

// client returns a client of the server.
func (s *redisServer) client(t testing.TB) *redis.Client { return connect(t, s.address(), patientDial) }

// connect returns a client with the other options that package redisstore advises.
func connect(t testing.TB, address string, dial time.Duration) *redis.Client {
	client := redis.NewClient(&redis.Options{
		Addr: address, MaxRetries: -1, ContextTimeoutEnabled: true, DialTimeout: dial, DialerRetries: 1,
	})
	t.Cleanup(func() { _ = client.Close() })
	return client
}
