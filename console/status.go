package console

import (
	"time"

	"github.com/httpkey/httpkey"
)

// status is the state of a token, which tells a person what to do about it. State is one of
// active, expiring, old, unused, rotating, expired and revoked.
type status struct {
	State string
	Since moment // old: its creation; unused: its last use, or its creation; rotating: the rotation
	Until moment // expiring, rotating: when it ends; expired: when it ended

	// Of a token that was rotated and still works:
	Used  moment
	InUse bool // it was used after the rotation
	After span // the time from the rotation to the last use, if InUse
}

// statusOf returns the status of t. successor is the token that it was rotated into, or nil.
func (c *console) statusOf(t httpkey.Token, successor *httpkey.Token, now time.Time) status {
	used := t.CreatedAt
	if t.LastUsed.After(used) {
		used = t.LastUsed
	}
	until := moment{t.ExpiredAt, now}
	switch {
	case !t.IsActive:
		return status{State: "revoked"}
	case t.Expired(now):
		return status{State: "expired", Until: until}
	case successor != nil && !t.ExpiredAt.IsZero():
		return rotating(t, successor.CreatedAt, now)
	case !t.ExpiredAt.IsZero() && t.ExpiredAt.Sub(now) <= c.options.ExpiresSoon:
		return status{State: "expiring", Until: until}
	case isOver(c.options.Unused, now.Sub(used)):
		return status{State: "unused", Since: moment{used, now}}
	case isOver(c.options.Old, now.Sub(t.CreatedAt)):
		return status{State: "old", Since: moment{t.CreatedAt, now}}
	}
	return status{State: "active"}
}

// rotating is the status of a token that was rotated at a moment and still works.
func rotating(t httpkey.Token, rotated, now time.Time) status {
	s := status{
		State: "rotating",
		Since: moment{rotated, now},
		Until: moment{t.ExpiredAt, now},
		Used:  moment{t.LastUsed, now},
		InUse: t.LastUsed.After(rotated),
	}
	if s.InUse {
		s.After = spanOf(t.LastUsed.Sub(rotated))
	}
	return s
}

// isOver reports whether a time has reached a bound. A negative bound is none.
func isOver(bound, d time.Duration) bool { return bound >= 0 && d >= bound }

// needsCare reports whether t is about to expire, unused or old.
func (c *console) needsCare(t httpkey.Token, now time.Time) bool {
	switch c.statusOf(t, nil, now).State {
	case "expiring", "unused", "old":
		return true
	}
	return false
}
