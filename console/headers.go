package console

import (
	"mime"
	"net/http"
	"strconv"
	"strings"

	"github.com/httpkey/httpkey/console/internal/csp"
)

const cspHeader = "Content-Security-Policy"

// ownPolicy lets a page load its own files, send its own forms and do nothing else. No other page
// may frame it.
var ownPolicy = csp.Parse("default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; " +
	"font-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'")

// policyFor returns the policy of the answer to r. host is that which a middleware has set. It counts
// where a page has the program's frame in it; any other page needs nothing of the program's.
func (c *console) policyFor(r *http.Request, host []string) csp.Policy {
	p := ownPolicy
	if !prefersHTML(r.Header) {
		return p
	}
	if c.options.Layout != nil {
		p = p.With(host...)
	}
	if c.options.CSP != nil {
		p = p.With(c.options.CSP(r))
	}
	if c.options.SignIn != nil {
		// A form that is sent without a session may be redirected to the login.
		p = p.Add("form-action", csp.Origin(c.options.SignIn(r)))
	}
	return p
}

// setSecurityHeaders sets the headers of every answer.
func setSecurityHeaders(h http.Header, p csp.Policy) {
	h.Set(cspHeader, p.String())
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	// With no-referrer, the Origin of our own forms would be null. On plain HTTP, where
	// there is no Sec-Fetch-Site, they would be refused.
	h.Set("Referrer-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
	h.Add("Vary", "Accept")
}

// maxAccept bounds the header that is parsed before the login, in bytes. Browsers send
// some 150.
const maxAccept = 4096

// prefersHTML reports whether a request prefers a page to JSON.
func prefersHTML(h http.Header) bool { return prefers(h, "text", "html") }

// prefers reports whether a request prefers a media type to application/json (RFC 9110, section
// 12.5.1).
func prefers(h http.Header, major, minor string) bool {
	accept := strings.Join(h.Values("Accept"), ",")
	if len(accept) > maxAccept {
		return false
	}
	return quality(accept, major, minor) > quality(accept, "application", "json")
}

// quality returns the weight of a media type in an Accept header: the weight of the most
// specific range that has it.
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
