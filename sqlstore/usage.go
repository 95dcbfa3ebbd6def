package sqlstore

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/httpkey/httpkey/internal/tally"
	"github.com/httpkey/httpkey/usage"
)

// Usage is a [usage.Store] in a SQL database. Make one with [NewUsage]; it is safe for concurrent
// use.
//
// An Add is one statement for each 250 hours of tokens, and one for their clients. Then it removes
// up to 8,000 rows that are too old. It repeats a statement that conflicts with others, as a [Store]
// does. A read is one statement. A token takes a row for each kind of count in each hour and each
// day; most have one kind.
type Usage struct{ *pool }

var _ usage.Store = (*Usage)(nil)

// NewUsage returns a Usage in the tables of db that [Migrate] makes. It panics if db is nil or
// dialect is zero. It does no I/O.
func NewUsage(db *sql.DB, dialect Dialect) *Usage {
	mustHave(db, dialect)
	return &Usage{&pool{db: db, dialect: dialect}}
}

// usageBatch is the maximum number of deltas of a statement, which locks their rows until it ends.
const usageBatch = 250

// Add implements [usage.Store]. Tokens whose IDs no database can hold are left out.
func (u *Usage) Add(ctx context.Context, deltas []usage.Delta, keep usage.Keep) (rest []usage.Delta, err error) {
	deltas = slices.Clone(deltas)
	deltas = slices.DeleteFunc(deltas, func(d usage.Delta) bool { return !isText(d.ID) })
	written := 0
	for batch := range slices.Chunk(deltas, usageBatch) {
		if err = write(ctx, u.pool, u.dialect.engine.addUsage, numbersOf(batch)); err != nil {
			break
		}
		written += len(batch)
	}
	rest = deltas[written:]
	for batch := range slices.Chunk(clientsOf(deltas), usageBatch) {
		if err == nil {
			err = write(ctx, u.pool, u.dialect.engine.sawClient, batch)
		}
	}
	if err == nil {
		err = u.prune(ctx, keep)
	}
	if err != nil {
		return rest, fmt.Errorf("httpkey: write usage: %w", err)
	}
	return nil, nil
}

// write runs the statement that writes rows, if there are any.
func write[R any](ctx context.Context, p *pool, statement func([]R) (query string, args []any), rows []R) error {
	if len(rows) == 0 {
		return nil
	}
	query, args := statement(rows)
	return p.exec(ctx, query, args...)
}

// number is a row of httpkey_usage.
type number struct {
	interval
	n int64
}

// interval is the key of that row.
type interval struct {
	hours    int
	beginsAt int64 // Unix microseconds
	id, name string
}

func (i interval) compare(other interval) int {
	return cmp.Or(cmp.Compare(i.hours, other.hours), cmp.Compare(i.beginsAt, other.beginsAt),
		strings.Compare(i.id, other.id), strings.Compare(i.name, other.name))
}

// places returns the destinations of a Scan of all columns.
func (n *number) places() []any { return []any{&n.hours, &n.beginsAt, &n.id, &n.name, &n.n} }

// MarshalJSON makes an array, as the statements read it.
func (n number) MarshalJSON() ([]byte, error) {
	return json.Marshal([]any{n.hours, n.beginsAt, n.id, n.name, n.n})
}

// numbersOf returns the rows of deltas, each once. They are in the order of their keys, so that
// processes that add to the same rows do not deadlock.
func numbersOf(deltas []usage.Delta) []number {
	sums := make(map[interval]int64)
	for _, d := range deltas {
		for _, step := range []time.Duration{usage.Hour, usage.Day} {
			beginsAt := d.Hour.UTC().Truncate(step).UnixMicro()
			for name, n := range tally.Of(d.Counts) {
				sums[interval{hours(step), beginsAt, d.ID, name}] += n
			}
		}
	}
	numbers := make([]number, 0, len(sums))
	for i, n := range sums {
		numbers = append(numbers, number{i, n})
	}
	slices.SortFunc(numbers, func(a, b number) int { return a.compare(b.interval) })
	return numbers
}

func hours(step time.Duration) int { return int(step / time.Hour) }

// client is a row of httpkey_usage_clients.
type client struct {
	id, address, userAgent string
	seenAt, seenOn         int64 // Unix microseconds: the moment, and the day
}

// MarshalJSON makes an array, as the statements read it.
func (c client) MarshalJSON() ([]byte, error) {
	return json.Marshal([]any{c.id, c.address, c.userAgent, c.seenAt, c.seenOn})
}

