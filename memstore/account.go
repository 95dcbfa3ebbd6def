package memstore

import (
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/internal/charge"
	"github.com/httpkey/httpkey/internal/gcra"
	"github.com/httpkey/httpkey/internal/ram"
)

// account is a bucket that is locked for one decision.
type account interface {
	hasRoom(n int64) bool
	// charge takes n. The account has room for n unless the charge is forced.
	charge(n int64)
	result(allowed bool, n int64) gcra.Result
	Unlock()
}

// allow decides on a charge of any limits; steady opens the accounts of limits that are no
// quotas. It locks all accounts before it changes one, in an order that all callers share.
func allow(
	c *httpkey.Charge, steady func(payer string, items []charge.Item) []account, quotas quotas,
) (httpkey.Result, error) {
	if err := c.Validate(); err != nil {
		return httpkey.Result{}, err
	}
	items := charge.Items(c, time.Now())
	accounts := open(c.Bucket, items, steady, quotas)
	for _, a := range accounts {
		defer a.Unlock()
	}
	n := int64(c.Cost)
	rooms, enough := make([]bool, len(accounts)), true
	for i, a := range accounts {
		rooms[i] = c.Forced || a.hasRoom(n)
		enough = enough && rooms[i]
	}
	each := make([]httpkey.Result, len(items))
	for i, a := range accounts {
		if enough {
			a.charge(n)
		}
		each[i] = items[i].Result(a.result(rooms[i], n))
	}
	return c.Join(each), nil
}

// open returns the accounts in the order of items.
func open(
	payer string, items []charge.Item, steady func(payer string, items []charge.Item) []account, quotas quotas,
) []account {
	var kinds [2][]charge.Item // steady limits, then quotas
	for _, item := range items {
		kinds[kindOf(item)] = append(kinds[kindOf(item)], item)
	}
	var opened [2][]account
	if len(kinds[0]) > 0 {
		opened[0] = steady(payer, kinds[0])
	}
	if len(kinds[1]) > 0 {
		opened[1] = quotas.open(payer, kinds[1])
	}
	accounts := make([]account, len(items))
	for i, item := range items {
		accounts[i] = opened[kindOf(item)][0]
		opened[kindOf(item)] = opened[kindOf(item)][1:]
	}
	return accounts
}

func kindOf(item charge.Item) int {
	if item.IsQuota() {
		return 1
	}
	return 0
}

// lockAll locks the buckets of items. Each bucket is full again within life of its last use,
// unless its account calls Keep.
func lockAll[S any](buckets *ram.Buckets[S], payer string, items []charge.Item, life, at int64) []*ram.Bucket[S] {
	terms := make([]ram.Term, len(items))
	for i, item := range items {
		terms[i] = item.Term
	}
	return buckets.LockAll(payer, terms, life, at)
}

// longestWindow returns the life of the buckets of steady limits.
func longestWindow(items []charge.Item) (longest int64) {
	for _, item := range items {
		longest = max(longest, item.Term.Window)
	}
	return longest
}

// quotas are the buckets of days and months.
type quotas struct{ buckets *ram.Buckets[gcra.Bucket] }

func newQuotas() quotas { return quotas{ram.NewBuckets[gcra.Bucket]()} }

func (q quotas) open(payer string, items []charge.Item) []account {
	life := int64(0)
	for _, item := range items {
		life = max(life, item.Terms.Left)
	}
	accounts := make([]account, len(items))
	for i, b := range lockAll(q.buckets, payer, items, life, q.buckets.Now()) {
		accounts[i] = &steadyAccount{b, items[i].Terms, 0}
	}
	return accounts
}
