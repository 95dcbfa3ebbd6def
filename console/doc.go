// Package console is the "API tokens" page, on which people make, copy, watch,
// rotate and revoke their keys, and the same as a JSON API: one handler to mount.
//
//	tokens := console.New(guard, store, &console.Options{Principal: whoIsLoggedIn})
//	mux.Handle("/settings/api-tokens/", http.StripPrefix("/settings/api-tokens", tokens))
package console
