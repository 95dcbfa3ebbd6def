package integration

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/sqlstore"
)

// sqlFeed collects the reports of a change feed.
type sqlFeed struct {
	mu   sync.Mutex
	seen map[httpkey.Digest]int
	end  chan error
}

// follow returns once the feed is ready.
func (b *sqlTables) follow(t *testing.T) *sqlFeed {
	t.Helper()
	f := &sqlFeed{seen: make(map[httpkey.Digest]int), end: make(chan error, 1)}
	store := sqlstore.New(b.open(t), b.dialect, &sqlstore.Options{PollInterval: 10 * time.Millisecond})
	ready := make(chan struct{})
	go func() {
		f.end <- store.Changes(t.Context(), func() { close(ready) }, func(d httpkey.Digest) {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.seen[d]++
		})
	}()
	select {
	case <-ready:
	case err := <-f.end:
		t.Fatal(err)
	}
	return f
}

// wants waits until a digest was reported this often.
func (f *sqlFeed) wants(t *testing.T, d httpkey.Digest, times int, what string) {
	t.Helper()
	n := 0
	eventually(t, 10*time.Second, func() error {
		select {
		case err := <-f.end:
			t.Fatalf("the feed ended: %v", err)
		default:
		}
		f.mu.Lock()
		defer f.mu.Unlock()
		if n = f.seen[d]; n < times {
			return fmt.Errorf("%s was reported %d times, want %d", what, n, times)
		}
		return nil
	})
	if n > times {
		t.Fatalf("%s was reported %d times, want %d", what, n, times)
	}
}

// breaks waits until the feed ends.
func (f *sqlFeed) breaks(t *testing.T, what string) {
	t.Helper()
	select {
	case err := <-f.end:
		if err == nil {
			t.Errorf("%s: the feed ended without a reason", what)
		}
	case <-time.After(10 * time.Second):
		t.Errorf("%s: the feed went on", what)
	}
}

func testFeedTells(t *testing.T, b *sqlBackend) {
	tables := b.newTables(t)
	store := sqlstore.New(tables.open(t), tables.dialect, nil)
	before, token, last := sqlToken(1), sqlToken(2), sqlToken(3)
	if err := createTokens(t.Context(), store, before); err != nil {
		t.Fatal(err)
	}
	feeds := []*sqlFeed{tables.follow(t), tables.follow(t)}
	do := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	expect := func(times int, what string) {
		t.Helper()
		for _, f := range feeds {
			f.wants(t, token.Digest, times, what)
		}
	}
	do(createTokens(t.Context(), store, token))
	expect(1, "a created token")
	token.IsActive = false
	do(replaceToken(t.Context(), store, token))
	expect(2, "an updated token")
	do(store.Touch(t.Context(), map[string]time.Time{token.ID: time.Now()}))
	do(store.Delete(t.Context(), token.ID))
	do(store.Delete(t.Context(), token.ID)) // changes nothing
	if err := createTokens(t.Context(), store, before); !errors.Is(err, httpkey.ErrConflict) {
		t.Fatal(err)
	}
	do(createTokens(t.Context(), store, last))
	for _, f := range feeds {
		f.wants(t, last.Digest, 1, "the last token")
	}
	expect(3, "a deleted token") // and the Touch was not
	for _, f := range feeds {
		f.wants(t, before.Digest, 0, "what came before the feed")
	}
}

// A change that commits after later ones have begun is not passed by.
func testFeedLateCommit(t *testing.T, b *sqlBackend) {
	tables := b.newTables(t)
	db := tables.open(t)
	f := tables.follow(t)
	late, next := sqlToken(1), sqlToken(2)
	tx, err := db.Begin()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback() }()
	if _, err := tx.Exec(tables.named("UPDATE httpkey_revision SET revision = revision + 1")); err != nil {
		t.Fatal(err)
	}
	placeholder := "?"
	if b.driver == "pgx" {
		placeholder = "$1"
	}
	insert := "INSERT INTO httpkey_changes (revision, digest) " +
		"VALUES ((SELECT revision FROM httpkey_revision), " + placeholder + ")"
	if _, err := tx.Exec(tables.named(insert), late.Digest[:]); err != nil {
		t.Fatal(err)
	}
	created := make(chan error, 1)
	go func() { created <- createTokens(context.Background(), sqlstore.New(db, tables.dialect, nil), next) }()
	time.Sleep(100 * time.Millisecond) // ten polls
	f.wants(t, next.Digest, 0, "a change that overtook another")
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	if err := <-created; err != nil {
		t.Fatal(err)
	}
	f.wants(t, next.Digest, 1, "the later change")
	f.wants(t, late.Digest, 1, "the change that was committed late")
}

