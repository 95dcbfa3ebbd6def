package docs

import (
	"net/http"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/endpoint"
)

func withEndpoints(guard *httpkey.Guard, api http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/api/", guard.Handler(api))
	mux.Handle("/whoami", endpoint.WhoAmI(guard))
	mux.Handle("/revoke", endpoint.RevokeSelf(guard))
	mux.Handle("/rotate", guard.Handler(endpoint.RotateSelf(guard)))
	mux.Handle("/introspect", guard.Handler(httpkey.RequireScope("introspect")(endpoint.Introspect(guard))))
	return mux
}
