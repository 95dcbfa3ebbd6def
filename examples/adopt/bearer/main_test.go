package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/httpkeytest"
)

// The tokens from before httpkey.
const (
	ann  = "tk_annannannannannannannannannann"
	bob  = "tk_bobbobbobbobbobbobbobbobbobbob"
	rita = "tk_ritaritaritaritaritaritaritari"
)

// program is the program over a database of its own, in which it finds the tokens from before.
type program struct {
	db      *sql.DB
	guard   *httpkey.Guard
	handler http.Handler
}

func start(t *testing.T) program {
	t.Helper()
	db, err := open(t.Context(), filepath.Join(t.TempDir(), "messages.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	_, err = db.Exec("INSERT INTO tokens (token, user_name, plan, permissions) VALUES "+
		"(?, 'ann', 'free', 'read,write'), (?, 'bob', 'pro', 'write'), (?, 'rita', 'free', 'read')", ann, bob, rita)
	if err != nil {
		t.Fatal(err)
	}
	guard := newGuard(db)
	t.Cleanup(func() { _ = guard.Close(context.Background()) })
	if err := upgrade(t.Context(), db, guard); err != nil {
		t.Fatal(err)
	}
	return program{db, guard, routes(guard)}
}

func (p program) send(method, path string, authorization ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, http.NoBody)
	r.Header["Authorization"] = authorization
	w := httptest.NewRecorder()
	p.handler.ServeHTTP(w, r)
	return w
}

func bearer(key string) string { return "Bearer " + key }

func basic(user, password string) string {
	r := httptest.NewRequest(http.MethodGet, "/", http.NoBody)
	r.SetBasicAuth(user, password)
	return r.Header.Get("Authorization")
}

const (
	missing   = `{"detail":"Authentication credentials were not provided."}`
	invalid   = `{"detail":"Given API token is not valid"}`
	forbidden = `{"detail":"You do not have permission to perform this action."}`
)

func TestOldTokens(t *testing.T) {
	t.Parallel()
	p := start(t)
	for name, tt := range map[string]struct {
		method, path  string
		authorization []string
		status        int
		body          string
	}{
		"bearer":                    {"GET", "/messages", []string{bearer(ann)}, 200, "ann, free"},
		"basic":                     {"GET", "/messages", []string{basic("ann", ann)}, 200, "ann, free"},
		"basic without a user":      {"GET", "/messages", []string{basic("", bob)}, 200, "bob, pro"},
		"write implies read":        {"GET", "/export", []string{bearer(bob)}, 200, "bob, pro"},
		"read only":                 {"GET", "/export", []string{bearer(rita)}, 200, "rita, free"},
		"read does not imply write": {"POST", "/messages", []string{bearer(rita)}, 403, forbidden},
		"none":                      {"GET", "/messages", nil, 401, missing},
		"basic without a password":  {"GET", "/messages", []string{basic("ann", "")}, 401, missing},
		"the token as the user":     {"GET", "/messages", []string{basic(ann, "")}, 401, missing},
		"another scheme":            {"GET", "/messages", []string{"Digest " + ann}, 401, missing},
		"unknown":                   {"GET", "/messages", []string{bearer("tk_" + strings.Repeat("x", 29))}, 401, invalid},
		"two basic":                 {"GET", "/messages", []string{basic("", ann), basic("", ann)}, 401, invalid},
		"bearer and basic":          {"GET", "/messages", []string{bearer(ann), basic("", ann)}, 401, invalid},
		"basic and bearer":          {"GET", "/messages", []string{basic("", ann), bearer(bob)}, 401, invalid},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := p.send(tt.method, tt.path, tt.authorization...)
			if w.Code != tt.status || w.Body.String() != tt.body {
				t.Errorf("%d %q, want %d %q", w.Code, w.Body, tt.status, tt.body)
			}
		})
	}
}

