package console

import (
	"encoding/json"
	"net/http"
	"strconv"
)

// answer is what a handler found out. It is a page, a JSON value, a redirect, or a status alone.
type answer struct {
	status   int
	page     string // the name of a page
	view     view   // of the page
	value    any    // for JSON
	location string // relative; of a redirect, or of what was created
	version  string // for the ETag of a token
}

func page(name string, v view) answer { return answer{status: http.StatusOK, page: name, view: v} }

// redirect has a relative reference. [http.Redirect] would make it absolute, and lose the prefix
// that [http.StripPrefix] has cut off.
func redirect(status int, location string) answer { return answer{status: status, location: location} }

// write writes an answer of a program's request, a redirect, or a status.
func (a answer) write(w http.ResponseWriter) {
	if a.location != "" {
		w.Header().Set("Location", a.location)
	}
	if a.version != "" {
		w.Header().Set("ETag", `"`+a.version+`"`)
	}
	if a.value != nil {
		writeJSON(w, a.status, "application/json", a.value)
		return
	}
	w.WriteHeader(a.status)
}

func writeJSON(w http.ResponseWriter, status int, contentType string, value any) {
	text, err := json.Marshal(value)
	if err != nil {
		panic(err) // a year of five digits, which Validate refuses
	}
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Content-Length", strconv.Itoa(len(text)))
	w.WriteHeader(status)
	_, _ = w.Write(text) // an error means that the client has gone
}
