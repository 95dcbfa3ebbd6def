package endpoint_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/endpoint"
	"github.com/httpkey/httpkey/httpkeytest"
	"github.com/httpkey/httpkey/internal/contract"
	"github.com/httpkey/httpkey/memstore"
)

func TestRotateSelf(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		key := w.keys["good"]
		got := rotate(w.guard, `{"grace":3600}`, "header", key)
		var created httpkey.Created
		if err := json.Unmarshal(got.Body.Bytes(), &created); err != nil || got.Code != http.StatusCreated {
			t.Fatalf("%s %v", dump(t, got), err)
		}
		var properties map[string]any
		if err := json.Unmarshal(got.Body.Bytes(), &properties); err != nil {
			t.Fatal(err)
		}
		old := w.tokens["good"]
		want := map[string]any{
			"token": created.Secret.Reveal(), "id": created.Token.ID, "rotated_from": old.ID, "hint": created.Token.Hint,
			"kind": "api_key", "label": "laptop", "user": "ada", "workspace": "lab", "scopes": []any{"read", "write"},
			"expired_at": old.ExpiredAt.Format(time.RFC3339Nano),
		}
		if fmt.Sprint(properties) != fmt.Sprint(want) {
			t.Errorf("the answer has\n%v, want\n%v", properties, want)
		}
		if h := got.Header(); h.Get("Cache-Control") != "no-store" || h.Get("Content-Type") != "application/json" ||
			h.Get("X-RateLimit-Remaining") != "59" {
			t.Errorf("%v", h)
		}
		use := func(key string) int { return httpkeytest.Get(w.guard.Handler(http.NotFoundHandler()), key).Code }
		successor := created.Secret.Reveal()
		if use(key) != 404 || use(successor) != 404 {
			t.Error("in the grace, both keys must be valid")
		}
		httpkeytest.Elapse(time.Hour)
		if use(key) != 401 || use(successor) != 404 {
			t.Error("after the grace, only the new key must be valid")
		}
		if got := rotate(w.guard, `{"grace":0}`, "header", successor); got.Code != http.StatusCreated {
			t.Errorf("the new key cannot rotate itself: %s", dump(t, got))
		}
		if use(successor) != 401 {
			t.Error("after a grace of 0, the old key is valid")
		}
	})
}

