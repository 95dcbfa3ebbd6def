package integration

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/sqlstore"
)

// From buckets to which nothing comes back meanwhile, 64 callers with handles of their own
// get exactly the smallest room, in whichever order they name the limits.
func testSeveralFrozen(t *testing.T, b *sqlBackend) {
	tables := b.newTables(t)
	pools := tables.pools(t)
	limits := []httpkey.Limit{
		{Rate: 1000, Period: 10_000 * time.Hour},
		{Name: "small", Rate: 300, Period: 10_000 * time.Hour},
		httpkey.PerMonth(5000),
	}
	reversed := slices.Clone(limits)
	slices.Reverse(reversed)
	before := tables.countDeadlocks(t)
	var admitted, denied atomic.Int64
	atOnce(t, 64, func(i int) error {
		limiter := sqlstore.NewLimiter(pools(), tables.dialect)
		for range 10 {
			r, err := takeFrom(t.Context(), limiter, "key", 1, [][]httpkey.Limit{limits, reversed}[i%2]...)
			if err != nil {
				return err
			}
			if r.Allowed {
				admitted.Add(1)
			} else if denied.Add(1); r.Limit.Name != "small" || r.Remaining != 0 || len(r.Each) != 3 {
				return fmt.Errorf("a denial says %+v", r)
			}
		}
		return nil
	})
	if admitted.Load() != 300 || denied.Load() != 340 {
		t.Errorf("%d were admitted and %d denied, want 300 and 340", admitted.Load(), denied.Load())
	}
	if n := tables.countDeadlocks(t) - before; n != 0 {
		t.Errorf("%d deadlocks", n)
	}
	limiter := sqlstore.NewLimiter(pools(), tables.dialect)
	if r, err := takeFrom(t.Context(), limiter, "key", 0, limits[0]); err != nil || r.Remaining != 700 {
		t.Errorf("of 1,000 are left: %+v, %v", r, err)
	}
}

// A denial by one limit leaves the buckets of the others as they were.
func testSeveralDenied(t *testing.T, b *sqlBackend) {
	tables := b.newTables(t)
	db := tables.open(t)
	limiter := sqlstore.NewLimiter(db, tables.dialect)
	hour, slow := httpkey.PerHour(10), httpkey.Limit{Name: "slow", Rate: 3, Period: 1000 * time.Hour}
	for range 3 {
		if r, err := takeFrom(t.Context(), limiter, "key", 1, hour, slow); err != nil || !r.Allowed {
			t.Fatalf("%+v, %v", r, err)
		}
	}
	before := tables.rowsOf(t, "httpkey_buckets")
	for name, limits := range map[string][]httpkey.Limit{
		"the second has no room": {hour, slow}, "the first has no room": {slow, hour},
		"one is new": {httpkey.PerSecond(9), slow}, "one is a new quota": {httpkey.PerDay(9), slow},
		"one admits nothing": {hour, {Name: "none", Period: time.Hour}},
	} {
		for range 5 {
			asking := sqlstore.NewLimiter(db, tables.dialect) // a new one, which remembers no denial
			if r, err := takeFrom(t.Context(), asking, "key", 1, limits...); err != nil || r.Allowed {
				t.Errorf("%s: %+v, %v", name, r, err)
			}
		}
	}
	if after := tables.rowsOf(t, "httpkey_buckets"); after != before {
		t.Errorf("the buckets were\n%sand are\n%s", before, after)
	}
	if r, err := takeFrom(t.Context(), limiter, "key", 1, hour); err != nil || !r.Allowed || r.Remaining != 6 {
		t.Errorf("%+v, %v", r, err)
	}
}

// No Update undoes a revocation, whether it changes the token as it is or brings back one that
// was read before.
func testRevokeRaces(t *testing.T, b *sqlBackend) {
	const races = 300
	tables := b.newTables(t)
	var handles [2]*sqlTables
	for i := range handles {
		handle := *tables
		if b.driver != "sqlite" {
			p := startProxy(t, b.server.address())
			p.delay.Store(int64(2 * time.Millisecond)) // 1 ms each way
			handle.dsn = strings.Replace(handle.dsn, b.server.address(), p.address(), 1)
		}
		handles[i] = &handle
	}
	store := sqlstore.New(tables.open(t), tables.dialect, nil)
	writer := sqlstore.New(handles[0].open(t), tables.dialect, nil)
	revoker := httpkey.New(sqlstore.New(handles[1].open(t), tables.dialect, nil), httpkey.Unlimited, nil)
	written, refused := 0, 0
	for n := range races {
		token := sqlToken(n)
		if err := createTokens(t.Context(), store, token); err != nil {
			t.Fatal(err)
		}
		stale, err := store.Get(t.Context(), token.ID)
		if err != nil {
			t.Fatal(err)
		}
		atOnce(t, 2, func(i int) error {
			if i == 0 {
				return revoker.Revoke(t.Context(), token.ID, "lost")
			}
			time.Sleep(rand.N(10 * time.Millisecond)) // so that either is first
			_, err := writer.Update(t.Context(), token.ID, func(t *httpkey.Token) error {
				if n%2 == 0 {
					*t = stale
				}
				t.Label = "another label"
				return nil
			})
			if errors.Is(err, httpkey.ErrInactive) {
				refused++
				return nil
			}
			written++
			return err
		})
		got, err := store.Get(t.Context(), token.ID)
		if err != nil || got.IsActive || got.RevokedAt.IsZero() || got.RevokedFor != "lost" {
			t.Fatalf("race %d: the revoked token is %+v, %v", n, got, err)
		}
	}
	t.Logf("of %d updates, %d were written and %d refused; no revocation was undone", races, written, refused)
	if written == races || refused == races {
		t.Error("all updates came before, or after, the revocation")
	}
}
