package httpkey

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"slices"
	"time"

	"github.com/httpkey/httpkey/internal/address"
	"github.com/httpkey/httpkey/internal/adoption"
	"github.com/httpkey/httpkey/internal/answer"
	"github.com/httpkey/httpkey/internal/bearer"
	"github.com/httpkey/httpkey/internal/clock"
	"github.com/httpkey/httpkey/internal/failures"
	"github.com/httpkey/httpkey/internal/keyformat"
	"github.com/httpkey/httpkey/internal/lastused"
	"github.com/httpkey/httpkey/internal/ram"
)

// Guard admits requests with a valid key, within the key's limits. Make one
// with [New]; it is safe for concurrent use. Close it after the server has shut
// down, so that no use is lost.
type Guard struct {
	store    TokenStore
	memory   ram.Source[Token] // the store, if it has tokens in memory
	limiter  Limiter
	waits    bool    // the limiter may let a request wait
	options  Options // without open defaults, and without peppers
	apiKeys  terms
	services terms

	format    keyformat.Format
	digesters []keyformat.Digester // the current one first
	hasPepper bool
	lastUsed  *lastused.Writer
	clock     clock.Clock
	quota     answer.Quota
	observers []observer

	failures    *failures.Meter // nil: failed keys are not metered
	readsBearer bool
	adoptions   *adoption.Queue // for Options.Adopt
}

// New returns a Guard over a store and a limiter; nil options mean the
// defaults. It panics if store or limiter is nil, and with the error of
// [Options.Validate]: a misconfigured program must not start. [Unlimited] is the
// limiter for no limit. New does no I/O and starts no goroutine.
func New(store TokenStore, limiter Limiter, opts *Options) *Guard {
	if store == nil {
		panic("httpkey: New needs a TokenStore, as memstore.New() makes one")
	}
	if limiter == nil {
		panic("httpkey: New needs a Limiter, as memstore.NewLimiter() makes one, or httpkey.Unlimited")
	}
	if err := opts.Validate(); err != nil {
		panic(err.Error())
	}
	o := opts.withDefaults()
	g := &Guard{
		store:   store,
		memory:  ram.SourceOf[Token](store),
		limiter: limiter,
		format: keyformat.Format{
			Prefix: o.Prefix, Previous: slices.Clone(o.PreviousPrefixes), MinImported: o.ImportedMinLength,
		},
		digesters: []keyformat.Digester{keyformat.NewDigester(o.Pepper.Reveal())},
		hasPepper: o.Pepper != "",
		observers: observersOf(o.Observers),
	}
	buckets, inMemory := ram.BucketsOf(limiter)
	if !inMemory && limiter != Unlimited {
		g.waits = true
		g.limiter = newFailover(limiter, o.Fallback, o.Timeout, g.reportLimiter)
	}
	for _, pepper := range o.PreviousPeppers {
		g.digesters = append(g.digesters, keyformat.NewDigester(pepper.Reveal()))
	}
	if o.Failures != (Limit{}) {
		l := o.Failures.Resolve()
		g.failures = failures.New(int64(l.Rate), int64(l.Burst), l.Period)
	}
	if o.Adopt != nil {
		g.adoptions = adoption.New()
	}
	for _, prefix := range append(g.format.Previous, g.format.Prefix) {
		g.readsBearer = g.readsBearer || bearer.IsReadBy(o.Sources, keyformat.Format{Prefix: prefix}.Generate(false))
	}
	o.Pepper, o.PreviousPeppers = "", nil
	g.options = o
	g.apiKeys, g.services = g.newTerms(o.Limits[APIKey], buckets), g.newTerms(o.Limits[ServiceToken], buckets)
	g.lastUsed = lastused.New(o.LastUsedInterval, store.Touch, func(err error) {
		g.observe(context.Background(), &Event{Type: EventFlushFailed, Err: err})
	})
	return g
}

func (g *Guard) reportLimiter(err error) {
	event := Event{Type: EventLimiterUp}
	if err != nil {
		event = Event{Type: EventLimiterDown, Err: err}
	}
	g.observe(context.Background(), &event)
}