func testFeedManyWriters(t *testing.T, b *sqlBackend) {
	const writers, each = 8, 40
	tables := b.newTables(t)
	f := tables.follow(t)
	atOnce(t, writers, func(i int) error {
		store := sqlstore.New(tables.open(t), tables.dialect, nil)
		for n := range each {
			token := sqlToken(i*each + n)
			if err := errors.Join(createTokens(t.Context(), store, token), store.Delete(t.Context(), token.ID)); err != nil {
				return err
			}
		}
		return nil
	})
	for n := range writers * each {
		f.wants(t, sqlToken(n).Digest, 2, fmt.Sprint("token ", n))
	}
}

// Changes that are more than one poll reads come all the same, and none twice.
func testFeedManyAtOnce(t *testing.T, b *sqlBackend) {
	const many = 2000 // two full batches
	tables := b.newTables(t)
	db := tables.open(t)
	f := tables.follow(t)
	tx, err := db.Begin()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback() }()
	insert := "INSERT INTO httpkey_changes (revision, digest) VALUES (?, ?)"
	if b.driver == "pgx" {
		insert = "INSERT INTO httpkey_changes (revision, digest) VALUES ($1, $2)"
	}
	count := fmt.Sprint("UPDATE httpkey_revision SET revision = revision + ", many)
	if _, err := tx.Exec(tables.named(count)); err != nil {
		t.Fatal(err)
	}
	for n := range many {
		digest := sqlToken(n).Digest
		if _, err := tx.Exec(tables.named(insert), n+1, digest[:]); err != nil {
			t.Fatal(err)
		}
	}
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	if err := createTokens(t.Context(), sqlstore.New(db, tables.dialect, nil), sqlToken(many)); err != nil {
		t.Fatal(err)
	}
	f.wants(t, sqlToken(many).Digest, 1, "the last change")
	f.mu.Lock()
	defer f.mu.Unlock()
	for n := range many {
		if times := f.seen[sqlToken(n).Digest]; times != 1 {
			t.Fatalf("change %d was reported %d times", n, times)
		}
	}
}

// A feed that cannot know what it missed ends, and starts well anew.
func testFeedBreaks(t *testing.T, b *sqlBackend) {
	for what, statements := range map[string]string{
		"a gap before a change": "UPDATE httpkey_revision SET revision = revision + 2; " +
			"INSERT INTO httpkey_changes (revision, digest) " +
			"SELECT r.revision, t.digest FROM httpkey_revision AS r, httpkey_tokens AS t",
		"changes that are forgotten already":    "UPDATE httpkey_revision SET revision = revision + 5",
		"a database that lost its last changes": "UPDATE httpkey_revision SET revision = revision - 1",
		"no table":                              "DROP TABLE httpkey_changes",
	} {
		tables := b.newTables(t)
		db := tables.open(t)
		store := sqlstore.New(db, tables.dialect, nil)
		if err := createTokens(t.Context(), store, sqlToken(1)); err != nil {
			t.Fatal(err)
		}
		f := tables.follow(t)
		tx, err := db.Begin() // so that no poll comes between
		if err != nil {
			t.Fatal(err)
		}
		for statement := range strings.SplitSeq(tables.named(statements), "; ") {
			if _, err := tx.Exec(statement); err != nil {
				t.Fatal(err)
			}
		}
		if err := tx.Commit(); err != nil {
			t.Fatal(err)
		}
		f.breaks(t, what)
	}
}

func testFeedEnds(t *testing.T, b *sqlBackend) {
	tables := b.newTables(t)
	ctx, cancel := context.WithCancel(t.Context())
	store := sqlstore.New(tables.open(t), tables.dialect, nil)
	err := store.Changes(ctx, cancel, func(httpkey.Digest) {})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want the context's error", err)
	}
}

// The store drops changes that no reader needs any more.
func testFeedIsBounded(t *testing.T, b *sqlBackend) {
	tables := b.newTables(t)
	db := tables.open(t)
	store := sqlstore.New(db, tables.dialect, nil)
	for n := range 5 {
		if err := createTokens(t.Context(), store, sqlToken(n)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := db.Exec(tables.named("UPDATE httpkey_revision SET revision = revision + 10000 - 3")); err != nil {
		t.Fatal(err)
	}
	if err := store.Delete(t.Context(), sqlToken(0).ID); err != nil {
		t.Fatal(err)
	}
	if n := tables.count(t, "httpkey_changes"); n != 3 { // 4 and 5, and the new one
		t.Errorf("%d changes are kept, want 3", n)
	}
}
