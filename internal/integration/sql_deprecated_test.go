package integration

import "testing"

// No statement uses what a later version of the server will not have.
func testNothingDeprecated(t *testing.T, b *sqlBackend) {
	if b.deprecations == "" {
		t.Skip("the server does not count")
	}
	db := b.noTables(t).open(t)
	count := func() (n int) {
		if err := db.QueryRow(b.deprecations).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	for _, test := range []sqlTest{
		{"MigrateTogether", testMigrateTogether},
		{"Store", testSQLStore},
		{"LimiterSweeps", testLimiterSweeps},
		{"SeveralDenied", testSeveralDenied},
		{"FeedTells", testFeedTells},
		{"ChangeByHand", testChangeByHand},
		{"ImportInSQL", testImportInSQL},
	} {
		before := count()
		test.run(t, b)
		if n := count() - before; n > 0 {
			t.Errorf("%s uses %d times what is deprecated", test.name, n)
		}
	}
	before := count()
	if _, err := db.Exec("DO CAST('a' AS CHAR CHARACTER SET utf8mb3)"); err != nil || count() == before {
		t.Errorf("the server does not count what is deprecated (%v)", err)
	}
}
