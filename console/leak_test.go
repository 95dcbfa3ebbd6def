package console

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/memstore"
)

// A secret is in the two answers that create it, once each, and in no other answer,
// header, URL, event or log; a digest is nowhere.
func TestSecretsAreShownOnceAndNowhereElse(t *testing.T) {
	t.Parallel()
	var (
		log   bytes.Buffer
		store = memstore.New()
		guard = httpkey.New(store, httpkey.Unlimited, &httpkey.Options{
			Observers: []httpkey.Observer{httpkey.SlogObserver(slog.New(
				slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})))},
		})
	)
	handler := New(guard, &Options{
		Principal: func(*http.Request) (Principal, error) { return people["root"], nil },
		Audit: func(ctx context.Context, e Event) {
			fmt.Fprintf(&log, "%v %+v %#v\n", e, e, e)
			slog.New(slog.NewJSONHandler(&log, nil)).InfoContext(ctx, "audit", "event", e)
		},
	})
	var answers []string
	send := func(method, path, body, accept, contentType string) *httptest.ResponseRecorder {
		t.Helper()
		r := httptest.NewRequestWithContext(t.Context(), method, path, strings.NewReader(body))
		r.Header.Set("Accept", accept)
		r.Header.Set("Content-Type", contentType)
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		if w.Code >= 400 && w.Code != 409 {
			t.Fatalf("%s %s: %d %s", method, path, w.Code, w.Body)
		}
		fmt.Fprintln(&log, method, path, w.Header()) // as an access log might
		answers = append(answers, w.Body.String())
		return w
	}
	page := func(method, path, body string) string {
		return send(method, path, body, browserAccept, formType).Body.String()
	}
	api := func(method, path, body string) httpkey.Created {
		t.Helper()
		w := send(method, path, body, "application/json", "application/json")
		var created httpkey.Created
		if w.Code == http.StatusCreated {
			decode(t, w, &created)
		}
		return created
	}

	secrets := []string{secretOn(t, page("POST", "/", newForm()))}
	page("POST", "/", newForm()) // a reload
	path := "/" + idOf("ada", nonce) + "/"
	page("GET", path+"rotate/", "")
	secrets = append(secrets, secretOn(t, page("POST", path+"rotate/", "grace=3600")))
	page("POST", path+"rotate/", "grace=3600") // a reload
	created := api("POST", "/", `{"label":"x"}`)
	rotated := api("POST", "/"+created.Token.ID+"/rotate/", `{"grace":60}`)
	secrets = append(secrets, created.Secret.Reveal(), rotated.Secret.Reveal())
	for _, id := range []string{idOf("ada", nonce), created.Token.ID, rotated.Token.ID} {
		page("GET", "/"+id+"/", "")
		page("GET", "/"+id+"/revoke/", "")
		page("GET", "/"+id+"/delete/", "")
		api("GET", "/"+id+"/", "")
		api("PATCH", "/"+id+"/", `{"label":"y"}`)
	}
	page("GET", "/", "")
	api("GET", "/", "")
	page("POST", path+"revoke/", "name=y")
	page("GET", "/", "")
	api("DELETE", "/"+created.Token.ID+"/", "")

	all := strings.Join(answers, "\n")
	for i, secret := range secrets {
		if n := strings.Count(all, secret); n != 1 {
			t.Errorf("secret %d is in the answers %d times", i, n)
		}
		if n := strings.Count(all, secret[5:32]); n != 1 {
			t.Errorf("a part of secret %d is in the answers %d times", i, n)
		}
		if strings.Contains(log.String(), secret[5:32]) {
			t.Errorf("secret %d is in the log", i)
		}
	}
	tokens, err := store.List(t.Context(), httpkey.Filter{})
	if err != nil || len(tokens) != 3 || !strings.Contains(log.String(), "rotate") {
		t.Fatalf("%d tokens, %v, log %s", len(tokens), err, log.String())
	}
	for _, token := range tokens {
		digest := [32]byte(token.Digest)
		for _, trace := range []string{
			hex.EncodeToString(digest[:]), base64.StdEncoding.EncodeToString(digest[:]), fmt.Sprint(digest),
		} {
			if strings.Contains(all, trace) || strings.Contains(log.String(), trace) {
				t.Errorf("the digest of %s is shown", token.ID)
			}
		}
	}
}
