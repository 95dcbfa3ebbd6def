package integration

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/sqlstore"
)

// Eight flushers, overlapping random tokens, in random order, while tokens are
// created, changed and deleted: no error (a deadlock is one, and so is
// SQLITE_BUSY), nothing moves backwards, nothing is lost.
func testTouchTogether(t *testing.T, b *sqlBackend) {
	const tokens, flushers = 2000, 8
	tables := b.newTables(t)
	store := sqlstore.New(tables.open(t), tables.dialect, nil)
	for n := range tokens {
		if err := createTokens(t.Context(), store, sqlToken(n)); err != nil {
			t.Fatal(err)
		}
	}
	var (
		mu     sync.Mutex
		latest = make(map[string]time.Time)
		wrote  atomic.Int64
		ctx    = t.Context()
		until  = time.Now().Add(loadTime())
		before = tables.countDeadlocks(t)
	)
	flush := func(store *sqlstore.Store) error {
		for time.Now().Before(until) {
			used := make(map[string]time.Time)
			for range 1 + rand.IntN(1000) {
				at := time.UnixMicro(time.Now().UnixMicro() - rand.Int64N(2_000_000))
				used[sqlToken(rand.IntN(tokens)).ID] = at
			}
			used["unknown "+fmt.Sprint(rand.Int())] = time.Now()
			if err := store.Touch(ctx, used); err != nil {
				return err
			}
			wrote.Add(int64(len(used)))
			mu.Lock()
			for id, at := range used {
				if at.After(latest[id]) {
					latest[id] = at
				}
			}
			mu.Unlock()
		}
		return nil
	}
	change := func(store *sqlstore.Store) error {
		for n := tokens; time.Now().Before(until); n++ {
			t := sqlToken(rand.IntN(tokens))
			t.Label = fmt.Sprint(n)
			if err := replaceToken(ctx, store, t); err != nil {
				return err
			}
			if err := createTokens(ctx, store, sqlToken(n)); err != nil {
				return err
			}
			if err := store.Delete(ctx, sqlToken(n).ID); err != nil {
				return err
			}
		}
		return nil
	}
	watch := func(store *sqlstore.Store) error {
		seen := make(map[string]time.Time)
		for time.Now().Before(until) {
			page, err := store.List(ctx, httpkey.Filter{User: fmt.Sprint("user-", rand.IntN(1000)), Limit: 1000})
			if err != nil {
				return err
			}
			for _, token := range page {
				if token.LastUsed.Before(seen[token.ID]) {
					return fmt.Errorf("%s moved from %v back to %v", token.ID, seen[token.ID], token.LastUsed)
				}
				seen[token.ID] = token.LastUsed
			}
		}
		return nil
	}
	roles := []func(*sqlstore.Store) error{change, watch}
	for range flushers {
		roles = append(roles, flush)
	}
	atOnce(t, len(roles), func(i int) error { return roles[i](sqlstore.New(tables.open(t), tables.dialect, nil)) })
	t.Logf("%d uses were written in %v", wrote.Load(), loadTime())
	if n := tables.countDeadlocks(t) - before; n != 0 {
		t.Errorf("%d deadlocks", n)
	}
	for id, at := range latest {
		token, err := store.Get(context.Background(), id)
		if err == nil && !token.LastUsed.Equal(at.Truncate(time.Microsecond)) {
			t.Fatalf("%s was last used at %v, the store says %v", id, at, token.LastUsed)
		}
	}
}

// countDeadlocks returns how many deadlocks the server has counted.
func (b *sqlTables) countDeadlocks(t *testing.T) (n int) {
	t.Helper()
	if b.deadlocks == "" {
		return 0
	}
	if err := b.open(t).QueryRow(b.deadlocks).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// Eight processes' worth of writers on one file, all of them writing all the time.
func testWritersTogether(t *testing.T, b *sqlBackend) {
	tables := b.newTables(t)
	ctx := t.Context()
	until := time.Now().Add(loadTime())
	var wrote atomic.Int64
	atOnce(t, 8, func(i int) error {
		handle := *tables
		if i%2 == 1 { // whose transactions must then begin with a write
			handle.dsn = strings.Replace(handle.dsn, "&_txlock=immediate", "", 1)
		}
		db := handle.open(t)
		store, limiter := sqlstore.New(db, tables.dialect, nil), sqlstore.NewLimiter(db, tables.dialect)
		for n := i; time.Now().Before(until); n += 8 {
			token := sqlToken(n)
			if err := createTokens(ctx, store, token); err != nil {
				return err
			}
			if err := store.Touch(ctx, map[string]time.Time{token.ID: time.Now()}); err != nil {
				return err
			}
			if _, err := takeFrom(ctx, limiter, token.User, 1, httpkey.PerSecond(1_000_000)); err != nil {
				return err
			}
			wrote.Add(3)
		}
		return nil
	})
	t.Logf("%d writes in %v", wrote.Load(), loadTime())
}
