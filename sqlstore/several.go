package sqlstore

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/internal/gcra"
)

// several are the statements for a certain number of buckets.
type several struct {
	look  *statement // reads the existing buckets and the clock
	claim *statement // creates the missing buckets, and locks all
	read  *statement // is look in a transaction
	write *statement
	clear *statement // removes the buckets, which makes them full
}

func newSeveral(p *pool, n int) several {
	e := p.dialect.engine
	list := func(item, separator string) string {
		items := make([]string, n)
		for i := range items {
			items[i] = strings.ReplaceAll(item, "#", fmt.Sprint(i))
		}
		return strings.Join(items, separator)
	}
	each := func(value string) string { return "CASE id " + list("WHEN {id#} THEN "+value, " ") + " END" }
	look := "SELECT id, debt, as_of, rate, " + e.now + " FROM httpkey_buckets WHERE id IN (" + list("{id#}", ", ") + ")"
	return several{
		look: newStatement(p, look),
		read: newStatement(p, look+e.current),
		claim: newStatement(p, "INSERT INTO httpkey_buckets (id, debt, as_of, rate, full_at) VALUES "+
			list("({id#}, 0, 0, 0, 0)", ", ")+" "+e.conflict+" debt = httpkey_buckets.debt"),
		write: newStatement(p, "UPDATE httpkey_buckets SET debt = "+each("{debt#}")+", as_of = "+each("{at#}")+
			", rate = "+each("{rate#}")+", full_at = "+each("{full#}")+" WHERE id IN ("+list("{id#}", ", ")+")"),
		clear: newStatement(p, "DELETE FROM httpkey_buckets WHERE id IN ("+list("{id#}", ", ")+")"),
	}
}

// decideAll decides in a transaction, all or nothing. It first reads without a lock, so that a
// denial writes nothing.
func (l *Limiter) decideAll(ctx context.Context, q *question) (each []httpkey.Result, err error) {
	statements := &l.several[len(q.buckets)-1]
	var now int64
	err = statements.look.alone(ctx, func(look runnable) error {
		now, err = q.look(ctx, look, statements.look.args(q.values(0)))
		return err
	})
	if err != nil {
		return nil, err
	}
	if each, enough := q.decide(now); !q.healed && (!enough || q.cost == 0) {
		return each, nil
	}
	release, err := l.takeTurn(ctx)
	if err != nil {
		return nil, err
	}
	defer release()
	err = l.transact(ctx, func(tx database) error {
		claim, read, write := statements.claim, statements.read, statements.write
		ids := q.values(0)
		if _, err := claim.within(tx).ExecContext(ctx, claim.args(ids)...); err != nil {
			return err
		}
		if now, err = q.look(ctx, read.within(tx), read.args(ids)); err != nil {
			return err
		}
		var enough bool
		if each, enough = q.decide(now); !enough && !q.healed {
			// It also commits a denial, which may add full buckets; these are the same as none. If
			// MySQL rolled back new rows, callers that wait for them could deadlock.
			return nil
		}
		_, err := write.within(tx).ExecContext(ctx, write.args(q.values(now))...)
		return err
	})
	return each, err
}

// clearAll removes all buckets of q. It first locks them in the order in which all callers do.
func (l *Limiter) clearAll(ctx context.Context, q *question) error {
	release, err := l.takeTurn(ctx)
	if err != nil {
		return err
	}
	defer release()
	statements := &l.several[len(q.buckets)-1]
	return l.transact(ctx, func(tx database) error {
		for _, s := range []*statement{statements.claim, statements.clear} {
			if _, err := s.within(tx).ExecContext(ctx, s.args(q.values(0))...); err != nil {
				return err
			}
		}
		return nil
	})
}

// look reads the state of all buckets. It returns the clock, or 0 if no bucket exists.
func (q *question) look(ctx context.Context, look runnable, args []any) (now int64, err error) {
	q.healed = false
	for i := range q.buckets {
		q.buckets[i].state = gcra.Bucket{}
	}
	rows, err := look.QueryContext(ctx, args...)
	if err != nil {
		return 0, err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var (
			id    []byte
			state gcra.Bucket
		)
		if err := rows.Scan(&id, &state.Debt, &state.AsOf, &state.Rate, &now); err != nil {
			return 0, fmt.Errorf("%w: %w", gcra.ErrDamaged, err) // SQLite has columns of any type
		}
		b := q.find(id)
		if b == nil {
			return 0, fmt.Errorf("bucket %x came unasked", id)
		}
		if b.state, err = checked(state); err != nil {
			return 0, err
		}
		if b.state.Heal(b.Terms, now) {
			q.healed = true
		}
	}
	return now, rows.Err()
}

// values returns the arguments for the buckets, in the order of their IDs, in which all
// callers lock them.
func (q *question) values(now int64) values {
	order := make([]*bucket, len(q.buckets))
	for i := range order {
		order[i] = &q.buckets[i]
	}
	slices.SortFunc(order, func(a, b *bucket) int { return slices.Compare(a.id, b.id) })
	v := values{}
	for i, b := range order {
		n := fmt.Sprint(i)
		v["id"+n], v["debt"+n], v["at"+n] = b.id, b.state.Debt, b.state.AsOf
		v["rate"+n], v["full"+n] = b.state.Rate, b.fullAt(now)
	}
	return v
}
