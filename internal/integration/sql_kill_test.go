package integration

import (
	"database/sql"
	"testing"

	"github.com/httpkey/httpkey/sqlstore"
)

func limitChild(t *testing.T, db *sql.DB, d sqlstore.Dialect)  {}
func createChild(t *testing.T, db *sql.DB, d sqlstore.Dialect) {}
func useChild(t *testing.T, db *sql.DB, d sqlstore.Dialect)    {}
