package sqlstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/bits"
	"strings"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/internal/batch"
	"github.com/httpkey/httpkey/internal/failover"
)

// lookups are the lookups of a Store. A lookup costs a server and its client little beside the round
// trip, so those that coincide share one.
type lookups struct {
	statements [8]*statement // of 1, 2, 4, … 128 digests, which is the most that batch.Gatherer asks
	gatherer   batch.Gatherer[struct{}, httpkey.Digest, lookedUp]
}

// lookedUp is the answer to the lookup of one digest. The error concerns its row alone.
type lookedUp struct {
	token httpkey.Token
	err   error
}

func newLookups(p *pool) *lookups {
	l := new(lookups)
	for i := range l.statements {
		digests := make([]string, 1<<i)
		for n := range digests {
			digests[n] = fmt.Sprintf("{digest%d}", n)
		}
		l.statements[i] = newStatement(p,
			"SELECT "+columns+" FROM httpkey_tokens WHERE digest IN ("+strings.Join(digests, ", ")+")")
	}
	l.gatherer.Ask = func(ctx context.Context, _ struct{}, digests []httpkey.Digest) ([]lookedUp, error) {
		return l.ask(ctx, digests)
	}
	l.gatherer.Payer = func(d httpkey.Digest) string { return string(d[:]) }
	return l
}

// Lookup implements [httpkey.TokenStore].
func (s *Store) Lookup(ctx context.Context, d httpkey.Digest) (httpkey.Token, error) {
	answer, err := s.lookups.one(ctx, d)
	switch {
	case errors.Is(err, errMixed):
		return httpkey.Token{}, errMixed
	case err != nil:
		return httpkey.Token{}, fmt.Errorf("httpkey: read a token: %w", err)
	}
	return answer.token, answer.err
}

// one looks up a digest, together with others if it may. It may not in SQLite, where there is no
// round trip to share. Nor may a caller without a deadline, for which the others would wait.
func (l *lookups) one(ctx context.Context, d httpkey.Digest) (answer lookedUp, err error) {
	_, isBounded := ctx.Deadline()
	if isBounded && !l.statements[0].dialect.engine.inProcess {
		answer, err = l.gatherer.Do(ctx, struct{}{}, d)
		if !errors.Is(err, failover.ErrNotAsked) || ctx.Err() != nil {
			return answer, err
		}
		// A shared call has failed. That is one failure, so the caller asks by itself.
	}
	answers, err := l.ask(ctx, []httpkey.Digest{d})
	if err != nil {
		return answer, err
	}
	return answers[0], nil
}

// ask looks up several digests in one statement. It repeats the last digest up to the number that
// the statement has, so that there are few statements to prepare.
func (l *lookups) ask(ctx context.Context, digests []httpkey.Digest) ([]lookedUp, error) {
	s := l.statements[bits.Len(uint(len(digests)-1))]
	args := make([]any, len(s.parameters))
	for i := range args {
		args[i] = digests[min(i, len(digests)-1)][:]
	}
	var answers []lookedUp
	err := s.alone(ctx, func(r runnable) (err error) {
		answers, err = readTokens(ctx, r, args, digests)
		return err
	})
	return answers, err
}

// readTokens returns the answers in the order of the digests.
func readTokens(ctx context.Context, r runnable, args []any, digests []httpkey.Digest) ([]lookedUp, error) {
	rows, err := r.QueryContext(ctx, args...)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	answers := make([]lookedUp, len(digests))
	for i := range answers {
		answers[i].err = httpkey.ErrNotFound
	}
	for rows.Next() {
		var found row
		if err := rows.Scan(found.places()...); err != nil {
			return nil, err
		}
		isAsked := false
		for i, d := range digests {
			if bytes.Equal(d[:], found.digest) {
				answers[i].token, answers[i].err = found.token()
				isAsked = true
			}
		}
		if !isAsked {
			return nil, errMixed
		}
	}
	return answers, rows.Err()
}
