package cachestore

import (
	"fmt"
	"time"

	"github.com/httpkey/httpkey"
)

// Options configure a [Store]. The zero value, and nil, are the defaults.
type Options struct {
	// Size is how many tokens are kept in memory. Beyond it the ones that are least
	// used go. A token takes some 450 bytes and its text. Apart from these, a tenth of
	// Size keys that do not exist are kept. 0: 100,000.
	Size int

	// TTL is how long a token is used without asking the store again, counted
	// from when the store was asked. A revocation elsewhere takes that long to show, at
	// most, when no feed tells of it. The price is one Lookup in the store for each
	// token in use in each TTL. 0: 30 seconds.
	TTL time.Duration

	// StaleFor is for how long after its TTL a token is still used if the store
	// fails. Revocations that no feed told of show that much later then. 0: a
	// minute; negative: not at all.
	StaleFor time.Duration

	// Timeout is how long the store may take for a Lookup before that counts as a
	// failure. The Lookup goes on when a caller with less time has left, as a Guard's
	// request does. So the cache knows a key that a slow store made a Guard answer 503
	// when it comes again. 0: a second.
	Timeout time.Duration

	// Observer is told, once for each change, that the store or its feed is down or up
	// again: see [EventStoreDown]. It may be the Guard's. Nil: nobody is told.
	Observer httpkey.Observer
}

// The types of events that a [Store] tells its Observer of, with their fields.
const (
	EventStoreDown httpkey.EventType = "store_down" // until it answers it is asked twice a second at most; Err
	EventStoreUp   httpkey.EventType = "store_up"   // it answers again
	EventFeedDown  httpkey.EventType = "feed_down"  // changes that are made elsewhere show after the TTL; Err
	EventFeedUp    httpkey.EventType = "feed_up"    // they show at once again
)

const (
	// absentTTL is short, since a key that exists soon after it did not is a new
	// one that somebody waits for. At most the TTL.
	absentTTL = 5 * time.Second
	// retryAfter is how long a store that failed is left alone.
	retryAfter = 500 * time.Millisecond
)

// withDefaults returns a copy of o in which no default is left open. It panics if o is invalid.
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
	case d.Timeout < 0:
		panic(fmt.Errorf("%w: Timeout is %v, it must not be negative", httpkey.ErrInvalidOptions, d.Timeout))
	}
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
	return d
}
