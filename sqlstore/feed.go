package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/httpkey/httpkey"
)

// Every change of a token has a revision, and a row in httpkey_changes with the digest of
// the token. Of a deleted token nothing else is left.
//
// A reader asks for the revisions after the last one that it saw. None before that may
// become visible later. So a change begins by counting up the
// one row of httpkey_revision, and holds that row's lock until it commits: the
// revisions become visible in their order, without gaps. The price is that
// changes wait for each other. They are rare beside requests; reads and Touch
// do not wait.
//
// A gap tells a reader that it missed something, also where
// httpkey_changes has forgotten the oldest. A reader also finds out that a database lost its
// latest transactions in a failover, unless as many have come since. Then a cache forgets
// with its TTL.

// keptChanges is how many changes a reader may be behind. Each change removes
// the one that is this much older, so the table does not grow.
const keptChanges = 10_000

const (
	countUp        = "UPDATE httpkey_revision SET revision = revision + 1"
	recordChange   = "INSERT INTO httpkey_changes (revision, digest) VALUES ((SELECT revision FROM httpkey_revision), ?)"
	forgetChanges  = "DELETE FROM httpkey_changes WHERE revision <= (SELECT revision FROM httpkey_revision) - ?"
	latestRevision = "SELECT revision FROM httpkey_revision"
	changesSince   = "SELECT latest.revision, c.revision, c.digest FROM httpkey_revision AS latest " +
		"LEFT JOIN httpkey_changes AS c ON c.revision > ? ORDER BY c.revision LIMIT ?"
)

// change runs write in a transaction and records that it changed the token of
// the digest that it returns.
func (s *Store) change(ctx context.Context, write func(*sql.Tx) (digest []byte, err error)) error {
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }()
	// The lock comes first, so that all take their locks in the same order. In SQLite, a
	// transaction that reads first may not be allowed to write later.
	if _, err := tx.ExecContext(ctx, s.dialect.query(countUp)); err != nil {
		return err
	}
	digest, err := write(tx)
	if err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, s.dialect.query(recordChange), digest); err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, s.dialect.query(forgetChanges), keptChanges); err != nil {
		return err
	}
	return tx.Commit()
}

const (
	defaultPollInterval = time.Second
	pollTimeout         = 5 * time.Second // a feed that a server holds up for longer is broken
	pollBatch           = 1000
)

// errFellBehind makes the caller begin again, and drop what it has.
var errFellBehind = errors.New("httpkey: the change feed missed changes")

// Changes implements [httpkey.ChangeFeed]. It asks the database each
// [Options.PollInterval], with one statement that reads only new changes, and
// returns with the first error. It does not see changes by hand, in SQL, unless they
// record themselves as README.md shows.
func (s *Store) Changes(ctx context.Context, ready func(), changed func(httpkey.Digest)) error {
	revision, err := s.revision(ctx)
	if err != nil {
		return fmt.Errorf("httpkey: read changes: %w", err)
	}
	ready()
	ticker := time.NewTicker(s.pollInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return fmt.Errorf("httpkey: read changes: %w", ctx.Err())
		case <-ticker.C:
		}
		for more := true; more; {
			if revision, more, err = s.poll(ctx, revision, changed); err != nil {
				return fmt.Errorf("httpkey: read changes: %w", err)
			}
		}
	}
}

func (s *Store) revision(ctx context.Context) (revision int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, pollTimeout)
	defer cancel()
	err = s.db.QueryRowContext(ctx, s.dialect.query(latestRevision)).Scan(&revision)
	return revision, err
}

// poll reports the changes after a revision, a batch at most, and returns the
// last one's revision and whether there may be more.
func (s *Store) poll(
	ctx context.Context, after int64, changed func(httpkey.Digest),
) (last int64, more bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, pollTimeout)
	defer cancel()
	rows, err := s.db.QueryContext(ctx, s.dialect.query(changesSince), after, pollBatch)
	if err != nil {
		return after, false, err
	}
	defer func() { _ = rows.Close() }()
	last = after
	var latest int64
	for rows.Next() {
		var (
			revision sql.Null[int64] // NULL if nothing is new
			digest   []byte
		)
		if err := rows.Scan(&latest, &revision, &digest); err != nil {
			return last, false, err
		}
		if !revision.Valid {
			break
		}
		if revision.V != last+1 {
			return last, false, errFellBehind
		}
		last = revision.V
		var d httpkey.Digest
		copy(d[:], digest)
		changed(d)
	}
	if err := rows.Err(); err != nil {
		return last, false, err
	}
	if more = last == after+pollBatch; !more && last != latest {
		return last, false, errFellBehind
	}
	return last, more, nil
}
