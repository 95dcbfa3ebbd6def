package httpkey

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/httpkey/httpkey/internal/clock"
)

// Reason says why a request was refused. It is for observers and logs: a client
// learns the status and one of five sentences, never the reason.
type Reason string

// The reasons, in the order in which a request meets them.
const (
	ReasonMissing   Reason = "missing"   // no key, or a blank one
	ReasonMalformed Reason = "malformed" // more than one key, or not the shape of one; no store was asked
	ReasonUnknown   Reason = "unknown"   // no token has this key
	ReasonInactive  Reason = "inactive"  // the token is revoked
	ReasonExpired   Reason = "expired"   // the token's time is over
	ReasonNetwork   Reason = "network"   // the request comes from an address outside the token's Networks
	ReasonLimit     Reason = "limit"     // no limit can ever admit it: the Rate is 0, or the cost above Burst
	ReasonThrottled Reason = "throttled" // over a limit
	ReasonScope     Reason = "scope"     // RequireScope: the token lacks a scope
	ReasonKind      Reason = "kind"      // RequireKind: the token is of another kind
	ReasonWorkspace Reason = "workspace" // RequireWorkspace: the token is of another workspace
	ReasonStore     Reason = "store"     // the token store did not answer
	ReasonLimiter   Reason = "limiter"   // the limiter did not decide
	ReasonCanceled  Reason = "canceled"  // the caller went away before there was an answer
)

// The classes of refusal, one for each kind of response. An [Error] matches
// exactly one of them with [errors.Is].
var (
	ErrMissingKey  = errors.New("httpkey: no key was given")              // 401
	ErrInvalidKey  = errors.New("httpkey: the key is not valid")          // 401
	ErrThrottled   = errors.New("httpkey: the key is over its limit")     // 429
	ErrForbidden   = errors.New("httpkey: the key lacks a permission")    // 403
	ErrUnavailable = errors.New("httpkey: no decision could be made yet") // 503
)

// Error is the refusal of a request: what an [Options.ErrorHandler] answers,
// and what [Guard.Admit] and [Guard.Verify] return.
//
// It is an immutable value. Its text holds the reason and the cause, so it
// belongs in a log and not in a response; [WriteError] knows what a client may
// read.
type Error struct {
	_      [0]func() // not comparable with ==: the cause may not be, and errors.Is would panic
	reason Reason
	result Result
	cause  error
}

// Error returns the class, the reason and the cause. It holds no secret.
func (e Error) Error() string {
	text := e.class().err.Error() + ": " + string(e.reason)
	if e.cause != nil {
		text += ": " + e.cause.Error()
	}
	return text
}

// Is reports whether target is e's class: [ErrMissingKey], [ErrInvalidKey],
// [ErrThrottled], [ErrForbidden] or [ErrUnavailable].
func (e Error) Is(target error) bool { return target == e.class().err }

// Unwrap returns the error of the store or the limiter, if that was the cause.
func (e Error) Unwrap() error { return e.cause }

// Reason returns why the request was refused.
func (e Error) Reason() Reason { return e.reason }

// Status returns the HTTP status of the refusal: 401, 403, 429 or 503.
func (e Error) Status() int { return e.class().status }

// Result returns the limiter's decision on a request that a limit refuses, and the zero
// Result otherwise.
func (e Error) Result() Result { return e.result }

// class is one row of the HTTP contract.
type class struct {
	err    error
	status int
	answer *answer // nil: it depends on the Result
}

// answer is a body with its Content-Length. Answers are made once and shared: a
// refusal allocates nothing.
type answer struct {
	body   []byte
	length []string
}

func newAnswer(detail string) *answer {
	body := []byte(`{"detail":"` + detail + `"}`)
	return &answer{body, []string{strconv.Itoa(len(body))}}
}

