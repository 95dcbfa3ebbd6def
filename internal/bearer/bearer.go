// Package bearer reads keys from Authorization headers of the scheme Bearer (RFC 6750, section
// 2.1).
package bearer

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// Keys returns the keys of a request. If one of several credentials is a key, it returns all lines
// of the header, so that a caller who wants one key refuses the request.
func Keys(r *http.Request) []string {
	var keys []string
	lines := r.Header["Authorization"]
	for _, line := range lines {
		scheme, key, _ := strings.Cut(strings.TrimLeft(line, " \t"), " ")
		if strings.EqualFold(scheme, "Bearer") {
			keys = append(keys, strings.Trim(key, " \t"))
		}
	}
	if len(keys) > 0 && len(lines) > 1 {
		return lines
	}
	return keys
}

// IsReadBy reports whether one of the sources finds a key of the scheme in a request.
func IsReadBy[S ~func(*http.Request) []string](sources []S, key string) bool {
	r := &http.Request{
		Method: http.MethodGet, URL: &url.URL{Path: "/"}, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{"Authorization": {"Bearer " + key}}, Body: http.NoBody,
	}
	return slices.ContainsFunc(sources, func(source S) bool { return slices.Contains(source(r), key) })
}
