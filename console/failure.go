package console

import (
	"errors"
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

func (p problems) add(field string, wrong problem) {
	wrong.Field = field
	p[field] = append(p[field], wrong)
}

// asError returns nil if there are none.
func (p problems) asError() error {
	if len(p) == 0 {
		return nil
	}
	return invalid(p)
}

// Error returns the sentence.
func (f *failure) Error() string { return f.detail }

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
	if f.code == errWholeKey.code {
		h.Set("Referrer-Policy", "strict-origin") // the URL has the key: no further request must tell it
	}
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
