// Command echo4 puts httpkey in front of a router of echo v4.
package main

import (
	"context"
	"fmt"
	"log"
	"net/http"

	"github.com/labstack/echo/v4"

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
	router := echo.New()
	router.Use(pathValues, echo.WrapMiddleware(guard.Handler))
	router.GET("/api/v1/users/me/", func(c echo.Context) error {
		token, _ := httpkey.FromContext(c.Request().Context())
		return c.String(http.StatusOK, fmt.Sprintf("Hello %s, this is your key %q.\n", token.User, token.Label))
	})
	router.GET("/api/v1/reports/", func(c echo.Context) error {
		return c.String(http.StatusOK, "There are no reports.\n")
	}, echo.WrapMiddleware(httpkey.RequireScope("reports:read")))
	return router
}

// pathValues gives middlewares of net/http the parameters of the path, which the function of
// RequireWorkspace may need. The WrapMiddleware of echo v5 does so itself.
func pathValues(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		for i, name := range c.ParamNames() {
			c.Request().SetPathValue(name, c.ParamValues()[i])
		}
		return next(c)
	}
}
