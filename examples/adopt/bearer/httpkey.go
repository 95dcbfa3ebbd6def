package main

import (
	"context"
	"database/sql"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/memstore"
	"github.com/httpkey/httpkey/sqlstore"
)

// limits apply to all tokens of a user together: two by the plan, and one more on some routes.
var limits = map[string][]httpkey.Limit{
	"free":           {httpkey.PerMinute(60), httpkey.PerDay(500)},
	"pro":            {httpkey.PerMinute(600), httpkey.PerMonth(1_000_000)},
	"POST /messages": {{Name: "messages", Rate: 20, Period: time.Minute}},
	"GET /export":    {{Name: "export", Rate: 5, Period: time.Hour}},
}

func newGuard(db *sql.DB) *httpkey.Guard {
	return httpkey.New(sqlstore.New(db, sqlstore.SQLite, nil), memstore.NewLimiter(), &httpkey.Options{
		Prefix: "tk", ImportedMinLength: 32, Sources: []httpkey.Source{httpkey.FromBearer(), fromBasic},
		ScopeImplies: func(have, want string) bool { return have == "write" && want == "read" },
		Charge: func(r *http.Request, t *httpkey.Token, c *httpkey.Charge) {
			c.Bucket, c.Limits = "user:"+t.User, limits["free"]
			if t.Metadata["plan"] == "pro" {
				c.Limits = limits["pro"]
			}
			if r != nil {
				c.Limits = slices.Concat(c.Limits, limits[r.Method+" "+r.URL.Path])
			}
		},
	})
}

// fromBasic returns the password, which is a token; any user name will do. Two lines of the header are two keys.
func fromBasic(r *http.Request) []string {
	_, password, _ := r.BasicAuth()
	return slices.Repeat([]string{password}, len(r.Header["Authorization"]))
}

// importTokens may be repeated. After it, nothing needs the plain text.
func importTokens(ctx context.Context, db *sql.DB, guard *httpkey.Guard) error {
	rows, err := db.QueryContext(ctx, "SELECT token, user_name, plan, permissions FROM tokens")
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var key, user, plan, permissions string
		if err := rows.Scan(&key, &user, &plan, &permissions); err != nil {
			return err
		}
		_, err := guard.Ensure(ctx, httpkey.Secret(key), httpkey.Token{
			User: user, Scopes: strings.Split(permissions, ","), Metadata: map[string]string{"plan": plan},
		})
		if err != nil && !errors.Is(err, httpkey.ErrInactive) { // revoked since an import that did not end
			return err
		}
	}
	return rows.Err()
}
