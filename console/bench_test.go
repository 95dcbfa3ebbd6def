package console

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/memstore"
)

// The first page of 10,000 tokens of one user, in a store of 20,000.
func BenchmarkFirstPage(b *testing.B) {
	store := memstore.New()
	s := newSiteOn(b, store, Options{})
	for i := range 20_000 {
		t := httpkey.Token{Label: fmt.Sprint("token ", i), User: "ada", ExpiredAt: time.Now().Add(90 * day)}
		if i%2 == 1 {
			t.User = "eve"
		}
		if i%10 == 0 {
			t.ExpiredAt = time.Now().Add(day)
		}
		s.issue(t)
	}
	for _, bb := range []struct{ name, path, accept string }{
		{"page", "/", browserAccept},
		{"json", "/", ""},
		{"page sorted", "/?order_by=label", browserAccept},
		{"json sorted", "/?order_by=label", ""},
		{"page searched", "/?search=token+2&status=works", browserAccept},
	} {
		b.Run(bb.name, func(b *testing.B) {
			r := httptest.NewRequest(http.MethodGet, bb.path, nil)
			r.Header.Set("Login", "ada")
			r.Header.Set("Accept", bb.accept)
			for b.Loop() {
				w := httptest.NewRecorder()
				s.handler.ServeHTTP(w, r)
				if w.Code != http.StatusOK {
					b.Fatal(w.Code)
				}
			}
		})
	}
}
