package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"syscall"
	"testing"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/cmd/httpkey/internal/dsn"
)

// Each mistake is one clear line on standard error, with its exit code, and without a password.
func TestMistakes(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		dsn  string
		args []string
		code int
		want string
	}{
		"no DSN":          {"", []string{"list"}, exitUsage, "there is no database: set $HTTPKEY_DSN"},
		"DSN form":        {"hunter2://x", []string{"list"}, exitUsage, "one of memory:, sqlite:FILE, postgres://USER:"},
		"PostgreSQL form": {"postgres://u:hunter2@h:x/d", []string{"list"}, exitUsage, "the DSN must be one of"},
		"MySQL form":      {"mysql:u:hunter2@h/d", []string{"list"}, exitUsage, "the DSN must be one of"},
		"Redis form":      {"redis:hunter2", []string{"list"}, exitUsage, "the DSN must be one of"},
		"no file":         {"sqlite:/no/such/file", []string{"list"}, exitFailure, "no such file or directory (httpkey"},
		"no directory":    {"sqlite:/no/such/file", []string{"migrate"}, exitFailure, "no such file or directory"},
		"no PostgreSQL":   {"postgres://u:hunter2@127.0.0.1:1/d", []string{"list"}, exitFailure, "does not answer"},
		"no MySQL":        {"mysql:u:hunter2@tcp(127.0.0.1:1)/d", []string{"list"}, exitFailure, "does not answer"},
		"no Redis":        {"redis://:hunter2@127.0.0.1:1", []string{"doctor"}, exitFailure, "does not answer"},
		"command":         {"memory:", []string{"lsit"}, exitUsage, `unknown command "lsit" for "httpkey"`},
		"DSN as command":  {"memory:", []string{"redis://:hunter2@h"}, exitUsage, "unknown command"},
		"flag":            {"memory:", []string{"list", "--foo"}, exitUsage, "unknown flag: --foo (see httpkey list --help)"},
		"arguments":       {"memory:", []string{"show"}, exitUsage, "accepts 1 arg(s)"},
		"key as argument": {"memory:", []string{"verify", "hunter2"}, exitUsage, "(see httpkey verify --help)"},
		"no key":          {"memory:", []string{"verify"}, exitUsage, "there is no key on standard input"},
		"kind":            {"memory:", []string{"issue", "--kind=x"}, exitUsage, "--kind: the kind must be api_key or"},
		"kind of a list":  {"memory:", []string{"list", "--kind=x"}, exitUsage, "--kind: the kind must be"},
		"limit":           {"memory:", []string{"issue", "--limit=60"}, exitUsage, "--limit: a limit must be as 60/minute"},
		"limit below 0":   {"memory:", []string{"issue", "--limit=-1/day"}, exitUsage, "--limit: invalid limit"},
		"network":         {"memory:", []string{"issue", "--network=x"}, exitUsage, "--network: a network must be as"},
		"metadata":        {"memory:", []string{"issue", "--metadata=x"}, exitUsage, "--metadata: an attribute must be as"},
		"expiry":          {"memory:", []string{"issue", "--expires=soon"}, exitUsage, "--expires: it must be a time from"},
		"past expiry":     {"memory:", []string{"issue", "--expires=1999-01-01"}, exitFailure, "it must be in the future"},
		"scope":           {"memory:", []string{"issue", "--scope=a b"}, exitFailure, "Scopes"},
		"age":             {"memory:", []string{"due", "--age=-1h"}, exitUsage, "it must be a time as 90d"},
		"no age":          {"memory:", []string{"due", "--age=0"}, exitUsage, "--age must be above 0"},
		"no idle time":    {"memory:", []string{"unused", "--idle=0d"}, exitUsage, "--idle must be above 0"},
		"all keys":        {"memory:", []string{"revoke-all", "--yes"}, exitUsage, "name the keys with --user, --workspace"},
		"format":          {"memory:", []string{"import", "keys.txt"}, exitUsage, "--format csv or --format jsonl"},
		"no import":       {"memory:", []string{"import", "/no/keys.csv"}, exitFailure, "no such file or directory"},
		"prefix":          {"memory:", []string{"list", "--prefix=-"}, exitUsage, "Prefix"},
		"unknown key":     {"memory:", []string{"show", "a\x1b[31m"}, exitNotFound, `a\u001b[31m: token not found`},
		"usage of none":   {"memory:", []string{"usage", "a"}, exitNotFound, "a: token not found"},
		"rotate none":     {"memory:", []string{"rotate", "a"}, exitNotFound, "a: rotate: token not found"},
		"rotate at once":  {"memory:", []string{"rotate", "a", "--grace=0"}, exitRefused, "repeat the command with --yes"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := &shell{t: t, dsn: test.dsn, open: dsn.Open}
			code, out, messages := s.run("", test.args...)
			if code != test.code || !strings.Contains(messages, test.want) {
				t.Errorf("exit %d: %s\nwant exit %d: %s", code, messages, test.code, test.want)
			}
			if out != "" || strings.Count(messages, "\n") != 1 || !strings.HasPrefix(messages, "httpkey: ") {
				t.Errorf("want one line on standard error, not %q and %q", out, messages)
			}
			if strings.Contains(messages, "hunter2") && !strings.Contains(name, "argument") {
				t.Errorf("it shows a password: %s", messages)
			}
		})
	}
}

