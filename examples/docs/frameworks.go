package docs

import (
	"net/http"

	"github.com/gin-gonic/gin"

	"github.com/httpkey/httpkey"
)

// through makes a gin handler of a middleware of net/http.
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

func ginRoutes(router *gin.Engine, guard *httpkey.Guard, reports gin.HandlerFunc) {
	router.Use(through(guard.Handler))
	router.GET("/reports/", through(httpkey.RequireScope("reports:read")), reports)
}

func ginTrap(router *gin.Engine, reports gin.HandlerFunc) {
	nothing := http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})
	// Wrong: a request without the scope gets 403, and reports runs all the same.
	router.GET("/wrong/", gin.WrapH(httpkey.RequireScope("reports:read")(nothing)), reports)
}
