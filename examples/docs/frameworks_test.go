package docs

import (
	"net/http"
	"testing"

	"github.com/gin-gonic/gin"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/httpkeytest"
)

func TestGinRunsNoHandlerAfterARefusal(t *testing.T) {
	t.Parallel()
	gin.SetMode(gin.TestMode)
	guard, without := httpkeytest.New(t, nil)
	with := httpkeytest.Issue(t, guard, httpkey.Token{Scopes: []string{"reports:read"}}).Secret.Reveal()
	ran := 0
	router := gin.New()
	ginRoutes(router, guard, func(c *gin.Context) { ran++; c.Status(http.StatusNoContent) })
	ginTrap(router, func(*gin.Context) { ran++ })
	for _, tt := range []struct {
		path, key   string
		status, ran int
	}{
		{"/reports/", with, 204, 1},
		{"/reports/", without, 403, 0},
		{"/reports/", "", 401, 0},
		{"/wrong/", without, 403, 1}, // the trap
	} {
		ran = 0
		if w := send(router, http.MethodGet, tt.path, tt.key); w.Code != tt.status || ran != tt.ran {
			t.Errorf("%s: status %d, and the handler ran %d times; want %d and %d", tt.path, w.Code, ran, tt.status, tt.ran)
		}
	}
}
