package sqlstore

import (
	"encoding/json"
	"fmt"
	"strings"
)

// touchBatch is the maximum number of tokens of a statement, which locks them until it ends.
const touchBatch = 1000

// use is a token, and when it was last used.
type use struct {
	id         string
	unixMicros int64
}

// MarshalJSON makes an array, as the statements read it.
func (u use) MarshalJSON() ([]byte, error) { return json.Marshal([]any{u.id, u.unixMicros}) }

// listed returns a statement whose only parameter is the list of rows in JSON.
func listed[R any](query string) func([]R) (string, []any) {
	return func(rows []R) (string, []any) {
		list, _ := json.Marshal(rows) // strings and integers always have JSON
		return query, []any{string(list)}
	}
}

var (
	touchPostgreSQL = listed[use](`
WITH used AS (
	SELECT value->>0 AS id, (value->>1)::bigint AS at FROM jsonb_array_elements(?::jsonb)
), locked AS (
	SELECT t.id, used.at FROM httpkey_tokens AS t JOIN used ON used.id = t.id
	WHERE t.last_used IS NULL OR t.last_used < used.at
	ORDER BY t.id FOR NO KEY UPDATE OF t
)
UPDATE httpkey_tokens AS t SET last_used = locked.at FROM locked WHERE t.id = locked.id`)

	// SQLite has one writer at a time.
	touchSQLite = listed[use](`
UPDATE httpkey_tokens SET last_used = used.at
FROM (SELECT json_extract(value, '$[0]') AS id, json_extract(value, '$[1]') AS at FROM json_each(?)) AS used
WHERE httpkey_tokens.id = used.id AND (last_used IS NULL OR last_used < used.at)`)
)

// touchMySQL has the uses as rows of a derived table, because TiDB has no JSON_TABLE. They are
// literals, because parameters take three round trips. The join must lock the tokens in the order
// of these rows. With safe updates, MariaDB refuses a join with a table without an index. A
// comment that only MariaDB executes prevents that.
func touchMySQL(uses []use) (query string, args []any) {
	var b strings.Builder
	b.WriteString("/*M! SET STATEMENT sql_safe_updates = 0 FOR */ UPDATE (")
	for i, u := range uses {
		if i > 0 {
			b.WriteString(" UNION ALL ")
		}
		fmt.Fprintf(&b, "SELECT x'%x' AS id, %d AS at", u.id, u.unixMicros)
	}
	b.WriteString(`) AS used
STRAIGHT_JOIN httpkey_tokens AS t FORCE INDEX (PRIMARY) ON t.id = used.id
SET t.last_used = used.at WHERE t.last_used IS NULL OR t.last_used < used.at`)
	return b.String(), nil
}
