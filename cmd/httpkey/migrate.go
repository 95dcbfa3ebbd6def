package main

import (
	"context"
	"fmt"
	"io/fs"

	"github.com/spf13/cobra"

	"github.com/httpkey/httpkey/sqlstore"
)

func (a *app) migrate() *cobra.Command {
	cmd := a.bare("migrate", "Make the tables, or upgrade them", cobra.NoArgs,
		func(ctx context.Context, _ []string) error {
			s, err := a.begin(ctx, true)
			if err != nil {
				return err
			}
			defer func() { _ = s.Close() }() // Migrate has committed
			if s.SQL == nil {
				s.say("there are no tables to make: this is no database of SQL")
				return nil
			}
			return s.upgrade(ctx)
		})
	return a.confirmable(cmd)
}

// upgrade asks before an upgrade, which may drop columns that running programs use.
func (s *session) upgrade(ctx context.Context) error {
	have, want, _ := s.schema(ctx) // without tables it fails, and there is nothing to lose
	if have > 0 && have < want {
		question := fmt.Sprintf("Upgrade the tables from version %d to %d? Programs of an earlier version may fail then.",
			have, want)
		if err := s.confirm(ctx, question); err != nil {
			return err
		}
	}
	if err := sqlstore.Migrate(ctx, s.SQL, s.Dialect); err != nil {
		return err
	}
	if s.json {
		return s.writeJSON(map[string]int{"from": have, "to": want})
	}
	if have == want {
		s.say("the tables are at version %d already", want)
		return nil
	}
	s.say("the tables are at version %d now", want)
	return nil
}

// schema returns the version of the tables, and the one that this program knows. The error is that
// of the database, which may have no tables.
func (s *session) schema(ctx context.Context) (have, want int, err error) {
	files, err := fs.Glob(sqlstore.Migrations(s.Dialect), "*.sql")
	if err == nil {
		row := s.SQL.QueryRowContext(ctx, "SELECT COALESCE(max(version), 0) FROM httpkey_migrations")
		err = row.Scan(&have)
	}
	return have, len(files), err
}

// mustBeCurrent returns an error unless the tables are those that this program knows. Only
// migrate changes them: an operator who lists keys must not upgrade the tables of an API.
func (s *session) mustBeCurrent(ctx context.Context) error {
	if s.SQL == nil {
		return nil
	}
	have, want, err := s.schema(ctx)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		return fmt.Errorf("the database has no tables that can be read, run httpkey migrate: %w", err)
	case have < want:
		return fmt.Errorf("the tables are at version %d, this program needs %d: run httpkey migrate", have, want)
	case have > want:
		return fmt.Errorf("%w: it is at version %d, this program knows %d", sqlstore.ErrNewerSchema, have, want)
	}
	return nil
}