func TestRotateSelfReadsTheBody(t *testing.T) {
	t.Parallel()
	const plain, form = "text/plain", "application/x-www-form-urlencoded"
	for name, tt := range map[string]struct {
		contentType, body string
		status            int
	}{
		"the least":              {"application/json", `{"grace":0}`, 201},
		"the most":               {"application/json", ` {"grace": 604800}` + "\n", 201},
		"a charset":              {"application/json; charset=utf-8", `{"grace":60}`, 201},
		"in other case":          {"Application/JSON", `{"grace":60}`, 201},
		"nothing":                {"application/json", "", 400},
		"null":                   {"application/json", "null", 400},
		"no grace":               {"application/json", "{}", 400},
		"a grace of null":        {"application/json", `{"grace":null}`, 400},
		"a negative grace":       {"application/json", `{"grace":-1}`, 400},
		"more than the most":     {"application/json", `{"grace":604801}`, 400},
		"more than an int64":     {"application/json", `{"grace":9223372036854775808}`, 400},
		"that overflows":         {"application/json", `{"grace":9223372036854775807}`, 400},
		"a fraction":             {"application/json", `{"grace":1.5}`, 400},
		"text":                   {"application/json", `{"grace":"60"}`, 400},
		"another property":       {"application/json", `{"grace":60,"scopes":["admin"]}`, 400},
		"two objects":            {"application/json", `{"grace":60}{"grace":60}`, 400},
		"something behind":       {"application/json", `{"grace":60} x`, 400},
		"a list":                 {"application/json", `[{"grace":60}]`, 400},
		"too much":               {"application/json", `{"grace":60` + strings.Repeat(" ", 4<<10) + `}`, 400},
		"a form":                 {form, `grace=60`, 415},
		"JSON as a form":         {form, `{"grace":60}`, 415},
		"JSON as text":           {plain, `{"grace":60}`, 415},
		"no Content-Type":        {"", `{"grace":60}`, 415},
		"a broken Content-Type":  {"application/json;;=", `{"grace":60}`, 415},
		"another JSON":           {"application/merge-patch+json", `{"grace":60}`, 415},
		"two types as one":       {"text/plain, application/json", `{"grace":60}`, 415},
		"the type as a property": {"text/plain; a=application/json", `{"grace":60}`, 415},
	} {
		store := httpkeytest.NewStore(memstore.New())
		guard := httpkey.New(store, memstore.NewLimiter(), nil)
		created := httpkeytest.Issue(t, guard, httpkey.Token{})
		r := httpkeytest.Request(http.MethodPost, "/", created.Secret.Reveal())
		r.Body = http.NoBody
		if tt.body != "" {
			r.Body = httptest.NewRequest(http.MethodPost, "/", strings.NewReader(tt.body)).Body
		}
		r.Header.Del("Content-Type")
		if tt.contentType != "" {
			r.Header.Set("Content-Type", tt.contentType)
		}
		w := httptest.NewRecorder()
		guard.Handler(endpoint.RotateSelf(guard)).ServeHTTP(w, r)
		if w.Code != tt.status || w.Header().Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %s", name, dump(t, w))
		}
		if hasRotated := store.Calls("Update") > 0; hasRotated != (tt.status == 201) {
			t.Errorf("%s: the key was rotated: %v", name, hasRotated)
		}
		if err := guard.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

// A client that lost the answer goes on with its old key, and its owner gets it a new one.
func TestALostAnswerOfRotateSelf(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		key, id := w.keys["service"], w.tokens["service"].ID
		_ = rotate(w.guard, `{"grace":3600}`, "header", key)
		old, err := w.store.Get(t.Context(), id)
		if err != nil || old.RotatedTo == "" {
			t.Fatalf("%+v %v", old, err)
		}
		again := rotate(w.guard, `{"grace":0}`, "header", key)
		if again.Code != http.StatusConflict || again.Body.String() != `{"detail":"This key was rotated already."}` ||
			again.Header().Get("Cache-Control") != "no-store" {
			t.Errorf("%s", dump(t, again))
		}
		use := func(key string) int { return httpkeytest.Get(w.guard.Handler(http.NotFoundHandler()), key).Code }
		if use(key) != 404 {
			t.Error("the second attempt has ended the old key")
		}
		if err := w.store.Delete(t.Context(), old.RotatedTo); err != nil {
			t.Fatal(err)
		}
		if got := rotate(w.guard, `{"grace":0}`, "header", key); got.Code != http.StatusConflict {
			t.Errorf("after its successor was deleted, the key has rotated itself: %s", dump(t, got))
		}
		httpkeytest.Elapse(2 * time.Hour)
		created, err := w.guard.Rotate(t.Context(), id, 0)
		if err != nil || use(created.Secret.Reveal()) != 404 {
			t.Errorf("the owner gets no new key: %v", err)
		}
	})
}

// Of many programs with one key, one gets a new key.
func TestAKeyRotatesItselfOnce(t *testing.T) {
	t.Parallel()
	for range 50 {
		guard, key := httpkeytest.New(t, nil)
		answers := make([]*httptest.ResponseRecorder, 8)
		var all sync.WaitGroup
		for i := range answers {
			all.Go(func() { answers[i] = rotate(guard, `{"grace":60}`, "header", key) })
		}
		all.Wait()
		statuses := map[int]int{}
		for _, answer := range answers {
			statuses[answer.Code]++
		}
		tokens, err := guard.Store().List(t.Context(), httpkey.Filter{})
		if statuses[201] != 1 || statuses[409] != 7 || len(tokens) != 2 || err != nil {
			t.Fatalf("%v, %d tokens (%v)", statuses, len(tokens), err)
		}
	}
}