var (
	missingKey  = class{ErrMissingKey, http.StatusUnauthorized, newAnswer("Authentication credentials were not provided.")}
	invalidKey  = class{ErrInvalidKey, http.StatusUnauthorized, newAnswer("Given API token is not valid")}
	throttled   = class{ErrThrottled, http.StatusTooManyRequests, nil}
	forbidden   = class{ErrForbidden, http.StatusForbidden, newAnswer("You do not have permission to perform this action.")}
	unavailable = class{ErrUnavailable, http.StatusServiceUnavailable, newAnswer("Authentication is temporarily unavailable.")}
)

func (e *Error) class() *class {
	switch e.reason {
	case ReasonMissing:
		return &missingKey
	case ReasonThrottled:
		return &throttled
	case ReasonScope, ReasonKind, ReasonWorkspace, ReasonLimit:
		return &forbidden
	case ReasonStore, ReasonLimiter, ReasonCanceled:
		return &unavailable
	default:
		return &invalidKey
	}
}

// WriteError is the default [Options.ErrorHandler]. It answers as the Plane API
// documents it: the status, a one-line JSON body {"detail": …}, Content-Type,
// Content-Length, Cache-Control: no-store, and WWW-Authenticate (RFC 9110,
// section 11.6.1) or Retry-After (section 10.2.3) where they belong; the last
// three unless they are set already. HEAD gets the same without the body.
// Nothing of the reason or the cause is in the response.
func WriteError(w http.ResponseWriter, r *http.Request, e Error) {
	h, defaults := w.Header(), make(http.Header)
	setRefusalHeaders(defaults, &e)
	for name, value := range defaults {
		if h[name] == nil {
			h[name] = value
		}
	}
	writeDetail(w, r, &e)
}

// The header values of refusals; shared, so nobody may change them in place.
var (
	noStore     = []string{"no-store"}
	challenge   = []string{`ApiKey realm="api"`}
	jsonContent = []string{"application/json"}
	retries     decimals
)

// setRefusalHeaders sets what every refusal of e's class carries, whoever writes the body.
func setRefusalHeaders(h http.Header, e *Error) {
	h["Cache-Control"] = noStore
	switch e.class().status {
	case http.StatusUnauthorized:
		h["Www-Authenticate"] = challenge
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		h["Retry-After"] = retries.header(retrySeconds(&e.result))
	}
}

func writeDetail(w http.ResponseWriter, r *http.Request, e *Error) {
	class := e.class()
	answer := class.answer
	if answer == nil {
		answer = throttledFor(retrySeconds(&e.result))
	}
	h := w.Header()
	h["Content-Type"] = jsonContent
	h["Content-Length"] = answer.length
	w.WriteHeader(class.status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(answer.body) // the client may be gone; there is nobody else to tell
	}
}

// throttledAnswers has a slot for each number of seconds modulo its length.
var throttledAnswers [256]atomic.Pointer[throttledAnswer]

type throttledAnswer struct {
	seconds int64
	answer
}

func throttledFor(seconds int64) *answer {
	slot := &throttledAnswers[seconds%int64(len(throttledAnswers))]
	known := slot.Load()
	if known == nil || known.seconds != seconds {
		unit := " seconds."
		if seconds == 1 {
			unit = " second."
		}
		detail := "Request was throttled. Expected available in " + strconv.FormatInt(seconds, 10) + unit
		known = &throttledAnswer{seconds, *newAnswer(detail)}
		slot.Store(known)
	}
	return &known.answer
}

// retrySeconds returns RetryAfter in whole seconds, rounded up, at least 1.
func retrySeconds(result *Result) int64 {
	return max(1, ceilSeconds(result.RetryAfter))
}

func ceilSeconds(d time.Duration) int64 {
	seconds := int64(d / time.Second)
	if d%time.Second > 0 {
		seconds++
	}
	return seconds
}

// decimals holds the header values of numbers that come again and again, as
// quotas and the next seconds do: a slot for each of n modulo 1024. The slices
// are shared by many responses, so nobody may change them in place; Set and
// Add of [http.Header] do not.
type decimals [1024]atomic.Pointer[decimal]