// Close writes the uses that are not in the store yet, and ends the background
// work. Call it when the server has shut down. A Guard still answers after Close;
// another Close writes the uses since then. The error is the store's, or that of
// ctx if ctx ends first: a write in progress then ends when the store returns.
// The error also reports uses that were lost earlier.
func (g *Guard) Close(ctx context.Context) error { return g.lastUsed.Close(ctx) }

// Store returns the store that g was made with, for pages that list and change tokens.
func (g *Guard) Store() TokenStore { return g.store }

// String returns the name of the type, which templates print.
func (g *Guard) String() string { return "httpkey.Guard" }

// Format keeps the store and its contents out of a printed Guard.
func (g *Guard) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, g.String()) }

// ErrInvalidOptions is wrapped by every error of [Options.Validate]. The
// message names the field.
var ErrInvalidOptions = errors.New("httpkey: invalid options")

// Options configure a [Guard]. The zero value, and nil, are the documented
// behavior of the Plane API.
type Options struct {
	// Sources are the places where a request may carry its key. Nil: FromHeader("X-Api-Key").
	Sources []Source

	// Prefix begins every secret that Issue makes, so that people and secret
	// scanners recognize it. It is a letter, then letters, digits and underscores, at
	// most 19 in all. Empty: hk. A Guard refuses keys of another prefix, so a changed
	// Prefix ends all earlier keys, unless ImportedMinLength admits them.
	Prefix string

	// PreviousPrefixes are those of keys that are still accepted.
	PreviousPrefixes []string

	// Pepper makes digests HMAC-SHA-256 under this key instead of SHA-256, so
	// that a thief of the store cannot check guesses against it. At least 32
	// bytes; keep it outside the store. Empty: SHA-256.
	Pepper Secret

	// PreviousPeppers are still accepted. Each costs one more Lookup for a key that
	// the peppers before it do not find. An empty one stands for SHA-256, the digest
	// of keys issued without a pepper. Digests cannot be converted: remove a previous
	// pepper only when the keys issued under it are gone.
	PreviousPeppers []Secret

	// ImportedMinLength, if not 0, admits keys issued elsewhere, of any shape: from
	// this many to 255 visible ASCII characters. It is at least 16. See [Guard.Import].
	// The Hint of such a key shows its last four characters, which are no checksum. A key of
	// fewer than 32 characters has no Hint.
	ImportedMinLength int

	// Adopt returns the token of a key that the store does not have, from a table of another
	// program, say, whatever hash that keeps. The Guard imports the token as [Guard.Import]
	// does, so Adopt is called once for a key, and the key then works without the old table.
	// ImportedMinLength must allow the shape of such keys. Set IsActive for a key that is to
	// work. ErrNotFound refuses the key with 401, another error with 503.
	//
	// Adopt runs for at most 8 keys at once. A request waits for its turn and for Adopt for a
	// second at most, and then gets 503. A Guard does not call Adopt for a refused key again for
	// up to half a minute. Adopt must compare secrets in constant time, and end with its context.
	//
	// Revoke the token of an adopted key, and do not delete it: the Guard would adopt the key
	// again. Nil: unknown keys are refused.
	Adopt func(ctx context.Context, secret string) (Token, error)

	// Limits apply to the tokens of a kind that have no limits of their own. A missing
	// kind has its default: 60 a minute for APIKey, 300 for ServiceToken. An empty list
	// means no limit.
	Limits map[Kind][]Limit

	// Charge edits the charge of a request. The payer, the limits of the token or its
	// kind, and a cost of 1 are filled in. Charge may share a bucket among the tokens of
	// a user, choose limits by plan or route, or make a request free:
	//
	//	func(r *http.Request, t *httpkey.Token, c *httpkey.Charge) {
	//		if t.User != "" {
	//			c.Bucket = "user:" + t.User
	//		}
	//		if r != nil && r.Method == http.MethodPost { // Admit and Peek have no request
	//			c.Cost = 5
	//		}
	//	}
	//
	// A change of t has no effect. Charge must keep neither t nor c. r is nil in
	// [Guard.Admit], and in [Guard.LimitsOf] and [Guard.Peek], which package console calls.
	// A Guard answers 503, and tells the Observer, if [Charge.Validate] refuses the charge. It also
	// does so if Bucket names another token, user or workspace, or none, such as "user:". Nil: the
	// charge stays as it is.
	Charge func(r *http.Request, t *Token, c *Charge)

	// Anonymous decides about requests without a key. If it returns true, the request passes
	// within the limits of c. If it returns false, or if Anonymous is nil, the answer is 401.
	// c is filled in as in [Guard.LimitBy]: without limits. FromContext finds no token, so the
	// Require functions answer 401. A request with a bad key is no request without a key. A Guard
	// that is twice around a handler calls Anonymous each time, and charges once.
	//
	//	func(r *http.Request, c *httpkey.Charge) bool {
	//		c.Limits = []httpkey.Limit{httpkey.PerMinute(10)}
	//		return strings.HasPrefix(r.URL.Path, "/public/")
	//	}
	Anonymous func(r *http.Request, c *Charge) bool

	// Failures limits the failed keys of each client's address, for example
	// httpkey.PerMinute(20). Beyond it, unknown keys from that address get 429 without a store
	// call. A key that was good lately passes always, whatever its address. So Failures protects
	// the store, and does not stop guesses of short keys. A lookup that fails counts too. The
	// limit holds in each process, and not in [Guard.Admit], which knows no address. Addresses are
	// those of ClientAddr; an IPv6 network of 64 bits counts as one. Clients without an address
	// share one limit. The zero Limit: there is none.
	Failures Limit

	// DryRun lets requests pass that a limit refuses. The limiter still decides, and takes. The
	// response has X-RateLimit-Dry-Run: allowed or denied, and the Observer gets an
	// [EventDryRun]. Bad keys are refused as always, and so are the requests under a Rate of 0,
	// which blocks. See also the field DryRun of a [Limit].
	DryRun bool

	// ScopeImplies reports whether a token's scope grants another one, as "repo:write" may grant
	// "repo:read", or "*" everything. It must be quick. Nil: each scope grants only itself.
	ScopeImplies func(have, want string) bool

	// ClientAddr returns the client's address, which a token's Networks must contain, and by
	// which Anonymous, LimitBy and Failures count. See [TrustedProxies].
	// Nil: the address of the connection. The invalid address is in no network. An
	// IPv4-mapped IPv6 address counts as IPv4.
	ClientAddr func(*http.Request) netip.Addr

	// IETFHeaders adds RateLimit-Policy and RateLimit as in
	// draft-ietf-httpapi-ratelimit-headers-11 to the X-RateLimit headers.
	IETFHeaders bool

	// LastUsedInterval is the interval in which LastUsed of a token is written to the
	// store at most once. 0: a second. If one interval sees uses of more than some
	// 100,000 tokens, some are lost, and [EventFlushFailed] says how many.
	LastUsedInterval time.Duration

	// Timeout bounds how long a request waits for the store and the limiter together.
	// 0: 100 ms. A client that hangs up does not end that wait, and neither does a deadline
	// of the request, because a canceled call costs a connection. Timeout does not bound a
	// call that ignores its context: see the client options that redisstore and sqlstore
	// require.
	Timeout time.Duration

	// Fallback decides while the limiter is down, about a damaged bucket, and about a request
	// whose answer does not come in time. Nil: the limiter's own fallback, which counts in
	// the memory of this process, or else [FailClosed]. [Unlimited] admits every request.
	//
	// A limiter is down once it has failed three times without admitting a charge in
	// between; [EventLimiterDown] says so. From then on no request waits for it: a
	// goroutine charges it up to twice a second until it is back. So a limiter that can
	// be read but not written stays down.
	Fallback Limiter

	// ErrorHandler answers every refused request. Nil: [WriteError].
	//
	// The Guard sets the headers of the refusal first: Cache-Control,
	// WWW-Authenticate, Retry-After, and the rate-limit headers if the key is valid.
	// The handler may change them, and writes status, Content-Type and body. This one
	// answers as the live Plane API does where it differs from its documentation:
	//
	//	func(w http.ResponseWriter, r *http.Request, e httpkey.Error) {
	//		switch {
	//		case errors.Is(e, httpkey.ErrThrottled):
	//			w.Header().Set("Content-Type", "application/json")
	//			w.WriteHeader(http.StatusTooManyRequests)
	//			io.WriteString(w, `{"error_code":5900,"error_message":"RATE_LIMIT_EXCEEDED"}`)
	//		case errors.Is(e, httpkey.ErrInvalidKey):
	//			w.Header().Set("Content-Type", "application/json")
	//			w.WriteHeader(http.StatusForbidden)
	//			io.WriteString(w, `{"detail":"Given API token is not valid"}`)
	//		default:
	//			httpkey.WriteError(w, r, e)
	//		}
	//	}
	ErrorHandler func(http.ResponseWriter, *http.Request, Error)

	// Observers receive every event, in their order, each as an Event of its own; see [SlogObserver].
	// Packages otelkey and promkey, in the modules otel and prom, make metrics of them. Nil: none.
	Observers []Observer
}

