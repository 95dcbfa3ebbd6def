package main

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/labstack/echo/v5"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/httpkeytest"
	"github.com/httpkey/httpkey/internal/contract"
)

func TestContract(t *testing.T) {
	t.Parallel()
	contract.Run(t, func(guard *httpkey.Guard, added []contract.Route) http.Handler {
		router := routes(guard).(*echo.Echo)
		for _, route := range added {
			router.Any(route.Colons(), echo.WrapHandler(route.Handler), echo.WrapMiddleware(route.Require))
		}
		return router
	})
}

// A key without the scope that a route demands is answered 403, as everywhere.
func TestScope(t *testing.T) {
	t.Parallel()
	guard, without := httpkeytest.New(t, nil)
	with := httpkeytest.Issue(t, guard, httpkey.Token{Scopes: []string{"reports:read"}}).Secret.Reveal()
	for key, want := range map[string]struct {
		status int
		body   string
	}{
		with:    {http.StatusOK, "There are no reports.\n"},
		without: {http.StatusForbidden, `{"detail":"You do not have permission to perform this action."}`},
		"":      {http.StatusUnauthorized, `{"detail":"Authentication credentials were not provided."}`},
	} {
		w := httptest.NewRecorder()
		routes(guard).ServeHTTP(w, httpkeytest.Request(http.MethodGet, "/api/v1/reports/", key))
		if w.Code != want.status || w.Body.String() != want.body {
			t.Errorf("%d %q, want %d %q", w.Code, w.Body, want.status, want.body)
		}
	}
}
