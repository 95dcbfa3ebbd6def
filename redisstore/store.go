// Package redisstore keeps tokens and rate limits in Redis, for a program that
// runs as several processes.
//
// [Store] is a token store with a change feed, [Limiter] is a GCRA limiter and [Window]
// is a strict sliding window. They need Redis 5 or later, or a compatible server.
//
// Concurrent callers share round trips: questions that come while a call is in progress go
// together in the next one.
//
// # The client
//
// By default, go-redis waits long and retries. A call to a server that does not answer
// takes more than ten seconds, whatever the deadline of its context. A request can be
// charged four times. Make the client of a limiter with
//
//	redis.UniversalOptions{
//		Addrs:                 addrs,
//		ContextTimeoutEnabled: true, // heed the deadlines of contexts
//		MaxRetries:            -1,   // never charge twice; on a Cluster, MaxRedirects still follows a moved slot
//		DialTimeout:           300 * time.Millisecond,
//		DialerRetries:         1, // where the client's version has it
//	}
//
// By default, an attempt to connect continues for up to 25 seconds after its caller has left,
// and holds a place in the pool. The defaults of PoolSize and PoolTimeout suffice: a caller
// that waits for a connection heeds its deadline. After PoolSize failed attempts, the client
// tries again once a second. So it reconnects to Redis within two seconds.
//
// Set ClusterOptions.ClusterStateReloadInterval to a second, where the client's version has
// it. Otherwise the client notices a new master after up to a minute.
//
// Set maxmemory-policy to noeviction, or to a volatile policy, which may evict buckets but
// never tokens.
package redisstore

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/internal/batch"
	"github.com/httpkey/httpkey/internal/failover"
	"github.com/redis/go-redis/v9"
)

// Store is an [httpkey.TokenStore] and an [httpkey.ChangeFeed] in Redis. Make one
// with [New]. It is safe for concurrent use.
//
// It works on a single server, with Sentinel and on a Cluster, where one master holds all
// tokens. Calls heed their context as far as the client does: see the package comment. The
// server decides how durable tokens are: use appendonly. A replica that takes over may lack
// the last changes, such as a revocation.
//
// A token takes about 1.2 KB: its record, and a place in up to five orders.
type Store struct {
	rdb     redis.UniversalClient
	keys    keys
	lookups batch.Gatherer[struct{}, httpkey.Digest, found] // in one lane, because one server has all tokens
}

var (
	_ httpkey.TokenStore = (*Store)(nil)
	_ httpkey.ChangeFeed = (*Store)(nil)
)

// New returns a Store of the tokens in rdb. Nil opts mean the defaults. New does not call
// Redis. It panics if rdb is nil, if opts are invalid, and if rdb is a [redis.Ring]: while
// one of its servers is down, a Ring asks another, which would not find the token.
func New(rdb redis.UniversalClient, opts *Options) *Store {
	if rdb == nil {
		panic("httpkey: redisstore.New: rdb is nil")
	}
	if _, ok := rdb.(*redis.Ring); ok {
		panic("httpkey: redisstore.New: rdb is a Ring, which loses tokens while a server is down; use a Cluster or Sentinel")
	}
	s := &Store{rdb: rdb, keys: newKeys(opts.withDefaults().Prefix)}
	s.lookups.Ask, s.lookups.Payer = s.findAll, func(httpkey.Digest) string { return "" }
	return s
}

// Create implements [httpkey.TokenStore]. It returns the error of
// [httpkey.Token.Validate], if there is one. After an error of Redis, t may be stored or
// not. If the client retries by itself, ErrConflict may be about t itself.
func (s *Store) Create(ctx context.Context, t httpkey.Token) (httpkey.Token, error) {
	if err := t.Validate(); err != nil {
		return httpkey.Token{}, err
	}
	text, err := encode(t)
	if err != nil {
		return httpkey.Token{}, fmt.Errorf("httpkey: create a token: %w", err)
	}
	used := stamp(t.LastUsed)
	keys := append([]string{s.keys.tokens, s.keys.digests, s.keys.used}, s.keys.orders(&t)...)
	created, err := createScript.Run(ctx, s.rdb, keys,
		t.ID, t.Digest[:], text, used, place(t.Cursor()), s.keys.changes).Bool()
	switch {
	case err != nil:
		return httpkey.Token{}, fmt.Errorf("httpkey: create a token in Redis: %w", err)
	case !created:
		return httpkey.Token{}, httpkey.ErrConflict
	}
	return decode(text, used)
}

