package integration

import (
	"errors"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/cachestore"
	"github.com/httpkey/httpkey/sqlstore"
)

// Under a stricter isolation level than the default of a server, some concurrent statements fail
// with a conflict. No caller sees such an error.

func TestPostgreSQLIsolation(t *testing.T) {
	t.Parallel()
	for _, level := range []string{"repeatable read", "serializable"} {
		t.Run(level, func(t *testing.T) {
			t.Parallel()
			b := startPostgreSQL(t, "-c", "fsync=off", "-c", "default_transaction_isolation="+level)
			runContended(t, b)
			t.Run("Limiter", func(t *testing.T) { testSQLLimiter(t, b) })
			t.Run("RevokeRaces", func(t *testing.T) { testRevokeRaces(t, b) })
		})
	}
}

func TestMariaDBIsolation(t *testing.T) {
	t.Parallel()
	for _, option := range []string{
		"--transaction-isolation=SERIALIZABLE",
		"--loose-innodb-snapshot-isolation=ON", // the default since MariaDB 11.6
	} {
		t.Run(option, func(t *testing.T) {
			t.Parallel()
			runContended(t, startMariaDB(t, option, "--innodb-flush-log-at-trx-commit=2"))
		})
	}
}

// In a cluster of two servers that both take writes, the first commit succeeds.
func TestGalera(t *testing.T) {
	t.Parallel()
	b := startGalera(t)
	runContended(t, b)
	t.Run("RevokeRaces", func(t *testing.T) { testRevokeRaces(t, b) })
}

// runContended runs the tests in which callers change the same rows at the same time.
func runContended(t *testing.T, b *sqlBackend) {
	b.deadlocks = "" // some conflicts count as such
	for _, test := range []struct {
		name string
		run  func(*testing.T, *sqlBackend)
	}{
		{"Store", testSQLStore},
		{"LimiterFrozen", testLimiterFrozen},
		{"SeveralFrozen", testSeveralFrozen},
		{"GuardsTogether", testGuardsTogether},
		{"CreateTogether", testCreateTogether},
		{"UpgradeTogether", testUpgradeTogether},
		{"FeedManyWriters", testFeedManyWriters},
		{"TouchTogether", testTouchTogether},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, b) })
	}
}

// Four Guards admit exactly the limit of a key, and none of them counts in its own memory.
func testGuardsTogether(t *testing.T, b *sqlBackend) {
	const limit, callers, requests = 100, 16, 20
	tables := b.newTables(t)
	sites := make([]*site, 4)
	for i := range sites {
		db := tables.open(t)
		sites[i] = newSiteOn(t, sqlstore.New(db, tables.dialect, nil), sqlstore.NewLimiter(db, tables.dialect),
			cachestore.Options{}, unhurried)
	}
	key := sites[0].issue(t, 1, httpkey.PerHour(limit))[0].key
	var admitted, denied atomic.Int64
	began := time.Now()
	atOnce(t, len(sites)*callers, func(i int) error {
		for range requests {
			switch sites[i%len(sites)].get(key) {
			case http.StatusOK:
				admitted.Add(1)
			case http.StatusTooManyRequests:
				denied.Add(1)
			default:
				return errors.New("neither admitted nor denied")
			}
		}
		return nil
	})
	given := int64(time.Since(began) / (time.Hour / limit)) // refilled meanwhile
	if n := admitted.Load(); n < limit || n > limit+given || n+denied.Load() != int64(len(sites)*callers*requests) {
		t.Errorf("%d were admitted and %d denied, of a limit of %d", n, denied.Load(), limit)
	}
	for _, s := range sites {
		if n := s.times(httpkey.EventLimiterDown); n != 0 {
			t.Errorf("a Guard counted in its memory %d times", n)
		}
	}
}

// If several writers create one token at once, one succeeds and all others get ErrConflict.
func testCreateTogether(t *testing.T, b *sqlBackend) {
	const writers, tokens = 8, 40
	tables := b.newTables(t)
	pool := tables.pools(t)
	var created [tokens]atomic.Int64
	atOnce(t, writers, func(int) error {
		store := sqlstore.New(pool(), tables.dialect, nil)
		for n := range tokens {
			switch err := createTokens(t.Context(), store, sqlToken(n)); {
			case err == nil:
				created[n].Add(1)
			case !errors.Is(err, httpkey.ErrConflict):
				return err
			}
		}
		return nil
	})
	for n := range created {
		if times := created[n].Load(); times != 1 {
			t.Errorf("token %d was created %d times", n, times)
		}
	}
}
