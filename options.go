package httpkey

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// ErrInvalidOptions is wrapped by every error of [Options.Validate]. The
// message names the field.
var ErrInvalidOptions = errors.New("httpkey: invalid options")

// Options configure a [Guard]. The zero value, and nil, are the documented
// behavior of the Plane API.
type Options struct {
	// Header is the name of the request header that holds the key. Empty: X-Api-Key.
	Header string

	// Prefix begins every secret that Issue makes, so that people and secret
	// scanners know whose it is: a letter, then letters, digits and underscores, at
	// most 19. Empty: hk. Keys of another prefix are refused, so a change
	// of it ends all keys issued before, unless ImportedMinLength lets them in.
	Prefix string

	// Pepper makes digests HMAC-SHA-256 under this key instead of SHA-256: a
	// stolen store is then of no use to check guesses against. At least 32
	// bytes; keep it outside the store. Empty: SHA-256.
	Pepper Secret

	// PreviousPeppers are still accepted, each at the cost of one more Lookup
	// for a key that is not found before. An empty one stands for SHA-256
	// without pepper, as for keys from before there was one. Digests cannot be
	// converted: a previous pepper may go when the keys issued under it are gone.
	PreviousPeppers []Secret

	// ImportedMinLength, if not 0, lets in keys issued elsewhere, of whatever
	// shape: this many to 255 visible ASCII characters, at least 16. See
	// [Guard.Import]. Made-up keys then cost a Lookup, and the Hint shows the last
	// four characters of a secret that has no checksum at its end.
	ImportedMinLength int

	// APIKeyLimit is the limit of tokens of kind APIKey that have none of their
	// own. Zero: 60 a minute.
	APIKeyLimit Limit
	// ServiceTokenLimit is the same for kind ServiceToken. Zero: 300 a minute.
	ServiceTokenLimit Limit

	// Limit decides the limit of a request, by plan or by route, say. The zero
	// Limit as its answer, and a nil function, mean the token's own, or else its kind's.
	Limit func(*http.Request, Token) Limit

	// Cost is what a request takes from its bucket; 0 is free. Nil: 1. A
	// negative cost, or one above Burst, is answered 503 and observed.
	Cost func(*http.Request, Token) int

	// Bucket is who shares a limit: PerToken (the default), PerUser or
	// PerWorkspace. Tokens share only if they have the same limit.
	Bucket Bucket

	// IETFHeaders adds RateLimit-Policy and RateLimit as in
	// draft-ietf-httpapi-ratelimit-headers-11 to the X-RateLimit headers. Their
	// t is exact for a limiter that refills steadily, as GCRA does, and an
	// estimate for a strict window.
	IETFHeaders bool

	// LastUsedInterval is how often LastUsed is written to the store: at most
	// one write for a token in each. 0: a second. Of more than some 100,000 tokens that are
	// used in one, uses are lost, and [EventFlushFailed] tells how many.
	LastUsedInterval time.Duration

	// Timeout bounds how long a request waits for the store and the limiter, both
	// together. 0: 100 ms. What heeds no context is not bounded by it: see the
	// client options that redisstore and sqlstore ask for.
	Timeout time.Duration

	// Fallback decides while the limiter is down, and is told by
	// [EventLimiterDown]. Nil: the limiter's own (see [FallbackLimiter]), which
	// counts in the memory of this process, or else [FailClosed]. [Unlimited] lets
	// all pass.
	//
	// A limiter is down when it has failed several times and admitted nothing in
	// between. From then on no request waits for it: twice a second it is tried in
	// the background, on a bucket that is no token's, until it is back. So one that
	// can be read and not written stays down.
	Fallback Limiter

	// ErrorHandler answers every refused request. Nil: [WriteError].
	//
	// It is called once the headers of the refusal are set (Cache-Control,
	// WWW-Authenticate, Retry-After, and the rate-limit headers where the key
	// is valid) and may change them; status, Content-Type and body are its to
	// write. To answer as the live Plane API does, where it differs from its
	// documentation:
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

	// Observer is told what happens; see [SlogObserver]. Nil: nobody.
	Observer Observer
}

// Format prints o's fields, the peppers redacted.
func (o Options) Format(f fmt.State, verb rune) {
	type fields Options
	_, _ = fmt.Fprintf(f, fmt.FormatString(f, verb), fields(o))
}

// Bucket says which tokens share one bucket of their limiter.
type Bucket int

