package console

import (
	"maps"
	"net/http"
	"slices"
)

// formField is a field of a form, as it was sent.
type formField struct{ Name, Value string }

// maxUnsent bounds the fields of a form that is given back. No form of the pages has so many.
const maxUnsent = 256

// unsent returns the fields of a form that was sent without a session, for the person to send again.
// A form with a key is not given back.
func unsent(w http.ResponseWriter, r *http.Request) []formField {
	if r.Method != http.MethodPost || readAhead(w, r) != nil {
		return nil
	}
	values, err := readForm(r)
	if err != nil || values.Has("key") {
		return nil
	}
	var fields []formField
	for _, name := range slices.Sorted(maps.Keys(values)) {
		for _, value := range values[name] {
			fields = append(fields, formField{name, value})
		}
	}
	if len(fields) > maxUnsent {
		return nil
	}
	return fields
}
