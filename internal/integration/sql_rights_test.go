package integration

import (
	"database/sql"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/sqlstore"
	"github.com/httpkey/httpkey/usage"
)

// grants are the statements of sqlstore/README.md that give the program its rights.
func (b *sqlTables) grants(t testing.TB, to string) []string {
	t.Helper()
	grants := regexp.MustCompile(`(?m)^GRANT .* TO app;$`).FindAllString(sqlReadme(t), -1)
	if len(grants) != 7 {
		t.Fatalf("README.md has %d grants, want one for each table", len(grants))
	}
	for i, grant := range grants {
		grants[i] = strings.Replace(b.named(grant), "TO app;", "TO "+to, 1)
	}
	return grants
}

// A user with the rights in README.md may do everything that the package does, and nothing else.
// Without one of these rights, a call fails.
func testLeastRights(t *testing.T, b *sqlBackend) {
	if b.server == nil {
		t.Skip("there are no users")
	}
	tables := b.newTables(t)
	user := tables.asUser(t)
	admin, db := tables.open(t), user.open(t)
	if err := tables.doAll(t, db); err != nil {
		t.Fatal(err)
	}
	for _, statement := range []string{
		"CREATE TABLE httpkey_more (a INT)", "DROP TABLE httpkey_changes", "UPDATE httpkey_changes SET revision = 0",
		"DELETE FROM httpkey_revision", "INSERT INTO httpkey_revision (id, revision) VALUES (2, 0)",
		"DELETE FROM httpkey_migrations",
	} {
		if _, err := db.Exec(tables.named(statement)); err == nil {
			t.Errorf("it may %s", statement)
		}
	}
	for _, grant := range tables.grants(t, tables.user()) {
		rights, rest, _ := strings.Cut(strings.TrimPrefix(grant, "GRANT "), " ON ")
		for right := range strings.SplitSeq(rights, ", ") {
			if right == "DELETE" && strings.Contains(rest, "buckets") {
				continue // no call waits for the removal of full buckets
			}
			tables.must(t, admin, "REVOKE "+right+" ON "+strings.Replace(rest, " TO ", " FROM ", 1))
			if err := tables.doAll(t, user.open(t)); err == nil {
				t.Errorf("every call succeeds without %s ON %s", right, rest)
			}
			tables.must(t, admin, grant)
		}
	}
}

// doAll calls every method of the package.
func (b *sqlTables) doAll(t *testing.T, db *sql.DB) error {
	if err := sqlstore.Migrate(t.Context(), db, b.dialect); err != nil {
		return err
	}
	ctx, store, limiter := t.Context(), sqlstore.New(db, b.dialect, nil), sqlstore.NewLimiter(db, b.dialect)
	token := sqlToken(int(time.Now().UnixNano() % 1_000_000_000))
	if err := createTokens(ctx, store, token); err != nil {
		return err
	}
	_, lookup := store.Lookup(ctx, token.Digest)
	_, list := store.List(ctx, httpkey.Filter{})
	_, one := takeFrom(ctx, limiter, "key", 1, httpkey.PerHour(1_000_000))
	now := time.Now().UTC()
	old := usage.Delta{ID: token.ID, Hour: now.Add(-5 * usage.Day).Truncate(usage.Hour), Counts: usage.Counts{Passed: 1}}
	counted := usage.Delta{ID: token.ID, Hour: now.Truncate(usage.Hour), Counts: usage.Counts{Passed: 1},
		Client: usage.Client{UserAgent: "curl", At: now}}
	counts := sqlstore.NewUsage(db, b.dialect)
	_, count := counts.Add(ctx, []usage.Delta{counted, old}, usage.Keep{Hours: usage.Day, Days: usage.Day})
	_, read := counts.Of(ctx, token.ID, now, now.Add(1), usage.Hour)
	_, client := counts.LastClient(ctx, token.ID)
	_, several := takeFrom(ctx, limiter, "key", 1, httpkey.PerHour(1_000_000), httpkey.PerDay(1_000_000))
	for what, err := range map[string]error{
		"Lookup": lookup, "List": list, "Update": replaceToken(ctx, store, token),
		"Touch":  store.Touch(ctx, map[string]time.Time{token.ID: time.Now()}),
		"Delete": store.Delete(ctx, token.ID), "Usage.Add": count, "Usage.Of": read, "LastClient": client, "Allow": one,
		"Allow under several limits": several,
	} {
		if err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
	}
	return nil
}
