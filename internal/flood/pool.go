package flood

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"sync/atomic"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/memstore"
)

// The pools of connections under attack.
const (
	Connections = 16                                       // the size of a pool
	Latency     = 8 * time.Millisecond                     // the time of a call
	Capacity    = int(Connections * time.Second / Latency) // calls a second
)

// Pool is a database in which each call holds a connection for some time. Its data is in
// memory.
type Pool struct {
	*sql.DB
	Tokens *memstore.Store // the tokens behind the pool
	limits *memstore.Limiter

	stalled atomic.Pointer[chan struct{}] // closed at the end of the stall; nil: there is none
}

// OpenPool returns a Pool of Connections and Latency. Close it at the end.
func OpenPool() *Pool {
	p := &Pool{Tokens: memstore.New(), limits: memstore.NewLimiter()}
	p.DB = sql.OpenDB(connector{p})
	p.SetMaxOpenConns(Connections)
	p.SetMaxIdleConns(Connections)
	return p
}

// Stall lets no call end until Resume.
func (p *Pool) Stall() {
	resumed := make(chan struct{})
	p.stalled.Store(&resumed)
}

// Resume ends a stall.
func (p *Pool) Resume() { close(*p.stalled.Swap(nil)) }

// Store returns the tokens behind the pool.
func (p *Pool) Store() httpkey.TokenStore { return poolStore{p.Tokens, p} }

// Limiter returns a limiter behind the pool.
func (p *Pool) Limiter() httpkey.Limiter { return poolLimiter{p} }

// call runs one statement.
func (p *Pool) call(ctx context.Context) error {
	_, err := p.ExecContext(ctx, "")
	return err
}

type poolStore struct {
	httpkey.TokenStore // in memory, for methods that no attack calls
	pool               *Pool
}

func (s poolStore) Lookup(ctx context.Context, d httpkey.Digest) (httpkey.Token, error) {
	if err := s.pool.call(ctx); err != nil {
		return httpkey.Token{}, err
	}
	return s.TokenStore.Lookup(ctx, d)
}

// Update is a transaction of as many calls as that of a SQL store.
func (s poolStore) Update(
	ctx context.Context, id string, change func(*httpkey.Token) error,
) (updated httpkey.Token, err error) {
	tx, err := s.pool.BeginTx(ctx, nil)
	if err != nil {
		return httpkey.Token{}, err
	}
	defer func() { _ = tx.Rollback() }()
	for range 4 { // to lock, read, write, and tell the feed
		if _, err := tx.ExecContext(ctx, ""); err != nil {
			return httpkey.Token{}, err
		}
	}
	if updated, err = s.TokenStore.Update(ctx, id, change); err != nil {
		return httpkey.Token{}, err
	}
	return updated, tx.Commit()
}

func (s poolStore) Touch(ctx context.Context, used map[string]time.Time) error {
	if err := s.pool.call(ctx); err != nil {
		return err
	}
	return s.TokenStore.Touch(ctx, used)
}

type poolLimiter struct{ pool *Pool }

func (l poolLimiter) Allow(ctx context.Context, c *httpkey.Charge) (httpkey.Result, error) {
	if err := l.pool.call(ctx); err != nil {
		return httpkey.Result{}, err
	}
	return l.pool.limits.Allow(ctx, c)
}

func (poolLimiter) Fallback() httpkey.Limiter { return memstore.NewLimiter() }

// connector makes a connection within Latency.
type connector struct{ pool *Pool }

func (c connector) Connect(ctx context.Context) (driver.Conn, error) {
	return &conn{pool: c.pool}, c.pool.wait(ctx)
}

func (connector) Driver() driver.Driver { return nil }

// conn is a connection that a canceled call breaks, as in many drivers.
type conn struct {
	driver.Conn // nil: no other method is called
	pool        *Pool
	isBroken    bool
}

func (c *conn) call(ctx context.Context) error {
	err := c.pool.wait(ctx)
	c.isBroken = c.isBroken || err != nil
	return err
}

func (c *conn) ExecContext(ctx context.Context, _ string, _ []driver.NamedValue) (driver.Result, error) {
	return driver.ResultNoRows, c.call(ctx)
}

func (c *conn) BeginTx(ctx context.Context, _ driver.TxOptions) (driver.Tx, error) {
	return c, c.call(ctx)
}
func (c *conn) Commit() error   { return c.call(context.Background()) }
func (c *conn) Rollback() error { return c.call(context.Background()) }
func (c *conn) IsValid() bool   { return !c.isBroken }
func (*conn) Close() error      { return nil }

// wait waits for Latency, and for the end of a stall.
func (p *Pool) wait(ctx context.Context) error {
	timer := time.NewTimer(Latency)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return ctx.Err()
	}
	resumed := p.stalled.Load()
	if resumed == nil {
		return nil
	}
	select {
	case <-*resumed:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
