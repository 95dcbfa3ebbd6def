// Command gin puts httpkey in front of a gin engine.
package main

import (
	"context"
	"fmt"
	"log"
	"net/http"

	"github.com/gin-gonic/gin"

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
	router := gin.New() // not Default: gin.Recovery can write the request's headers, and so the key, to the log
	router.Use(requireKey(guard))
	router.GET("/api/v1/users/me/", func(c *gin.Context) {
		token, _ := httpkey.FromContext(c.Request.Context())
		c.String(http.StatusOK, "Hello %s, this is your key %q.\n", token.User, token.Label)
	})
	router.GET("/api/v1/reports/", through(httpkey.RequireScope("reports:read")), func(c *gin.Context) {
		c.String(http.StatusOK, "There are no reports.\n")
	})
	return router
}

func requireKey(guard *httpkey.Guard) gin.HandlerFunc {
	return func(c *gin.Context) {
		r, ok := guard.Check(c.Writer, c.Request)
		if !ok {
			c.Abort() // the response is written
			return
		}
		c.Request = r
	}
}

// through makes a gin handler of a middleware of net/http, such as those of the Require functions.
// Do not use gin.WrapH(httpkey.RequireScope("reports:read")(handler)) instead: it answers 403, and
// gin then runs the handlers behind it.
func through(middleware func(http.Handler) http.Handler) gin.HandlerFunc {
	return func(c *gin.Context) {
		for _, p := range c.Params {
			c.Request.SetPathValue(p.Key, p.Value) // for RequireWorkspace
		}
		r, ok := httpkey.Passes(middleware, c.Writer, c.Request)
		if !ok {
			c.Abort() // the response is written
			return
		}
		c.Request = r
	}
}
