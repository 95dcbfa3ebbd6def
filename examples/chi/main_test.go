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
	contract.Run(t, func(guard *httpkey.Guard, added []contract.Route) http.Handler {
		router := routes(guard).(chi.Router)
		for _, route := range added {
			router.With(route.Require).Handle(route.Path, route.Handler)
		}
		return router
	})
}