// A command does not touch tables of another version. migrate asks before it upgrades them.
func TestTablesOfOtherVersions(t *testing.T) {
	t.Parallel()
	s := newShell(t, "sqlite")
	setVersion := func(statement string) {
		backend, err := dsn.Open(s.dsn, false)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = backend.Close() }()
		if _, err := backend.SQL.ExecContext(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	expect := func(code int, want string, args ...string) {
		t.Helper()
		got, _, messages := s.run("", args...)
		if got != code || !strings.Contains(messages, want) {
			t.Errorf("httpkey %q: exit %d: %s\nwant exit %d: %s", args, got, messages, code, want)
		}
	}
	expect(exitOK, "the tables are at version 4 already", "migrate")
	setVersion("DELETE FROM httpkey_migrations WHERE version = 4")
	expect(exitFailure, "the tables are at version 3, this program needs 4: run httpkey migrate", "list")
	expect(exitRefused, "repeat the command with --yes", "migrate")
	setVersion("INSERT INTO httpkey_migrations VALUES (4, 0), (5, 0)")
	expect(exitFailure, "newer schema than this program knows", "list")
	expect(exitFailure, "newer schema than this program knows", "migrate")
	expect(exitFailure, "1 of 2 checks found a fault", "doctor")
	setVersion("DROP TABLE httpkey_migrations")
	expect(exitFailure, "run httpkey migrate", "list")
}

// closed is standard output whose reader has left.
type closed struct{}

func (closed) Write([]byte) (int, error) { return 0, syscall.EPIPE }

// full is standard output on a full disk.
type full struct{}

func (full) Write([]byte) (int, error) { return 0, errors.New("no space left on device") }

// A reader of a list that has seen enough is no error.
func TestClosedPipe(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"list"}, {"list", "--json"}, {"due", "--age=1ns"}} {
		s := newShell(t, "memory")
		s.must("", "issue")
		var messages bytes.Buffer
		a := s.app("", closed{}, &messages)
		if code := a.run(t.Context(), args); code != exitOK || messages.Len() > 0 {
			t.Errorf("httpkey %q: exit %d: %s", args, code, &messages)
		}
	}
}

// A key that nobody could read does not stay: issue deletes it, and rotate leaves the old key to be
// rotated again.
func TestKeyThatCannotBeWritten(t *testing.T) {
	t.Parallel()
	s := newShell(t, "memory")
	s.must("", "issue", "--label=old")
	old := id.FindString(s.log.String())
	for _, args := range [][]string{{"issue", "--label=lost"}, {"rotate", old, "--grace=1h"}} {
		var messages bytes.Buffer
		for _, out := range []io.Writer{closed{}, full{}} {
			a := s.app("", out, &messages)
			code := a.run(t.Context(), args)
			if code != exitFailure || !strings.Contains(messages.String(), "could not be written") {
				t.Errorf("httpkey %q: exit %d: %s", args, code, &messages)
			}
		}
	}
	listed := s.must("", "list", "--json")
	if strings.Count(listed, `"is_active":true`) != 1 || strings.Contains(listed, "lost") {
		t.Errorf("keys that nobody has work:\n%s", listed)
	}
	if key := s.must("", "rotate", old); !secret.MatchString(key) {
		t.Errorf("another rotation wrote %q", key)
	}
}

// broken fails as a database does that goes away.
type broken struct{ httpkey.TokenStore }

func (broken) List(context.Context, httpkey.Filter) ([]httpkey.Token, error) {
	return nil, errors.New("dial postgres://u:hunter2@db/d?password=hunter2:\n\trefused, password=hunter2 user=u")
}

// A driver's error is one line without the password.
func TestErrorOfStore(t *testing.T) {
	t.Parallel()
	s := newShell(t, "memory")
	open := s.open
	s.open = func(name string, create bool) (*dsn.Backend, error) {
		backend, err := open(name, create)
		backend.Store = broken{backend.Store}
		return backend, err
	}
	code, _, messages := s.run("", "list")
	if code != exitFailure || strings.Count(messages, "\n") != 1 || strings.Contains(messages, "hunter2") {
		t.Errorf("exit %d: %s", code, messages)
	}
}

// An interrupted command says so in one line.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"list"}, {"issue"}, {"verify"}} {
		s := newShell(t, "sqlite")
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		var out, messages bytes.Buffer
		code := s.app("", &out, &messages).run(ctx, args)
		if code != exitFailure || out.Len() > 0 || strings.Count(messages.String(), "\n") != 1 ||
			!strings.Contains(messages.String(), "interrupted") {
			t.Errorf("httpkey %q: exit %d: %s%s", args, code, &out, &messages)
		}
	}
}
