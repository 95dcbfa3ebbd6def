package endpoint_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/endpoint"
	"github.com/httpkey/httpkey/memstore"
)

func issued(guard *httpkey.Guard, t httpkey.Token) httpkey.Secret {
	created, err := guard.Issue(context.Background(), t)
	if err != nil {
		log.Fatal(err)
	}
	return created.Secret
}

// request returns the answer to a request with a key.
func request(handler http.Handler, method string, key httpkey.Secret, form url.Values) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, "/", strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("X-Api-Key", key.Reveal())
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, r)
	return w
}

func ExampleWhoAmI() {
	guard := httpkey.New(memstore.New(), memstore.NewLimiter(), nil)
	key := issued(guard, httpkey.Token{
		User: "ada", Label: "laptop", Scopes: []string{"read"},
		Limits: []httpkey.Limit{httpkey.PerMinute(60), httpkey.PerMonth(10_000)},
	})
	answer := request(endpoint.WhoAmI(guard), http.MethodGet, key, nil)

	var who httpkey.Token
	if err := json.Unmarshal(answer.Body.Bytes(), &who); err != nil {
		log.Fatal(err)
	}
	fmt.Println(who.User, who.Label, who.Scopes)

	var limits struct {
		All []struct{ Rate, Remaining int } `json:"rate_limits"`
	}
	if err := json.Unmarshal(answer.Body.Bytes(), &limits); err != nil {
		log.Fatal(err)
	}
	for _, limit := range limits.All {
		fmt.Println(limit.Remaining, "of", limit.Rate)
	}
	// Output:
	// ada laptop [read]
	// 60 of 60
	// 10000 of 10000
}

// Other services ask with keys of their own, which have the scope to do so.
func ExampleIntrospect() {
	guard := httpkey.New(memstore.New(), memstore.NewLimiter(), nil)
	service := issued(guard, httpkey.Token{Kind: httpkey.ServiceToken, Scopes: []string{"introspect"}})
	key := issued(guard, httpkey.Token{User: "ada", Scopes: []string{"read", "write"}})

	introspect := guard.Handler(httpkey.RequireScope("introspect")(endpoint.Introspect(guard)))
	ask := func(asking httpkey.Secret, token string) {
		answer := request(introspect, http.MethodPost, asking, url.Values{"token": {token}})
		known, _, _ := strings.Cut(answer.Body.String(), `,"iat"`)
		fmt.Println(answer.Code, known)
	}
	ask(service, key.Reveal())
	ask(service, "made up")
	ask(key, key.Reveal())
	// Output:
	// 200 {"active":true,"scope":"read write","username":"ada","sub":"ada"
	// 200 {"active":false}
	// 403 {"detail":"You do not have permission to perform this action."}
}

// A program replaces its key once a month, say, and lets the old one work for an hour more.
func ExampleRotateSelf() {
	guard := httpkey.New(memstore.New(), memstore.NewLimiter(), nil)
	key := issued(guard, httpkey.Token{Kind: httpkey.ServiceToken, Label: "backup"})
	rotate := guard.Handler(endpoint.RotateSelf(guard))

	r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(`{"grace": 3600}`))
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("X-Api-Key", key.Reveal())
	answer := httptest.NewRecorder()
	rotate.ServeHTTP(answer, r)

	var created httpkey.Created
	if err := json.Unmarshal(answer.Body.Bytes(), &created); err != nil {
		log.Fatal(err)
	}
	fmt.Println(answer.Code, created.Token.Label)
	fmt.Println(request(endpoint.WhoAmI(guard), http.MethodGet, created.Secret, nil).Code)
	// Output:
	// 201 backup
	// 200
}

func ExampleRevokeSelf() {
	guard := httpkey.New(memstore.New(), memstore.NewLimiter(), nil)
	key := issued(guard, httpkey.Token{User: "ada"})
	revoke := endpoint.RevokeSelf(guard)

	fmt.Println(request(revoke, http.MethodPost, key, nil).Code)
	fmt.Println(request(revoke, http.MethodPost, key, nil).Code) // again, which says the same
	fmt.Println(request(endpoint.WhoAmI(guard), http.MethodGet, key, nil).Body)
	// Output:
	// 204
	// 204
	// {"detail":"Given API token is not valid"}
}