type decimal struct {
	n     int64
	value [1]string
}

// header returns the header value of n.
func (d *decimals) header(n int64) []string {
	slot := &d[uint64(n)%uint64(len(d))]
	known := slot.Load()
	if known == nil || known.n != n {
		known = &decimal{n, [1]string{strconv.FormatInt(n, 10)}}
		slot.Store(known)
	}
	return known.value[:]
}

// rateLimitHeaders writes the three X-RateLimit headers.
type rateLimitHeaders struct {
	limits, remainings, resets decimals
}

// set writes the headers of a result at a moment. Reset is rounded up: a client that
// waits for it is never early.
func (c *rateLimitHeaders) set(h http.Header, result *Result, at clock.Instant) {
	h["X-Ratelimit-Limit"] = c.limits.header(int64(result.Limit.Burst))
	h["X-Ratelimit-Remaining"] = c.remainings.header(int64(max(0, result.Remaining)))
	h["X-Ratelimit-Reset"] = c.resets.header(at.CeilUnix(result.ResetAfter))
}

// clearRateLimitHeaders removes what a Guard around this one may have written:
// who is not let in is not told a quota.
func clearRateLimitHeaders(h http.Header) {
	if h["X-Ratelimit-Limit"] == nil {
		return
	}
	for _, name := range []string{"X-Ratelimit-Limit", "X-Ratelimit-Remaining", "X-Ratelimit-Reset", "Ratelimit-Policy", "Ratelimit"} {
		delete(h, name)
	}
}

// setIETFHeaders writes the fields of draft-ietf-httpapi-ratelimit-headers-11, with every
// limit as a policy of its own. A policy says Burst in the window.
func setIETFHeaders(h http.Header, result *Result) {
	each := result.Each
	if len(each) == 0 {
		each = []Result{*result}
	}
	var policies, limits []string
	for i := range each {
		r := &each[i]
		window := max(1, ceilSeconds(r.Limit.Window()))
		name := policyName(r.Limit, each)
		policies = append(policies, fmt.Sprintf("%q;q=%d;w=%d", name, r.Limit.Burst, window))
		value := fmt.Sprintf("%q;r=%d", name, max(0, r.Remaining))
		if t := r.ietfSeconds(window); t > 0 {
			value += fmt.Sprintf(";t=%d", t)
		}
		limits = append(limits, value)
	}
	h["Ratelimit-Policy"] = []string{strings.Join(policies, ", ")}
	h["Ratelimit"] = []string{strings.Join(limits, ", ")}
}

// policyName tells a limit apart from the others: by its Name, and by its window where
// several have that.
func policyName(l Limit, among []Result) string {
	namesakes := 0
	for i := range among {
		if among[i].Limit.Name == l.Name {
			namesakes++
		}
	}
	window := string(l.Calendar)
	if window == "" {
		window = l.Window().String()
	}
	switch {
	case namesakes > 1 && l.Name != "":
		return l.Name + "-" + window
	case l.Name != "":
		return l.Name
	case namesakes == 1 && l.Calendar == "":
		return "default"
	}
	return window
}

// ietfSeconds returns t, the time within which no more than what remains can be used: the
// part of the window that gives so much back, or the rest of a quota's. With none left it
// is the time to the next unit. It is 0 where there never is one.
func (r *Result) ietfSeconds(window int64) int64 {
	limit, left := r.Limit, int64(max(0, r.Remaining))
	switch {
	case limit.Burst <= 0 || limit.Rate <= 0:
		return 0
	case limit.Calendar != "":
		return ceilSeconds(r.ResetAfter)
	case left > 0:
		return max(1, (left*window+int64(limit.Burst)-1)/int64(limit.Burst))
	case r.RetryAfter > 0:
		return max(1, ceilSeconds(r.RetryAfter))
	}
	unit := limit.Period / time.Duration(limit.Rate)
	return max(1, ceilSeconds(r.ResetAfter-unit*time.Duration(limit.Burst-1)))
}
