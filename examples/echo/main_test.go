package main

import (
	"net/http"
	"testing"

	"github.com/labstack/echo/v5"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/internal/contract"
)

func TestContract(t *testing.T) {
	t.Parallel()
	contract.Run(t, func(guard *httpkey.Guard, handlers map[string]http.Handler) http.Handler {
		router := routes(guard).(*echo.Echo)
		for path, handler := range handlers {
			router.Any(path, echo.WrapHandler(handler))
		}
		return router
	})
}
