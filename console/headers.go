package console

import (
	"mime"
	"net/http"
	"path"
	"strconv"
	"strings"
)

// contentSecurityPolicy lets a page load its own files, send its own forms and do
// nothing else; nobody may frame it.
const contentSecurityPolicy = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"

// setSecurityHeaders sets what every answer carries.
func setSecurityHeaders(h http.Header) {
	h.Set("Content-Security-Policy", contentSecurityPolicy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	// Not no-referrer: with that, the Origin of our own forms would be null, and
	// without Sec-Fetch-Site, as on plain HTTP, they would be refused.
	h.Set("Referrer-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
	h.Add("Vary", "Accept")
}

// maxAccept bounds what is parsed before anybody is logged in; browsers send some 150 bytes.
const maxAccept = 4096

// prefersHTML reports whether the sender would rather have a page than JSON
// (RFC 9110, section 12.5.1). Who does not care gets JSON.
func prefersHTML(h http.Header) bool {
	accept := strings.Join(h.Values("Accept"), ",")
	if len(accept) > maxAccept {
		return false
	}
	return quality(accept, "text", "html") > quality(accept, "application", "json")
}

// quality returns the weight of a media type in an Accept header: that of the most
// specific range that it falls into.
func quality(accept, major, minor string) (weight float64) {
	best := 0
	for mediaRange := range strings.SplitSeq(accept, ",") {
		name, params, err := mime.ParseMediaType(mediaRange)
		if err != nil {
			continue
		}
		specific := 0
		switch name {
		case major + "/" + minor:
			specific = 3
		case major + "/*":
			specific = 2
		case "*/*":
			specific = 1
		}
		if specific <= best {
			continue
		}
		best, weight = specific, 1
		if q, ok := params["q"]; ok {
			weight, _ = strconv.ParseFloat(q, 64)
		}
	}
	return weight
}

// addSlash redirects to the same path with a slash at its end, relative to it.
func addSlash(w http.ResponseWriter, r *http.Request, _ Principal) error {
	redirect(w, http.StatusTemporaryRedirect, "./"+path.Base(r.URL.EscapedPath())+"/")
	return nil
}

// redirect sends to a relative reference, which [http.Redirect] would make an
// absolute one, without the prefix that [http.StripPrefix] has cut off.
func redirect(w http.ResponseWriter, status int, location string) {
	w.Header().Set("Location", location)
	w.WriteHeader(status)
}
