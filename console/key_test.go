package console

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/memstore"
)

// showsNothing fails the test if an answer, its headers or the audit have a key.
func (s *site) showsNothing(of string, w *httptest.ResponseRecorder) {
	s.Helper()
	for name, values := range w.Header() {
		if strings.Contains(strings.Join(values, ","), of) {
			s.Errorf("the header %s has the key", name)
		}
	}
	if strings.Contains(w.Body.String(), of) {
		s.Errorf("the answer has the key: %s", w.Body)
	}
	for _, e := range s.told() {
		if text := strings.Join([]string{e.Refusal, e.Token.ID, errorText(e.Err)}, " "); strings.Contains(text, of) {
			s.Errorf("the audit has the key: %s", text)
		}
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// A key finds its token whatever its state, for those who manage the token and for nobody else.
func TestWhoseKeyIsThis(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		who, login string
		token      httpkey.Token
		end        func(*site, string)
		found      bool
	}{
		{"one's own", "ada", httpkey.Token{User: "ada"}, nil, true},
		{"a revoked one", "ada", httpkey.Token{User: "ada"}, func(s *site, id string) {
			if err := s.guard.Revoke(s.Context(), id, ""); err != nil {
				s.Fatal(err)
			}
		}, true},
		{"an expired one", "ada", httpkey.Token{User: "ada"}, func(s *site, id string) {
			expire := func(t *httpkey.Token) error { t.ExpiredAt = time.Now().Add(-time.Hour); return nil }
			if _, err := s.store.Update(s.Context(), id, expire); err != nil {
				s.Fatal(err)
			}
		}, true},
		{"one of one's workspace", "manager", httpkey.Token{User: "ada", Workspace: "acme"}, nil, true},
		{"anybody's, as Admin", "boss", httpkey.Token{User: "ada"}, nil, true},
		{"another user's", "eve", httpkey.Token{User: "ada"}, nil, false},
		{"one of another workspace", "rival", httpkey.Token{User: "ada", Workspace: "acme"}, nil, false},
	} {
		t.Run(tt.who, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, Options{})
			tt.token.ID, tt.token.Label = "id", "treasure"
			key, _ := s.issue(tt.token)
			if tt.end != nil {
				tt.end(s, "id")
			}
			nobodys, _ := newSite(t, Options{}).issue(tt.token)
			before := s.get("id")

			answer := s.api(tt.login, "POST", "/find", `{"key":" `+key+` "}`)
			page := s.submit(tt.login, "/find?from=search%3Dx", url.Values{"key": {key}}.Encode())
			missing := s.want(404, s.api(tt.login, "POST", "/find", `{"key":"`+nobodys+`"}`))
			s.showsNothing(key, answer)
			s.showsNothing(key, page)
			s.showsNothing(nobodys, missing)
			if after := s.get("id"); !after.LastUsed.Equal(before.LastUsed) {
				t.Error("it counts as a use")
			}
			if tt.found {
				var found httpkey.Token
				decode(t, s.want(200, answer), &found)
				if to := s.want(303, page).Header().Get("Location"); found.ID != "id" || to != "./id/?from=search%3Dx" {
					t.Errorf("found %s, and %s", found.ID, to)
				}
				return
			}
			s.want(404, page)
			if answer.Code != 404 || answer.Body.String() != missing.Body.String() ||
				strings.Contains(page.Body.String(), "treasure") {
				t.Errorf("a key of others is answered %d %s, and a made-up one %s", answer.Code, answer.Body, missing.Body)
			}
			if told := s.told(); len(told) != 2 || told[0].Refusal != "not_found" || told[0].Token.ID != "id" {
				t.Errorf("told %+v", told)
			}
			if !strings.Contains(page.Body.String(), "No token of yours has this key.") {
				t.Errorf("the page: %s", page.Body)
			}
		})
	}
}

func TestFormForAKey(t *testing.T) {
	t.Parallel()
	s := newSite(t, Options{ReadLimit: httpkey.PerHour(4)})
	body := s.want(200, s.page("ada", "/find")).Body.String()
	for _, part := range []string{
		`action="./find"`, `method="post"`, `name="key" required autocomplete="off"`, `spellcheck="false"`,
	} {
		if !strings.Contains(body, part) {
			t.Errorf("the form has no %s: %s", part, body)
		}
	}
	s.want(400, s.submit("ada", "/find", "key=+"))
	s.want(400, s.api("ada", "POST", "/find", `{}`))
	s.want(404, s.api("ada", "POST", "/find", `{"key":"x"}`))
	s.want(429, s.submit("ada", "/find", "key=x")) // it is a read, though a POST
}

// A search refuses a whole key and writes it nowhere. What pages show of a key is no secret.
func TestWholeKeysAreNoSearch(t *testing.T) {
	t.Parallel()
	s := newSite(t, Options{})
	key, token := s.issue(httpkey.Token{ID: "id", Label: "x", User: "ada"})
	foreign, _ := newSite(t, Options{}).issue(httpkey.Token{Label: "x", User: "ada"})
	for _, search := range []string{
		key, foreign, " " + key, "X-Api-Key: " + key, key[:30], "other_s_0123456789abcdefghij",
	} {
		parameters := url.Values{"search": {search}}.Encode()
		answer, page := s.api("ada", "GET", "/?"+parameters, ""), s.page("ada", "/?"+parameters)
		for _, w := range []*httptest.ResponseRecorder{answer, page} {
			s.showsNothing(strings.TrimSpace(search), w)
			if w.Code != 400 || w.Header().Get("Referrer-Policy") != "strict-origin" {
				t.Errorf("%q: %d %v", search, w.Code, w.Header())
			}
		}
		if !strings.Contains(answer.Body.String(), `"code":"whole_key"`) ||
			!strings.Contains(page.Body.String(), "looks like a whole key") ||
			!strings.Contains(page.Body.String(), `name="key"`) {
			t.Errorf("%q: %s %s", search, answer.Body, page.Body)
		}
		from := s.page("ada", "/id/?"+url.Values{"from": {parameters}}.Encode())
		s.want(200, from)
		s.showsNothing(strings.TrimSpace(search), from)
	}
	for _, parameter := range []string{"user", "workspace"} {
		s.want(400, s.page("ada", "/?"+url.Values{parameter: {key}}.Encode()))
	}
	for _, search := range []string{"hk_k_…" + token.Hint, "hk_k_", token.Hint, "my_k_short", "id"} {
		s.want(200, s.page("ada", "/?"+url.Values{"search": {search}}.Encode()))
	}
}

// A key of another shape is known by asking whose it is.
func TestImportedKeysAreNoSearch(t *testing.T) {
	t.Parallel()
	store := memstore.New()
	guard := httpkey.New(store, httpkey.Unlimited, &httpkey.Options{ImportedMinLength: 20})
	s := newSiteOn(t, store, Options{})
	s.guard = guard
	s.handler = New(guard, &Options{Principal: func(*http.Request) (Principal, error) { return people["ada"], nil }})
	const key = "plane-api-0123456789abcdef"
	imported := httpkey.Token{Label: "x", User: "eve", Kind: httpkey.APIKey, IsActive: true}
	if _, err := guard.Import(t.Context(), key, imported); err != nil {
		t.Fatal(err)
	}
	w := s.page("ada", "/?search="+key)
	s.showsNothing(key, w)
	s.want(400, w)
	s.want(200, s.page("ada", "/?search="+strings.ReplaceAll(key, "f", "e")))
}
