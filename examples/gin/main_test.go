package main

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/gin-gonic/gin"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/httpkeytest"
	"github.com/httpkey/httpkey/internal/contract"
)

func TestContract(t *testing.T) {
	t.Parallel()
	gin.SetMode(gin.TestMode)
	contract.Run(t, func(guard *httpkey.Guard, added []contract.Route) http.Handler {
		router := routes(guard).(*gin.Engine)
		for _, route := range added {
			router.Any(route.Colons(), through(route.Require), gin.WrapH(route.Handler))
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

// The warning at through is true: gin.WrapH does not stop the handlers behind it.
func TestWrapHRunsTheHandlersBehindIt(t *testing.T) {
	t.Parallel()
	guard, key := httpkeytest.New(t, nil)
	nothing := http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})
	for name, tt := range map[string]struct {
		require gin.HandlerFunc
		runs    bool
	}{
		"gin.WrapH": {gin.WrapH(httpkey.RequireScope("reports:read")(nothing)), true},
		"through":   {through(httpkey.RequireScope("reports:read")), false},
	} {
		runs := false
		router := gin.New()
		router.Use(requireKey(guard))
		router.GET("/", tt.require, func(*gin.Context) { runs = true })
		if w := httpkeytest.Get(router, key); w.Code != http.StatusForbidden || runs != tt.runs {
			t.Errorf("%s answered %d, and the handler behind it ran: %t, want 403 and %t", name, w.Code, runs, tt.runs)
		}
	}
}
