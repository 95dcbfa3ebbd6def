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
// the token. After a Delete, no other row has the digest.
//
// A reader asks for the revisions after the last one that it saw, so no earlier revision
// may become visible later. A change therefore begins with an increment of the only row of
// httpkey_revision, and holds its lock until it commits. So revisions become visible in
// order and without gaps. In return, changes wait for each other. They are rare compared
// with requests; reads and Touch do not wait.
//
// A gap shows a reader that it missed changes, for example because httpkey_changes has
// dropped the oldest. A reader also detects that a database lost its latest transactions in
// a failover, unless as many have come since. In that case a cache waits for its TTL.

// keptChanges is the number of changes that a reader may be behind. Each change removes
// the one that is this much older, so the table does not grow.
const keptChanges = 10_000

const (
	countUp        = "UPDATE httpkey_revision SET revision = revision + 1 WHERE id = 1"
	recordChange   = "INSERT INTO httpkey_changes (revision, digest) VALUES ((SELECT revision FROM httpkey_revision), ?)"
	forgetChanges  = "DELETE FROM httpkey_changes WHERE revision <= (SELECT revision FROM httpkey_revision) - ?"
	latestRevision = "SELECT revision FROM httpkey_revision"
	changesSince   = "SELECT latest.revision, c.revision, c.digest FROM httpkey_revision AS latest " +
		"LEFT JOIN httpkey_changes AS c ON c.revision > ? ORDER BY c.revision LIMIT ?"
)

// change runs write in a transaction, and records a change of the token whose digest write
// returns. If the transaction conflicts with another, it runs write again.
func (s *Store) change(ctx context.Context, write func(database) (digest []byte, err error)) error {
	return s.transact(ctx, func(tx database) error {
		// The lock comes first, so that all changes take their locks in the same order. In SQLite,
		// a transaction that begins with a read may fail to write later.
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
		_, err = tx.ExecContext(ctx, s.dialect.query(forgetChanges), keptChanges)
		return err
	})
}

const (
	defaultPollInterval = time.Second
	pollTimeout         = 5 * time.Second // a feed whose poll takes longer is broken
	pollBatch           = 1000
)

// errFellBehind makes the caller drop its tokens and follow the feed again.
var errFellBehind = errors.New("httpkey: the change feed missed changes")

// Changes implements [httpkey.ChangeFeed]. It polls the database each
// [Options.PollInterval], with one statement that reads only new changes, and returns at
// the first error. It misses manual changes in SQL unless they count up the revision, as
// README.md shows.
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

// revised is a row of changesSince.
type revised struct {
	latest   int64
	revision sql.Null[int64] // NULL if nothing is new
	digest   []byte
}

func (c *revised) places() []any { return []any{&c.latest, &c.revision, &c.digest} }

func (s *Store) revision(ctx context.Context) (revision int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, pollTimeout)
	defer cancel()
	err = s.readRow(ctx, latestRevision, nil, &revision)
	return revision, err
}

// poll reports up to a batch of the changes after a revision. It returns the last revision,
// and whether there may be more changes.
func (s *Store) poll(
	ctx context.Context, after int64, changed func(httpkey.Digest),
) (last int64, more bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, pollTimeout)
	defer cancel()
	changes, err := readAll(ctx, s.pool, changesSince, []any{after, pollBatch}, (*revised).places)
	if err != nil {
		return after, false, err
	}
	last = after
	var latest int64
	for _, c := range changes {
		if latest = c.latest; !c.revision.Valid {
			break
		}
		if c.revision.V != last+1 {
			return last, false, errFellBehind
		}
		last = c.revision.V
		if len(c.digest) != len(httpkey.Digest{}) { // no change of this package, so it does not say what to drop
			return last, false, fmt.Errorf("revision %d has a digest of %d bytes, not %d",
				last, len(c.digest), len(httpkey.Digest{}))
		}
		changed(httpkey.Digest(c.digest))
	}
	if more = last == after+pollBatch; !more && last != latest {
		return last, false, errFellBehind
	}
	return last, more, nil
}
