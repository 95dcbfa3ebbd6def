package main

import (
	"context"
	"errors"
	"log/slog"
	"net/http"

	"github.com/httpkey/httpkey/console"
)

const tokensPath = "/settings/api-tokens"

// tokens returns the console: the page of the tokens, and its JSON API.
func (s *site) tokens() http.Handler {
	return console.New(s.guard, &console.Options{
		Principal: s.principal,
		SignIn:    func(r *http.Request) string { return signInURL(r.RequestURI) },
		Audit:     audit,
		Usage:     s.usage,
		NoScopes:  "See whose key it is",
		TryURL:    s.url + "/api/v1/users/me/",
		DocsURL:   "/",
		Layout:    s.frame(tokensPath + "/"),
	})
}

var errNotSignedIn = errors.New("not signed in")

// principal tells the console who sends a request.
func (s *site) principal(r *http.Request) (console.Principal, error) {
	p, ok := s.sessions.person(r)
	if !ok {
		return console.Principal{}, errNotSignedIn
	}
	return p.rights, nil
}

func audit(ctx context.Context, e console.Event) {
	slog.InfoContext(ctx, "console",
		"action", e.Action, "user", e.Principal.User, "token", e.Token.ID, "error", e.Err)
}
