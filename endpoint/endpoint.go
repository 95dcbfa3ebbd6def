// Package endpoint has ready handlers about a key: [WhoAmI], [RevokeSelf] and [RotateSelf] serve
// the holder of a key, and [Introspect] serves other services of the same program or company.
//
//	mux := http.NewServeMux()
//	mux.Handle("/api/v1/", guard.Handler(api))
//	mux.Handle("/whoami", endpoint.WhoAmI(guard))
//	mux.Handle("/revoke", endpoint.RevokeSelf(guard))
//	mux.Handle("/rotate", guard.Handler(endpoint.RotateSelf(guard)))
//	mux.Handle("/introspect", behindYourLogin(endpoint.Introspect(guard)))
//
// Mount WhoAmI and RevokeSelf beside [httpkey.Guard.Handler] and not behind it. Behind it, each
// request costs quota, and a key over its limit or past its end gets no further. RotateSelf stands
// behind it, and so lets only a valid key replace itself.
//
// All responses have Cache-Control: no-store. The handlers are safe for concurrent use, start no
// goroutine, and panic at the start if the Guard is nil.
package endpoint

import (
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/httpkey/httpkey"
)

func mustHave(guard *httpkey.Guard, function string) {
	if guard == nil {
		panic("httpkey: endpoint." + function + " needs a Guard, as httpkey.New makes one")
	}
}

// only returns a handler that answers 405 to all methods but these.
func only(next http.HandlerFunc, methods ...string) http.Handler {
	allow := strings.Join(methods, ", ")
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !slices.Contains(methods, r.Method) {
			w.Header().Set("Allow", allow)
			write(w, r, http.StatusMethodNotAllowed, detail{"Method not allowed."})
			return
		}
		next(w, r)
	})
}

type detail struct {
	Detail string `json:"detail"`
}

// write answers with a JSON value.
func write(w http.ResponseWriter, r *http.Request, status int, value any) {
	body, err := json.Marshal(value)
	if err != nil { // JSON has no year above 9999, a token of an own table may
		status, body = http.StatusInternalServerError, []byte(`{"detail":"The response could not be written."}`)
	}
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(body) // an error means that the client has gone
	}
}
