package integration

import "testing"

// No statement uses a deprecated feature of the server.
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
			t.Errorf("%s uses deprecated features %d times", test.name, n)
		}
	}
	before := count()
	if _, err := db.Exec("DO CAST('a' AS CHAR CHARACTER SET utf8mb3)"); err != nil || count() == before {
		t.Errorf("the server does not count deprecated features (%v)", err)
	}
}
