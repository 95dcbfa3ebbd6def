package memstore

import (
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/internal/charge"
	"github.com/httpkey/httpkey/internal/clock"
	"github.com/httpkey/httpkey/internal/gcra"
	"github.com/httpkey/httpkey/internal/ram"
)

// account is a bucket in the hands of one decision.
type account interface {
	hasRoom(n int64) bool
	// charge takes n. The account has room for n unless the charge is forced.
	charge(n int64)
	// close returns the decision on n, and puts the bucket back.
	close(allowed bool, n int64) gcra.Result
	// reset makes the bucket full instead.
	reset()
}

// ledger has the accounts of payers under limits that are no quotas.
type ledger interface {
	// open locks a payer. It returns the account of an item, and unlocks the payer in the end.
	open(payer string, elapsed int64) (account func(charge.Item) account, unlock func())
}

// allow decides on a charge of any limits. It opens all accounts before it changes one. Every
// caller locks the payer in the ledger before the payer in the quotas.
func allow(c *httpkey.Charge, steady ledger, quotas quotas) (httpkey.Result, error) {
	if err := c.Validate(); err != nil {
		return httpkey.Result{}, err
	}
	items, elapsed := charge.Items(c, time.Now()), clock.Elapsed()
	openSteady, unlock := steady.open(c.Bucket, elapsed)
	defer unlock()
	openQuota, unlock := quotas.open(c.Bucket, elapsed)
	defer unlock()
	n := int64(c.Cost)
	accounts, rooms, enough := make([]account, len(items)), make([]bool, len(items)), true
	for i, item := range items {
		if item.IsQuota() {
			accounts[i] = openQuota(item)
		} else {
			accounts[i] = openSteady(item)
		}
		rooms[i] = c.Forced || accounts[i].hasRoom(n)
		enough = enough && rooms[i]
	}
	each := make([]httpkey.Result, len(items))
	for i, a := range accounts {
		if enough {
			a.charge(n)
		}
		each[i] = items[i].Result(a.close(rooms[i], n))
	}
	return c.Join(each), nil
}

// reset makes the buckets of any limits full, under the locks of allow.
func reset(c *httpkey.Charge, steady ledger, quotas quotas) error {
	items, err := charge.ToReset(c, time.Now())
	if err != nil {
		return err
	}
	elapsed := clock.Elapsed()
	openSteady, unlock := steady.open(c.Bucket, elapsed)
	defer unlock()
	openQuota, unlock := quotas.open(c.Bucket, elapsed)
	defer unlock()
	for _, item := range items {
		if item.IsQuota() {
			openQuota(item).reset()
		} else {
			openSteady(item).reset()
		}
	}
	return nil
}

// quotas are the buckets of days and months.
type quotas struct{ buckets *ram.Buckets[gcra.Bucket] }

func newQuotas() quotas { return quotas{ram.NewBuckets[gcra.Bucket]()} }

func (q quotas) open(payer string, elapsed int64) (func(charge.Item) account, func()) {
	now := q.buckets.At(elapsed)
	locked := q.buckets.Lock(payer, now)
	return func(item charge.Item) account {
		return &steadyAccount{locked.Take(item.Term), item.Terms, 0, item.Terms.Left}
	}, locked.Unlock
}
