package main

import (
	"net/http"
	"net/url"
	"path"
	"strings"
)

const (
	signInPath  = "/sign-in"
	signOutPath = "/sign-out"
)

// signInURL returns the link to the sign-in page that leads back to a page of the console.
func signInURL(back string) string { return signInPath + "?" + url.Values{"next": {back}}.Encode() }

func (s *site) signInPage(w http.ResponseWriter, r *http.Request) {
	s.show(w, r, "Sign in", "sign-in.html", struct {
		People []person
		Next   string
	}{people, r.FormValue("next")})
}

// signIn lets everybody be who they say they are. A real program lets people prove it, by
// OpenID Connect, a passkey or a password.
func (s *site) signIn(w http.ResponseWriter, r *http.Request) {
	p, ok := find(r.PostFormValue("user"))
	if !ok {
		http.Error(w, "There is no such person.", http.StatusBadRequest)
		return
	}
	s.sessions.begin(w, p)
	http.Redirect(w, r, wayBack(r.PostFormValue("next")), http.StatusSeeOther)
}

func (s *site) signOut(w http.ResponseWriter, r *http.Request) {
	s.sessions.end(w, r)
	http.Redirect(w, r, signInPath, http.StatusSeeOther)
}

// wayBack returns where a person goes after the sign-in: to the page of the console that next
// names. It never leads to another site, which a link to the sign-in page may name.
func wayBack(next string) string {
	u, err := url.Parse(next)
	if err != nil || u.Scheme != "" || u.Host != "" || !strings.HasPrefix(path.Clean(u.Path)+"/", tokensPath+"/") {
		return tokensPath + "/"
	}
	return u.String()
}
