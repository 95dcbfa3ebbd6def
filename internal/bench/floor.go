package main

import (
	"context"
	"crypto/sha256"
	"net/http"
	"sync/atomic"
)

// floor does the work that no contestant can avoid that authenticates by a digest, limits,
// and tells both. It reads the header, hashes the key, counts, sets three headers and
// passes a request that knows its caller. It looks nothing up, asks no clock and decides
// nothing.
var floor = contestant{
	name: "floor", does: nothing,
	headers: []string{"X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset"},
	build:   buildFloor,
}

// staticHeaders sets three headers and does nothing else.
var staticHeaders = contestant{
	name: "three static headers", does: nothing, headers: floor.headers,
	build: func(next http.Handler, _ []string, _ limit) (http.Handler, func()) {
		limit, remaining, reset := []string{"1000"}, []string{"999"}, []string{"1767225600"}
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			h := w.Header()
			h["X-Ratelimit-Limit"] = limit
			h["X-Ratelimit-Remaining"] = remaining
			h["X-Ratelimit-Reset"] = reset
			next.ServeHTTP(w, r)
		}), func() {}
	},
}

func buildFloor(next http.Handler, _ []string, _ limit) (http.Handler, func()) {
	var requests atomic.Uint64
	limit, remaining, reset := []string{"100000000"}, []string{"99999999"}, []string{"1767225600"}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		lines := r.Header[keyHeader]
		if len(lines) != 1 {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		var block [64]byte // on the stack; to convert the string would allocate
		digest := sha256.Sum256(block[:copy(block[:], lines[0])])
		requests.Add(uint64(digest[0])) // so that the digest is of use
		h := w.Header()
		h["X-Ratelimit-Limit"] = limit
		h["X-Ratelimit-Remaining"] = remaining
		h["X-Ratelimit-Reset"] = reset
		next.ServeHTTP(w, r.WithContext(&authenticated{r.Context(), lines[0]}))
	}), func() {}
}

// authenticated is the smallest context that names the caller of a request.
type authenticated struct {
	context.Context
	who string
}

// Value answers for the caller, and for all else as the context within.
func (a *authenticated) Value(key any) any {
	if key == (authenticated{}) {
		return a.who
	}
	return a.Context.Value(key)
}
