package console

import (
	"encoding/json"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/httpkey/httpkey"
)

// maxBody bounds a request's body, in bytes.
const maxBody = 64 << 10

// readBody returns the body of a request of one of these media types.
func readBody(r *http.Request, mediaTypes ...string) ([]byte, error) {
	is, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || !slices.Contains(mediaTypes, is) {
		return nil, unsupported(mediaTypes)
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, errUnreadableBody
	}
	return body, nil
}

// checkQuery refuses query parameters of other names, and two of one name.
func checkQuery(query string, names []string) error {
	values, err := url.ParseQuery(query)
	if err != nil {
		return errUnreadableQuery
	}
	wrong := problems{}
	for name, all := range values {
		switch {
		case !slices.Contains(names, name):
			wrong.add(name, unknownParameter)
		case len(all) > 1:
			wrong.add(name, repeated)
		}
	}
	return wrong.asError()
}

// readForm returns the fields of a form.
func readForm(r *http.Request) (url.Values, error) {
	body, err := readBody(r, "application/x-www-form-urlencoded")
	if err != nil {
		return nil, err
	}
	values, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, errUnreadableForm
	}
	return values, nil
}

// object is the body of a request in JSON. Each method takes a field out of it, and notes
// a field that does not fit; a missing field is zero.
type object struct {
	fields map[string]json.RawMessage
	wrong  problems
}

// readObject returns the body of a request in JSON. A PATCH is a merge patch (RFC 7396).
func readObject(r *http.Request) (*object, error) {
	mediaTypes := []string{"application/json"}
	if r.Method == http.MethodPatch {
		mediaTypes = append(mediaTypes, "application/merge-patch+json")
	}
	body, err := readBody(r, mediaTypes...)
	if err != nil {
		return nil, err
	}
	o := &object{wrong: problems{}}
	if err := json.Unmarshal(body, &o.fields); err != nil || o.fields == nil {
		return nil, errNoObject
	}
	return o, nil
}

func (o *object) has(field string) bool { return o.fields[field] != nil }

// take puts a field into a place, and reports whether it was there and fit.
func (o *object) take(field string, place any, mismatch problem) bool {
	text, ok := o.fields[field]
	if !ok {
		return false
	}
	delete(o.fields, field)
	if string(text) == "null" {
		o.wrong.add(field, null)
		return false
	}
	if err := json.Unmarshal(text, place); err != nil {
		o.wrong.add(field, mismatch)
		return false
	}
	return true
}

// isNull takes a field if it is null, and reports whether it was.
func (o *object) isNull(field string) bool {
	if string(o.fields[field]) != "null" {
		return false
	}
	delete(o.fields, field)
	return true
}

func (o *object) text(field string) (value string) {
	o.take(field, &value, notText)
	return strings.TrimSpace(value)
}

func (o *object) nullableText(field string) string {
	if o.isNull(field) {
		return ""
	}
	return o.text(field)
}

func (o *object) texts(field string) (values []string) {
	o.take(field, &values, notTexts)
	return values
}

func (o *object) boolean(field string) (value bool) {
	o.take(field, &value, notBoolean)
	return value
}

func (o *object) kind(field string) httpkey.Kind {
	kind := httpkey.APIKey
	o.take(field, &kind, notText)
	return kind
}

// reason reads why a token is revoked, which goes with its revocation alone.
func (o *object) reason(field string, isRevocation bool) string {
	if o.has(field) && !isRevocation {
		delete(o.fields, field)
		o.wrong.add(field, withoutRevocation)
		return ""
	}
	reason := o.text(field)
	checkText(field, reason, maxReason, false, o.wrong)
	return reason
}

// expiry reads a time of RFC 3339, or null: zero, which is never.
func (o *object) expiry(field string) (at time.Time) {
	if o.isNull(field) {
		return at
	}
	var text string
	if !o.take(field, &text, notTime) {
		return at
	}
	at, err := time.Parse(time.RFC3339, text)
	switch at = stored(at); {
	case err != nil || at.Year() > 9999:
		o.wrong.add(field, notTime)
	case at.IsZero(): // the year 1, and not never
		o.wrong.add(field, past)
	}
	return at
}

// grace reads whole seconds. It is required, so that a request without it ends no key.
func (o *object) grace(field string) time.Duration {
	if !o.has(field) {
		o.wrong.add(field, required)
		return 0
	}
	var seconds int64
	if o.take(field, &seconds, notInteger) && (seconds < 0 || seconds > int64(maxGrace/time.Second)) {
		o.wrong.add(field, notUpTo(int(maxGrace/time.Second)))
	}
	return time.Duration(seconds) * time.Second
}

// readOnlyFields are the fields of a token that no request sets, and those that only some do.
var readOnlyFields = []string{
	"id", "token", "user", "last_used", "created_at", "rate_limits", "networks", "hint", "created_by",
	"revoked_at", "revoked_by", "revoked_for", "rotated_from", "rotated_to", "kind", "workspace", "scopes", "is_active",
}

// refuseRest notes every field that no method has taken.
func (o *object) refuseRest() {
	for field := range o.fields {
		if slices.Contains(readOnlyFields, field) {
			o.wrong.add(field, readOnly)
		} else {
			o.wrong.add(field, unknownField)
		}
	}
}
