package integration

import (
	"context"
	"database/sql"
	"fmt"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/sqlstore"
)

// createChild creates tokens and says so after each, until it is killed or the database is.
func createChild(t *testing.T, db *sql.DB, d sqlstore.Dialect) {
	store := sqlstore.New(db, d, nil)
	for n := 0; ; n++ {
		if err := createTokens(t.Context(), store, sqlToken(n)); err != nil {
			return
		}
		fmt.Println("created", n)
	}
}

const (
	usedKey     = "a-key-that-is-used-all-the-time"
	useInterval = 100 * time.Millisecond
)

// useChild uses a key and says so after each time.
func useChild(t *testing.T, db *sql.DB, d sqlstore.Dialect) {
	guard := httpkey.New(sqlstore.New(db, d, nil), httpkey.Unlimited, &httpkey.Options{
		ImportedMinLength: 16, LastUsedInterval: useInterval, Timeout: unhurried,
	})
	for {
		at := time.Now()
		if _, err := guard.Verify(t.Context(), usedKey); err != nil {
			return
		}
		fmt.Println("used", at.UnixMicro())
		time.Sleep(time.Millisecond) // and leaves the CPU to the one that creates
	}
}

// testKill kills the program, or the server, while both create and use keys.
func testKill(t *testing.T, b *sqlBackend, kill func(create, use *sqlChild) (created, used []string)) {
	for range 3 {
		tables := b.newTables(t)
		before := sqlstore.New(tables.open(t), tables.dialect, nil)
		guard := httpkey.New(before, httpkey.Unlimited, &httpkey.Options{ImportedMinLength: 16})
		key, err := guard.Import(t.Context(), usedKey, httpkey.Token{IsActive: true})
		if err != nil {
			t.Fatal(err)
		}
		create, use := tables.spawn(t, "create"), tables.spawn(t, "use")
		create.next(t, "created ")
		use.next(t, "used ")
		lastUsedAfter := func(earlier time.Time) (at time.Time) {
			eventually(t, time.Minute, func() error {
				got, err := before.Get(t.Context(), key.ID)
				if at = got.LastUsed; err != nil || !at.After(earlier) {
					return fmt.Errorf("last_used is %v, %v", at, err)
				}
				return nil
			})
			return at
		}
		written := lastUsedAfter(lastUsedAfter(time.Time{})) // it is written while the key is used
		created, used := kill(create, use)
		if len(created) == 0 || len(used) == 0 {
			t.Fatalf("%d were created and %d used", len(created), len(used))
		}
		store := sqlstore.New(tables.open(t), tables.dialect, nil)
		for _, line := range created {
			n, err := strconv.Atoi(line)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := store.Lookup(context.Background(), sqlToken(n).Digest); err != nil || got.Label != sqlToken(n).Label {
				t.Fatalf("token %d of %d, whose creation was acknowledged: %+v, %v", n, len(created), got, err)
			}
		}
		last, err := strconv.ParseInt(used[len(used)-1], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		got, err := store.Get(context.Background(), key.ID)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%d acknowledged tokens are there; last_used is %v behind the last use",
			len(created), time.UnixMicro(last).Sub(got.LastUsed))
		if got.LastUsed.Before(written) {
			t.Errorf("last_used is %v, and was %v already", got.LastUsed, written)
		}
	}
}

func testKillProgram(t *testing.T, b *sqlBackend) {
	testKill(t, b, func(create, use *sqlChild) (created, used []string) {
		return create.kill(t, "created "), use.kill(t, "used ")
	})
}

// The servers of these tests hand what they acknowledge to the kernel, and do not wait until it is on
// the disk: SIGKILL ends a process, and leaves the kernel with what it has. A power cut is for the
// server's own tests.
func testKillServer(t *testing.T, b *sqlBackend) {
	if b.driver == "sqlite" {
		t.Skip("there is no server")
	}
	testKill(t, b, func(create, use *sqlChild) (created, used []string) {
		b.server.stop(syscall.SIGKILL)
		b.server.start(t)
		return create.kill(t, "created "), use.kill(t, "used ")
	})
}