// found is the reply of lookupScript about one digest.
type found struct{ record, used any }

// Lookup implements [httpkey.TokenStore]. It is one round trip, which concurrent Lookups share.
func (s *Store) Lookup(ctx context.Context, d httpkey.Digest) (httpkey.Token, error) {
	f, err := s.lookups.Do(ctx, struct{}{}, d)
	if errors.Is(err, failover.ErrNotAsked) && ctx.Err() == nil { // the shared call has failed
		f, err = s.find(ctx, d)
	}
	if err != nil {
		return httpkey.Token{}, fmt.Errorf("httpkey: read a token from Redis: %w", err)
	}
	t, _, err := readToken(f.record, f.used)
	if err != nil {
		return httpkey.Token{}, err
	}
	if subtle.ConstantTimeCompare(t.Digest[:], d[:]) != 1 {
		return httpkey.Token{}, httpkey.ErrNotFound
	}
	return t, nil
}

// find looks up one digest in a call of its own.
func (s *Store) find(ctx context.Context, d httpkey.Digest) (found, error) {
	all, err := s.findAll(ctx, struct{}{}, []httpkey.Digest{d})
	if err != nil {
		return found{}, err
	}
	return all[0], nil
}

// findAll looks up many digests in one call.
func (s *Store) findAll(ctx context.Context, _ struct{}, digests []httpkey.Digest) ([]found, error) {
	args := make([]any, len(digests))
	for i := range digests {
		args[i] = digests[i][:]
	}
	reply, err := lookupScript.Run(ctx, s.rdb, []string{s.keys.tokens, s.keys.used, s.keys.digests}, args...).Slice()
	switch {
	case err != nil:
		return nil, err
	case len(reply) != 2*len(digests):
		return nil, errOdd
	}
	all := make([]found, len(digests))
	for i := range all {
		all[i] = found{reply[2*i], reply[2*i+1]}
	}
	return all, nil
}

// Get implements [httpkey.TokenStore].
func (s *Store) Get(ctx context.Context, id string) (httpkey.Token, error) {
	t, _, err := s.get(ctx, id)
	return t, err
}

func (s *Store) get(ctx context.Context, id string) (t httpkey.Token, text string, err error) {
	values, err := getScript.Run(ctx, s.rdb, []string{s.keys.tokens, s.keys.used}, id).Slice()
	switch {
	case err != nil:
		return t, "", fmt.Errorf("httpkey: read a token from Redis: %w", err)
	case len(values) != 2:
		return t, "", errOdd
	}
	return readToken(values[0], values[1])
}

// errOdd says that a server, or a proxy in front of it, has not run a script.
var errOdd = errors.New("httpkey: an odd reply from Redis: is it a server that runs scripts as Redis does?")

// readToken reads a record and its last use. It also returns the record as text.
func readToken(record, used any) (t httpkey.Token, text string, err error) {
	if record == nil {
		return t, "", httpkey.ErrNotFound
	}
	text, ok := record.(string)
	if !ok {
		return t, "", errOdd
	}
	t, err = decode(text, used)
	return t, text, err
}

// chunk is the minimum number of tokens that List reads at once, because a filter of several
// fields makes it read more tokens than it returns.
const chunk = 100

// List implements [httpkey.TokenStore]. With a filter of one field, a page costs one round
// trip. With several fields, it costs one for each 1,000 tokens that the first of
// RotatedFrom, User, Workspace and Kind that is set selects.
func (s *Store) List(ctx context.Context, f httpkey.Filter) ([]httpkey.Token, error) {
	var (
		page  []httpkey.Token
		keys  = []string{s.keys.order(f), s.keys.tokens, s.keys.used}
		start = "+" // after the newest
		size  = max(chunk, f.PageSize())
	)
	if f.After != (httpkey.Cursor{}) {
		start = "(" + place(f.After)
	}
	for len(page) < f.PageSize() {
		reply, err := listScript.Run(ctx, s.rdb, keys, start, size).Slice()
		if err != nil {
			return nil, fmt.Errorf("httpkey: list tokens in Redis: %w", err)
		}
		places, tokens, err := readChunk(reply)
		if err != nil {
			return nil, err
		}
		for i := range tokens {
			if f.Matches(&tokens[i]) && len(page) < f.PageSize() {
				page = append(page, tokens[i])
			}
		}
		if len(places) < size {
			break
		}
		start, size = "("+places[len(places)-1], 1000
	}
	return page, nil
}

