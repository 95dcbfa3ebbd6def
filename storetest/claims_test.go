package storetest

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/httpkeytest"
	"github.com/httpkey/httpkey/memstore"
)

// numbering is a store that gives tokens integers for IDs, as a table with a serial column does.
type numbering struct {
	httpkey.TokenStore
	last *atomic.Int64
}

func newNumbering() numbering { return numbering{memstore.New(), new(atomic.Int64)} }

func (n numbering) Create(ctx context.Context, t httpkey.Token) (httpkey.Token, error) {
	t.ID = strconv.FormatInt(n.last.Add(1), 10)
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
	rows       map[httpkey.Digest]httpkey.Token
	isNumbered bool // it chooses integers for IDs
}

func newNumberedTable() *table {
	t := newTable()
	t.isNumbered = true
	return t
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
	if t.isNumbered {
		row.ID = strconv.Itoa(len(t.rows) + 1)
	}
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
		{"ChoosesIDs", Claims{ChoosesIDs: true}, func() httpkey.TokenStore { return newNumbering() }, "ExactIDs"},
		{"LateUses", Claims{LateUses: true}, cached, "TouchLookup"},
		{"LookupOnly", Claims{LookupOnly: true}, func() httpkey.TokenStore { return newTable() }, "Update"},
		{"LookupOnlyAndChoosesIDs", Claims{LookupOnly: true, ChoosesIDs: true},
			func() httpkey.TokenStore { return newNumberedTable() }, "RoundTrip"},
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
				if tt.claims.lack(rule.needs) == "" && rule.needs != 0 {
					t.Errorf("%+v do not skip %s", tt.claims, rule.name)
				}
				if err := rule.check(ctx, storeBench{open: func() httpkey.TokenStore { return s }}); err == nil {
					t.Errorf("without its claim, the store passes %s", rule.name)
				}
			}
		})
	}
}

// A store is held to what it does not claim to lack.
func TestClaimsExcludeNothingElse(t *testing.T) {
	t.Parallel()
	looksUp, numbers := Claims{LookupOnly: true}, Claims{ChoosesIDs: true}
	// ofTable is a table whose Lookup is spoiled by f, which gets the row and whether there is one.
	ofTable := func(f func(t *table, d httpkey.Digest) (httpkey.Token, error)) func() httpkey.TokenStore {
		return func() httpkey.TokenStore {
			t := newTable()
			t.ByDigest = func(_ context.Context, d httpkey.Digest) (httpkey.Token, error) { return f(t, d) }
			return t
		}
	}
	found := func(t *table, d httpkey.Digest, change func(*httpkey.Token)) (httpkey.Token, error) {
		row, ok := t.rows[d]
		if !ok {
			return httpkey.Token{}, httpkey.ErrNotFound
		}
		change(&row)
		return row, nil
	}
	for _, tt := range []struct {
		name   string
		claims Claims
		rule   string // that must find it out
		open   func() httpkey.TokenStore
	}{
		{"every key is active", looksUp, "RoundTrip", ofTable(func(t *table, d httpkey.Digest) (httpkey.Token, error) {
			return found(t, d, func(row *httpkey.Token) { row.IsActive = true })
		})},
		{"no key expires", looksUp, "RoundTrip", ofTable(func(t *table, d httpkey.Digest) (httpkey.Token, error) {
			return found(t, d, func(row *httpkey.Token) { row.ExpiredAt = time.Time{} })
		})},
		{"no row has a digest", looksUp, "RoundTrip", ofTable(func(t *table, d httpkey.Digest) (httpkey.Token, error) {
			return found(t, d, func(row *httpkey.Token) { row.Digest = httpkey.Digest{} })
		})},
		{"a missing key is a zero token", looksUp, "NotFound", ofTable(
			func(t *table, d httpkey.Digest) (httpkey.Token, error) { return t.rows[d], nil })},
		{"a missing key is sql.ErrNoRows", looksUp, "NotFound", ofTable(
			func(t *table, d httpkey.Digest) (httpkey.Token, error) {
				row, err := found(t, d, func(*httpkey.Token) {})
				if err != nil {
					err = sql.ErrNoRows
				}
				return row, err
			})},
		{"it compares the beginnings of digests", looksUp, "ExactDigests", ofTable(
			func(t *table, d httpkey.Digest) (httpkey.Token, error) {
				for known, row := range t.rows {
					if bytes.Equal(known[:16], d[:16]) {
						return row, nil
					}
				}
				return httpkey.Token{}, httpkey.ErrNotFound
			})},
		{"an unknown use is an error", looksUp, "TouchUnknown", func() httpkey.TokenStore {
			t := newTable()
			t.Used = func(context.Context, map[string]time.Time) error { return httpkey.ErrNotFound }
			return t
		}},
		{"Create does not say the ID", numbers, "RoundTrip", func() httpkey.TokenStore {
			n := newNumbering()
			s := &wrongStore{TokenStore: n}
			s.create = func(t httpkey.Token) (httpkey.Token, error) {
				stored, err := n.Create(ctx, t)
				stored.ID = t.ID
				return stored, err
			}
			return s
		}},
		{"an Update loses others", numbers, "UpdateAtomic", func() httpkey.TokenStore {
			s := &wrongStore{TokenStore: newNumbering()}
			s.update = func(id string, change func(*httpkey.Token) error) (httpkey.Token, error) {
				old, err := s.Get(ctx, id)
				if err != nil {
					return httpkey.Token{}, err
				}
				httpkeytest.Elapse(time.Millisecond)
				next, err := old.Apply(change)
				if err != nil {
					return httpkey.Token{}, err
				}
				return s.TokenStore.Update(ctx, id, func(t *httpkey.Token) error {
					*t = next
					return nil
				})
			}
			return s
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				i := slices.IndexFunc(storeRules, func(r storeRule) bool { return r.name == tt.rule })
				if lack := tt.claims.lack(storeRules[i].needs); lack != "" {
					t.Fatalf("the rule %s is skipped: %s", tt.rule, lack)
				}
				s := tt.open()
				b := storeBench{func() httpkey.TokenStore { return s }, tt.claims}
				if err := storeRules[i].check(t.Context(), b); err == nil || errors.Is(err, errUnchecked) {
					t.Errorf("the rule %s did not find it out (%v)", tt.rule, err)
				}
			})
		})
	}
}

