package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"github.com/alicebob/miniredis/v2"
)

// in returns a server on any port that keeps its keys in dsn.
func in(dsn string) func(context.Context, io.Writer) error {
	return func(ctx context.Context, stdout io.Writer) error { return run(ctx, "127.0.0.1:0", dsn, stdout) }
}

// Keys work after a restart; they are printed once, and another can be issued.
func TestKeysSurviveARestart(t *testing.T) {
	t.Parallel()
	for name, dsn := range map[string]string{
		"sqlite": "sqlite:" + filepath.Join(t.TempDir(), "100% ours?#1.db"), // no name means anything else to SQLite
		"redis":  "redis://" + miniredis.RunT(t).Addr(),
	} {
		t.Run(name, func(t *testing.T) {
			demo, stop := start(t, in(dsn))
			if err := stop(); err != nil {
				t.Fatal(err)
			}
			var issued bytes.Buffer
			if err := issue(t.Context(), dsn, "another", &issued); err != nil {
				t.Fatal(err)
			}
			another := regexp.MustCompile(`^HTTPKEY_API_KEY=(hk_k_\w{33})\n$`).FindStringSubmatch(issued.String())
			if another == nil {
				t.Fatalf("-issue printed %q", issued.String())
			}
			out, _ := launch(t, in(dsn))
			text := make([]byte, 1<<12)
			n, err := out.Read(text)
			text = text[:n]
			url := regexp.MustCompile(`http://127\.0\.0\.1:\d+/api/v1/users/me/`).Find(text)
			saysHow := bytes.Contains(text, []byte(" -issue LABEL\n"))
			if err != nil || url == nil || !saysHow || bytes.Contains(text, []byte("hk_")) {
				t.Fatalf("the second time it printed:\n%s\n(%v)", text, err)
			}
			for what, key := range map[string]string{
				"API key": demo.apiKey, "service token": demo.serviceToken, "issued key": another[1],
			} {
				status, body, _ := get(t, string(url), key)
				for tries := 0; status == http.StatusServiceUnavailable && tries < 50; tries++ {
					status, body, _ = get(t, string(url), key) // a loaded machine may answer later than Options.Timeout
				}
				if status != http.StatusOK {
					t.Errorf("%s: %d %s", what, status, body)
				}
			}
		})
	}
}

// Only the owner can read the digests, in new files and in files of an earlier version.
func TestDatabaseIsPrivate(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("Windows has no such modes")
	}
	isPrivate := func(t *testing.T, directory string, want int) {
		t.Helper()
		files, err := os.ReadDir(directory)
		if err != nil || len(files) != want {
			t.Errorf("the files are %v (%v), want %d", files, err, want)
		}
		for _, f := range files {
			info, err := f.Info()
			if err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("%s has the mode %v (%v), want 0600", f.Name(), info.Mode(), err)
			}
		}
	}
	t.Run("new", func(t *testing.T) {
		t.Parallel()
		directory := t.TempDir()
		start(t, in("sqlite:"+filepath.Join(directory, "httpkey.db")))
		isPrivate(t, directory, 3) // the database, its log and its index
	})
	t.Run("left", func(t *testing.T) {
		t.Parallel()
		file := filepath.Join(t.TempDir(), "httpkey.db")
		for _, name := range []string{file, file + "-wal", file + "-shm", file + "-journal"} {
			if err := os.WriteFile(name, nil, 0o644); err != nil { //nolint:gosec // the test is of the mode
				t.Fatal(err)
			}
		}
		if err := makePrivate(file); err != nil {
			t.Fatal(err)
		}
		isPrivate(t, filepath.Dir(file), 4)
	})
}

func TestMemoryForgets(t *testing.T) {
	t.Parallel()
	demo, stop := start(t, onAnyPort)
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	again, _ := start(t, onAnyPort)
	if again.apiKey == demo.apiKey {
		t.Error("it printed the same key again")
	}
	if status, _, _ := get(t, again.url+"/api/v1/users/me/", demo.apiKey); status != http.StatusUnauthorized {
		t.Errorf("the first one's key: %d", status)
	}
	err := issue(t.Context(), "memory:", "label", io.Discard)
	if err == nil || !strings.Contains(err.Error(), "HTTPKEY_DSN") {
		t.Errorf("-issue: %v", err)
	}
}

func TestWrongDSN(t *testing.T) {
	t.Parallel()
	for _, dsn := range []string{
		"httpkey.db", "sqlite", "sqlite:", "sqlite::memory:", "bolt:hunter2.db", "hunter2",
		"postgres://ada:hunter2@host:port/db", "postgresql://ada:hunter2@host/db?sslmode=perhaps",
		"postgres:ada:hunter2@host/db",
		"mysql:ada:hunter2@host/db", "mysql:ada:hunter2@tcp(host", "mysql://ada:hunter2@host/db",
		"redis:hunter2", "redis://:hunter2@host:port", "redis://:hunter2@host:6379/db",
	} {
		_, err := open(t.Context(), dsn)
		if !errors.Is(err, errDSN) || !strings.Contains(err.Error(), "HTTPKEY_DSN must be one of\n\tsqlite:FILE\n") {
			t.Errorf("%s: %v", dsn, err)
		} else if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: the error shows the password: %v", dsn, err)
		}
	}
}

func TestUnreachableDSN(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := listener.Addr().String()
	_ = listener.Close()
	for _, dsn := range []string{
		"sqlite:" + filepath.Join(t.TempDir(), "no such directory", "httpkey.db"),
		"postgres://ada:hunter2@" + nobody + "/db",
		"mysql:ada:hunter2@tcp(" + nobody + ")/db",
		"redis://:hunter2@" + nobody,
	} {
		var stdout bytes.Buffer
		err := run(t.Context(), "127.0.0.1:0", dsn, &stdout)
		if err == nil || !strings.Contains(err.Error(), "HTTPKEY_DSN") || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", dsn, err)
		}
		if stdout.Len() > 0 {
			t.Errorf("%s: it printed %q", dsn, stdout.String())
		}
	}
}
