// Package httpkey gives an HTTP API keys, and limits for each of them: keys
// that people create, see once, use, rotate and revoke.
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
// All others are answered as the Plane API documents it; see [WriteError] and
// [Options.ErrorHandler].
//
// The order of a request is: extract the key, check its shape, digest it, look
// the digest up, check the token's state and networks, take from its buckets, note the use,
// call the handler. A malformed key makes no store call. An invalid one takes no quota.
//
// # Secrets
//
// A secret looks like hk_k_… (an API key) or hk_s_… (a service token): a
// prefix, the kind, 160 random bits and a checksum, as in
//
//	hk_[ks]_[0-9A-Za-z]{33}
//
// which is the regular expression to give to a secret scanner. The checksum stops typing
// errors; it is public, so it stops no attacker. Stores keep a digest only. A plain SHA-256
// is right for a secret with 160 random bits: a slow hash protects guessable passwords, and
// would cost every request.
//
// # Limits
//
// A payer, which is a token unless [Options.Charge] names another, has a bucket for each
// Name and window of its limits. A request takes from all of its limits or from none. See
// [Limiter] for what a bucket keeps when a limit changes.
//
// # Stores and limiters
//
// The package memstore has both for a single process and for tests, redisstore
// and sqlstore for several processes; cachestore stands in front of those, so that
// a request asks them for its limits alone. The rules for writing one are with
// [TokenStore] and [Limiter]; the package storetest checks them.
//
// # When a part is down
//
// A request waits for the store and the limiter for [Options.Timeout] at most.
// While the limiter is down, [Options.Fallback] decides. While the store is down,
// a cache goes on answering for the keys that it knows, and all others get 503:
// an unknown key is not let in, and no caller is told that a key is invalid.
package httpkey
