package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/httpkeytest"
	"github.com/httpkey/httpkey/memstore"
)

// printed is the announcement of a server that starts.
type printed struct{ apiKey, serviceToken, url string }

var announced = regexp.MustCompile(`^HTTPKEY_API_KEY=(hk_k_\w{33})
HTTPKEY_SERVICE_TOKEN=(hk_s_\w{33})
curl -i -H 'X-Api-Key: (hk_k_\w{33})' (http://127\.0\.0\.1:[1-9]\d*)/api/v1/users/me/
Open (http://127\.0\.0\.1:[1-9]\d*)/settings/api-tokens/
$`)

// readAnnouncement reads four lines and no more.
func readAnnouncement(t *testing.T, stdout io.Reader) printed {
	t.Helper()
	var text strings.Builder
	for lines := bufio.NewReader(stdout); strings.Count(text.String(), "\n") < 4; {
		line, err := lines.ReadString('\n')
		text.WriteString(line)
		if err != nil {
			break
		}
	}
	match := announced.FindStringSubmatch(text.String())
	if match == nil || match[1] != match[3] || match[4] != match[5] {
		t.Fatalf("the server printed:\n%s", text.String())
	}
	return printed{apiKey: match[1], serviceToken: match[2], url: match[4]}
}

// start runs a server that has no keys yet, in this process, until stop is called or the test ends.
func start(t *testing.T, run func(context.Context, io.Writer) error) (demo printed, stop func() error) {
	t.Helper()
	stdout, stop := launch(t, run)
	return readAnnouncement(t, stdout), stop
}

func launch(t *testing.T, run func(context.Context, io.Writer) error) (stdout io.Reader, stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	out, in := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		err := run(ctx, in)
		_ = in.CloseWithError(err)
		ended <- err
	}()
	stop = sync.OnceValue(func() error {
		cancel()
		select {
		case err := <-ended:
			return err
		case <-time.After(20 * time.Second):
			return errors.New("the server does not stop")
		}
	})
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
	return out, stop
}

func onAnyPort(ctx context.Context, stdout io.Writer) error {
	return run(ctx, "127.0.0.1:0", "memory:", stdout)
}

func get(t *testing.T, url, key string) (status int, body []byte, header http.Header) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if key != "" {
		r.Header.Set("X-Api-Key", key)
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err = io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, body, response.Header
}

func TestUserOfTheKey(t *testing.T) {
	t.Parallel()
	demo, _ := start(t, onAnyPort)
	for _, tt := range []struct {
		name, key, user, limit string
	}{
		{"API key", demo.apiKey, ada.ID, "60"},
		{"service token", demo.serviceToken, bot.ID, "300"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			status, body, header := get(t, demo.url+"/api/v1/users/me/", tt.key)
			if status != http.StatusOK || header.Get("Content-Type") != "application/json" {
				t.Errorf("%d %v", status, header)
			}
			if limit := header.Get("X-RateLimit-Limit"); limit != tt.limit {
				t.Errorf("the limit is %s, want %s", limit, tt.limit)
			}
			var got map[string]string
			if err := json.Unmarshal(body, &got); err != nil {
				t.Fatal(err)
			}
			names := slices.Sorted(maps.Keys(got))
			want := []string{"avatar", "avatar_url", "display_name", "email", "first_name", "id", "last_name"}
			if !slices.Equal(names, want) || got["id"] != tt.user {
				t.Errorf("the user is %s", body)
			}
		})
	}
}

func TestWithoutKey(t *testing.T) {
	t.Parallel()
	demo, _ := start(t, onAnyPort)
	if status, body, _ := get(t, demo.url+"/api/v1/users/me/", ""); status != http.StatusUnauthorized {
		t.Errorf("the API answered %d %s", status, body)
	}
	status, body, _ := get(t, demo.url+"/", "")
	isAbout := bytes.Contains(body, []byte(demo.url+"/api/v1/users/me/"))
	if status != http.StatusOK || !isAbout || bytes.Contains(body, []byte("hk_")) {
		t.Errorf("the start page is %d %s", status, body)
	}
}

func TestUserThatIsGone(t *testing.T) {
	t.Parallel()
	guard, _ := httpkeytest.New(t, nil)
	key := httpkeytest.Issue(t, guard, httpkey.Token{User: "nobody"}).Secret.Reveal()
	server := httptest.NewServer((&site{guard: guard, url: "http://127.0.0.1"}).routes())
	defer server.Close()
	if status, body, _ := get(t, server.URL+"/api/v1/users/me/", key); status != http.StatusNotFound {
		t.Errorf("the API answered %d %s", status, body)
	}
}

