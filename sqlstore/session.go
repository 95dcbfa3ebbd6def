package sqlstore

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// The checks return an error that says what to set. A [pool] runs its check at the first use.

func checkMySQL(ctx context.Context, db database) error {
	const ask = "SELECT @@autocommit, @@character_set_client, @@character_set_connection, " +
		"COALESCE(@@character_set_results, 'utf8mb4'), @@sql_mode" // NULL: the server converts nothing
	var (
		autocommit bool
		charsets   [3]string
		mode       string
	)
	err := db.QueryRowContext(ctx, ask).Scan(&autocommit, &charsets[0], &charsets[1], &charsets[2], &mode)
	if err != nil {
		return err
	}
	if !autocommit {
		return errors.New("autocommit is off, so that charges and uses are never committed " +
			"and reads see no change: set autocommit=1 in the data source name")
	}
	if strings.Contains(mode, "SIMULTANEOUS_ASSIGNMENT") { // see newSingleMySQL
		return errors.New("the SQL mode has SIMULTANEOUS_ASSIGNMENT, under which limits do not count: " +
			"set an sql_mode without SIMULTANEOUS_ASSIGNMENT in the data source name")
	}
	for _, charset := range charsets {
		if charset != "utf8mb4" {
			return fmt.Errorf("the connection's character set is %s, "+
				"which changes texts: set charset=utf8mb4 in the data source name", charset)
		}
	}
	return nil
}

func checkPostgreSQL(ctx context.Context, db database) error {
	var encoding string
	err := db.QueryRowContext(ctx, "SELECT current_setting('client_encoding')").Scan(&encoding)
	switch {
	case err != nil, encoding == "UTF8", encoding == "UNICODE": // an old name of it
	case encoding == "SQL_ASCII": // converts nothing
	default:
		err = fmt.Errorf("the connection's encoding is %s, "+
			"which changes texts: set client_encoding=UTF8 in the data source name", encoding)
	}
	return err
}

// checkSQLite has nothing to check.
func checkSQLite(context.Context, database) error { return nil }
