package main

import (
	"net/http"
	"testing"

	"github.com/go-chi/chi/v5"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/internal/contract"
)

func TestContract(t *testing.T) {
	t.Parallel()
	contract.Run(t, func(guard *httpkey.Guard, handlers map[string]http.Handler) http.Handler {
		router := routes(guard).(chi.Router)
		for path, handler := range handlers {
			router.Handle(path, handler)
		}
		return router
	})
}
