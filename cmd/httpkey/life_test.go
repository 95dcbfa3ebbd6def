package main

import (
	"encoding/json"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/httpkeytest"
	"github.com/httpkey/httpkey/usage"
)

// databases are where the commands must do the same.
var databases = []string{"memory", "sqlite"}

// The life of a key, as an operator sees it, is the same on each database. A secret is written
// once, to standard output alone.
func TestLifeOfAKey(t *testing.T) {
	t.Parallel()
	for _, database := range databases {
		t.Run(database, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := newShell(t, database)
				s.run("", "list")
				key := s.must("", "issue", "--label", "ci", "--user", "u-1", "--workspace", "acme", "--scope", "read",
					"--scope", "write", "--limit", "60/minute", "--limit", "5000/day", "--network", "192.0.2.0/24",
					"--metadata", "plan=team", "--expires", "180d", "--description", "for\tthe \x1b[31mpipeline")
				if !secret.MatchString(key) || strings.Contains(key, "\n") {
					t.Errorf("standard output has not the key alone: %q", key)
				}
				first := id.FindString(s.log.String())
				httpkeytest.Elapse(time.Hour)
				s.must("", "issue", "--kind", "service_token", "--label", "nightly", "--expires", "2000-03-01")
				s.must("", "list")
				s.must("", "list", "--kind", "service_token")
				s.must("", "list", "--user", "u-1", "--json")
				s.must("", "show", first)
				s.must(key+"\n", "verify")
				s.must(key, "whose")
				httpkeytest.Elapse(91 * 24 * time.Hour)
				s.must("", "due")
				s.must("", "unused", "--idle", "30d", "--workspace", "acme")
				s.must("", "rotate", first, "--grace", "36h")
				s.run("", "rotate", first, "--once")
				s.must("", "usage", first)
				httpkeytest.Elapse(37 * time.Hour)
				s.run(key, "verify")
				s.run("", "revoke", first)
				s.must("", "revoke", first, "--yes", "--reason", "it leaked")
				s.must("", "show", first)
				s.run("", "rotate", first)
				s.run("", "revoke-all", "--user", "u-1")
				s.must("", "revoke-all", "--user", "u-1", "--yes", "--reason", "u-1 has left")
				s.run("", "delete", first, "no-such-key", "--yes")
				s.must("", "delete", first, "--yes")
				s.run("", "show", first)
				s.run(key, "verify")
				s.must("", "list")
				golden(t, "life", s.transcript())
				if len(s.secrets) != 3 {
					t.Errorf("%d secrets were written for 3 keys", len(s.secrets))
				}
			})
		})
	}
}

// The JSON of a new key has its secret, once, and programs read it as the library writes it.
func TestIssueForPrograms(t *testing.T) {
	t.Parallel()
	s := newShell(t, "memory")
	code, out, messages := s.run("", "issue", "--json", "--label", "ci")
	var created httpkey.Created
	if err := json.Unmarshal([]byte(out), &created); err != nil || code != exitOK {
		t.Fatalf("%v, exit %d: %s", err, code, messages)
	}
	if !secret.MatchString(created.Secret.Reveal()) || created.Token.Label != "ci" || len(s.secrets) != 1 {
		t.Errorf("read %v, with %d secrets", created, len(s.secrets))
	}
}

// A key that is issued with the pepper and prefix of an API works there.
func TestIssueWithPepperAndPrefix(t *testing.T) {
	t.Parallel()
	s := newShell(t, "memory")
	pepper := strings.Repeat("p", 32)
	s.env = map[string]string{"HTTPKEY_PEPPER": pepper}
	key := s.must("", "issue", "--prefix", "acme")
	backend, err := s.open("", false)
	if err != nil {
		t.Fatal(err)
	}
	guard := httpkey.New(backend.Store, backend.Limiter, &httpkey.Options{Prefix: "acme", Pepper: httpkey.Secret(pepper)})
	if _, err := guard.Verify(t.Context(), key); err != nil {
		t.Error(err)
	}
	s.env["HTTPKEY_PEPPER"] = "short"
	if code, _, messages := s.run("", "list"); code != exitUsage || !strings.Contains(messages, "Pepper") {
		t.Errorf("exit %d: %s", code, messages)
	}
}

// Usage shows what was counted, by the day and by the hour, with its sum.
func TestUsage(t *testing.T) {
	t.Parallel()
	for _, database := range databases {
		t.Run(database, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := newShell(t, database)
				s.must("", "issue")
				key := id.FindString(s.log.String())
				count(t, s, key)
				s.must("", "usage", key)
				s.must("", "usage", key, "--hours", "--since", "2h")
				s.must("", "usage", key, "--json", "--since", "1h")
				golden(t, "usage", s.transcript())
			})
		})
	}
}

// count adds counts for a token: now, and a day earlier.
func count(t *testing.T, s *shell, id string) {
	t.Helper()
	backend, err := s.open(s.dsn, false)
	if err != nil {
		t.Fatal(err)
	}
	httpkeytest.Elapse(30*time.Hour + 10*time.Minute)
	now := time.Now().UTC().Truncate(time.Hour)
	_, err = backend.Usage.Add(t.Context(), []usage.Delta{
		{ID: id, Hour: now.Add(-25 * time.Hour), Counts: usage.Counts{Passed: 100, Cost: 120}},
		{ID: id, Hour: now, Counts: usage.Counts{
			Passed: 7, Throttled: 2, Refused: 3, Cost: 7,
			Reasons: map[httpkey.Reason]int64{httpkey.ReasonNetwork: 1, httpkey.ReasonScope: 2},
		}},
	}, usage.Keep{Hours: 31 * 24 * time.Hour, Days: 400 * 24 * time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	if s.dsn != "memory:" {
		_ = backend.Close()
	}
}
