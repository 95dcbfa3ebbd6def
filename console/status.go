package console

import (
	"time"

	"github.com/httpkey/httpkey"
)

// What a token is called out for.
const (
	expiresSoon = 7 * day
	oldAge      = 90 * day // as in httpkey.Guard.Due
	longUnused  = 90 * day // as in httpkey.Guard.Unused
)

// status says what a token is, and by that what to do about it. Its State is one
// of active, expiring, old, unused, rotating, expired and revoked.
type status struct {
	State string
	Since moment // old: its creation; unused: its last use, or its creation
	Until moment // expiring, rotating: when it ends; expired: when it ended

	// InUse, of a rotating one: the old key was used since it has a successor.
	InUse bool
}

// statusOf returns the status of t, which has this successor, or nil.
func statusOf(t httpkey.Token, successor *httpkey.Token, now time.Time) status {
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
		return status{State: "rotating", Until: until, InUse: t.LastUsed.After(successor.CreatedAt)}
	case !t.ExpiredAt.IsZero() && t.ExpiredAt.Sub(now) <= expiresSoon:
		return status{State: "expiring", Until: until}
	case now.Sub(used) >= longUnused:
		return status{State: "unused", Since: moment{used, now}}
	case now.Sub(t.CreatedAt) >= oldAge:
		return status{State: "old", Since: moment{t.CreatedAt, now}}
	}
	return status{State: "active"}
}

// needsCare reports whether somebody should do something about t.
func needsCare(t httpkey.Token, now time.Time) bool {
	switch statusOf(t, nil, now).State {
	case "expiring", "unused", "old":
		return true
	}
	return false
}