// An import that is repeated, after a failure say, changes nothing and revives nothing.
func TestImportAgain(t *testing.T) {
	t.Parallel()
	p := start(t)
	if err := p.guard.RevokeKey(t.Context(), bob, "lost"); err != nil {
		t.Fatal(err)
	}
	_, err := p.db.Exec("INSERT INTO tokens VALUES (?, 'ann', 'pro', 'read'), (?, 'bob', 'pro', 'read')", ann, bob)
	if err != nil {
		t.Fatal(err)
	}
	if err := upgrade(t.Context(), p.db, p.guard); err != nil {
		t.Fatal(err)
	}
	if w := p.send(http.MethodGet, "/messages", bearer(ann)); w.Body.String() != "ann, free" {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if w := p.send(http.MethodGet, "/messages", bearer(bob)); w.Code != http.StatusUnauthorized {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	var left int
	if err := p.db.QueryRow("SELECT count(*) FROM tokens").Scan(&left); err != nil || left != 0 {
		t.Errorf("%d tokens are left in plain text, %v", left, err)
	}
}

func TestRevokeAndRotate(t *testing.T) {
	t.Parallel()
	p := start(t)
	old, err := p.guard.Verify(t.Context(), ann)
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range []*httptest.ResponseRecorder{
		p.send(http.MethodPost, "/tokens/"+old.ID+"/rotate", bearer(bob)),
		p.send(http.MethodDelete, "/tokens/"+old.ID, bearer(bob)),
	} {
		if w.Code != http.StatusNotFound {
			t.Errorf("the token of another user: %d", w.Code)
		}
	}
	var next httpkey.Created
	w := p.send(http.MethodPost, "/tokens/"+old.ID+"/rotate", bearer(ann))
	if err := json.NewDecoder(w.Body).Decode(&next); err != nil || next.Token.RotatedFrom != old.ID {
		t.Fatalf("%d, %+v, %v", w.Code, next, err)
	}
	for _, key := range []string{ann, next.Secret.Reveal()} { // the old one for an hour
		if w := p.send(http.MethodGet, "/messages", bearer(key)); w.Body.String() != "ann, free" {
			t.Errorf("%d %s", w.Code, w.Body)
		}
	}
	for _, id := range []string{old.ID, next.Token.ID} {
		if w := p.send(http.MethodDelete, "/tokens/"+id, bearer(next.Secret.Reveal())); w.Code != http.StatusNoContent {
			t.Errorf("%d %s", w.Code, w.Body)
		}
	}
	for _, key := range []string{ann, next.Secret.Reveal()} {
		if w := p.send(http.MethodGet, "/messages", bearer(key)); w.Code != http.StatusUnauthorized {
			t.Errorf("%d %s", w.Code, w.Body)
		}
	}
}

// Of the six limits, those of the plan and of the route apply. All tokens of a user share them.
func TestLimits(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		method, path, key string
		pause             time.Duration // between two requests
		want              int           // requests until a limit denies one
		limit             string
	}{
		"free, a minute": {"GET", "/messages", ann, 0, 60, "60"},
		"free, a day":    {"GET", "/messages", ann, time.Second, 500, "500"},
		"pro, a minute":  {"GET", "/messages", bob, 0, 600, "600"},
		"messages, free": {"POST", "/messages", ann, 0, 20, "20"},
		"messages, pro":  {"POST", "/messages", bob, 0, 20, "20"},
		"an export":      {"GET", "/export", bob, 0, 5, "5"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				p := start(t)
				second := httpkeytest.Issue(t, p.guard, httpkey.Token{
					User: p.user(t, tt.key).User, Scopes: []string{"write"}, Metadata: p.user(t, tt.key).Metadata,
				}).Secret.Reveal()
				for n := range tt.want {
					if w := p.send(tt.method, tt.path, bearer([]string{tt.key, second}[n%2])); w.Code != http.StatusOK {
						t.Fatalf("request %d of %d: %d %s", n+1, tt.want, w.Code, w.Body)
					}
					httpkeytest.Elapse(tt.pause)
				}
				w := p.send(tt.method, tt.path, bearer(tt.key))
				if limit := w.Header().Get("X-Ratelimit-Limit"); w.Code != http.StatusTooManyRequests || limit != tt.limit {
					body, _ := io.ReadAll(w.Body)
					t.Errorf("%d %s, limit %s", w.Code, body, limit)
				}
			})
		})
	}
}

func (p program) user(t *testing.T, key string) httpkey.Token {
	t.Helper()
	token, err := p.guard.Verify(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// The monthly quota of the plan is there too, though no test uses it up.
func TestMonthlyQuota(t *testing.T) {
	t.Parallel()
	p := start(t)
	a, err := p.guard.Admit(t.Context(), bob, 1)
	if err != nil || len(a.Result.Each) != 2 || a.Result.Each[1].Remaining != 999_999 {
		t.Errorf("%+v, %v", a, err)
	}
}
