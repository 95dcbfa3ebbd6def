package httpkey

import (
	"net/http"
	"slices"
)

// RequireScope returns a middleware that lets a request pass if its token has
// every one of the scopes. It stands behind [Guard.Handler]; others are
// answered 403, and requests that no Guard has let in 401. It panics without a
// scope: what demands nothing protects nothing.
func RequireScope(scopes ...string) func(http.Handler) http.Handler {
	if len(scopes) == 0 {
		panic("httpkey: RequireScope needs at least one scope")
	}
	scopes = slices.Clone(scopes)
	return require(ReasonScope, func(_ *http.Request, e *Entry) bool {
		for _, scope := range scopes {
			if !slices.Contains(e.scopes(), scope) {
				return false
			}
		}
		return true
	})
}

// RequireKind returns a middleware that lets a request pass if its token is of
// one of the kinds. See [RequireScope] for the rest.
func RequireKind(kinds ...Kind) func(http.Handler) http.Handler {
	if len(kinds) == 0 {
		panic("httpkey: RequireKind needs at least one kind")
	}
	kinds = slices.Clone(kinds)
	return require(ReasonKind, func(_ *http.Request, e *Entry) bool {
		return slices.Contains(kinds, Kind(e.string(textKind)))
	})
}

// RequireWorkspace returns a middleware that lets a request pass if its token
// is of the workspace that the request is about, as of tells it, often
// from the path. A token without a workspace, and a request about none, do not
// pass. See [RequireScope] for the rest.
func RequireWorkspace(of func(*http.Request) string) func(http.Handler) http.Handler {
	if of == nil {
		panic("httpkey: RequireWorkspace needs a function that tells the workspace of a request")
	}
	return require(ReasonWorkspace, func(r *http.Request, e *Entry) bool {
		workspace := e.string(textWorkspace)
		return workspace != "" && workspace == of(r)
	})
}

func require(reason Reason, passes func(*http.Request, *Entry) bool) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			in := admissionOf(r.Context())
			switch {
			case in == nil:
				WriteError(w, r, Error{reason: ReasonMissing})
			case !passes(r, in.entry):
				in.guard.refuse(w, r, in.entry, &Error{reason: reason})
			default:
				next.ServeHTTP(w, r)
			}
		})
	}
}
