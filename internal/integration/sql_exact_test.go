package integration

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/sqlstore"
)

// A text that is not quite the key is not found: neither as a key, nor as an ID.
func testHostileKeys(t *testing.T, b *sqlBackend) {
	tables := b.newTables(t)
	store := sqlstore.New(tables.open(t), tables.dialect, nil)
	guard := httpkey.New(store, httpkey.Unlimited, &httpkey.Options{ImportedMinLength: 16, Timeout: unhurried})
	const key = "abcdefghijklmnop"
	token, err := guard.Import(t.Context(), key, httpkey.Token{ID: "id-of-a-key", User: "ann", IsActive: true})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := guard.Verify(t.Context(), key); err != nil || got.ID != token.ID {
		t.Fatalf("%+v, %v", got, err)
	}
	for _, hostile := range []string{
		"ABCDEFGHIJKLMNOP", "Abcdefghijklmnop", key + " ", " " + key, key + "\x00", key + "\t",
		"ábcdefghijklmnop", "abcdefghijklmno\u0300p",
		"0", "0000000000000000", "' OR 1=1 -- aaaaa", "%", "________________", "\xff\xfe", key + key,
	} {
		if got, err := guard.Verify(t.Context(), hostile); !errors.Is(err, httpkey.ErrInvalidKey) {
			t.Errorf("the key %q: %+v, %v", hostile, got, err)
		}
	}
	for _, id := range []string{
		"ID-OF-A-KEY", token.ID + " ", token.ID + "\x00", "íd-of-a-key", "0", "", "%", "\xff", "' OR 1=1 --",
		token.ID + "\xff",
	} {
		if got, err := store.Get(t.Context(), id); !errors.Is(err, httpkey.ErrNotFound) {
			t.Errorf("Get(%q): %+v, %v", id, got, err)
		}
		err := replaceToken(t.Context(), store, httpkey.Token{ID: id, Kind: httpkey.APIKey})
		if !errors.Is(err, httpkey.ErrNotFound) {
			t.Errorf("Update of %q: %v", id, err)
		}
		if err := store.Delete(t.Context(), id); err != nil {
			t.Errorf("Delete(%q): %v", id, err)
		}
		if err := store.Touch(t.Context(), map[string]time.Time{id: time.Now()}); err != nil {
			t.Errorf("Touch of %q: %v", id, err)
		}
		if id == "" {
			continue // selects all
		}
		for _, f := range []httpkey.Filter{{User: id}, {Workspace: id}, {RotatedFrom: id}, {Kind: httpkey.Kind(id)}} {
			if page, err := store.List(t.Context(), f); err != nil || len(page) != 0 {
				t.Errorf("List(%+v): %+v, %v", f, page, err)
			}
		}
	}
	if got, err := store.Get(t.Context(), token.ID); err != nil || !got.LastUsed.IsZero() || got.User != "ann" {
		t.Errorf("the token is now %+v, %v", got, err)
	}
}

