package redisstore

import (
	"fmt"
	"strings"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/internal/memo"
)

// Options configure a [Store], a [Limiter] and a [Window]. The zero value, and
// nil, are the defaults.
type Options struct {
	// Prefix begins the name of every key and channel in Redis. redis_rate puts "rate:"
	// before the keys of a [Limiter]. Prefix must not contain { or }, because a Cluster
	// would choose the slot by it. Empty: "httpkey:".
	Prefix string

	// AskAlways makes a limiter call Redis even if an earlier answer says that the bucket
	// has no room yet. Set it if a deleted bucket, or a refund by another process, must take
	// effect at once. Otherwise that may take a second. A Store ignores it.
	AskAlways bool

	// Lease makes a [Limiter] take permits ahead and spend them without a call to Redis. A
	// bucket in steady use then costs about one call in this time, instead of one for each
	// request. 0: never. The comment of Limiter describes the drawbacks.
	Lease time.Duration
}

// withDefaults returns a copy of o with the defaults filled in. It panics if o is invalid.
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

// newMemo returns a memory of denials, or nil for Options.AskAlways.
func newMemo(o Options, isStrict bool) *memo.Memo {
	if o.AskAlways {
		return nil
	}
	return memo.New(isStrict)
}
