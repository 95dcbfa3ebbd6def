package integration

import (
	"bufio"
	"database/sql"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/console"
	"github.com/httpkey/httpkey/httpkeytest"
	"github.com/httpkey/httpkey/redisstore"
	"github.com/httpkey/httpkey/sqlstore"
)

// distant is how long a reply of a server takes: a millisecond of network each way.
const distant = 2 * time.Millisecond

// No change by the console undoes a revocation by another process, over a network.
func TestConsoleDoesNotUndoARevocation(t *testing.T) {
	t.Parallel()
	t.Run("PostgreSQL", func(t *testing.T) {
		t.Parallel()
		backend := startPostgreSQL(t, "-c", "fsync=off")
		tables := backend.newTables(t)
		far := func() string {
			p := startProxy(t, backend.server.address())
			p.delay.Store(int64(distant))
			return strings.Replace(tables.dsn, backend.server.address(), p.address(), 1)
		}
		handle := *tables
		handle.dsn = far()
		store := sqlstore.New(handle.open(t), tables.dialect, nil)
		raceConsole(t, store, startFarRevoker(t, driverEnv+"="+tables.driver, dsnEnv+"="+far(), prefixEnv+"="+tables.prefix))
	})
	t.Run("Redis", func(t *testing.T) {
		t.Parallel()
		server := startRedis(t)
		far := func() string {
			p := startProxy(t, server.address())
			p.delay.Store(int64(distant))
			return p.address()
		}
		store := redisstore.New(connect(t, far(), patientDial), nil)
		raceConsole(t, store, startFarRevoker(t, redisEnv+"="+far()))
	})
}

// raceConsole changes tokens by the JSON API of a console, while another process revokes them.
func raceConsole(t *testing.T, store httpkey.TokenStore, revoker *farRevoker) {
	t.Helper()
	const races = 300
	guard := httpkey.New(store, httpkey.Unlimited, nil)
	tokens := console.New(guard, &console.Options{
		Principal: func(*http.Request) (console.Principal, error) { return console.Principal{User: "ada"}, nil },
		Limit:     httpkey.PerSecond(1000), ReadLimit: httpkey.PerSecond(1000), MaxTokens: 10 * races,
	})
	later := time.Now().Add(48 * time.Hour).UTC().Format(time.RFC3339)
	bodies := []string{
		`{"label":"after"}`,
		`{"expired_at":"` + later + `"}`,
		`{"label":"after","expired_at":"` + later + `"}`,
		`{"is_active":true,"label":"after"}`,
		`{"is_active":false,"revoked_for":"by the console"}`,
	}
	outcomes := map[string]int{}
	for i := range races {
		token := httpkeytest.Issue(t, guard, httpkey.Token{
			User: "ada", Label: "before", ExpiredAt: time.Now().Add(24 * time.Hour),
		}).Token
		body := bodies[i%len(bodies)]
		revoker.revoke(t, token.ID)
		time.Sleep(rand.N(16 * time.Millisecond)) // so that either is first
		r := httptest.NewRequest(http.MethodPatch, "/"+token.ID+"/", strings.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		tokens.ServeHTTP(w, r)
		revoker.wait(t, token.ID)

		got, err := store.Get(t.Context(), token.ID)
		if err != nil {
			t.Fatal(err)
		}
		by, reason := "ops", "leaked"
		if w.Code == http.StatusOK && strings.Contains(body, "by the console") && got.RevokedFor == "by the console" {
			by, reason = "ada", "by the console" // the console came first
		}
		if got.IsActive || got.RevokedAt.IsZero() || got.RevokedFor != reason || got.RevokedBy != by {
			t.Fatalf("race %d: after %s with %d %s, the revoked token is %+v", i, body, w.Code, w.Body, got)
		}
		var answer struct{ Code string }
		if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil {
			t.Fatal(err)
		}
		switch isChanged := got.Label == "after" || got.ExpiredAt.After(token.ExpiredAt) || by == "ada"; {
		case w.Code == http.StatusOK:
			if !isChanged && !strings.Contains(body, "by the console") {
				t.Errorf("race %d: %s was lost: %+v", i, body, got)
			}
		case isChanged:
			t.Errorf("race %d: %s was refused with %s, and has changed %+v", i, body, w.Body, got)
		case w.Code != http.StatusConflict && w.Code != http.StatusBadRequest:
			t.Errorf("race %d: %s got %d %s", i, body, w.Code, w.Body)
		}
		outcomes[fmt.Sprint(w.Code, " ", answer.Code)]++
	}
	t.Logf("of %d changes: %v; no revocation was undone", races, outcomes)
	if outcomes["200 "] == 0 || outcomes["200 "] == races {
		t.Error("all changes came before, or after, the revocation")
	}
}

// farRevoker is another process, which revokes the tokens that it is told.
type farRevoker struct {
	in   io.Writer
	done *bufio.Scanner
}

const (
	redisEnv   = "HTTPKEY_TEST_REDIS"
	revokerEnv = "HTTPKEY_TEST_REVOKER"
)

func startFarRevoker(t *testing.T, environment ...string) *farRevoker {
	t.Helper()
	command := exec.Command(os.Args[0], "-test.run=^TestConsoleRevoker$", "-test.v")
	command.Env = append(append(os.Environ(), revokerEnv+"=1"), environment...)
	command.Stderr = os.Stderr
	in, err := command.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		if err := command.Wait(); err != nil {
			t.Errorf("the process that revokes ended with %v", err)
		}
	})
	return &farRevoker{in, bufio.NewScanner(out)}
}

// revoke tells the process to revoke a token, and does not wait for it.
func (r *farRevoker) revoke(t *testing.T, id string) {
	t.Helper()
	if _, err := fmt.Fprintln(r.in, id); err != nil {
		t.Fatal(err)
	}
}

// wait waits until a token is revoked.
func (r *farRevoker) wait(t *testing.T, id string) {
	t.Helper()
	for r.done.Scan() {
		if r.done.Text() == "revoked "+id {
			return
		}
	}
	t.Fatalf("the process that revokes has ended: %v", r.done.Err())
}

// TestConsoleRevoker is the process of a farRevoker.
func TestConsoleRevoker(t *testing.T) {
	if os.Getenv(revokerEnv) == "" {
		t.Skip("this is for tests that need a process of their own")
	}
	var store httpkey.TokenStore
	if address := os.Getenv(redisEnv); address != "" {
		store = redisstore.New(connect(t, address, patientDial), nil)
	} else {
		db, err := sql.Open(os.Getenv(driverEnv), os.Getenv(dsnEnv))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = db.Close() }()
		store = sqlstore.New(db, sqlstore.PostgreSQL.WithPrefix(os.Getenv(prefixEnv)), nil)
	}
	guard := httpkey.New(store, httpkey.Unlimited, nil)
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		time.Sleep(rand.N(8 * time.Millisecond)) // so that either is first
		if err := guard.RevokeBy(t.Context(), lines.Text(), "ops", "leaked"); err != nil {
			t.Fatal(err)
		}
		fmt.Println("revoked " + lines.Text())
	}
}
