package sqlstore

import (
	"fmt"
	"strings"
)

// The statements of Usage.Add. Their rows are in the order of the keys.

var (
	addUsagePostgreSQL = listed[number](`
INSERT INTO httpkey_usage (hours, begins_at, id, name, n)
SELECT (value->>0)::int, (value->>1)::bigint, value->>2, value->>3, (value->>4)::bigint
FROM jsonb_array_elements(?::jsonb)
ON CONFLICT (hours, begins_at, id, name) DO UPDATE SET n = httpkey_usage.n + excluded.n`)

	addUsageSQLite = listed[number](`
INSERT INTO httpkey_usage (hours, begins_at, id, name, n)
SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]'), json_extract(value, '$[2]'),
	json_extract(value, '$[3]'), json_extract(value, '$[4]') FROM json_each(?) WHERE true
ON CONFLICT (hours, begins_at, id, name) DO UPDATE SET n = httpkey_usage.n + excluded.n`)

	sawClientPostgreSQL = listed[client](`
INSERT INTO httpkey_usage_clients (id, address, user_agent, seen_at, seen_on)
SELECT value->>0, value->>1, value->>2, (value->>3)::bigint, (value->>4)::bigint
FROM jsonb_array_elements(?::jsonb)` + later)

	sawClientSQLite = listed[client](`
INSERT INTO httpkey_usage_clients (id, address, user_agent, seen_at, seen_on)
SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]'), json_extract(value, '$[2]'),
	json_extract(value, '$[3]'), json_extract(value, '$[4]') FROM json_each(?) WHERE true` + later)
)

// later replaces a client that was seen before.
const later = `
ON CONFLICT (id) DO UPDATE SET address = excluded.address, user_agent = excluded.user_agent,
	seen_at = excluded.seen_at, seen_on = excluded.seen_on
WHERE httpkey_usage_clients.seen_at < excluded.seen_at`

// The statements of MySQL have their rows in a derived table, as touchMySQL does.

func addUsageMySQL(numbers []number) (query string, args []any) {
	var b strings.Builder
	b.WriteString("INSERT INTO httpkey_usage (hours, begins_at, id, name, n) SELECT * FROM (")
	for i, n := range numbers {
		if i > 0 {
			b.WriteString(" UNION ALL ")
		}
		fmt.Fprintf(&b, "SELECT %d AS hours, %d AS begins_at, x'%x' AS id, x'%x' AS name, %d AS added",
			n.hours, n.beginsAt, n.id, n.name, n.n)
	}
	b.WriteString(") AS counted ON DUPLICATE KEY UPDATE n = n + added")
	return b.String(), nil
}

// MySQL assigns from left to right, so seen_at comes last.
func sawClientMySQL(clients []client) (query string, args []any) {
	var b strings.Builder
	b.WriteString("INSERT INTO httpkey_usage_clients (id, address, user_agent, seen_at, seen_on) SELECT * FROM (")
	for i, c := range clients {
		if i > 0 {
			b.WriteString(" UNION ALL ")
		}
		fmt.Fprintf(&b, "SELECT x'%x' AS the_id, x'%x' AS new_address, CONVERT(x'%x' USING utf8mb4) AS new_agent, "+
			"%d AS later, %d AS new_day", c.id, c.address, c.userAgent, c.seenAt, c.seenOn)
	}
	b.WriteString(`) AS counted ON DUPLICATE KEY UPDATE
	address = IF(seen_at < later, new_address, address), user_agent = IF(seen_at < later, new_agent, user_agent),
	seen_on = IF(seen_at < later, new_day, seen_on), seen_at = GREATEST(seen_at, later)`)
	return b.String(), nil
}