// Format prints o's fields with the peppers redacted.
func (o Options) Format(f fmt.State, verb rune) {
	type fields Options
	_, _ = fmt.Fprintf(f, fmt.FormatString(f, verb), fields(o))
}

// Validate reports the first invalid field of o, in an error that wraps
// [ErrInvalidOptions] and names it. [New] panics with that error.
func (o *Options) Validate() error {
	if o == nil {
		return nil
	}
	invalid := func(field, format string, args ...any) error {
		return fmt.Errorf("%w: %s %s", ErrInvalidOptions, field, fmt.Sprintf(format, args...))
	}
	switch {
	case slices.ContainsFunc(o.Sources, func(s Source) bool { return s == nil }):
		return invalid("Sources", "has a nil Source")
	case slices.Contains(o.Observers, nil):
		return invalid("Observers", "has a nil Observer")
	case o.Adopt != nil && o.ImportedMinLength == 0 && len(o.PreviousPrefixes) == 0:
		return invalid("Adopt", "is set, but ImportedMinLength is 0, so that keys of other shapes do not reach it")
	case o.Timeout < 0:
		return invalid("Timeout", "is %v, it must not be negative", o.Timeout)
	case o.LastUsedInterval < 0:
		return invalid("LastUsedInterval", "is %v, it must not be negative", o.LastUsedInterval)
	}
	format := keyformat.Format{Prefix: o.Prefix, Previous: o.PreviousPrefixes, MinImported: o.ImportedMinLength}
	if err := cmp.Or(format.Validate(), keyformat.ValidatePeppers(o.Pepper, o.PreviousPeppers)); err != nil {
		return fmt.Errorf("%w: %w", ErrInvalidOptions, err)
	}
	if l := o.Failures; l != (Limit{}) {
		if err := l.Validate(); err != nil {
			return fmt.Errorf("%w: Failures: %w", ErrInvalidOptions, err)
		}
		if l.Rate == 0 || l.Calendar != "" || l.DryRun {
			return invalid("Failures", "is %v, it must have a Rate and a Period, and no DryRun", l)
		}
	}
	for kind, limits := range o.Limits {
		if kind != APIKey && kind != ServiceToken {
			return invalid("Limits", "has the kind %q, it must be %q or %q", kind, APIKey, ServiceToken)
		}
		if err := validateLimits(limits); err != nil {
			return fmt.Errorf("%w: Limits[%q]: %w", ErrInvalidOptions, kind, err)
		}
	}
	return nil
}

// withDefaults returns a copy of o with the defaults filled in. ErrorHandler, Charge,
// Fallback and Observers may stay nil.
func (o *Options) withDefaults() Options {
	if o == nil {
		o = &Options{}
	}
	d := *o
	if d.Sources = slices.Clone(o.Sources); len(d.Sources) == 0 {
		d.Sources = []Source{FromHeader("X-Api-Key")}
	}
	d.Prefix = cmp.Or(o.Prefix, "hk")
	d.Timeout = cmp.Or(o.Timeout, 100*time.Millisecond)
	d.LastUsedInterval = cmp.Or(o.LastUsedInterval, time.Second)
	d.Limits = map[Kind][]Limit{APIKey: {PerMinute(60)}, ServiceToken: {PerMinute(300)}}
	for kind, limits := range o.Limits {
		d.Limits[kind] = slices.Clone(limits)
	}
	if d.ClientAddr == nil {
		d.ClientAddr = address.OfConnection
	}
	return d
}
