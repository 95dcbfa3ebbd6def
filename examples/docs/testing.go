package docs

import (
	"fmt"
	"net/http"

	"github.com/httpkey/httpkey"
)

func hello(w http.ResponseWriter, r *http.Request) {
	token, _ := httpkey.FromContext(r.Context())
	fmt.Fprintf(w, "hello %s", token.User)
}
