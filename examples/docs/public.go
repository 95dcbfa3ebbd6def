package docs

import (
	"fmt"
	"io"
	"log"
	"net/http"
	"time"

	"github.com/httpkey/httpkey"
)

func pricesForAll(guard *httpkey.Guard, prices http.Handler) http.Handler {
	byAddress := guard.LimitBy(func(_ *http.Request, c *httpkey.Charge) {
		c.Limits = []httpkey.Limit{httpkey.PerMinute(30)}
	})
	mux := http.NewServeMux()
	mux.Handle("/prices/", byAddress(prices))
	mux.Handle("/", guard.Handler(http.HandlerFunc(hello)))
	return mux
}

func withPublicRoutes(store httpkey.TokenStore, limiter httpkey.Limiter) *httpkey.Guard {
	guard := httpkey.New(store, limiter, &httpkey.Options{
		Anonymous: func(r *http.Request, c *httpkey.Charge) bool {
			c.Limits = []httpkey.Limit{httpkey.PerMinute(10)} // for each address
			return r.Method == http.MethodGet && r.URL.Path == "/search"
		},
	})
	return guard
}

func search(w http.ResponseWriter, r *http.Request) {
	token, ok := httpkey.FromContext(r.Context())
	if !ok {
		_, _ = io.WriteString(w, "10 results. A key shows you all.")
		return
	}
	fmt.Fprintf(w, "1,000 results for %s.", token.User)
}

func login(guard *httpkey.Guard, passwordIsRight func(*http.Request) bool) http.Handler {
	limit := guard.LimitBy(func(_ *http.Request, c *httpkey.Charge) {
		c.Limits = []httpkey.Limit{{Name: "login", Rate: 5, Period: 15 * time.Minute}}
	})
	return limit(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !passwordIsRight(r) {
			http.Error(w, "The name or the password is wrong.", http.StatusUnauthorized)
			return
		}
		if admission, ok := httpkey.AdmissionFrom(r.Context()); ok {
			if err := admission.Charge(r.Context(), -1); err != nil { // only failures count
				log.Print(err)
			}
		}
		_, _ = io.WriteString(w, "You are signed in.")
	}))
}

func withFailures(store httpkey.TokenStore, limiter httpkey.Limiter) *httpkey.Guard {
	guard := httpkey.New(store, limiter, &httpkey.Options{Failures: httpkey.PerMinute(20)})
	return guard
}
