package notices

import (
	"net/http"

	"github.com/httpkey/httpkey"
)

// Header returns a handler that tells programs when their key expires, for those that watch it. It
// stands behind a Guard:
//
//	http.Handle("/api/", guard.Handler(notices.Header(api)))
//
// A response to a key with an expiry has the field X-Api-Key-Expires: a date of RFC 9110, in whole
// seconds, rounded down. A rotated key has the end of its grace. No standard names such a field. The
// field Sunset of RFC 8594 is about a resource, and not about the key that asks for it. Pages of
// another origin see the field only if Access-Control-Expose-Headers names it.
func Header(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if t, ok := httpkey.FromContext(r.Context()); ok && !t.ExpiredAt.IsZero() {
			w.Header().Set("X-Api-Key-Expires", t.ExpiredAt.UTC().Format(http.TimeFormat))
		}
		next.ServeHTTP(w, r)
	})
}