// Only the key of a request rotates: a session has none, even if its token has the ID of another.
func TestRotateSelfNeedsAKey(t *testing.T) {
	t.Parallel()
	var last httpkey.Error
	guard, _ := httpkeytest.New(t, &httpkey.Options{
		Anonymous: func(*http.Request, *httpkey.Charge) bool { return true },
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, e httpkey.Error) {
			last = e
			httpkey.WriteError(w, r, e)
		},
	})
	other := httpkeytest.Issue(t, guard, httpkey.Token{User: "ada"}).Token
	for name, token := range map[string]httpkey.Token{
		"nobody":               {},
		"a user":               {User: "ada"},
		"a user of a kind":     {User: "ada", Kind: httpkey.APIKey},
		"the ID of a token":    {ID: other.ID, Kind: httpkey.APIKey},
		"the ID of no token":   {ID: "session"},
		"behind the Guard":     {User: "behind"},
		"with no Guard at all": {User: "without"},
	} {
		r := httpkeytest.Request(http.MethodPost, "/", "")
		r.Header.Set("Content-Type", "application/json")
		handler := endpoint.RotateSelf(guard)
		last = httpkey.Error{}
		switch token.User {
		case "without":
		case "behind":
			handler = guard.Handler(handler)
		default:
			r = r.WithContext(guard.NewContext(r.Context(), token))
		}
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		if w.Code != http.StatusUnauthorized || last.Reason() != httpkey.ReasonMissing {
			t.Errorf("%s: %s", name, dump(t, w))
		}
	}
	if token, err := guard.Store().Get(t.Context(), other.ID); err != nil || token.RotatedTo != "" {
		t.Errorf("the token of another was rotated: %+v (%v)", token, err)
	}
}

// A rotation that fails is told to the Observer, and not to the client.
func TestRotateSelfFails(t *testing.T) {
	t.Parallel()
	const ended, rotated = `{"detail":"This key is no longer valid."}`, `{"detail":"This key was rotated already."}`
	for name, tt := range map[string]struct {
		fault  httpkeytest.Fault
		status int
		body   string
	}{
		"the store fails":         {httpkeytest.Fail(errDown, "Create"), 503, contract.Unavailable},
		"the store stalls":        {httpkeytest.Stall("Get"), 503, contract.Unavailable},
		"the store only looks up": {httpkeytest.Fail(errors.ErrUnsupported, "Get"), 503, contract.Unavailable},
		"the token was deleted":   {httpkeytest.Fail(httpkey.ErrNotFound, "Get"), 409, ended},
		"the token was revoked":   {httpkeytest.Fail(httpkey.ErrInactive, "Update"), 409, ended},
		"another rotation came":   {httpkeytest.Fail(httpkey.ErrConflict, "Update"), 409, rotated},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				store := httpkeytest.NewStore(memstore.New())
				var causes []error
				told := observer(func(e *httpkey.Event) {
					if e.Type == httpkey.EventRefused {
						causes = append(causes, e.Err)
					}
				})
				guard := httpkey.New(store, memstore.NewLimiter(), &httpkey.Options{Observers: []httpkey.Observer{told}})
				key := httpkeytest.Issue(t, guard, httpkey.Token{}).Secret.Reveal()
				store.Before(tt.fault)
				start := time.Now()
				got := rotate(guard, `{"grace":60}`, "header", key)
				if got.Code != tt.status || got.Body.String() != tt.body || got.Header().Get("Cache-Control") != "no-store" ||
					(got.Header().Get("Retry-After") != "") != (tt.status == 503) {
					t.Errorf("%s", dump(t, got))
				}
				if isTold := len(causes) == 1 && causes[0] != nil; isTold != (tt.status == 503) {
					t.Errorf("the Observer was told %v", causes)
				}
				if took := time.Since(start); took > 6*time.Second {
					t.Errorf("it took %v", took)
				}
				store.Before(nil)
				if err := guard.Close(t.Context()); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

type observer func(*httpkey.Event)

func (f observer) Observe(_ context.Context, e *httpkey.Event) { f(e) }
