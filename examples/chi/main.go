// Command chi puts httpkey in front of a chi router.
package main

import (
	"context"
	"fmt"
	"log"
	"net/http"

	"github.com/go-chi/chi/v5"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/memstore"
)

func main() {
	guard := httpkey.New(memstore.New(), memstore.NewLimiter(), nil)
	created, err := guard.Issue(context.Background(), httpkey.Token{User: "ada", Label: "laptop"})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("curl -i -H 'X-Api-Key: %s' http://127.0.0.1:8080/api/v1/users/me/\n", created.Secret.Reveal())
	log.Fatal(http.ListenAndServe("127.0.0.1:8080", routes(guard)))
}

func routes(guard *httpkey.Guard) http.Handler {
	router := chi.NewRouter()
	router.Use(guard.Handler)
	router.Get("/api/v1/users/me/", func(w http.ResponseWriter, r *http.Request) {
		token, _ := httpkey.FromContext(r.Context())
		fmt.Fprintf(w, "Hello %s, this is your key %q.\n", token.User, token.Label)
	})
	return router
}
