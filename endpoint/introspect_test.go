package endpoint_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/endpoint"
	"github.com/httpkey/httpkey/httpkeytest"
	"github.com/httpkey/httpkey/memstore"
)

func TestIntrospectIsExact(t *testing.T) {
	t.Parallel()
	for state, want := range map[string]string{
		"good": `{"active":true,"scope":"read write","username":"ada","sub":"ada","exp":946771200,"iat":946684800,` +
			`"jti":%q,"kind":"api_key","workspace":"lab"}`,
		"service":   `{"active":true,"iat":946684800,"jti":%q,"kind":"service_token"}`,
		"exhausted": `{"active":true,"iat":946684800,"jti":%q,"kind":"api_key"}`,
	} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, nil)
			got := ask(endpoint.Introspect(w.guard), w.keys[state])
			want := fmt.Sprintf(want, w.tokens[state].ID)
			h := got.Header()
			if got.Code != http.StatusOK || got.Body.String() != want || h.Get("Content-Type") != "application/json" {
				t.Errorf("state %s: %s\nwant %s", state, dump(t, got), want)
			}
			if h.Get("X-Ratelimit-Limit") != "" {
				t.Errorf("the asking service gets the limits of the key: %v", h)
			}
		})
	}
}

// A key is told active no longer than it is.
func TestIntrospectRoundsTheExpiryDown(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		guard, _ := httpkeytest.New(t, nil)
		created := httpkeytest.Issue(t, guard, httpkey.Token{ExpiredAt: time.Now().Add(1999 * time.Millisecond)})
		want := fmt.Sprintf(`"exp":%d,`, time.Now().Unix()+1)
		if got := ask(endpoint.Introspect(guard), created.Secret.Reveal()).Body.String(); !strings.Contains(got, want) {
			t.Errorf("%s, want %s", got, want)
		}
		httpkeytest.Elapse(1999 * time.Millisecond)
		if got := ask(endpoint.Introspect(guard), created.Secret.Reveal()).Body.String(); got != `{"active":false}` {
			t.Errorf("at its expiry: %s", got)
		}
	})
}

// A token of an own table may have little more than an ID.
func TestIntrospectOfABareToken(t *testing.T) {
	t.Parallel()
	_, key := httpkeytest.New(t, nil)
	guard := httpkey.New(httpkey.LookupOnly{ByDigest: func(_ context.Context, d httpkey.Digest) (httpkey.Token, error) {
		return httpkey.Token{ID: "1", Digest: d, IsActive: true}, nil
	}}, httpkey.Unlimited, nil)
	if got := ask(endpoint.Introspect(guard), key).Body.String(); got != `{"active":true,"jti":"1"}` {
		t.Errorf("%s", got)
	}
}

func TestIntrospectReadsTheForm(t *testing.T) {
	t.Parallel()
	guard, key := httpkeytest.New(t, nil)
	introspect := endpoint.Introspect(guard)
	const form, plain = "application/x-www-form-urlencoded", "text/plain"
	for name, tt := range map[string]struct {
		contentType, query, body string
		status                   int
	}{
		"a token":                {form, "", "token=" + key, 200},
		"escaped":                {form + "; charset=utf-8", "", "token=" + strings.ReplaceAll(key, "_", "%5F"), 200},
		"with other parameters":  {form, "", "a=1&token_type_hint=access_token&token=" + key + "&client_id=x", 200},
		"with a hint of nothing": {form, "", "token_type_hint=&token=" + key, 200},
		"with a query":           {form, "?token=other&token=another", "token=" + key, 200},
		"with a broken query":    {form, "?a=%zz", "token=" + key, 200},
		"nothing":                {form, "", "", 400},
		"no token":               {form, "", "token_type_hint=access_token", 400},
		"an empty token":         {form, "", "token=", 400},
		"two tokens":             {form, "", "token=" + key + "&token=" + key, 400},
		"in the query alone":     {form, "?token=" + key, "", 400},
		"no form":                {plain, "", "token=" + key, 400},
		"JSON":                   {"application/json", "", `{"token":"` + key + `"}`, 400},
		"no Content-Type":        {"", "", "token=" + key, 400},
		"a broken escape":        {form, "", "token=" + key + "&a=%zz", 400},
		"large":                  {form, "", "token=" + key + "&a=" + strings.Repeat("x", 4<<10), 400},
		"a large token":          {form, "", "token=" + strings.Repeat("x", 64<<10), 400},
	} {
		r := httptest.NewRequest(http.MethodPost, "/"+tt.query, strings.NewReader(tt.body))
		if tt.contentType != "" {
			r.Header.Set("Content-Type", tt.contentType)
		}
		w := httptest.NewRecorder()
		introspect.ServeHTTP(w, r)
		want := `{"active":true,`
		if tt.status == http.StatusBadRequest {
			want = `{"error":"invalid_request","error_description":"The form must have the parameter token, once."}`
		}
		if w.Code != tt.status || !strings.HasPrefix(w.Body.String(), want) || w.Header().Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %s", name, dump(t, w))
		}
	}
}