// suiteOfClaims runs the suite where another process of this test asks for it.
const suiteOfClaims = "HTTPKEY_STORETEST_CLAIMS"

// TestSuiteOfClaims is the suite whose output TestSkippedAloud reads.
func TestSuiteOfClaims(t *testing.T) {
	if os.Getenv(suiteOfClaims) == "" {
		t.Skip("it runs for TestSkippedAloud")
	}
	Claims{LookupOnly: true, ChoosesIDs: true}.Run(t, func(*testing.T) func() httpkey.TokenStore {
		s := newNumberedTable()
		return func() httpkey.TokenStore { return s }
	})
}

// Each rule is either checked or skipped, and a skipped one names the claim.
func TestSkippedAloud(t *testing.T) {
	t.Parallel()
	claims := Claims{LookupOnly: true, ChoosesIDs: true}
	suite := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestSuiteOfClaims$", "-test.v")
	suite.Env = append(os.Environ(), suiteOfClaims+"=1")
	output, err := suite.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	checked := 0
	for _, rule := range storeRules {
		outcome := "--- PASS: TestSuiteOfClaims/" + rule.name + " "
		if lack := claims.lack(rule.needs); lack != "" {
			outcome = "--- SKIP: TestSuiteOfClaims/" + rule.name + " "
			if !strings.Contains(lack, "the store claims LookupOnly") && !strings.Contains(lack, "the store claims ChoosesIDs") {
				t.Errorf("%s is skipped without the name of a claim: %s", rule.name, lack)
			}
		} else {
			checked++
		}
		if !strings.Contains(string(output), outcome) {
			t.Errorf("the output has no %q", outcome)
		}
	}
	if reasons := strings.Count(string(output), ": the store claims "); checked < 4 || reasons != len(storeRules)-checked {
		t.Errorf("of %d rules %d are checked and %d give a reason\n%s", len(storeRules), checked, reasons, output)
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
