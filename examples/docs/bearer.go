package docs

import (
	"net/http"
	"strings"

	"github.com/httpkey/httpkey"
)

func bearerKeys(store httpkey.TokenStore, limiter httpkey.Limiter) *httpkey.Guard {
	guard := httpkey.New(store, limiter, &httpkey.Options{
		Sources: []httpkey.Source{httpkey.FromBearer(), httpkey.FromHeader("X-Api-Key")},
	})
	return guard
}

var bearer = httpkey.FromBearer()

// keyNotJWT finds keys, and leaves JSON Web Tokens in the same header to other code.
func keyNotJWT(r *http.Request) []string {
	if keys := bearer(r); len(keys) != 1 || strings.HasPrefix(keys[0], "hk_") {
		return keys
	}
	return nil
}

func keysOrJWTs(store httpkey.TokenStore, limiter httpkey.Limiter, subject func(*http.Request) string) http.Handler {
	api := httpkey.RequireScope("pages:read")(http.HandlerFunc(hello))
	guard := httpkey.New(store, limiter, &httpkey.Options{
		Sources:   []httpkey.Source{keyNotJWT},
		Anonymous: perUser(subject), // yours: it checks the JSON Web Token, and returns "" without one
	})
	return guard.Handler(orUser(guard, subject, api))
}
