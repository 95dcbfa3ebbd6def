package endpoint

import (
	"net/http"
	"time"

	"github.com/httpkey/httpkey"
)

// revocations is the limit of RevokeSelf for a client's address.
var revocations = httpkey.Limit{Name: "revoke", Rate: 10, Period: time.Minute}

// RevokeSelf returns a handler by which whoever has a key ends it: its holder, or the finder of
// a leaked key. The request is a POST with the key where the Guard looks for one, and the body
// does not matter. The revoked token stays in the store, and its RevokedFor says "by its holder".
// Its successor and its predecessor stay valid.
//
// The answer is 204 for every key, whatever it was: good, over its limits, of another network,
// but also unknown, malformed, expired or revoked already. The response does not tell which it
// was. The key is of no use afterwards, unless it is so new that a cache in front of the store
// does not know it yet; see [httpkey.Guard.RevokeKey]. A request with no key, or with
// two, gets 401, because it does not say what to end. It gets 503 if the store fails, also if the
// store only looks keys up, as [httpkey.LookupOnly] does. Both answers are the Guard's, through
// [httpkey.Options.ErrorHandler].
//
// A client's address has 10 such requests a minute, and then gets 429. So nobody can try many keys
// here, or load the store. Set [httpkey.Options.ClientAddr] behind a proxy: without it, all
// clients share the limit. The limit's Name is "revoke", and its payer is the one that
// [httpkey.Guard.LimitBy] prepares. A request takes nothing from the limits of the key. Only POST
// is allowed.
func RevokeSelf(guard *httpkey.Guard) http.Handler {
	mustHave(guard, "RevokeSelf")
	limited := guard.LimitBy(func(_ *http.Request, c *httpkey.Charge) { c.Limits = append(c.Limits, revocations) })
	revoke := limited(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		if guard.RevokeKeyOf(w, r, "by its holder") {
			w.WriteHeader(http.StatusNoContent)
		}
	}))
	return only(revoke.ServeHTTP, http.MethodPost)
}
