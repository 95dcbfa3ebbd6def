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

// A list of 10,000 tokens of one user, in a store of 20,000, in every order, and from the middle.
func BenchmarkList(b *testing.B) {
	store := memstore.New()
	s := newSiteOn(b, store, Options{})
	for i := range 2 * maxScan {
		t := httpkey.Token{
			Label: fmt.Sprint("Token ", i*7919%maxScan), Description: "Deploys the website from the pipeline.", User: "ada",
			Scopes: []string{"read", "write"}, ExpiredAt: time.Now().Add(90 * day),
		}
		if i%2 == 1 {
			t.User = "eve"
		}
		if i%10 == 0 {
			t.ExpiredAt = time.Now().Add(time.Duration(i+1) * time.Hour)
		}
		s.issue(t)
	}
	list := func(name, path, accept string) {
		b.Run(name, func(b *testing.B) {
			r := httptest.NewRequest(http.MethodGet, path, nil)
			r.Header.Set("Login", "ada")
			r.Header.Set("Accept", accept)
			b.ReportAllocs()
			for b.Loop() {
				w := httptest.NewRecorder()
				s.handler.ServeHTTP(w, r)
				if w.Code != http.StatusOK {
					b.Fatal(w.Code, w.Body)
				}
			}
		})
	}
	for _, order := range orders {
		list("page by "+order, "/?per_page=100&order_by="+order, browserAccept)
		list("json by "+order, "/?per_page=100&order_by="+order, "")
	}
	var middle string
	for i, t := range s.tokensOf("ada") {
		if i == maxScan/2 {
			middle = placeAfter(&t, newestFirst).String()
		}
	}
	list("page in the middle", "/?per_page=100&cursor="+middle, browserAccept)
	list("page searched", "/?search=token+2&status=works", browserAccept)
	list("page searched for nothing", "/?search=nothing", browserAccept)
	list("page searched for a key", "/?search=hk_k_...zz", browserAccept)
}

// tokensOf returns the tokens of a user, newest first.
func (s *site) tokensOf(user string) []httpkey.Token {
	s.Helper()
	var tokens []httpkey.Token
	for t, err := range s.handler.(*console).each(s.Context(), httpkey.Filter{User: user}) {
		if err != nil {
			s.Fatal(err)
		}
		tokens = append(tokens, t)
	}
	return tokens
}
