package redisstore

import (
	"fmt"
	"strings"
	"time"

	"github.com/httpkey/httpkey"
)

// Options configure a [Store], a [Limiter] and a [Window]. The zero value, and
// nil, are the defaults.
type Options struct {
	// Prefix begins the name of every key and channel in Redis, but that redis_rate
	// puts "rate:" before those of a [Limiter]. It must not hold { or }, which
	// would decide where a Cluster keeps a key. Empty: "httpkey:".
	Prefix string

	// AskAlways makes a limiter ask Redis also where an earlier answer says that the bucket
	// has no room yet. Set it where buckets are deleted in Redis, to let a client in again
	// at once. A Store does not look at it.
	AskAlways bool

	// Lease makes a [Limiter] take permits ahead and spend them without asking Redis. A
	// bucket in steady use then costs about one question in this time, instead of one for
	// each request. 0: never. The comment of Limiter has the price.
	Lease time.Duration
}

// withDefaults returns a copy of o with the defaults filled in. It panics for what cannot work.
func (o *Options) withDefaults() Options {
	if o == nil {
		o = &Options{}
	}
	d := *o
	if d.Prefix == "" {
		d.Prefix = "httpkey:"
	}
	if strings.ContainsAny(d.Prefix, "{}") {
		panic(fmt.Errorf("%w: Prefix is %q, it must not hold { or }", httpkey.ErrInvalidOptions, d.Prefix))
	}
	if d.Lease < 0 {
		panic(fmt.Errorf("%w: Lease is %v, it must not be negative", httpkey.ErrInvalidOptions, d.Lease))
	}
	return d
}
