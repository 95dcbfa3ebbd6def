package console

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/httpkey/httpkey"
)

// failure is the refusal of a request, as its sender may read it. It tells nothing of the
// inside.
type failure struct {
	status     int
	code       string        // for programs
	detail     string        // a sentence
	allow      []string      // of a 405: the methods that there are
	accept     []string      // of a 415: the media types that a body may have
	retryAfter time.Duration // of a 429 and a 503
	fields     problems      // the errors of fields, if status is 400
	inTheWay   string        // the ID of the token that a conflict is with
	location   string        // relative; of the token that was created already
	version    string        // of a 412: that of the token
	token      httpkey.Token // that somebody may not have, for the audit
}

// problem says what is wrong with a field.
type problem struct {
	Field string `json:"-"`
	Code  string `json:"code"`   // for programs, and for texts in other languages
	N     int    `json:"-"`      // the bound that Text names
	Text  string `json:"detail"` // a sentence
}

// problems has those of each field that does not fit.
type problems map[string][]problem

func (p problems) add(field, code, text string) {
	p[field] = append(p[field], problem{Field: field, Code: code, Text: text})
}

// addBound adds a problem whose text has the bound n in place of %d.
func (p problems) addBound(field, code, text string, n int) {
	p[field] = append(p[field], problem{field, code, n, fmt.Sprintf(text, n)})
}

// asError returns nil if there are none.
func (p problems) asError() error {
	if len(p) == 0 {
		return nil
	}
	return &failure{
		status: http.StatusBadRequest, code: "invalid", detail: "The request has fields that cannot be used.", fields: p,
	}
}

// Error returns the sentence.
func (f *failure) Error() string { return f.detail }

// These failures are the same for every request.
var (
	errNoLogin = &failure{
		status: http.StatusUnauthorized, code: "not_authenticated", detail: "Authentication credentials were not provided.",
	}
	errCrossOrigin = &failure{
		status: http.StatusForbidden, code: "cross_site", detail: "The request comes from another site.",
	}
	errNotFound = &failure{
		status: http.StatusNotFound, code: "not_found", detail: "Not found.",
	}
	errTooLarge = &failure{
		status: http.StatusRequestEntityTooLarge, code: "too_large", detail: "The request body is larger than 65536 bytes.",
	}
	errUnavailable = &failure{
		status: http.StatusServiceUnavailable, code: "unavailable", detail: "API tokens are temporarily unavailable. Try again.",
		retryAfter: time.Second,
	}
)

func malformed(detail string) error {
	return &failure{status: http.StatusBadRequest, code: "malformed", detail: detail}
}

func forbidden(detail string) error {
	return &failure{status: http.StatusForbidden, code: "forbidden", detail: detail}
}

// notYours is errNotFound, and remembers the token for the audit.
func notYours(t httpkey.Token) error {
	f := *errNotFound
	f.token = t
	return &f
}

func unsupported(accept []string) error {
	return &failure{
		status: http.StatusUnsupportedMediaType, code: "unsupported_media_type", accept: accept,
		detail: "The Content-Type must be " + strings.Join(accept, " or ") + ".",
	}
}

func preconditionFailed(version string) error {
	return &failure{
		status: http.StatusPreconditionFailed, code: "precondition_failed", version: version,
		detail: "The token has another version than If-Match names. Get it again.",
	}
}

func conflict(code, detail, inTheWay string) error {
	return &failure{status: http.StatusConflict, code: code, detail: detail, inTheWay: inTheWay}
}

// createdAlready has the path of the token relative to that of the list, where tokens are created.
func createdAlready(id string) error {
	return &failure{
		status: http.StatusConflict, code: "created_already", inTheWay: id, location: "./" + pathOf(id) + "/",
		detail: "This token was created already. Its key was shown then and cannot be shown again.",
	}
}

func notAllowed(method string, allow []string) error {
	return &failure{
		status: http.StatusMethodNotAllowed, code: "method_not_allowed", allow: allow,
		detail: "Method \"" + method + "\" not allowed.",
	}
}

func throttled(retryAfter time.Duration) error {
	seconds, unit := wholeSeconds(retryAfter), "seconds"
	if seconds == 1 {
		unit = "second"
	}
	return &failure{
		status: http.StatusTooManyRequests, code: "throttled", retryAfter: retryAfter,
		detail: fmt.Sprintf("Request was throttled. Expected available in %d %s.", seconds, unit),
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
	case http.StatusConflict:
		if f.location != "" {
			h.Set("Location", f.location)
		}
	case http.StatusPreconditionFailed:
		h.Set("ETag", `"`+f.version+`"`)
	case http.StatusUnsupportedMediaType:
		h.Set("Accept", strings.Join(f.accept, ", "))
	}
}

// wholeSeconds rounds up, to at least 1.
func wholeSeconds(d time.Duration) int64 {
	return max(1, int64((d+time.Second-1)/time.Second))
}
