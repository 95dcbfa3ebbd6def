package console

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// failure is the refusal of a request, as its sender may read it. It tells nothing of the
// inside.
type failure struct {
	status     int
	allow      []string      // of a 405: the methods that there are
	retryAfter time.Duration // of a 429 and a 503
	detail     string        // a sentence
	fields     problems      // the errors of fields, if status is 400
	inTheWay   string        // the ID of the token that a conflict is with
}

// problems has sentences for each field that does not fit.
type problems map[string][]string

func (p problems) add(field, format string, args ...any) {
	p[field] = append(p[field], fmt.Sprintf(format, args...))
}

// asError returns nil if there are none.
func (p problems) asError() error {
	if len(p) == 0 {
		return nil
	}
	return &failure{status: http.StatusBadRequest, detail: "The request has fields that cannot be used.", fields: p}
}

// Error returns the sentence.
func (f *failure) Error() string { return f.detail }

// These failures are the same for every request.
var (
	errNoLogin = &failure{
		status: http.StatusUnauthorized,
		detail: "Authentication credentials were not provided.",
	}
	errCrossOrigin = &failure{
		status: http.StatusForbidden,
		detail: "The request comes from another site.",
	}
	errNotFound = &failure{
		status: http.StatusNotFound,
		detail: "Not found.",
	}
	errTooLarge = &failure{
		status: http.StatusRequestEntityTooLarge,
		detail: "The request body is larger than 65536 bytes.",
	}
	errUnavailable = &failure{
		status:     http.StatusServiceUnavailable,
		detail:     "API tokens are temporarily unavailable.",
		retryAfter: time.Second,
	}
)

func malformed(detail string) error { return &failure{status: http.StatusBadRequest, detail: detail} }
func forbidden(detail string) error { return &failure{status: http.StatusForbidden, detail: detail} }
func unsupported(detail string) error {
	return &failure{status: http.StatusUnsupportedMediaType, detail: detail}
}

func conflict(detail, inTheWay string) error {
	return &failure{status: http.StatusConflict, detail: detail, inTheWay: inTheWay}
}

func notAllowed(method string, allow []string) error {
	return &failure{status: http.StatusMethodNotAllowed, allow: allow, detail: "Method \"" + method + "\" not allowed."}
}

func throttled(retryAfter time.Duration) error {
	seconds, unit := wholeSeconds(retryAfter), "seconds"
	if seconds == 1 {
		unit = "second"
	}
	return &failure{
		status:     http.StatusTooManyRequests,
		retryAfter: retryAfter,
		detail:     fmt.Sprintf("Request was throttled. Expected available in %d %s.", seconds, unit),
	}
}

// asFailure returns the failure that err is, and errUnavailable for any other error.
func asFailure(err error) *failure {
	var f *failure
	if errors.As(err, &f) {
		return f
	}
	return errUnavailable
}

// setHeaders sets the headers of f's answer. The challenge is there because RFC 9110,
// section 15.5.2, demands one; no browser acts on it.
func (f *failure) setHeaders(h http.Header) {
	switch f.status {
	case http.StatusUnauthorized:
		h.Set("WWW-Authenticate", `Session realm="api"`)
	case http.StatusMethodNotAllowed:
		h.Set("Allow", strings.Join(f.allow, ", "))
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		h.Set("Retry-After", strconv.FormatInt(wholeSeconds(f.retryAfter), 10))
	}
}

// MarshalJSON writes {"detail": …}, or a list of sentences for each field.
func (f *failure) MarshalJSON() ([]byte, error) {
	if f.fields != nil {
		return json.Marshal(f.fields)
	}
	return json.Marshal(map[string]string{"detail": f.detail})
}

// wholeSeconds rounds up, to at least 1.
func wholeSeconds(d time.Duration) int64 {
	return max(1, int64((d+time.Second-1)/time.Second))
}
