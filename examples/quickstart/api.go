package main

import (
	"encoding/json"
	"net/http"

	"github.com/httpkey/httpkey"
)

// newAPI returns the API behind the keys.
func newAPI(guard *httpkey.Guard) http.Handler {
	api := http.NewServeMux()
	api.HandleFunc("GET /api/v1/users/me/{$}", currentUser)
	api.Handle("GET /api/v1/cards/{$}", httpkey.RequireScope(readCards)(http.HandlerFunc(cards)))
	return guard.Handler(api)
}

// currentUser answers like https://developers.plane.so/api-reference/user/get-current-user.
func currentUser(w http.ResponseWriter, r *http.Request) {
	token, _ := httpkey.FromContext(r.Context())
	if token.Kind == httpkey.ServiceToken {
		writeJSON(w, bot)
		return
	}
	owner, ok := find(token.User)
	if !ok {
		http.NotFound(w, r)
		return
	}
	writeJSON(w, owner.user)
}

func cards(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, []string{"add", "subtract", "multiply", "divide"})
}

func writeJSON(w http.ResponseWriter, value any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(value) // it can only fail if the client is gone
}
