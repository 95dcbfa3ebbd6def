package main

import (
	"crypto/rand"
	"maps"
	"net/http"
	"sync"
	"time"
)

const (
	sessionCookie = "demo_session"
	sessionLength = 8 * time.Hour
)

// sessions are those of the people who have signed in. They end with the server.
// A real program keeps them in a database, as alexedwards/scs does. It also sets Secure on
// the cookie, which plain HTTP cannot have.
type sessions struct {
	mu sync.Mutex
	of map[string]session
}

type session struct {
	person person
	ends   time.Time
}

// begin signs a person in.
func (s *sessions) begin(w http.ResponseWriter, p person) {
	name, now := rand.Text(), time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.of == nil {
		s.of = make(map[string]session)
	}
	maps.DeleteFunc(s.of, func(_ string, old session) bool { return !old.ends.After(now) })
	s.of[name] = session{p, now.Add(sessionLength)}
	http.SetCookie(w, &http.Cookie{
		Name: sessionCookie, Value: name, Path: "/", HttpOnly: true, SameSite: http.SameSiteLaxMode,
	})
}

// person returns the sender of a request, if they have signed in.
func (s *sessions) person(r *http.Request) (person, bool) {
	cookie, err := r.Cookie(sessionCookie)
	if err != nil {
		return person{}, false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	found, ok := s.of[cookie.Value]
	if !ok || !found.ends.After(time.Now()) {
		return person{}, false
	}
	return found.person, true
}

// end signs the sender of a request out.
func (s *sessions) end(w http.ResponseWriter, r *http.Request) {
	if cookie, err := r.Cookie(sessionCookie); err == nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.of, cookie.Value)
	}
	http.SetCookie(w, &http.Cookie{Name: sessionCookie, Path: "/", MaxAge: -1})
}
