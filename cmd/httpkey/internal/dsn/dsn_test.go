package dsn_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/httpkey/httpkey/cmd/httpkey/internal/dsn"
)

// Every form opens its backend, without a connection.
func TestOpen(t *testing.T) {
	t.Parallel()
	for name, isSQL := range map[string]bool{
		"memory:": false, "redis://:p@host:6379": false, "rediss://u:p@host": false,
		"sqlite:" + filepath.Join(t.TempDir(), "a?b.db"): true,
		"postgres://u:p@host/d":                          true,
		"postgresql://u:p@host/d":                        true, "mysql:u:p@tcp(host)/d": true,
	} {
		backend, err := dsn.Open(name, true)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if backend.Store == nil || backend.Limiter == nil || backend.Usage == nil || (backend.SQL != nil) != isSQL {
			t.Errorf("%s: %+v", name, backend)
		}
		if err := backend.Close(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A DSN of no known form is refused without a word of it.
func TestOpenOfOtherForms(t *testing.T) {
	t.Parallel()
	for _, name := range []string{
		"", "hunter2", "sqlite:", "sqlite::memory:", "postgres://u:hunter2@h:x/", "mysql:u:hunter2@h", "redis:hunter2",
		"redis://:hunter2@h/x", "mongodb://u:hunter2@h",
	} {
		if _, err := dsn.Open(name, true); !errors.Is(err, dsn.ErrForm) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: %v", name, err)
		}
	}
}

// A file is made on demand only, and only its owner can read it.
func TestFileOfSQLite(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "keys.db")
	if _, err := dsn.Open("sqlite:"+file, false); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}
	backend, err := dsn.Open("sqlite:"+file, true)
	if err != nil {
		t.Fatal(err)
	}
	if err := backend.Close(); err != nil {
		t.Error(err)
	}
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm()&0o077 != 0 && os.PathSeparator == '/' {
		t.Errorf("others may read it: %v", info.Mode())
	}
}

func TestRedact(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ dsn, text, want string }{
		"nothing":        {"memory:", "no such file", "no such file"},
		"the DSN":        {"postgres://u:hunter2@h/d", "open postgres://u:hunter2@h/d: x", "open [REDACTED]: x"},
		"a password":     {"redis://:hunter2@h", "WRONGPASS hunter2", "WRONGPASS [REDACTED]"},
		"escaped":        {"postgres://u:a%20b@h/d", "auth 'a b' a%20b a+b", "auth '[REDACTED]' [REDACTED] [REDACTED]"},
		"in the query":   {"postgres://h/d?password=hunter2", "bad hunter2", "bad [REDACTED]"},
		"of MySQL":       {"mysql:u:hunter2@tcp(h)/d", "denied hunter2", "denied [REDACTED]"},
		"another DSN":    {"", "open postgres://u:hunter2@h/d: x", "open postgres://[REDACTED]@h/d: x"},
		"with an @":      {"", "postgres://u:hun@ter2@h/d", "postgres://[REDACTED]@h/d"},
		"another MySQL":  {"", "open u:hunter2@tcp(h)/d", "open [REDACTED]@tcp(h)/d"},
		"key and value":  {"", "host=h password=hunter2 user=u", "host=h password=[REDACTED] user=u"},
		"quoted value":   {"", "password='hunter 2' user=u", "password=[REDACTED] user=u"},
		"the forms stay": {"redis://:hunter2@h", "hunter2: " + dsn.ErrForm.Error(), "[REDACTED]: " + dsn.ErrForm.Error()},
	} {
		if got := dsn.Redact(test.text, test.dsn); got != test.want {
			t.Errorf("%s: %q, want %q", name, got, test.want)
		}
	}
}
