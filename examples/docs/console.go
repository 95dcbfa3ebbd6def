package docs

import (
	"context"
	"crypto/rand"
	"embed"
	"html/template"
	"io/fs"
	"log/slog"
	"net/http"
	"net/url"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/console"
	"github.com/httpkey/httpkey/usage"
)

func settings(guard *httpkey.Guard) http.Handler {
	mux := http.NewServeMux()
	tokens := console.New(guard, &console.Options{Principal: signedIn, SignIn: signInURL})
	mux.Handle("/settings/api-tokens/", http.StripPrefix("/settings/api-tokens", tokens))
	return mux
}

// signedIn tells the console who sends a request.
func signedIn(r *http.Request) (console.Principal, error) {
	user, err := userOf(r) // from your session
	if err != nil {
		return console.Principal{}, err // 401
	}
	return console.Principal{
		User:       user.ID,
		Scopes:     user.Scopes,     // what they may give to a key
		Workspaces: user.Workspaces, // those that they administer
		Names:      map[string]string{user.ID: user.Name, "issues:read": "Read issues"},
		Language:   user.Language,
	}, nil
}

// signInURL is where a person without a session goes, and from where they come back.
func signInURL(r *http.Request) string {
	return "/login?" + url.Values{"next": {r.RequestURI}}.Encode() // r.URL has lost its prefix
}

func behindProxy(guard *httpkey.Guard) http.Handler {
	tokens := console.New(guard, &console.Options{
		Principal:      signedIn,
		TrustedOrigins: []string{"https://app.example.com"},
	})
	return tokens
}

var layout = template.Must(template.New("layout").Parse(`<!DOCTYPE html>
<html lang="{{.Language}}" dir="{{.Direction}}">
<head>
	<meta charset="utf-8">
	<meta name="viewport" content="width=device-width, initial-scale=1">
	<title>{{.Title}} · Acme</title>
	<link rel="stylesheet" href="/acme.css">
	{{.Head}}
</head>
<body class="with-sidebar">
	<nav class="sidebar"><a href="/settings/profile">Profile</a> <a href="/settings/api-tokens/">API tokens</a></nav>
	{{.Body}}
</body>
</html>
`))

// frame writes a page of the console into the layout of the program.
func frame(w http.ResponseWriter, r *http.Request, page console.Page) {
	if err := layout.Execute(w, page); err != nil {
		slog.ErrorContext(r.Context(), "layout", "error", err)
	}
}

type nonceKey struct{}

// withNonce is a middleware of the program: it gives every request a nonce.
func withNonce(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), nonceKey{}, rand.Text())))
	})
}

// policy is the Content-Security-Policy of the program. The console adds its sources to its own.
func policy(r *http.Request) string {
	nonce, _ := r.Context().Value(nonceKey{}).(string)
	return "style-src 'nonce-" + nonce + "'; script-src 'nonce-" + nonce + "'; font-src https://fonts.example.com"
}

func framed(guard *httpkey.Guard) http.Handler {
	tokens := console.New(guard, &console.Options{
		Principal: signedIn,
		Layout:    frame,
		CSP:       policy,
	})
	return withNonce(tokens)
}

func counting(store httpkey.TokenStore, limiter httpkey.Limiter, counts usage.Store) (*httpkey.Guard, http.Handler) {
	recorder := usage.NewRecorder(counts, nil)
	guard := httpkey.New(store, limiter, &httpkey.Options{Observers: []httpkey.Observer{recorder}})
	tokens := console.New(guard, &console.Options{Principal: signedIn, Usage: recorder})
	return guard, tokens
}

//go:embed console
var looks embed.FS

func themed(guard *httpkey.Guard) http.Handler {
	files, err := fs.Sub(looks, "console")
	if err != nil {
		panic(err) // a misspelt directory
	}
	tokens := console.New(guard, &console.Options{
		Principal: signedIn,
		Files:     files,   // texts.html, texts.de.html and style.css
		Scheme:    "light", // whatever the reader prefers
	})
	return tokens
}

func strict(guard *httpkey.Guard, limiter httpkey.Limiter) http.Handler {
	const day = 24 * time.Hour
	tokens := console.New(guard, &console.Options{
		Principal:       signedIn,
		MaxLifetime:     90 * day, // no key lives longer
		Lifetimes:       []time.Duration{7 * day, 30 * day, 90 * day},
		DefaultLifetime: 30 * day,
		Graces:          []time.Duration{0, time.Hour},
		MaxTokens:       10,
		Limiter:         limiter, // of all processes together
		NoScopes:        "Nothing",
		TryURL:          "https://api.example.com/v1/me",
		Audit:           logAct,
	})
	return tokens
}

// logAct logs every change, every refusal and every failure.
func logAct(ctx context.Context, e console.Event) {
	slog.InfoContext(ctx, "console", "user", e.Principal.User, "action", e.Action,
		"token", e.Token.ID, "refusal", e.Refusal, "error", e.Err)
}
