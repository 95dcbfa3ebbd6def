// Package httpkey adds keys and rate limits to an HTTP API. People create a key,
// see it once, use it, rotate it and revoke it.
//
// A [Guard] joins a [TokenStore] and a [Limiter]. Its Handler wraps any
// [net/http.Handler]:
//
//	guard := httpkey.New(memstore.New(), memstore.NewLimiter(), nil)
//	created, err := guard.Issue(ctx, httpkey.Token{Label: "ci", User: "u-1"})
//	http.ListenAndServe("127.0.0.1:8080", guard.Handler(api))
//
// A request with a valid key in X-Api-Key reaches the handler, with its Token
// in the context (see [FromContext]) and X-RateLimit headers on the response.
// The Guard answers every other request as the Plane API documents it; see
// [WriteError] and [Options.ErrorHandler].
//
// A Guard extracts the key, checks its shape, digests it, looks the digest up, checks the
// token's state and networks, takes from its buckets, notes the use, and calls the handler.
// A malformed key causes no store call. An invalid key takes no quota.
//
// # Secrets
//
// A secret looks like hk_k_… (an API key) or hk_s_… (a service token): a
// prefix, the kind, 160 random bits and a checksum, as in
//
//	hk_[ks]_[0-9A-Za-z]{33}
//
// Give this regular expression to a secret scanner. The checksum catches typing errors; it
// is public, so it stops no attacker. Stores keep only a digest. A plain SHA-256 suffices
// for a secret with 160 random bits: a slow hash protects guessable passwords, and would
// slow down every request.
//
// # Limits
//
// A payer, which is a token unless [Options.Charge] names another, has a bucket for each
// Name and window of its limits. A request takes from all of its limits or from none.
// [Limiter] says what a bucket keeps when a limit changes.
//
// # Stores and limiters
//
// The package memstore has both for a single process and for tests. The packages redisstore
// and sqlstore have both for several processes. The package cachestore caches the tokens of
// a store, so that most requests call only the limiter. [TokenStore] and [Limiter] state the
// rules for implementations; the package storetest checks them.
//
// # When a part is down
//
// A request waits for the store and the limiter for [Options.Timeout] at most.
// While the limiter is down, [Options.Fallback] decides. While the store is down,
// a cache answers for the keys that it knows, and all other keys get 503. The Guard
// admits no unknown key, and tells no caller that its key is invalid.
package httpkey