// Who shares a bucket.
const (
	PerToken     Bucket = iota // each token has its own
	PerUser                    // tokens of one user share; a token without a user has its own
	PerWorkspace               // tokens of one workspace share; a token without a workspace has its own
)

const minPepperLength = 32

// Validate reports what is wrong with o, naming the field: an error that wraps
// [ErrInvalidOptions]. [New] panics with it.
func (o *Options) Validate() error {
	if o == nil {
		return nil
	}
	invalid := func(field, format string, args ...any) error {
		return fmt.Errorf("%w: %s %s", ErrInvalidOptions, field, fmt.Sprintf(format, args...))
	}
	switch {
	case !isHeaderName(o.Header):
		return invalid("Header", "is %q, which is not a header name", o.Header)
	case !isPrefix(o.Prefix):
		return invalid("Prefix", "is %q, it must be a letter and up to %d letters, digits and underscores", o.Prefix, maxPrefixLength-1)
	case o.Pepper != "" && len(o.Pepper) < minPepperLength:
		return invalid("Pepper", "has %d bytes, it needs at least %d", len(o.Pepper), minPepperLength)
	case o.ImportedMinLength != 0 && (o.ImportedMinLength < 16 || o.ImportedMinLength > maxImportedLength):
		return invalid("ImportedMinLength", "is %d, it must be 0, or from 16 to %d", o.ImportedMinLength, maxImportedLength)
	case o.Bucket < PerToken || o.Bucket > PerWorkspace:
		return invalid("Bucket", "is %d, it must be PerToken, PerUser or PerWorkspace", o.Bucket)
	case o.Timeout < 0:
		return invalid("Timeout", "is %v, it must not be negative", o.Timeout)
	case o.LastUsedInterval < 0:
		return invalid("LastUsedInterval", "is %v, it must not be negative", o.LastUsedInterval)
	}
	for i, pepper := range o.PreviousPeppers {
		if pepper != "" && len(pepper) < minPepperLength {
			return invalid(fmt.Sprintf("PreviousPeppers[%d]", i), "has %d bytes, it needs at least %d (or none, for SHA-256)", len(pepper), minPepperLength)
		}
		if pepper == o.Pepper {
			return invalid(fmt.Sprintf("PreviousPeppers[%d]", i), "is the Pepper itself")
		}
	}
	for _, limit := range []struct {
		field string
		Limit
	}{{"APIKeyLimit", o.APIKeyLimit}, {"ServiceTokenLimit", o.ServiceTokenLimit}} {
		if limit.Limit == (Limit{}) {
			continue
		}
		if err := limit.Validate(); err != nil {
			return fmt.Errorf("%w: %s: %w", ErrInvalidOptions, limit.field, err)
		}
	}
	return nil
}

// withDefaults returns a copy of o in which no default is left open but that of
// ErrorHandler, which nil serves without an indirection.
func (o *Options) withDefaults() Options {
	if o == nil {
		o = &Options{}
	}
	d := *o
	if d.Header == "" {
		d.Header = "X-Api-Key"
	}
	d.Header = http.CanonicalHeaderKey(d.Header)
	if d.Prefix == "" {
		d.Prefix = "hk"
	}
	if d.APIKeyLimit == (Limit{}) {
		d.APIKeyLimit = PerMinute(60)
	}
	if d.ServiceTokenLimit == (Limit{}) {
		d.ServiceTokenLimit = PerMinute(300)
	}
	if d.Timeout == 0 {
		d.Timeout = 100 * time.Millisecond
	}
	if d.LastUsedInterval == 0 {
		d.LastUsedInterval = time.Second
	}
	return d
}

// isHeaderName reports whether s is empty or a field name of RFC 9110, section 5.1.
func isHeaderName(s string) bool {
	for i := range len(s) {
		if !isAlphanumeric(s[i]) && !strings.ContainsRune("!#$%&'*+-.^_`|~", rune(s[i])) {
			return false
		}
	}
	return true
}

// isPrefix reports whether s is empty or may begin a secret.
func isPrefix(s string) bool {
	if len(s) > maxPrefixLength {
		return false
	}
	for i := range len(s) {
		if isDigit := '0' <= s[i] && s[i] <= '9'; i == 0 && (isDigit || s[i] == '_') {
			return false
		}
		if !isAlphanumeric(s[i]) && s[i] != '_' {
			return false
		}
	}
	return true
}