func TestRequest61IsThrottled(t *testing.T) {
	t.Parallel()
	demo, _ := start(t, onAnyPort)
	begin := time.Now()
	passed := 0
	for {
		status, body, header := get(t, demo.url+"/api/v1/users/me/", demo.apiKey)
		if status == http.StatusTooManyRequests {
			if header.Get("Retry-After") != "1" {
				t.Errorf("429 %v %s", header, body)
			}
			break
		}
		passed++
	}
	// The bucket fills by one a second: on a slow machine a few more pass.
	if refilled := int(time.Since(begin) / time.Second); passed < 60 || passed > 60+refilled {
		t.Errorf("%d requests passed in %v", passed, time.Since(begin))
	}
}

func TestStopWritesLastUsed(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	store := memstore.New()
	demo, stop := start(t, func(ctx context.Context, stdout io.Writer) error {
		return serve(ctx, listener, &backend{store, memstore.NewLimiter(), io.NopCloser(nil)}, stdout)
	})
	get(t, demo.url+"/api/v1/users/me/", demo.apiKey)
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	tokens, err := store.List(t.Context(), httpkey.Filter{User: ada.ID})
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(tokens, func(t httpkey.Token) bool { return t.Label == "quickstart" })
	if i < 0 || tokens[i].LastUsed.IsZero() {
		t.Errorf("the store has %v, want the printed API key with its last use", tokens)
	}
}

func TestOccupiedPort(t *testing.T) {
	t.Parallel()
	addr := occupy(t)
	var stdout bytes.Buffer
	err := run(t.Context(), addr, "memory:", &stdout)
	if err == nil || !strings.Contains(err.Error(), addr) {
		t.Errorf("run returned %v, want an error that names %s", err, addr)
	}
	if stdout.Len() > 0 {
		t.Errorf("it printed %s", &stdout)
	}
}

// occupy returns an address at which the test listens.
func occupy(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	return listener.Addr().String()
}

func TestProcess(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	binary := filepath.Join(t.TempDir(), "quickstart.exe")
	if out, err := exec.CommandContext(ctx, "go", "build", "-o", binary, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}

	t.Run("stops on SIGTERM with exit code 0", func(t *testing.T) {
		if runtime.GOOS == "windows" {
			t.Skip("Windows has no SIGTERM")
		}
		cmd, stderr := command(ctx, t.TempDir(), binary, "127.0.0.1:0")
		stdout, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = cmd.Process.Kill() })
		demo := readAnnouncement(t, stdout)
		if status, body, _ := get(t, demo.url+"/api/v1/users/me/", demo.serviceToken); status != http.StatusOK {
			t.Errorf("the API answered %d %s", status, body)
		}
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Wait(); err != nil {
			t.Errorf("the server ended with %v\n%s", err, stderr)
		}
		if log := stderr.String(); !strings.Contains(log, "issued") || strings.Contains(log, "hk_") {
			t.Errorf("the log must tell of the keys, and not the keys:\n%s", log)
		}
	})

	t.Run("exits with 1 if the port is occupied", func(t *testing.T) {
		addr := occupy(t)
		directory := t.TempDir()
		cmd, stderr := command(ctx, directory, binary, addr)
		stdout, err := cmd.Output()
		if err == nil || cmd.ProcessState.ExitCode() != 1 || len(stdout) > 0 || !strings.Contains(stderr.String(), addr) {
			t.Errorf("%v, stdout %q, stderr %q", err, stdout, stderr)
		}
		if files, err := os.ReadDir(directory); err != nil || len(files) > 0 {
			t.Errorf("it left %v, %v", files, err)
		}
	})

	t.Run("keeps keys in a file, beside which another process issues one", func(t *testing.T) {
		directory := t.TempDir()
		cmd, stderr := command(ctx, directory, binary, "127.0.0.1:0")
		stdout, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			_ = cmd.Process.Kill()
			_ = cmd.Wait() // so that Windows lets the file be removed
		})
		demo := readAnnouncement(t, stdout)
		another, anotherStderr := command(ctx, directory, binary, "", "-issue", "another")
		line, err := another.Output()
		key, found := strings.CutPrefix(string(line), "HTTPKEY_API_KEY=")
		if err != nil || !found {
			t.Fatalf("-issue printed %q: %v\n%s", line, err, anotherStderr)
		}
		status, body, _ := get(t, demo.url+"/api/v1/users/me/", strings.TrimSuffix(key, "\n"))
		if status != http.StatusOK {
			t.Errorf("the API answered %d %s\n%s", status, body, stderr)
		}
		if _, err := os.Stat(filepath.Join(directory, "httpkey.db")); err != nil {
			t.Error(err)
		}
	})
}

// command returns the program, to be run in a directory, with the defaults but for addr.
func command(
	ctx context.Context, directory, binary, addr string, args ...string,
) (cmd *exec.Cmd, stderr *bytes.Buffer) {
	cmd = exec.CommandContext(ctx, binary, args...)
	cmd.Dir = directory
	cmd.Env = append(os.Environ(), "ADDR="+addr, "HTTPKEY_DSN=")
	stderr = new(bytes.Buffer)
	cmd.Stderr = stderr
	return cmd, stderr
}
