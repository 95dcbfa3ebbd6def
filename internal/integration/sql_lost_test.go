package integration

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/sqlstore"
)

// A charge is made once at most, whichever answer of the server is lost with its connection. Some
// drivers let database/sql repeat a statement that the server has run.
func testLostAnswers(t *testing.T, b *sqlBackend) {
	if b.server == nil {
		t.Skip("no server")
	}
	for _, m := range append([]mode{{"default", b.driver, ""}}, modes[b.driver]...) {
		tables := b.in(m).newTables(t)
		near := sqlstore.NewLimiter(tables.open(t), tables.dialect)
		p := startProxy(t, b.server.address())
		far := *tables
		far.dsn = strings.Replace(tables.dsn, b.server.address(), p.address(), 1)
		for name, limits := range map[string][]httpkey.Limit{
			"one limit":      {{Rate: 1000, Period: 1000 * time.Hour}},
			"several limits": {{Rate: 1000, Period: 1000 * time.Hour}, {Name: "another", Rate: 1000, Period: 1000 * time.Hour}},
		} {
			for lost := range 8 {
				db := far.open(t)
				limiter := sqlstore.NewLimiter(db, tables.dialect)
				payer := fmt.Sprint(name, lost)
				if _, err := takeFrom(t.Context(), limiter, payer, 1, limits...); err != nil {
					t.Fatal(err)
				}
				p.cutIn.Store(int64(lost))
				_, err := takeFrom(t.Context(), limiter, payer, 1, limits...)
				p.cutIn.Store(0)
				_ = db.Close()
				now, lookErr := takeFrom(t.Context(), near, payer, 0, limits...)
				if charges := 1000 - now.Remaining; lookErr != nil || charges > 2 || charges < 2 && err == nil {
					t.Errorf("%s, %s, without answer %d: %d charges, want 2; %v, %v", m.name, name, lost, charges, err, lookErr)
				}
			}
		}
	}
}
