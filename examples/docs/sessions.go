package docs

import (
	"net/http"
	"time"

	"github.com/httpkey/httpkey"
)

// perUser admits requests without a key if somebody is signed in, within a limit for each user.
func perUser(userOf func(*http.Request) string) func(*http.Request, *httpkey.Charge) bool {
	return func(r *http.Request, c *httpkey.Charge) bool {
		user := userOf(r) // yours: it reads the session, and returns "" if nobody is signed in
		c.Bucket = "user:" + user
		c.Limits = []httpkey.Limit{{Name: "session", Rate: 120, Period: time.Minute}}
		return user != ""
	}
}

// orUser gives a request without a key the token of the user who is signed in.
func orUser(guard *httpkey.Guard, userOf func(*http.Request) string, next http.Handler) http.Handler {
	protected := http.NewCrossOriginProtection().Handler(next)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, hasKey := httpkey.FromContext(r.Context())
		user := userOf(r)
		if hasKey || user == "" {
			next.ServeHTTP(w, r)
			return
		}
		token := httpkey.Token{User: user, Scopes: []string{"pages:read", "pages:write"}}
		protected.ServeHTTP(w, r.WithContext(guard.NewContext(r.Context(), token)))
	})
}

func pages(store httpkey.TokenStore, limiter httpkey.Limiter, userOf func(*http.Request) string) http.Handler {
	guard := httpkey.New(store, limiter, &httpkey.Options{Anonymous: perUser(userOf)})
	mux := http.NewServeMux()
	mux.Handle("GET /pages/", httpkey.RequireScope("pages:read")(http.HandlerFunc(hello)))
	mux.Handle("POST /pages/", httpkey.RequireScope("pages:write")(http.HandlerFunc(hello)))
	return guard.Handler(orUser(guard, userOf, mux))
}
