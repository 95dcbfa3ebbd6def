package cachestore

import (
	"fmt"
	"slices"
	"time"

	"github.com/httpkey/httpkey"
)

// Options configure a [Store]. The zero value, and nil, are the defaults.
type Options struct {
	// Size is the number of tokens in memory. Beyond it, the cache evicts tokens that are used
	// little. A token takes some 200 bytes and its text. A token with any field of
	// [httpkey.Token.More] takes some 500 bytes more. The cache also remembers up to a tenth of
	// Size keys that do not exist. 0: 100,000.
	Size int

	// TTL is the time for which the cache uses a token without another Lookup, counted from
	// the beginning of the Lookup. Without a feed, a revocation elsewhere shows after the TTL
	// at the latest. Each token in use costs one Lookup in the store in each TTL. 0: 30
	// seconds.
	TTL time.Duration

	// StaleFor is the time after its TTL for which the cache still uses a token if the
	// store fails. Revocations that no feed reported show that much later. 0: a minute;
	// negative: not at all.
	StaleFor time.Duration

	// Timeout is the time after which a Lookup in the store counts as failed. The Lookup
	// continues when its caller, such as a Guard's request, has less time and leaves. So if a
	// slow store makes a Guard answer 503, the cache knows the key by the next request. 0: a
	// second.
	Timeout time.Duration

	// MaxUnknown is the maximum number of lookups of unknown keys in the store at once. A key
	// is unknown if it is not in memory. Other lookups of unknown keys wait as long as their
	// context and Timeout allow. The newest comes first. A lookup that waits has no goroutine of
	// its own.
	//
	// Set MaxUnknown to the number of the store's connections. If it is smaller, a flood of
	// made-up keys leaves connections unused. If it is more than twice as large, keys in memory
	// and revocations wait for a connection during a flood. The lookups of redisstore, and of
	// sqlstore on a server, share two connections. There MaxUnknown may be up to 128, which one
	// call can ask for. 0: 16.
	MaxUnknown int

	// Observers get an event when the store or its feed goes down, and when it is up again, each as
	// an Event of its own; see [EventStoreDown]. They may be those of the Guard. Nil: none.
	Observers []httpkey.Observer
}

// The types of events that a [Store] sends to its Observers, with their fields.
//
// The store counts as down when the Lookups of several keys in memory have failed in a row.
// Lookups of unknown keys do not count, because they can be a flood of made-up keys. So a
// process that has just started reports no [EventStoreDown]. Its requests get 503, and the
// Guard's Observers get [httpkey.EventRefused] with [httpkey.ReasonStore]. Any answer of the
// store ends an outage.
const (
	EventStoreDown httpkey.EventType = "store_down" // the cache asks the store twice a second at most; Err
	EventStoreUp   httpkey.EventType = "store_up"   // the store answers again
	EventFeedDown  httpkey.EventType = "feed_down"  // changes of other processes show after the TTL; Err
	EventFeedUp    httpkey.EventType = "feed_up"    // changes of other processes show at once again
)

const (
	// absentTTL is the TTL of keys that do not exist, at most the TTL. It is short, because a
	// key may be used before another process has stored it.
	absentTTL = 5 * time.Second
	// retryAfter is the pause before a failed store is asked again.
	retryAfter = 500 * time.Millisecond
)

// withDefaults returns a copy of o with the defaults filled in. It panics if o is invalid.
func (o *Options) withDefaults() Options {
	if o == nil {
		o = &Options{}
	}
	d := *o
	switch {
	case d.Size < 0:
		panic(fmt.Errorf("%w: Size is %d, it must not be negative", httpkey.ErrInvalidOptions, d.Size))
	case d.TTL < 0:
		panic(fmt.Errorf("%w: TTL is %v, it must not be negative", httpkey.ErrInvalidOptions, d.TTL))
	case d.MaxUnknown < 0:
		panic(fmt.Errorf("%w: MaxUnknown is %d, it must not be negative", httpkey.ErrInvalidOptions, d.MaxUnknown))
	case d.Timeout < 0:
		panic(fmt.Errorf("%w: Timeout is %v, it must not be negative", httpkey.ErrInvalidOptions, d.Timeout))
	case slices.Contains(d.Observers, nil):
		panic(fmt.Errorf("%w: Observers has a nil Observer", httpkey.ErrInvalidOptions))
	}
	d.Observers = slices.Clone(o.Observers)
	if d.Size == 0 {
		d.Size = 100_000
	}
	if d.TTL == 0 {
		d.TTL = 30 * time.Second
	}
	if d.StaleFor == 0 {
		d.StaleFor = time.Minute
	}
	if d.Timeout == 0 {
		d.Timeout = time.Second
	}
	if d.MaxUnknown == 0 {
		d.MaxUnknown = 16
	}
	return d
}
