// Package storetest checks that a token store or a limiter keeps the rules of
// [httpkey.TokenStore] and [httpkey.Limiter]. Call [Run] and [RunLimiter] from the tests
// of your own implementation:
//
//	func TestStore(t *testing.T) {
//		storetest.Run(t, func(t *testing.T) func() httpkey.TokenStore {
//			backend := openEmptyDatabase(t)
//			return func() httpkey.TokenStore { return mystore.New(backend) }
//		})
//	}
//
// Each rule is a subtest. A failure reports the observation and the rule that it breaks.
// [Claims] exclude rules that do not apply to an implementation; their subtests are skipped.
package storetest

import (
	"errors"
	"testing"

	"github.com/httpkey/httpkey"
)

// Claims name the abilities that a store or a limiter lacks. The rules that need them are
// skipped. The zero Claims skip none.
type Claims struct {
	// LookupOnly: the store supports only Lookup and Touch, as [httpkey.LookupOnly] does.
	// For the test, give it a Create that puts the ID, the digest, IsActive and ExpiredAt of
	// a token into the table.
	LookupOnly bool
	// ChoosesIDs: Create replaces the IDs of tokens by IDs of the store.
	ChoosesIDs bool
	// LateUses: Lookup may return a LastUsed from before the latest Touch, as a cache does.
	LateUses bool
	// NoQuotas: the limiter returns an error for limits with a Calendar.
	NoQuotas bool
	// NoReset: the limiter is no [httpkey.Resetter].
	NoReset bool
}

// ability is a property that a rule needs of an implementation.
type ability int

const (
	managed   ability = 1 << iota // a store with all methods
	namedIDs                      // IDs that the caller chooses
	shownUses                     // a Lookup that shows each use
	quotas                        // limits with a Calendar
	resets                        // a limiter that implements Resetter
)

// lack returns why a rule does not apply to an implementation, or "".
func (c Claims) lack(needs ability) string {
	switch {
	case c.LookupOnly && needs&managed != 0:
		return "the store claims LookupOnly: it has no method for this"
	case c.ChoosesIDs && needs&namedIDs != 0:
		return "the store claims ChoosesIDs: the caller cannot choose this ID"
	case c.LateUses && needs&shownUses != 0:
		return "the store claims LateUses: Lookup does not show each use at once"
	case c.NoQuotas && needs&quotas != 0:
		return "the limiter claims NoQuotas: it has no limits by day or month"
	case c.NoReset && needs&resets != 0:
		return "the limiter claims NoReset: its buckets cannot be made full"
	}
	return ""
}

// errUnchecked is wrapped by the error of a rule that could not be checked.
var errUnchecked = errors.New("NOT CHECKED")

// report shows the outcome of a rule.
func report(t *testing.T, rule string, err error) {
	t.Helper()
	switch {
	case errors.Is(err, errUnchecked):
		t.Skipf("%v\nThe rule: %s", err, rule)
	case err != nil:
		t.Errorf("%v\nThe rule: %s", err, rule)
	}
}

// StoreFactory makes a new and empty backend for one rule, and returns the
// function that opens a handle on it. All handles of one backend must show the
// same tokens. Use t for the cleanup, and to fail if there is no backend.
type StoreFactory func(t *testing.T) (open func() httpkey.TokenStore)

// Run checks every rule of [httpkey.TokenStore], each on a backend of its own.
func Run(t *testing.T, factory StoreFactory) {
	t.Helper()
	Claims{}.Run(t, factory)
}

// Run is [Run] for a store that lacks abilities.
func (c Claims) Run(t *testing.T, factory StoreFactory) {
	t.Helper()
	for _, rule := range storeRules {
		t.Run(rule.name, func(t *testing.T) {
			if lack := c.lack(rule.needs); lack != "" {
				t.Skip(lack)
			}
			report(t, rule.rule, rule.check(t.Context(), storeBench{factory(t), c}))
		})
	}
}
