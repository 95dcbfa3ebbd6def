package main

import (
	"net/http"
	"testing"

	"github.com/gin-gonic/gin"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/internal/contract"
)

func TestContract(t *testing.T) {
	t.Parallel()
	gin.SetMode(gin.TestMode)
	contract.Run(t, func(guard *httpkey.Guard, handlers map[string]http.Handler) http.Handler {
		router := routes(guard).(*gin.Engine)
		for path, handler := range handlers {
			router.Any(path, gin.WrapH(handler))
		}
		return router
	})
}
