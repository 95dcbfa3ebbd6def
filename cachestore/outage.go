package cachestore

import (
	"fmt"
	"time"

	"github.com/httpkey/httpkey"
)

// outageAfter is the number of failed loads in a row after which the store counts as down. If
// only a part of it is down, such as one shard of a cluster, other loads succeed in between.
// Failed loads of unknown digests do not count.
const outageAfter = 8

// outage lets no request wait for a store that is down, except for one load in each
// retryAfter, which checks whether the store is back.
type outage struct {
	failures int
	last     httpkey.Digest // the last that failed: repeated loads of one broken record are no outage
	err      error
	retryAt  time.Duration
}

func (o *outage) isOn() bool { return o.failures >= outageAfter }

// refuse returns an error if the cache must not ask the store now. In an outage, the load
// that may ask is a probe.
func (o *outage) refuse(now time.Duration) (isProbe bool, err error) {
	switch {
	case !o.isOn():
		return false, nil
	case now < o.retryAt:
		return false, fmt.Errorf("httpkey: the store is not asked for a moment, since it has failed %d times in a row: %w",
			o.failures, o.err)
	}
	o.retryAt = now + retryAfter
	return true, nil
}

// note records the end of a load. If it begins or ends an outage, note returns the event.
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
