package endpoint

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"time"

	"github.com/httpkey/httpkey"
)

const (
	maxGrace = 7 * 24 * time.Hour
	patience = 5 * time.Second // with the store, for the few calls of a rotation
)

// RotateSelf returns a handler by which a key replaces itself, so that a program renews its own key
// before that expires. RotateSelf MUST stand behind [httpkey.Guard.Handler]: the key of the request
// is the one that is rotated. A rotation costs what any request costs.
//
//	mux.Handle("/rotate", guard.Handler(endpoint.RotateSelf(guard)))
//
// The request is a POST with Content-Type: application/json and the body {"grace": 3600}. The
// old key stays valid for these seconds, from 0 to 604800, which are seven days. The answer is
// 201 with the new key, which nothing shows again:
//
//	{
//		"token": "hk_k_…",
//		"id": "0192f3a4-…",
//		"rotated_from": "0192e1b0-…",
//		"hint": "a1B2",
//		"kind": "api_key",
//		"label": "laptop",
//		"user": "ada",
//		"workspace": null,
//		"scopes": ["read", "write"],
//		"expired_at": "2027-01-31T00:00:00Z"
//	}
//
// The names and values are those of a [httpkey.Created] in JSON. As in [WhoAmI], the response
// leaves out what a thief might want to know, and later versions may add properties. The new key
// has the rights, the limits and the expiry of the old one; see [httpkey.Guard.Rotate].
//
// A key rotates itself once. So a thief who has an old key does not get a new one after its
// holder did, and two programs with one key do not both replace it. Another attempt gets 409, and
// the key stays valid as long as it was.
//
// A client may lose the answer. Its old key then works until the grace ends, and gets 409 here. So
// ask for a grace in which a person can help: they rotate the old token again in the console, or
// by [httpkey.Guard.Rotate], and revoke the successor whose key nobody has. It is the token's
// RotatedTo. That also works after the grace. With a grace of 0, nothing works until they have.
//
// A request without a key gets 401, also if [httpkey.Options.Anonymous] or
// [httpkey.Guard.NewContext] lets it pass: a session has no key to rotate. Another body gets 400,
// and another Content-Type 415. A key that has ended meanwhile gets 409. If the store fails, takes
// more than 5 seconds, or only looks keys up, the answer is 503 through
// [httpkey.Options.ErrorHandler]. The key may be rotated then: try again, and take a 409 for a lost
// answer. Only POST is allowed.
func RotateSelf(guard *httpkey.Guard) http.Handler {
	mustHave(guard, "RotateSelf")
	return only(func(w http.ResponseWriter, r *http.Request) {
		t, _ := httpkey.FromContext(r.Context())
		if t.Digest == (httpkey.Digest{}) {
			nobody := guard.NewContext(r.Context(), httpkey.Token{})
			refuseMissing.ServeHTTP(w, r.WithContext(nobody))
			return
		}
		if media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || media != "application/json" {
			write(w, r, http.StatusUnsupportedMediaType, detail{"The Content-Type must be application/json."})
			return
		}
		grace, err := readGrace(http.MaxBytesReader(w, r.Body, maxBody))
		if err != nil {
			write(w, r, http.StatusBadRequest, detail{
				"The body must be a JSON object with nothing but grace, which is a number of seconds from 0 to 604800.",
			})
			return
		}
		ctx, cancel := context.WithTimeout(r.Context(), patience)
		defer cancel()
		created, err := guard.RotateOnce(ctx, t.ID, grace)
		switch {
		case errors.Is(err, httpkey.ErrConflict):
			write(w, r, http.StatusConflict, detail{"This key was rotated already."})
		case errors.Is(err, httpkey.ErrInactive), errors.Is(err, httpkey.ErrNotFound):
			write(w, r, http.StatusConflict, detail{"This key is no longer valid."})
		case err != nil:
			guard.Unavailable(w, r, err)
		default:
			write(w, r, http.StatusCreated, rotation{created.Secret.Reveal(), t.ID, holderOf(&created.Token)})
		}
	}, http.MethodPost)
}

// readGrace reads {"grace": seconds}.
func readGrace(body io.Reader) (time.Duration, error) {
	text, err := io.ReadAll(body)
	if err != nil {
		return 0, err
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	var request struct {
		Grace *int64 `json:"grace"`
	}
	if err := decoder.Decode(&request); err != nil {
		return 0, err
	}
	if !json.Valid(text) { // the decoder does not look behind the object
		return 0, errors.New("there is more than one value")
	}
	if request.Grace == nil || *request.Grace < 0 || *request.Grace > int64(maxGrace/time.Second) {
		return 0, errors.New("the grace is missing or out of range")
	}
	return time.Duration(*request.Grace) * time.Second, nil
}

// rotation is the answer to a rotation.
type rotation struct {
	Secret      string `json:"token"`
	RotatedFrom string `json:"rotated_from"`
	holder
}
