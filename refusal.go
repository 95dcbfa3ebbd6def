package httpkey

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/httpkey/httpkey/internal/answer"
	"github.com/httpkey/httpkey/internal/ietf"
)

// Reason says why a Guard refused a request. It is for observers and logs: a client
// sees the status and one of five sentences, never the reason.
type Reason string

// The reasons, in the order in which a request meets them.
const (
	ReasonMissing   Reason = "missing"   // no key, or a blank one
	ReasonMalformed Reason = "malformed" // more than one key, or none of the right shape; there was no store call
	ReasonFailures  Reason = "failures"  // Options.Failures: too many bad keys from the address; there was no store call
	ReasonUnknown   Reason = "unknown"   // no token has this key
	ReasonInactive  Reason = "inactive"  // the token is revoked
	ReasonExpired   Reason = "expired"   // the token has expired
	ReasonNetwork   Reason = "network"   // the request comes from an address outside the token's Networks
	ReasonLimit     Reason = "limit"     // no limit can ever admit it: the Rate is 0, or the cost above Burst
	ReasonThrottled Reason = "throttled" // over a limit
	ReasonScope     Reason = "scope"     // RequireScope: the token lacks a scope
	ReasonKind      Reason = "kind"      // RequireKind: the token is of another kind
	ReasonWorkspace Reason = "workspace" // RequireWorkspace: the token is of another workspace
	ReasonStore     Reason = "store"     // the token store did not answer
	ReasonLimiter   Reason = "limiter"   // the limiter did not decide
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

// Error is the refusal of a request. An [Options.ErrorHandler] answers it, and
// [Guard.Admit] and [Guard.Verify] return it.
//
// It is an immutable value. Its text holds the reason and the cause, so it
// belongs in a log and not in a response. [WriteError] writes only the public part.
type Error struct {
	_      [0]func() // forbids ==: errors.Is would panic on a cause that is not comparable
	reason Reason
	result Result
	cause  error
	scopes *scopes // nil unless a Require function demands scopes
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

// Unwrap returns the error of the store or the limiter that caused the refusal, or nil.
func (e Error) Unwrap() error { return e.cause }

// Reason returns why the request was refused.
func (e Error) Reason() Reason { return e.reason }

// MissingScopes returns the scopes for lack of which [RequireScope] or [RequireAnyScope] refused
// the request. It is a copy.
func (e Error) MissingScopes() []string {
	if e.scopes == nil {
		return nil
	}
	return slices.Clone(e.scopes.missing)
}

// Status returns the HTTP status of the refusal: 401, 403, 429 or 503.
func (e Error) Status() int { return e.class().status }

// Result returns the limiter's decision if a limit caused the refusal, and otherwise the
// zero Result.
func (e Error) Result() Result { return e.result }

// class is one row of the HTTP contract.
type class struct {
	err    error
	status int
	answer *answer.Answer // nil: the answer depends on the Result
}

var (
	missingKey  = class{ErrMissingKey, 401, answer.New("Authentication credentials were not provided.")}
	invalidKey  = class{ErrInvalidKey, 401, answer.New("Given API token is not valid")}
	throttled   = class{ErrThrottled, 429, nil}
	forbidden   = class{ErrForbidden, 403, answer.New("You do not have permission to perform this action.")}
	unavailable = class{ErrUnavailable, 503, answer.New("Authentication is temporarily unavailable.")}
)

func (e *Error) class() *class {
	switch e.reason {
	case ReasonMissing:
		return &missingKey
	case ReasonThrottled, ReasonFailures:
		return &throttled
	case ReasonScope, ReasonKind, ReasonWorkspace, ReasonLimit:
		return &forbidden
	case ReasonStore, ReasonLimiter:
		return &unavailable
	default:
		return &invalidKey
	}
}

// WriteError is the default [Options.ErrorHandler]. It answers as the Plane API
// documents it, with the status, a one-line JSON body {"detail": …}, Content-Type and
// Content-Length. It adds Cache-Control: no-store, and WWW-Authenticate (RFC 9110,
// section 11.6.1) for a 401 or Retry-After (section 10.2.3) for a 429 or 503, unless
// they are set already. The answer to HEAD has no body. The response reveals neither
// the reason nor the cause.
func WriteError(w http.ResponseWriter, r *http.Request, e Error) {
	h, defaults := w.Header(), make(http.Header)
	setRefusalHeaders(defaults, &e)
	for name, value := range defaults {
		if h[name] == nil {
			h[name] = value
		}
	}
	writeDetail(w, r, &e)
	answer.Unshare(h)
}

// The header values of refusals. All responses share them, so they must not be changed
// in place.
var (
	noStore     = []string{"no-store"}
	private     = []string{"private"}
	challenge   = []string{`ApiKey realm="api"`}
	challenges  = []string{`ApiKey realm="api"`, `Bearer realm="api"`} // where bearer keys are a source
	jsonContent = []string{"application/json"}
	allowed     = []string{"allowed"} // by all limits under DryRun
	denied      = []string{"denied"}  // by one of them
)

// setRefusalHeaders sets the headers of every refusal of e's class. An ErrorHandler gets
// them too.
func setRefusalHeaders(h http.Header, e *Error) {
	h["Cache-Control"] = noStore
	switch e.class().status {
	case http.StatusUnauthorized:
		h["Www-Authenticate"] = challenge
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		h["Retry-After"] = answer.Header(answer.Wait(e.result.RetryAfter))
	}
}

// setBearerChallenge sets the challenge where bearer keys are a source (RFC 6750, section 3).
func setBearerChallenge(h http.Header, e *Error) {
	switch {
	case e.Status() == http.StatusUnauthorized:
		h["Www-Authenticate"] = challenges
	case e.scopes != nil && len(e.scopes.demanded) > 0:
		h["Www-Authenticate"] = []string{
			`Bearer error="insufficient_scope", scope="` + strings.Join(e.scopes.demanded, " ") + `"`,
		}
	}
}

func writeDetail(w http.ResponseWriter, r *http.Request, e *Error) {
	class := e.class()
	answered := class.answer
	if answered == nil {
		answered = answer.Throttled(answer.Wait(e.result.RetryAfter))
		defer answered.Release()
	}
	h := w.Header()
	h["Content-Type"] = jsonContent
	h["Content-Length"] = answered.Length
	w.WriteHeader(class.status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(answered.Body) // an error means that the client has gone
	}
}

// setIETFHeaders writes RateLimit-Policy and RateLimit.
func setIETFHeaders(h http.Header, result *Result) {
	var one [1]ietf.Policy
	policies := one[:0]
	if len(result.Each) == 0 {
		policies = append(policies, result.policy())
	}
	for i := range result.Each {
		policies = append(policies, result.Each[i].policy())
	}
	h["Ratelimit-Policy"], h["Ratelimit"] = ietf.Fields(policies)
}

func (r *Result) policy() ietf.Policy {
	p := ietf.Policy{
		DryRun: r.Limit.DryRun,
		Name:   r.Limit.Name, Quota: r.Limit.Burst, Window: r.Limit.Window(), Calendar: string(r.Limit.Calendar),
		Remaining: max(0, r.Remaining), ResetAfter: r.ResetAfter, RetryAfter: r.RetryAfter,
	}
	if r.Limit.Rate > 0 {
		p.Unit = r.Limit.Period / time.Duration(r.Limit.Rate)
	}
	return p
}
