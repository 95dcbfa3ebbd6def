package httpkey

import (
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/httpkey/httpkey/internal/name"
)

// RequireScope returns a middleware that passes a request if its token has every one
// of the scopes, or [Options.ScopeImplies] grants them. It stands behind [Guard.Handler]. It
// answers 403 to other requests, and 401 to requests that no Guard has admitted. Behind a Guard
// or [Guard.NewContext], the answer comes from [Options.ErrorHandler], and
// [Error.MissingScopes] has the scopes. RequireScope panics without a scope, because the
// middleware would protect nothing, and if a scope is not valid under RFC 6749.
func RequireScope(scopes ...string) func(http.Handler) http.Handler {
	return requireScopes("RequireScope", scopes, func(missing int) bool { return missing == 0 })
}

// RequireAnyScope returns a middleware that passes a request if its token has at least one of
// the scopes. Otherwise it behaves as [RequireScope].
func RequireAnyScope(scopes ...string) func(http.Handler) http.Handler {
	return requireScopes("RequireAnyScope", scopes, func(missing int) bool { return missing < len(scopes) })
}

func requireScopes(function string, scopes []string, passes func(missing int) bool) func(http.Handler) http.Handler {
	if len(scopes) == 0 {
		panic("httpkey: " + function + " needs at least one scope")
	}
	for _, scope := range scopes {
		if !name.IsScope(scope, len(scope)) {
			panic(fmt.Sprintf("httpkey: %s: %q is no scope of RFC 6749, section 3.3", function, scope))
		}
	}
	scopes = slices.Clone(scopes)
	return require(ReasonScope, scopes, func(in *admitted, _ *http.Request, t Token) (missing []string, ok bool) {
		for _, scope := range scopes {
			if !in.guard.grants(t.Scopes, scope) {
				missing = append(missing, scope)
			}
		}
		return missing, passes(len(missing))
	})
}

// grants reports whether one of the scopes is the wanted one, or implies it. g may be nil.
func (g *Guard) grants(scopes []string, want string) bool {
	return slices.ContainsFunc(scopes, func(have string) bool {
		return have == want || g != nil && g.options.ScopeImplies != nil && g.options.ScopeImplies(have, want)
	})
}

// RequireKind returns a middleware that passes a request if its token is of
// one of the kinds. Otherwise it behaves as [RequireScope].
func RequireKind(kinds ...Kind) func(http.Handler) http.Handler {
	if len(kinds) == 0 {
		panic("httpkey: RequireKind needs at least one kind")
	}
	kinds = slices.Clone(kinds)
	return require(ReasonKind, nil, func(_ *admitted, _ *http.Request, t Token) ([]string, bool) {
		return nil, slices.Contains(kinds, t.Kind)
	})
}

// RequireWorkspace returns a middleware that passes a request if its token belongs to the
// workspace of the request. The function of returns that workspace, often from the path.
// A token without a workspace does not pass. Otherwise it behaves as [RequireScope]; it
// panics if of is nil.
func RequireWorkspace(of func(*http.Request) string) func(http.Handler) http.Handler {
	if of == nil {
		panic("httpkey: RequireWorkspace needs a function that tells the workspace of a request")
	}
	return require(ReasonWorkspace, nil, func(_ *admitted, r *http.Request, t Token) ([]string, bool) {
		return nil, t.Workspace != "" && t.Workspace == of(r)
	})
}

// require returns a middleware that passes the requests whose token the function passes. The
// demanded scopes are for the challenge of a refusal.
func require(
	reason Reason, demanded []string, passes func(*admitted, *http.Request, Token) (missing []string, ok bool),
) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			in := admittedIn(r.Context())
			if in == nil {
				WriteError(w, r, Error{reason: ReasonMissing})
				return
			}
			refusal := decision{token: *in.token, reason: ReasonMissing}
			if in.token.Exists() {
				missing, ok := passes(in, r, in.guard.copyOf(in.token))
				if ok {
					next.ServeHTTP(w, r)
					return
				}
				refusal.reason, refusal.scopes = reason, &scopes{missing, demanded}
			}
			if in.guard == nil {
				WriteError(w, r, refusal.error())
				return
			}
			in.guard.refuse(w, r, &refusal)
		})
	}
}

// scopes are those of a refusal.
type scopes struct{ missing, demanded []string }

// Throttle answers a request as a Guard answers one over a limit: 429, with this time in
// Retry-After. It serves limits of the program's own. Behind a Guard, the answer comes from [Options.ErrorHandler], and
// the Observer is told.
func Throttle(w http.ResponseWriter, r *http.Request, retryAfter time.Duration) {
	refusal := decision{reason: ReasonThrottled, result: Result{RetryAfter: retryAfter}}
	if in := admittedIn(r.Context()); in != nil && in.guard != nil {
		refusal.token = *in.token
		in.guard.refuse(w, r, &refusal)
		return
	}
	WriteError(w, r, refusal.error())
}

// Unavailable answers a request as g does while the store fails: 503, through
// [Options.ErrorHandler]. The Observer is told of err, which the response does not show. It
// serves handlers that change tokens, as RotateSelf of the package endpoint does.
func (g *Guard) Unavailable(w http.ResponseWriter, r *http.Request, err error) {
	g.refuse(w, r, &decision{reason: ReasonStore, cause: err})
}

// Passes runs a middleware of net/http in a framework with its own handler types, such as
// gin and echo. If it returns true, continue with the returned request. If it returns
// false, the middleware has answered: stop. Passes drops a ResponseWriter that the
// middleware wraps around w.
func Passes(middleware func(http.Handler) http.Handler, w http.ResponseWriter, r *http.Request) (*http.Request, bool) {
	passed, ok := r, false
	middleware(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { passed, ok = r, true })).ServeHTTP(w, r)
	return passed, ok
}