// The store refuses a token that a database would cut off, refuse or never find again, also
// where the database is lax.
func testInvalidTokens(t *testing.T, b *sqlBackend) {
	tables := b.newTables(t)
	options := ""
	if b.driver == "mysql" {
		options = "&sql_mode=''"
	}
	store := sqlstore.New(tables.open(t, options), tables.dialect, nil)
	if err := createTokens(t.Context(), store, sqlToken(1)); err != nil {
		t.Fatal(err)
	}
	for what, invalidate := range map[string]func(*httpkey.Token){
		"a long user":          func(t *httpkey.Token) { t.User = strings.Repeat("a", 256) },
		"a label with a NUL":   func(t *httpkey.Token) { t.Label = "a\x00b" },
		"a kind of its own":    func(t *httpkey.Token) { t.Kind = "admin" },
		"a limit of no period": func(t *httpkey.Token) { t.Limits = []httpkey.Limit{{Rate: 60}} },
		"two limits that would share a bucket": func(t *httpkey.Token) {
			t.Limits = []httpkey.Limit{httpkey.PerMinute(60), httpkey.PerMinute(61)}
		},
	} {
		changed, created := sqlToken(1), sqlToken(2)
		invalidate(&changed)
		invalidate(&created)
		for call, err := range map[string]error{
			"Create": createTokens(t.Context(), store, created), "Update": replaceToken(t.Context(), store, changed),
		} {
			if !errors.Is(err, httpkey.ErrInvalidToken) {
				t.Errorf("%s of %s: the error %v", call, what, err)
			}
		}
		if err := store.Delete(t.Context(), created.ID); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := store.Get(t.Context(), sqlToken(1).ID); err != nil || !reflect.DeepEqual(got, sqlToken(1)) {
		t.Errorf("the token is now %+v, %v", got, err)
	}
}

// Times are the same microsecond for every time zone of a connection, and a key
// expires at just its own.
func testTimeZones(t *testing.T, b *sqlBackend) {
	tables := b.newTables(t)
	var stores []*sqlstore.Store
	for _, zone := range b.zones {
		stores = append(stores, sqlstore.New(tables.open(t, zone), tables.dialect, nil))
	}
	for n, at := range []time.Time{
		time.Date(2026, 10, 25, 0, 59, 59, 999_999_000, time.UTC), // where an hour comes twice in Europe
		time.Date(2026, 3, 29, 1, 30, 0, 1000, time.UTC),          // where one is left out
		time.Date(1969, 12, 31, 23, 59, 59, 999_999_000, time.UTC),
		time.Unix(0, 0),
		time.Date(2038, 1, 19, 3, 14, 8, 0, time.UTC), // beyond TIMESTAMP
		time.Date(9999, 12, 31, 23, 59, 59, 999_999_000, time.UTC),
		time.Now().Truncate(time.Microsecond).In(time.FixedZone("", 20700)),
	} {
		token := sqlToken(n)
		token.CreatedAt, token.ExpiredAt = at, at
		writer := stores[n%len(stores)]
		if err := createTokens(t.Context(), writer, token); err != nil {
			t.Fatal(err)
		}
		if err := writer.Touch(t.Context(), map[string]time.Time{token.ID: at}); err != nil {
			t.Fatal(err)
		}
		for _, reader := range stores {
			got, err := reader.Lookup(t.Context(), token.Digest)
			if err != nil || !got.CreatedAt.Equal(at) || !got.ExpiredAt.Equal(at) || !got.LastUsed.Equal(at) {
				t.Errorf("%v came back as %v, %v and %v (%v)", at, got.CreatedAt, got.ExpiredAt, got.LastUsed, err)
			}
			if !got.Expired(at) || got.Expired(at.Add(-time.Microsecond)) {
				t.Errorf("a key that expires at %v does not do so then", at)
			}
		}
	}
}

// Pages that are read while others insert and delete hold each token that was there, once.
func testPagesAreStable(t *testing.T, b *sqlBackend) {
	const tokens = 300
	tables := b.newTables(t)
	store := sqlstore.New(tables.open(t), tables.dialect, nil)
	for n := range tokens {
		token := sqlToken(n)
		token.CreatedAt = time.UnixMicro(int64(n / 7)) // seven in the same microsecond
		token.Workspace = "w"
		if err := createTokens(t.Context(), store, token); err != nil {
			t.Fatal(err)
		}
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var inserted atomic.Int64
	insert := func() error {
		other := sqlstore.New(tables.open(t), tables.dialect, nil)
		for n := tokens; ctx.Err() == nil; n++ {
			token := sqlToken(n)
			token.Workspace = "w"
			token.CreatedAt = time.UnixMicro(int64(n % 50)) // among the others
			if err := createTokens(context.WithoutCancel(ctx), other, token); err != nil {
				return err
			}
			inserted.Add(1)
			if n%2 == 0 {
				if err := other.Delete(context.WithoutCancel(ctx), token.ID); err != nil {
					return err
				}
			}
		}
		return nil
	}
	page := func() error {
		defer stop()
		for round := 0; round < 5 || inserted.Load() < 50; round++ {
			seen := make(map[string]int)
			f := httpkey.Filter{Workspace: "w", Limit: 11}
			for last := (httpkey.Cursor{}); ; f.After = last {
				tokens, err := store.List(ctx, f)
				if err != nil {
					return err
				}
				for _, token := range tokens {
					if place := token.Cursor(); last != (httpkey.Cursor{}) && last.Compare(place) >= 0 {
						return fmt.Errorf("%+v came after %+v", place, last)
					} else {
						last = place
					}
					seen[token.ID]++
				}
				if len(tokens) < f.Limit {
					break
				}
			}
			for n := range tokens {
				if seen[sqlToken(n).ID] != 1 {
					return fmt.Errorf("%s was listed %d times", sqlToken(n).ID, seen[sqlToken(n).ID])
				}
			}
		}
		return nil
	}
	atOnce(t, 2, func(i int) error { return []func() error{insert, page}[i]() })
	t.Logf("%d were inserted meanwhile", inserted.Load())
}

// Two prefixes in one database know nothing of each other.
func testPrefixes(t *testing.T, b *sqlBackend) {
	one := b.newTables(t)
	two := &sqlTables{b, b.dialect.WithPrefix(one.prefix + "x_"), one.prefix + "x_", one.dsn}
	if err := sqlstore.Migrate(t.Context(), two.open(t), two.dialect); err != nil {
		t.Fatal(err)
	}
	db := one.open(t)
	if err := createTokens(t.Context(), sqlstore.New(db, one.dialect, nil), sqlToken(1)); err != nil {
		t.Fatal(err)
	}
	_, err := sqlstore.New(db, two.dialect, nil).Lookup(t.Context(), sqlToken(1).Digest)
	if !errors.Is(err, httpkey.ErrNotFound) {
		t.Errorf("%v, want ErrNotFound", err)
	}
}

// Scopes, limits and metadata can be asked for in SQL, as README.md shows.
func testQueries(t *testing.T, b *sqlBackend) {
	tables := b.newTables(t)
	db := tables.open(t)
	token := sqlToken(1)
	token.Scopes = []string{"pages:read", "pages:write"}
	token.Limits = []httpkey.Limit{httpkey.PerMinute(1000)}
	token.Metadata = map[string]string{"plan": "pro"}
	if err := createTokens(t.Context(), sqlstore.New(db, tables.dialect, nil), token, sqlToken(2)); err != nil {
		t.Fatal(err)
	}
	for _, condition := range map[string][]string{
		"pgx": {
			`scopes @> '["pages:write"]'`,
			`(more::jsonb #>> '{limits,0,rate}')::bigint > 500`,
			`more::jsonb #>> '{metadata,plan}' = 'pro'`,
		},
		"mysql": {
			`JSON_CONTAINS(scopes, '"pages:write"')`,
			`JSON_VALUE(more, '$.limits[0].rate') > 500`,
			`JSON_VALUE(more, '$.metadata.plan') = 'pro'`,
		},
		"sqlite": {
			`EXISTS (SELECT 1 FROM json_each(scopes) WHERE value = 'pages:write')`,
			`more ->> '$.limits[0].rate' > 500`,
			`more ->> '$.metadata.plan' = 'pro'`,
		},
	}[b.driver] {
		rows, err := db.Query(tables.named("SELECT id FROM httpkey_tokens WHERE " + condition))
		if err != nil {
			t.Fatalf("%s: %v", condition, err)
		}
		var ids []string
		for rows.Next() {
			var id string
			if err := rows.Scan(&id); err != nil {
				t.Fatal(err)
			}
			ids = append(ids, id)
		}
		if err := rows.Err(); err != nil || !slices.Equal(ids, []string{token.ID}) {
			t.Errorf("%s selects %v, %v", condition, ids, err)
		}
	}
}
