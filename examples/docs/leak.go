package docs

import (
	"context"
	"net/http"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/leak"
)

func withReports(guard *httpkey.Guard, mails chan<- leak.Report) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/github/leaks", leak.GitHub(guard, &leak.GitHubOptions{
		OnLeak: func(ctx context.Context, r leak.Report) {
			select {
			case mails <- r: // a queue of yours: it mails r.Token.User, unless r.Again
			case <-ctx.Done():
			}
		},
	}))
	return mux
}

func withoutPlainHTTP(guard *httpkey.Guard, api http.Handler) http.Handler {
	refusePlain := leak.PlainHTTP(guard, &leak.PlainHTTPOptions{
		IsTLS: func(r *http.Request) bool { // a proxy in front ends TLS, and sets this header itself
			return r.Header.Get("X-Forwarded-Proto") == "https"
		},
		Revoke: true,
	})
	return refusePlain(guard.Handler(api))
}
