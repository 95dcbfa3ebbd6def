package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/httpkey/httpkey/cmd/httpkey/internal/dsn"
)

// shell runs commands on one database, and keeps what they write.
type shell struct {
	t       *testing.T
	dsn     string
	open    func(string, bool) (*dsn.Backend, error)
	env     map[string]string
	secrets []string // what issue and rotate wrote
	log     strings.Builder
}

// shared keeps a backend in memory from one command to the next.
func shared(t *testing.T) func(string, bool) (*dsn.Backend, error) {
	t.Helper()
	backend, err := dsn.Open("memory:", false)
	if err != nil {
		t.Fatal(err)
	}
	return func(string, bool) (*dsn.Backend, error) { return backend, nil }
}

// newShell returns a shell on a database in memory, or in a new file.
func newShell(t *testing.T, database string) *shell {
	t.Helper()
	if database == "memory" {
		return &shell{t: t, dsn: "memory:", open: shared(t)}
	}
	s := &shell{t: t, dsn: "sqlite:" + filepath.Join(t.TempDir(), "keys.db"), open: dsn.Open}
	if code, _, messages := s.run("", "migrate"); code != exitOK {
		t.Fatalf("migrate: %d, %s", code, messages)
	}
	s.log.Reset()
	return s
}

// app returns a run of the command without a terminal.
func (s *shell) app(input string, out, messages io.Writer) *app {
	return &app{
		in: bufio.NewReader(strings.NewReader(input)), out: out, messages: messages, open: s.open,
		getenv: func(name string) string {
			if name == "HTTPKEY_DSN" {
				return s.dsn
			}
			return s.env[name]
		},
	}
}

// run runs one command, and returns its exit code, standard output and standard error.
func (s *shell) run(input string, args ...string) (code int, out, messages string) {
	s.t.Helper()
	var stdout, stderr bytes.Buffer
	code = s.app(input, &stdout, &stderr).run(s.t.Context(), args)
	out, messages = stdout.String(), stderr.String()
	s.secrets = append(s.secrets, secret.FindAllString(out, -1)...)
	if secret.MatchString(messages) {
		s.t.Errorf("httpkey %q writes a key to standard error: %s", args, messages)
	}
	s.record(args, code, out, messages)
	return code, out, messages
}

// record adds a command to the transcript.
func (s *shell) record(args []string, code int, out, messages string) {
	fmt.Fprintf(&s.log, "$ httpkey %s\n", strings.Join(args, " "))
	for line := range strings.Lines(out) {
		fmt.Fprintf(&s.log, "out  %s", line)
	}
	for line := range strings.Lines(messages) {
		fmt.Fprintf(&s.log, "err  %s", line)
	}
	if code != exitOK {
		fmt.Fprintf(&s.log, "exit %d\n", code)
	}
	s.log.WriteString("\n")
}

// must runs a command that must succeed, and returns its output without the last newline.
func (s *shell) must(input string, args ...string) string {
	s.t.Helper()
	code, out, messages := s.run(input, args...)
	if code != exitOK {
		s.t.Fatalf("httpkey %q: exit %d: %s", args, code, messages)
	}
	return strings.TrimSuffix(out, "\n")
}

var (
	secret = regexp.MustCompile(`hk_[ks]_[0-9A-Za-z]{33}`)
	hint   = regexp.MustCompile(`(key +…|"hint":"|  …)[0-9A-Za-z]{4}`)
	id     = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}`)
)

// transcript returns what all commands wrote, with names of the same width in place of what is
// random.
func (s *shell) transcript() string {
	text := s.log.String()
	numbered := func(pattern *regexp.Regexp, format string) {
		names := map[string]string{}
		text = pattern.ReplaceAllStringFunc(text, func(found string) string {
			if names[found] == "" {
				names[found] = fmt.Sprintf(format, len(names)+1)
			}
			return names[found]
		})
	}
	numbered(id, "00000000-0000-7000-8000-%012d")
	numbered(secret, "(the secret of key %d)")
	return hint.ReplaceAllString(text, "${1}hint")
}

// golden compares a transcript with a file in testdata, which UPDATE=1 writes.
func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name+".txt")
	if os.Getenv("UPDATE") != "" {
		if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != strings.ReplaceAll(string(want), "\r", "") {
		t.Errorf("it wrote\n%s\nwant, as in %s,\n%s", got, file, want)
	}
}
