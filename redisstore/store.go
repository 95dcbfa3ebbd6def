// Package redisstore keeps tokens and rate limits in Redis, for a program that
// runs as several processes.
//
// [Store] is a token store that tells of its changes, [Limiter] a GCRA limiter and
// [Window] a strict sliding window. They need Redis 5 or later, or a server that speaks
// like it.
//
// # The client
//
// go-redis waits long and tries again by default. A call to a server that does not
// answer takes ten seconds and more, whatever its context says. A request can be
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
// An attempt to connect goes on when its caller has left, by default for up to 25 seconds. It
// holds a place in the pool. The defaults of PoolSize and PoolTimeout will do: a caller that
// waits for a connection heeds its deadline. When as many attempts have failed as the pool
// is large, the client tries again a second after the last. So it finds Redis back within two.
//
// Set ClusterOptions.ClusterStateReloadInterval, where the client's version has it,
// to a second: a new master is otherwise noticed after up to a minute.
//
// Set maxmemory-policy to noeviction, or to one of the volatile policies, which may evict
// buckets and never tokens.
package redisstore

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/redis/go-redis/v9"
)

// Store is an [httpkey.TokenStore] and an [httpkey.ChangeFeed] in Redis. Make one
// with [New]. It is safe for concurrent use.
//
// It works on a single server, with Sentinel and on a Cluster, on which all tokens
// are on one master. Calls heed their context as far as the client does: see the
// package comment. Tokens are as safe as the server keeps them: use
// appendonly, and mind that a replica that takes over may lack the last changes, a
// revocation among them.
//
// A token takes about 1.2 KB: its record, and a place in up to five orders.
type Store struct {
	rdb  redis.UniversalClient
	keys keys
}

var (
	_ httpkey.TokenStore = (*Store)(nil)
	_ httpkey.ChangeFeed = (*Store)(nil)
)

// New returns a Store of the tokens in rdb; nil opts are the defaults. It does not
// call Redis. It panics if rdb is nil, if opts are invalid, and for a [redis.Ring]:
// while one of its servers is down it asks another, which would answer that there
// is no such token.
func New(rdb redis.UniversalClient, opts *Options) *Store {
	if rdb == nil {
		panic("httpkey: redisstore.New: rdb is nil")
	}
	if _, ok := rdb.(*redis.Ring); ok {
		panic("httpkey: redisstore.New: rdb is a Ring, which loses tokens while a server is down; use a Cluster or Sentinel")
	}
	return &Store{rdb: rdb, keys: newKeys(opts.withDefaults().Prefix)}
}

// Create implements [httpkey.TokenStore]. It refuses a token that
// [httpkey.Token.Validate] refuses. If it fails for another reason than ErrConflict,
// t may be stored or not; where the client tries again by itself, ErrConflict
// may be about t.
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

// Lookup implements [httpkey.TokenStore]. It is one round trip.
func (s *Store) Lookup(ctx context.Context, d httpkey.Digest) (httpkey.Token, error) {
	t, _, err := s.one(lookupScript.Run(ctx, s.rdb, []string{s.keys.tokens, s.keys.used, s.keys.digests}, d[:]))
	if err != nil {
		return httpkey.Token{}, err
	}
	if subtle.ConstantTimeCompare(t.Digest[:], d[:]) != 1 {
		return httpkey.Token{}, httpkey.ErrNotFound
	}
	return t, nil
}

// Get implements [httpkey.TokenStore].
func (s *Store) Get(ctx context.Context, id string) (httpkey.Token, error) {
	t, _, err := s.get(ctx, id)
	return t, err
}

func (s *Store) get(ctx context.Context, id string) (t httpkey.Token, text string, err error) {
	return s.one(getScript.Run(ctx, s.rdb, []string{s.keys.tokens, s.keys.used}, id))
}

// errOdd says that a server, or a proxy before it, has not run the script that it was sent.
var errOdd = errors.New("httpkey: an odd reply from Redis: is it a server that runs scripts as Redis does?")

// one reads the reply that is a record and a last use.
func (s *Store) one(reply *redis.Cmd) (t httpkey.Token, text string, err error) {
	values, err := reply.Slice()
	switch {
	case errors.Is(err, redis.Nil):
		return t, "", httpkey.ErrNotFound
	case err != nil:
		return t, "", fmt.Errorf("httpkey: read a token from Redis: %w", err)
	case len(values) != 2:
		return t, "", errOdd
	case values[0] == nil:
		return t, "", httpkey.ErrNotFound
	}
	text, ok := values[0].(string)
	if !ok {
		return t, "", errOdd
	}
	t, err = decode(text, values[1])
	return t, text, err
}

// chunk is how many tokens List asks for at once, at least: one that filters by
// more than one field must look at more than it returns.
const chunk = 100

// List implements [httpkey.TokenStore]. A filter of one field costs one round trip
// a page; one of several costs one for each 1,000 tokens that the first set of
// RotatedFrom, User, Workspace and Kind selects.
func (s *Store) List(ctx context.Context, f httpkey.Filter) ([]httpkey.Token, error) {
	var (
		page  []httpkey.Token
		keys  = []string{s.keys.order(f), s.keys.tokens, s.keys.used}
		start = "+" // past the newest
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

// readChunk reads the reply of listScript: places, records and last uses, as many of each.
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
			continue // deleted, while the order was damaged
		}
		t, err := decode(text, columns[2][i])
		if err != nil {
			return nil, nil, err
		}
		tokens = append(tokens, t)
	}
	return places, tokens, nil
}

// Update implements [httpkey.TokenStore]. It costs two round trips, and as many more each
// time that another change comes between. A record of an earlier version becomes one of this.
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

// replace puts next in the place of old, if that is still stored as its text says.
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

// touchAtOnce bounds how long one script holds up the server.
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
