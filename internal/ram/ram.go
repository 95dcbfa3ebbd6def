// Package ram keeps tokens and rate limits in the memory of a process. A Guard reads them in
// place.
//
// A [Table] holds tokens, and [Buckets] hold the buckets of a limiter. A [Binding] lets the
// bucket of a token lie beside it, so that a request waits once for the memory of both.
//
// Tokens and buckets are records in arrays without pointers. The garbage collector would
// otherwise visit each of them again and again.
package ram

import (
	"math"
	"time"
)

// Null means that there is no moment. It is less than every moment.
const Null = math.MinInt64

// Micros returns t in Unix microseconds, or Null for the zero time. A time outside their
// range becomes the first or the last of the range. Without that, a token that expired long
// ago could expire in the future.
func Micros(t time.Time) int64 {
	switch {
	case t.IsZero():
		return Null
	case t.After(last):
		return math.MaxInt64
	case t.Before(first):
		return Null + 1
	}
	return t.UnixMicro()
}

var first, last = time.UnixMicro(Null + 1), time.UnixMicro(math.MaxInt64)

// Time is the inverse of Micros.
func Time(at int64) time.Time {
	if at == Null {
		return time.Time{}
	}
	return time.UnixMicro(at).UTC()
}

// State holds the properties of a token that are one bit each.
type State uint8

// The bits of a State.
const (
	Exists  State = 1 << iota // there is a token
	Active                    // the token is not revoked
	Service                   // the token is a ServiceToken
	Special                   // the token has limits or networks of its own; its Full is not nil
)

// StateOf returns the State of a token.
func StateOf(isActive, isService, isSpecial bool) State {
	s := Exists
	if isActive {
		s |= Active
	}
	if isService {
		s |= Service
	}
	if isSpecial {
		s |= Special
	}
	return s
}