// readChunk reads the reply of listScript: places, records and last uses, equally many.
func readChunk(reply []any) (places []string, tokens []httpkey.Token, err error) {
	var columns [3][]any
	for i := range columns {
		ok := len(reply) == len(columns)
		if ok {
			columns[i], ok = reply[i].([]any)
		}
		if !ok || len(columns[i]) != len(columns[0]) {
			return nil, nil, errOdd
		}
	}
	for i, place := range columns[0] {
		place, _ := place.(string)
		places = append(places, place)
		text, ok := columns[1][i].(string)
		if !ok {
			continue // the order is damaged: the token was deleted
		}
		t, err := decode(text, columns[2][i])
		if err != nil {
			return nil, nil, err
		}
		tokens = append(tokens, t)
	}
	return places, tokens, nil
}

// Update implements [httpkey.TokenStore]. It costs two round trips, and two more each time
// that another change comes between. It converts a record of an earlier version.
func (s *Store) Update(ctx context.Context, id string, change func(*httpkey.Token) error) (httpkey.Token, error) {
	for {
		old, oldText, err := s.get(ctx, id)
		if err != nil {
			return httpkey.Token{}, err
		}
		next, err := old.Apply(change)
		if err != nil {
			return httpkey.Token{}, err
		}
		switch done, err := s.replace(ctx, &old, oldText, &next); {
		case err != nil:
			return httpkey.Token{}, err
		case done:
			return next, nil
		case ctx.Err() != nil:
			return httpkey.Token{}, fmt.Errorf("httpkey: update a token in Redis, which others change: %w", ctx.Err())
		}
	}
}

// replace stores next in place of old, if the record is still oldText.
func (s *Store) replace(ctx context.Context, old *httpkey.Token, oldText string, next *httpkey.Token) (bool, error) {
	text, err := encode(*next)
	if err != nil {
		return false, fmt.Errorf("httpkey: update a token: %w", err)
	}
	leaves, enters := s.keys.orders(old), s.keys.orders(next)
	keys := append(append([]string{s.keys.tokens}, leaves...), enters...)
	done, err := updateScript.Run(ctx, s.rdb, keys,
		old.ID, old.Digest[:], oldText, text, len(leaves), place(old.Cursor()), place(next.Cursor()), s.keys.changes).Bool()
	if err != nil {
		return false, fmt.Errorf("httpkey: update a token in Redis: %w", err)
	}
	return done, nil
}

// Delete implements [httpkey.TokenStore].
func (s *Store) Delete(ctx context.Context, id string) error {
	for {
		old, oldText, err := s.get(ctx, id)
		if errors.Is(err, httpkey.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		keys := append([]string{s.keys.tokens, s.keys.digests, s.keys.used}, s.keys.orders(&old)...)
		done, err := deleteScript.Run(ctx, s.rdb, keys,
			id, old.Digest[:], oldText, place(old.Cursor()), s.keys.changes).Bool()
		if err != nil {
			return fmt.Errorf("httpkey: delete a token in Redis: %w", err)
		}
		if done {
			return nil
		}
	}
}

// touchAtOnce bounds the time for which one script blocks the server.
const touchAtOnce = 1000

// Touch implements [httpkey.TokenStore]. It is one round trip for each 1,000 tokens.
func (s *Store) Touch(ctx context.Context, used map[string]time.Time) error {
	args := make([]any, 0, 2*min(len(used), touchAtOnce))
	for id, at := range used {
		if args = append(args, id, stamp(at)); len(args) == cap(args) {
			if err := s.touch(ctx, args); err != nil {
				return err
			}
			args = args[:0]
		}
	}
	if len(args) == 0 {
		return nil
	}
	return s.touch(ctx, args)
}

func (s *Store) touch(ctx context.Context, args []any) error {
	if err := touchScript.Run(ctx, s.rdb, []string{s.keys.tokens, s.keys.used}, args...).Err(); err != nil {
		return fmt.Errorf("httpkey: write last uses to Redis: %w", err)
	}
	return nil
}
