package main

import (
	"net/http"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/usage"
)

// site is the demo: an API behind keys, the console, and pages around it.
type site struct {
	guard    *httpkey.Guard
	usage    usage.Reader
	url      string // of the start page, without its final slash
	sessions sessions
}

// routes returns the handler of every path.
func (s *site) routes() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/api/", newAPI(s.guard))
	mux.Handle(tokensPath+"/", http.StripPrefix(tokensPath, s.tokens()))
	mux.HandleFunc("GET /{$}", s.startPage)
	mux.HandleFunc("GET "+signInPath, s.signInPage)
	mux.HandleFunc("GET /style.css", styleSheet)
	ownForms := http.NewCrossOriginProtection()
	mux.Handle("POST "+signInPath, ownForms.Handler(http.HandlerFunc(s.signIn)))
	mux.Handle("POST "+signOutPath, ownForms.Handler(http.HandlerFunc(s.signOut)))
	return mux
}
