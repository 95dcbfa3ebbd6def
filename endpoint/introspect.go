package endpoint

import (
	"errors"
	"net/http"
	"net/url"
	"strings"

	"github.com/httpkey/httpkey"
)

// maxBody bounds the body of a request in bytes. A key has at most 255, and each may be escaped.
const maxBody = 4 << 10

// Introspect returns a handler by which other services ask about a key that they received, as
// RFC 7662 describes it. A service sends POST with the form token=…, and receives:
//
//	{"active": true, "scope": "read write", "username": "ada", "sub": "ada", "exp": 1795781107,
//		"iat": 1795694707, "jti": "0192f3a4-…", "kind": "api_key", "workspace": "lab"}
//
// Introspect MUST stand behind the authentication of the services. The handler cannot check
// that. Without it, everybody may ask whether a key is good, whose it is and what it may do,
// as often as they like (RFC 7662, section 2.1). A key of the service itself is enough:
//
//	guard.Handler(httpkey.RequireScope("introspect")(endpoint.Introspect(guard)))
//
// The property jti is the token's ID, sub and username are its User, exp and iat are Unix
// seconds, rounded down. kind and workspace are those of the Token. A property without a value is
// left out. So is token_type, because a key is a bearer token only where [httpkey.FromBearer] is
// a source. A service that keeps an answer does not hear of a revocation meanwhile.
//
// For every other key, the answer is {"active": false}, whatever the reason: unknown,
// malformed, revoked, expired. It is also the answer for a key with Networks, because the
// address of the client is not known here. So it is for a key with a limit of nothing, by
// which a program blocks a key. A key that is only over a limit is active.
//
// An answer costs nothing and is no use of the key. A key that [httpkey.Options.Adopt] knows is
// imported, as by any request. [httpkey.WriteError] answers 503 if the store or the limiter makes
// no decision: an outage makes no key inactive. A request without the parameter token, or with
// two, gets 400 with the error invalid_request of RFC 6749. Other parameters are ignored, also
// token_type_hint, and the query of the URL. Only POST is allowed.
func Introspect(guard *httpkey.Guard) http.Handler {
	mustHave(guard, "Introspect")
	return only(func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		r.Form = url.Values{} // so that ParseForm reads no query
		err := r.ParseForm()
		tokens := r.PostForm["token"]
		if err != nil || len(tokens) != 1 || tokens[0] == "" {
			write(w, r, http.StatusBadRequest, oauthError{
				"invalid_request", "The form must have the parameter token, once.",
			})
			return
		}
		admission, err := guard.Admit(r.Context(), tokens[0], 0)
		switch {
		case err == nil:
			write(w, r, http.StatusOK, introspectionOf(&admission.Token))
		case errors.Is(err, httpkey.ErrInvalidKey), errors.Is(err, httpkey.ErrForbidden):
			write(w, r, http.StatusOK, introspection{})
		default:
			var refusal httpkey.Error
			errors.As(err, &refusal)
			httpkey.WriteError(w, r, refusal)
		}
	}, http.MethodPost)
}

// oauthError is the answer of RFC 6749, section 5.2, to a bad request.
type oauthError struct {
	Error       string `json:"error"`
	Description string `json:"error_description"`
}

// introspection is the answer of RFC 7662, section 2.2. The zero value is that for a bad key.
type introspection struct {
	Active    bool         `json:"active"`
	Scope     string       `json:"scope,omitempty"`
	Username  string       `json:"username,omitempty"`
	Subject   string       `json:"sub,omitempty"`
	Expiry    int64        `json:"exp,omitempty"` // Unix seconds
	IssuedAt  int64        `json:"iat,omitempty"` // Unix seconds
	ID        string       `json:"jti,omitempty"`
	Kind      httpkey.Kind `json:"kind,omitempty"`
	Workspace string       `json:"workspace,omitempty"`
}

func introspectionOf(t *httpkey.Token) introspection {
	i := introspection{
		Active: true, Scope: strings.Join(t.Scopes, " "), Username: t.User, Subject: t.User,
		ID: t.ID, Kind: t.Kind, Workspace: t.Workspace,
	}
	if !t.ExpiredAt.IsZero() {
		i.Expiry = t.ExpiredAt.Unix()
	}
	if !t.CreatedAt.IsZero() {
		i.IssuedAt = t.CreatedAt.Unix()
	}
	return i
}
