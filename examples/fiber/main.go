// Command fiber puts httpkey in front of a fiber app.
package main

import (
	"context"
	"fmt"
	"log"

	"github.com/gofiber/fiber/v3"

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
	log.Fatal(routes(guard).Listen("127.0.0.1:8080"))
}

func routes(guard *httpkey.Guard) *fiber.App {
	app := fiber.New()
	app.Use(through(guard.Handler))
	app.Get("/api/v1/users/me/", func(c fiber.Ctx) error {
		token, _ := httpkey.FromContext(c.Context()) // not of c, which is another context
		return c.SendString(fmt.Sprintf("Hello %s, this is your key %q.\n", token.User, token.Label))
	})
	app.Get("/api/v1/reports/", through(httpkey.RequireScope("reports:read")), func(c fiber.Ctx) error {
		return c.SendString("There are no reports.\n")
	})
	return app
}
