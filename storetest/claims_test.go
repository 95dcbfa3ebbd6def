package storetest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/memstore"
)

// numbering is a store that gives tokens IDs of its own.
type numbering struct{ httpkey.TokenStore }

func (n numbering) Create(ctx context.Context, t httpkey.Token) (httpkey.Token, error) {
	t.ID = fmt.Sprintf("row %x", t.Digest[:8])
	return n.TokenStore.Create(ctx, t)
}

// remembering is a store that reads each token once, until it changes.
type remembering struct {
	httpkey.TokenStore
	mu    *sync.Mutex
	known map[httpkey.Digest]httpkey.Token
}

func (r remembering) Lookup(ctx context.Context, d httpkey.Digest) (httpkey.Token, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if t, ok := r.known[d]; ok {
		return t.Clone(), nil
	}
	t, err := r.TokenStore.Lookup(ctx, d)
	if err == nil {
		r.known[d] = t.Clone()
	}
	return t, err
}

func (r remembering) forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	clear(r.known)
}

func (r remembering) Update(ctx context.Context, id string, change func(*httpkey.Token) error) (httpkey.Token, error) {
	defer r.forget()
	return r.TokenStore.Update(ctx, id, change)
}

func (r remembering) Delete(ctx context.Context, id string) error {
	defer r.forget()
	return r.TokenStore.Delete(ctx, id)
}

// table is a table that a program has already, behind an [httpkey.LookupOnly].
type table struct {
	httpkey.LookupOnly
	rows map[httpkey.Digest]httpkey.Token
}

func newTable() *table {
	t := &table{rows: make(map[httpkey.Digest]httpkey.Token)}
	t.ByDigest = func(_ context.Context, d httpkey.Digest) (httpkey.Token, error) {
		if row, ok := t.rows[d]; ok {
			return row, nil
		}
		return httpkey.Token{}, httpkey.ErrNotFound
	}
	return t
}

func (t *table) Create(_ context.Context, token httpkey.Token) (httpkey.Token, error) {
	row := httpkey.Token{ID: token.ID, Digest: token.Digest, IsActive: token.IsActive, ExpiredAt: token.ExpiredAt}
	t.rows[token.Digest] = row
	return row, nil
}

// A store that lacks an ability passes with the claim, and fails without it.
func TestClaims(t *testing.T) {
	t.Parallel()
	cached := func() httpkey.TokenStore {
		return remembering{memstore.New(), new(sync.Mutex), make(map[httpkey.Digest]httpkey.Token)}
	}
	for _, tt := range []struct {
		name   string
		claims Claims
		open   func() httpkey.TokenStore
		rule   string // which it breaks
	}{
		{"ChoosesIDs", Claims{ChoosesIDs: true}, func() httpkey.TokenStore { return numbering{memstore.New()} }, "ExactIDs"},
		{"LateUses", Claims{LateUses: true}, cached, "TouchLookup"},
		{"LookupOnly", Claims{LookupOnly: true}, func() httpkey.TokenStore { return newTable() }, "Update"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tt.claims.Run(t, func(*testing.T) func() httpkey.TokenStore {
				s := tt.open()
				return func() httpkey.TokenStore { return s }
			})
			s := tt.open()
			for _, rule := range storeRules {
				if rule.name != tt.rule {
					continue
				}
				if tt.claims.lack(rule.needs) == "" {
					t.Errorf("%+v do not skip %s", tt.claims, rule.name)
				}
				if err := rule.check(ctx, storeBench{open: func() httpkey.TokenStore { return s }}); err == nil {
					t.Errorf("without its claim, the store passes %s", rule.name)
				}
			}
		})
	}
}

// A store that only looks up is still held to the rules of that.
func TestLookupOnlyIsChecked(t *testing.T) {
	t.Parallel()
	s := newTable()
	byDigest := s.ByDigest
	s.ByDigest = func(ctx context.Context, d httpkey.Digest) (httpkey.Token, error) {
		row, err := byDigest(ctx, d)
		row.IsActive = true
		return row, err
	}
	b := storeBench{func() httpkey.TokenStore { return s }, Claims{LookupOnly: true}}
	if err := checkRoundTrip(ctx, b); err == nil {
		t.Error("a table of which every key is active passes")
	}
}

// A limiter without quotas passes if it says so.
func TestLimiterWithoutQuotas(t *testing.T) {
	t.Parallel()
	claims := Claims{NoQuotas: true, NoReset: true}
	RunLimiter(t, LimiterFactory{Claims: claims, New: func(*testing.T) func() httpkey.Limiter {
		good := memstore.NewLimiter()
		l := allowFunc(func(c *httpkey.Charge) (httpkey.Result, error) {
			if err := c.Validate(); err != nil {
				return httpkey.Result{}, err
			}
			for _, l := range c.Limits {
				if l.Calendar != "" {
					return httpkey.Result{}, errors.ErrUnsupported
				}
			}
			return good.Allow(ctx, c)
		})
		return func() httpkey.Limiter { return l }
	}})
}