// The longest form with one key is within the bound of the body.
func TestIntrospectOfALongKey(t *testing.T) {
	t.Parallel()
	guard, _ := httpkeytest.New(t, &httpkey.Options{ImportedMinLength: 16})
	key := httpkey.Secret(strings.Repeat("%", 255))
	if _, err := guard.Import(t.Context(), key, httpkey.Token{IsActive: true}); err != nil {
		t.Fatal(err)
	}
	got := post(endpoint.Introspect(guard), url.Values{"token": {key.Reveal()}}.Encode())
	if !strings.HasPrefix(got.Body.String(), `{"active":true,`) {
		t.Errorf("%d %s", got.Code, got.Body)
	}
}

// An outage makes no key inactive, so that no other service refuses a good key for long.
func TestIntrospectInAnOutage(t *testing.T) {
	t.Parallel()
	for name, method := range map[string]string{"store": "Lookup", "limiter": "Allow"} {
		synctest.Test(t, func(t *testing.T) {
			store, limiter := httpkeytest.NewStore(memstore.New()), httpkeytest.NewLimiter(memstore.NewLimiter())
			guard := httpkey.New(store, limiter, &httpkey.Options{Fallback: httpkey.FailClosed})
			key := httpkeytest.Issue(t, guard, httpkey.Token{}).Secret.Reveal()
			introspect := endpoint.Introspect(guard)
			for how, fault := range map[string]httpkeytest.Fault{
				"fails": httpkeytest.Fail(errDown, method), "stalls": httpkeytest.Stall(method),
			} {
				store.Before(fault)
				limiter.Before(fault)
				got := ask(introspect, key)
				if got.Code != http.StatusServiceUnavailable || got.Header().Get("Retry-After") != "1" ||
					got.Body.String() != `{"detail":"Authentication is temporarily unavailable."}` ||
					got.Header().Get("Cache-Control") != "no-store" {
					t.Errorf("the %s %s: %s", name, how, dump(t, got))
				}
			}
			if err := guard.Close(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

// A service asks with a key of its own. Both keys keep apart.
func TestIntrospectBehindTheGuard(t *testing.T) {
	t.Parallel()
	guard, key := httpkeytest.New(t, nil)
	service := httpkeytest.Issue(t, guard, httpkey.Token{Scopes: []string{"introspect"}}).Secret.Reveal()
	handler := guard.Handler(httpkey.RequireScope("introspect")(endpoint.Introspect(guard)))
	for asking, status := range map[string]int{service: 200, key: 403, "": 401} {
		r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader("token="+key))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("X-Api-Key", asking)
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		if w.Code != status || (status == 200) != strings.Contains(w.Body.String(), `"active":true`) ||
			w.Header().Get("Cache-Control") != "no-store" {
			t.Errorf("%s", dump(t, w))
		}
	}
}
