package console_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/console"
	"github.com/httpkey/httpkey/memstore"
)

// The page stands among the settings of a site that has a login of its own.
func Example() {
	guard := httpkey.New(memstore.New(), memstore.NewLimiter(), nil)
	tokens := console.New(guard, &console.Options{
		Principal: func(r *http.Request) (console.Principal, error) {
			session, err := r.Cookie("session")
			if err != nil {
				return console.Principal{}, err
			}
			return console.Principal{User: session.Value, Scopes: []string{"issues:read"}}, nil
		},
		Audit: func(_ context.Context, e console.Event) {
			fmt.Println(e.Principal.User, "did", e.Action, e.Token.Label)
		},
	})
	mux := http.NewServeMux()
	mux.Handle("/settings/api-tokens/", http.StripPrefix("/settings/api-tokens", tokens))

	body := strings.NewReader(`{"label": "laptop", "scopes": ["issues:read"]}`)
	r := httptest.NewRequest(http.MethodPost, "/settings/api-tokens/", body)
	r.Header.Set("Content-Type", "application/json")
	r.AddCookie(&http.Cookie{Name: "session", Value: "ada"})
	w := httptest.NewRecorder()
	mux.ServeHTTP(w, r)
	fmt.Println(w.Code, strings.Contains(w.Body.String(), `"token":"hk_k_`))
	// Output:
	// ada did create laptop
	// 201 true
}
