package cachestore

import (
	"fmt"
	"time"

	"github.com/httpkey/httpkey"
)

// outageAfter is how many loads in a row have to fail until the store is taken
// to be down. Where only a part of it is down, such as one shard of a cluster, other
// loads succeed between.
const outageAfter = 8

// outage keeps a store that is down from being asked, and waited for, by each
// request: one load in each retryAfter finds out whether it is back.
type outage struct {
	failures int
	last     httpkey.Digest // that failed last: one broken record, however often it is asked for, is no outage
	err      error
	retryAt  time.Duration
}

func (o *outage) isOn() bool { return o.failures >= outageAfter }

// refuse returns an error if the store is not to be asked now.
func (o *outage) refuse(now time.Duration) error {
	if !o.isOn() {
		return nil
	}
	if now < o.retryAt {
		return fmt.Errorf("httpkey: the store is not asked for a moment, since it has failed %d times in a row: %w",
			o.failures, o.err)
	}
	o.retryAt = now + retryAfter
	return nil
}

// note takes in how a load ended, and returns the event if the outage began or ended by it.
func (o *outage) note(d httpkey.Digest, isAnswer bool, err error, now time.Duration) httpkey.EventType {
	was := o.isOn()
	if isAnswer {
		*o = outage{}
	} else {
		if o.failures == 0 || d != o.last {
			o.failures++
		}
		o.last, o.err, o.retryAt = d, err, now+retryAfter
	}
	switch is := o.isOn(); {
	case is && !was:
		return EventStoreDown
	case was && !is:
		return EventStoreUp
	}
	return ""
}