// clientsOf returns the latest client of each token, in the order of the IDs.
func clientsOf(deltas []usage.Delta) []client {
	latest := make(map[string]usage.Client)
	for _, d := range deltas {
		if d.Client.At.After(latest[d.ID].At) && isText(d.Client.UserAgent) {
			latest[d.ID] = d.Client
		}
	}
	clients := make([]client, 0, len(latest))
	for id, c := range latest {
		row := client{id: id, userAgent: c.UserAgent, seenAt: c.At.UnixMicro()}
		row.seenOn = c.At.UTC().Truncate(usage.Day).UnixMicro()
		if c.Addr.IsValid() {
			row.address = c.Addr.String()
		}
		clients = append(clients, row)
	}
	slices.SortFunc(clients, func(a, b client) int { return strings.Compare(a.id, b.id) })
	return clients
}

const (
	pruneBatch = 1000 // rows of a statement, which locks them until it ends
	pruneMost  = 4    // statements of an Add for each step
)

// prune removes some rows that are too old, oldest first.
func (u *Usage) prune(ctx context.Context, keep usage.Keep) error {
	now := time.Now()
	for step, age := range map[time.Duration]time.Duration{usage.Hour: keep.Hours, usage.Day: keep.Days} {
		isDone := false
		for i := 0; i < pruneMost && !isDone; i++ {
			var err error
			if isDone, err = u.pruneInterval(ctx, hours(step), now.Add(-age).UnixMicro()); err != nil {
				return err
			}
		}
	}
	const oldClients = "DELETE FROM httpkey_usage_clients WHERE seen_on < ?"
	return u.exec(ctx, oldClients, now.UTC().Add(-keep.Hours).Truncate(usage.Day).UnixMicro())
}

// pruneInterval removes a batch of rows of the oldest interval. It reports whether none begins before
// a moment.
func (u *Usage) pruneInterval(ctx context.Context, hours int, before int64) (isDone bool, err error) {
	const oldest = "SELECT begins_at FROM httpkey_usage WHERE hours = ? ORDER BY begins_at LIMIT 1"
	var beginsAt int64
	err = u.readRow(ctx, oldest, []any{hours}, &beginsAt)
	if errors.Is(err, sql.ErrNoRows) || err == nil && beginsAt >= before {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	const lastOfBatch = "SELECT id FROM httpkey_usage WHERE hours = ? AND begins_at = ? ORDER BY id LIMIT 1 OFFSET ?"
	remove, args := "DELETE FROM httpkey_usage WHERE hours = ? AND begins_at = ?", []any{hours, beginsAt}
	var last string
	switch err := u.readRow(ctx, lastOfBatch, []any{hours, beginsAt, pruneBatch}, &last); {
	case err == nil:
		remove, args = remove+" AND id <= ?", append(args, last)
	case !errors.Is(err, sql.ErrNoRows):
		return false, err
	}
	return false, u.exec(ctx, remove, args...)
}

// Of implements [usage.Reader].
func (u *Usage) Of(ctx context.Context, id string, from, to time.Time, step time.Duration) ([]usage.Interval, error) {
	starts, err := usage.Starts(from, to, step)
	if err != nil || len(starts) == 0 || !isText(id) {
		return nil, err
	}
	args := []any{id, hours(step)}
	for _, start := range starts {
		args = append(args, start.UnixMicro())
	}
	query := "SELECT hours, begins_at, id, name, n FROM httpkey_usage WHERE id = ? AND hours = ? AND begins_at IN (?" +
		strings.Repeat(", ?", len(starts)-1) + ")"
	numbers, err := readAll(ctx, u.pool, query, args, (*number).places)
	if err != nil {
		return nil, fmt.Errorf("httpkey: read usage: %w", err)
	}
	sums := make(map[int64]usage.Counts)
	for _, n := range numbers {
		if n.id != id || n.hours != hours(step) {
			return nil, errMixed
		}
		c := sums[n.beginsAt]
		tally.Add(&c, n.name, n.n)
		sums[n.beginsAt] = c
	}
	var intervals []usage.Interval
	for _, start := range starts {
		if c := sums[start.UnixMicro()]; !c.IsZero() {
			intervals = append(intervals, usage.Interval{Start: start, Counts: c})
		}
	}
	return intervals, nil
}

// LastClient implements [usage.Reader].
func (u *Usage) LastClient(ctx context.Context, id string) (usage.Client, error) {
	if !isText(id) {
		return usage.Client{}, nil
	}
	const query = "SELECT id, address, user_agent, seen_at FROM httpkey_usage_clients WHERE id = ?"
	var c client
	err := u.readRow(ctx, query, []any{id}, &c.id, &c.address, &c.userAgent, &c.seenAt)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return usage.Client{}, nil
	case err != nil:
		return usage.Client{}, fmt.Errorf("httpkey: read the last client: %w", err)
	case c.id != id:
		return usage.Client{}, errMixed
	}
	addr, _ := netip.ParseAddr(c.address) // it may be empty
	return usage.Client{Addr: addr, UserAgent: c.userAgent, At: time.UnixMicro(c.seenAt).UTC()}, nil
}

// Format keeps the DSN and the rest of the database handle out of a printed Usage.
func (u *Usage) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "sqlstore.Usage") }
