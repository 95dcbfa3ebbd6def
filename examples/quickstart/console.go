package main

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/console"
)

const (
	tokensPath = "/settings/api-tokens"
	signInPath = "/sign-in"
)

// login is a demo of one: everybody who presses its button is Ada. A real program lets
// people prove who they are, by OpenID Connect, a passkey or a password. It begins a
// session for each of them that ends (alexedwards/scs keeps such), and sets Secure
// on the cookie, which plain HTTP cannot have. The console takes any login: it
// asks for principal alone.
type login struct{ session string }

func newLogin() login { return login{session: rand.Text()} }

// principal tells the console the sender of a request.
func (l login) principal(r *http.Request) (console.Principal, error) {
	cookie, err := r.Cookie("demo_session")
	if err != nil || cookie.Value != l.session {
		return console.Principal{}, errors.New("not signed in")
	}
	return console.Principal{
		User:  ada.ID,
		Names: map[string]string{ada.ID: ada.FirstName + " " + ada.LastName},
	}, nil
}

// first shows people the way to the button. The console answers programs 401.
func (l login) first(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, err := l.principal(r)
		if err != nil && r.Method == http.MethodGet && strings.Contains(r.Header.Get("Accept"), "text/html") {
			http.Redirect(w, r, signInPath, http.StatusSeeOther)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func (l login) page(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = io.WriteString(w, `<!DOCTYPE html>
<html lang="en">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Sign in</title>
<h1>Sign in</h1>
<p>This is a demo: there is no password.</p>
<form method="post"><button>Sign in as Ada</button></form>
</html>
`)
}

func (l login) signIn(w http.ResponseWriter, r *http.Request) {
	http.SetCookie(w, &http.Cookie{
		Name:     "demo_session",
		Value:    l.session,
		Path:     "/",
		HttpOnly: true,
		SameSite: http.SameSiteLaxMode,
	})
	http.Redirect(w, r, tokensPath+"/", http.StatusSeeOther)
}

// addConsole mounts the console, and the login before it.
func addConsole(site *http.ServeMux, guard *httpkey.Guard) {
	l := newLogin()
	tokens := console.New(guard, &console.Options{
		Principal: l.principal,
		Audit: func(ctx context.Context, e console.Event) {
			slog.InfoContext(ctx, "console",
				"action", e.Action, "user", e.Principal.User, "token", e.Token.ID, "error", e.Err)
		},
	})
	site.Handle(tokensPath+"/", l.first(http.StripPrefix(tokensPath, tokens)))
	site.HandleFunc("GET "+signInPath, l.page)
	site.Handle("POST "+signInPath, http.NewCrossOriginProtection().Handler(http.HandlerFunc(l.signIn)))
}
