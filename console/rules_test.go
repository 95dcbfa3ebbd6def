package console

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/httpkeytest"
	"github.com/httpkey/httpkey/memstore"
)

func init() {
	people["boss"] = Principal{User: "boss", Admin: true, Scopes: []string{"read", "write"}}
	people["grace"] = Principal{User: "grace", Workspaces: []string{"acme"}, ServiceTokens: true, Scopes: []string{"read"}}
}

// A later expiry is a grant: it needs the rights of creating the token. Whoever manages a token may
// shorten its life.
func TestLaterExpiryIsAGrant(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		who, login string
		token      httpkey.Token
		prolongs   bool
	}{
		{"one's own", "ada", httpkey.Token{User: "ada"}, true},
		{"one's own, with scopes that one has", "ada", httpkey.Token{User: "ada", Scopes: []string{"read"}}, true},
		{"one's own, with a scope that one lacks", "ada", httpkey.Token{User: "ada", Scopes: []string{"admin"}}, false},
		{"one's own, in a workspace of others", "ada", httpkey.Token{User: "ada", Workspace: "acme"}, false},
		{"one's own, in one's workspace", "root", httpkey.Token{User: "ada", Workspace: "acme"}, true},
		{"a colleague's, in one's workspace", "manager", httpkey.Token{User: "ada", Workspace: "acme"}, false},
		{"a workspace's", "manager", httpkey.Token{Workspace: "acme", Kind: httpkey.ServiceToken}, true},
		{"a workspace's, with a scope that one lacks", "grace",
			httpkey.Token{Workspace: "acme", Kind: httpkey.ServiceToken, Scopes: []string{"write"}}, false},
		{"an old service token of oneself", "root",
			httpkey.Token{User: "ada", Workspace: "acme", Kind: httpkey.ServiceToken}, true},
		{"an old service token of a colleague", "manager",
			httpkey.Token{User: "ada", Workspace: "acme", Kind: httpkey.ServiceToken}, false},
		{"another person's, as Admin", "boss", httpkey.Token{User: "ada"}, false},
		{"a workspace's, as Admin", "boss", httpkey.Token{Workspace: "acme", Kind: httpkey.ServiceToken}, false},
	} {
		for _, page := range []bool{true, false} {
			t.Run(fmt.Sprint(tt.who, " page ", page), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					s := newSite(t, Options{})
					token := tt.token // two tests at once have the same
					token.ID, token.Label, token.ExpiredAt = "id", "x", time.Now().Add(30*day)
					s.issue(token)
					setExpiry := func(at time.Time) *httptest.ResponseRecorder {
						if !page {
							return s.api(tt.login, "PATCH", "/id/", `{"expired_at":"`+at.Format(time.RFC3339)+`"}`)
						}
						return s.submit(tt.login, "/id/", "label=x&expiry="+fmt.Sprint(int(time.Until(at)/day)))
					}
					w := setExpiry(time.Now().Add(90 * day))
					got := time.Until(s.get("id").ExpiredAt)
					switch {
					case tt.prolongs && (w.Code >= 400 || got != 90*day):
						t.Errorf("longer: %d, it ends in %v: %s", w.Code, got, w.Body)
					case !tt.prolongs && (w.Code != http.StatusForbidden || got != 30*day):
						t.Errorf("longer: %d, it ends in %v: %s", w.Code, got, w.Body)
					case !tt.prolongs:
						s.wantRefusal(ActionUpdate, "forbidden")
					}
					if w := setExpiry(time.Now().Add(7 * day)); w.Code >= 400 || time.Until(s.get("id").ExpiredAt) != 7*day {
						t.Errorf("shorter: %d %s", w.Code, w.Body)
					}
					if w := s.api(tt.login, "PATCH", "/id/", `{"expired_at":null}`); (w.Code == 200) != tt.prolongs {
						t.Errorf("never: %d %s", w.Code, w.Body)
					}
				})
			})
		}
	}
}

// wantRefusal fails the test unless the last event is a refusal of an act.
func (s *site) wantRefusal(action Action, code string) {
	s.Helper()
	told := s.told()
	if len(told) == 0 {
		s.Errorf("the audit has no refusal")
		return
	}
	e := told[len(told)-1]
	if e.Action != action || e.Refusal != code || e.Err != nil || e.Token.Digest != (httpkey.Digest{}) {
		s.Errorf("the audit has %+v, want a refused %s: %s", e, action, code)
	}
}

// A rotation may give the successor another expiry. A later one is a grant.
func TestExpiryOfASuccessor(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name     string
		token    httpkey.Token
		policy   time.Duration
		body     string // of the JSON API, with %s for the expiry
		form     string
		in, want time.Duration // negative: never
		status   int           // of a refusal
	}{
		{name: "kept without a word", body: `{"grace":60}`, form: "grace=3600", want: 2 * time.Hour},
		{name: "kept", body: `{"grace":60}`, form: "grace=3600&expiry=keep", want: 2 * time.Hour},
		{name: "later", body: `{"grace":60,"expired_at":"%s"}`, form: "grace=3600&expiry=30", in: 30 * day, want: 30 * day},
		{name: "never", body: `{"grace":60,"expired_at":null}`, form: "grace=3600&expiry=never", want: -1},
		{name: "sooner", token: httpkey.Token{ExpiredAt: time.Unix(1, 0)}, body: `{"grace":60,"expired_at":"%s"}`,
			form: "grace=3600&expiry=7", in: 7 * day, want: 7 * day},
		{name: "later, in a workspace of others", token: httpkey.Token{Workspace: "acme"},
			body: `{"grace":60,"expired_at":"%s"}`, form: "grace=3600&expiry=30", in: 30 * day, status: 403},
		{name: "kept, in a workspace of others", token: httpkey.Token{Workspace: "acme"},
			body: `{"grace":60}`, form: "grace=3600&expiry=keep", want: 2 * time.Hour},
		{name: "beyond the policy", policy: 20 * day, body: `{"grace":60,"expired_at":"%s"}`, form: "grace=3600&expiry=30",
			in: 30 * day, status: 400},
		{name: "contradicting", body: `{"grace":60,"expired_at":"yesterday"}`,
			form: "grace=3600&expiry=never&date=2000-02-01", status: 400},
	} {
		for _, page := range []bool{true, false} {
			t.Run(fmt.Sprint(tt.name, " page ", page), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					s := newSite(t, Options{MaxLifetime: tt.policy})
					old := tt.token
					old.ID, old.Label, old.User = "id", "x", "ada"
					if old.ExpiredAt = time.Now().Add(2 * time.Hour); tt.name == "sooner" {
						old.ExpiredAt = time.Now().Add(90 * day)
					}
					s.issue(old)
					var w *httptest.ResponseRecorder
					if page {
						w = s.submit("ada", "/id/rotate/", tt.form)
					} else {
						at := time.Now().Add(tt.in).Format(time.RFC3339)
						w = s.api("ada", "POST", "/id/rotate/", strings.ReplaceAll(tt.body, "%s", at))
					}
					if tt.status != 0 {
						s.want(tt.status, w)
						if s.get("id").RotatedTo != "" {
							t.Error("the token was rotated")
						}
						return
					}
					s.want(201, w)
					successor := s.get(s.get("id").RotatedTo)
					want := time.Now().Add(tt.want)
					if tt.want < 0 {
						want = time.Time{}
					}
					if !successor.ExpiredAt.Equal(want) {
						t.Errorf("the successor ends %v, want %v", successor.ExpiredAt, want)
					}
				})
			})
		}
	}
}

// The form that rotates a key shows no grace beyond the end of the key, and does not pass on the
// last hours of it.
func TestRotateFormFitsTheKey(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		for name, tt := range map[string]struct {
			age, ends time.Duration // ends 0: never
			graces    []string
			expiry    string
		}{
			"for ever":            {0, 0, []string{"0", "3600", "86400", "604800"}, "keep"},
			"90 days, new":        {0, 90 * day, []string{"0", "3600", "86400", "604800"}, "90"},
			"90 days, 2 h left":   {90*day - 2*time.Hour, 2 * time.Hour, []string{"0", "3600"}, "90"},
			"30 days, 30 m left":  {30*day - 30*time.Minute, 30 * time.Minute, []string{"0"}, "30"},
			"an odd lifetime":     {0, 100 * day, []string{"0", "3600", "86400", "604800"}, "90"},
			"less than any offer": {0, 2 * day, []string{"0", "3600", "86400"}, "7"},
		} {
			c := newSite(t, Options{}).handler.(*console)
			token := httpkey.Token{CreatedAt: time.Now().Add(-tt.age), IsActive: true}
			if tt.ends > 0 {
				token.ExpiredAt = time.Now().Add(tt.ends)
			}
			f := c.rotateForm(token, time.Now())
			var graces []string
			for _, choice := range f.Graces {
				graces = append(graces, choice.Value)
			}
			if fmt.Sprint(graces) != fmt.Sprint(tt.graces) || f.Expiry != tt.expiry {
				t.Errorf("%s: graces %v and expiry %s, want %v and %s", name, graces, f.Expiry, tt.graces, tt.expiry)
			}
		}
	})
}

// A service token that the console makes acts for no person.
func TestServiceTokensActForNoPerson(t *testing.T) {
	t.Parallel()
	s := newSite(t, Options{})
	s.want(400, s.api("manager", "POST", "/", `{"label":"x","kind":"service_token"}`)) // no workspace to own it
	s.want(403, s.api("manager", "POST", "/", `{"label":"x","kind":"service_token","workspace":"lab"}`))
	s.want(403, s.api("boss", "POST", "/", `{"label":"x","kind":"service_token","workspace":"acme"}`))
	created := s.want(201, s.api("manager", "POST", "/", `{"label":"x","kind":"service_token","workspace":"acme"}`))
	var answer httpkey.Created
	decode(t, created, &answer)
	if got := s.get(answer.Token.ID); got.User != "" || got.CreatedBy != "mary" || got.Workspace != "acme" {
		t.Errorf("created %+v", got)
	}
	// Each administrator of the workspace may rotate it. That gives nobody a key of another person.
	s.want(201, s.api("grace", "POST", "/"+answer.Token.ID+"/rotate/", `{"grace":60}`))
	s.want(404, s.api("rival", "POST", "/"+answer.Token.ID+"/rotate/", `{"grace":60}`))
	s.want(403, s.api("boss", "POST", "/"+answer.Token.ID+"/rotate/", `{"grace":60}`))
	s.wantRefusal(ActionRotate, "forbidden")
}

// A rotated token stays rotated, also when its successor is gone.
func TestRotatedTokensAreNotProlonged(t *testing.T) {
	t.Parallel()
	s := newSite(t, Options{})
	s.issue(httpkey.Token{ID: "id", Label: "x", User: "ada", ExpiredAt: time.Now().Add(30 * day)})
	s.want(201, s.api("ada", "POST", "/id/rotate/", `{"grace":3600}`))
	end := s.get("id").ExpiredAt
	s.want(204, s.api("ada", "DELETE", "/"+s.get("id").RotatedTo+"/", ""))
	for _, at := range []string{`null`, `"` + time.Now().Add(2*time.Hour).Format(time.RFC3339) + `"`} {
		s.want(409, s.api("ada", "PATCH", "/id/", `{"expired_at":`+at+`}`))
	}
	s.want(409, s.submit("ada", "/id/", "label=x&expiry=30"))
	if got := s.get("id").ExpiredAt; !got.Equal(end) {
		t.Errorf("it ends %v, want %v", got, end)
	}
	s.want(200, s.api("ada", "PATCH", "/id/", `{"expired_at":"`+time.Now().Add(time.Minute).Format(time.RFC3339)+`"}`))
}

// An owner has at most MaxTokens that work.
func TestMaxTokens(t *testing.T) {
	t.Parallel()
	s := newSite(t, Options{MaxTokens: 3})
	add := func(login, body string) *httptest.ResponseRecorder { return s.api(login, "POST", "/", body) }
	s.issue(httpkey.Token{ID: "a", Label: "x", User: "mary", ExpiredAt: time.Now().Add(time.Hour)})
	s.issue(httpkey.Token{Label: "of a colleague", User: "ada", Workspace: "acme"})
	s.want(201, add("manager", `{"label":"x"}`))
	s.want(201, add("manager", `{"label":"x","workspace":"acme"}`))
	s.want(409, add("manager", `{"label":"x"}`))
	w := s.want(409, s.submit("manager", "/", newForm("label", "typed with care")))
	for _, text := range []string{"may work at once: 3. Revoke those that nothing uses", `value="typed with care"`} {
		if !strings.Contains(w.Body.String(), text) {
			t.Errorf("the page does not show %q: %s", text, w.Body)
		}
	}
	// Those of a workspace count apart. An old service token with a user is that user's.
	s.issue(httpkey.Token{Label: "old", User: "ada", Workspace: "acme", Kind: httpkey.ServiceToken})
	const service = `{"label":"x","kind":"service_token","workspace":"acme"}`
	for range 3 {
		s.want(201, add("manager", service))
	}
	s.want(409, add("manager", service))
	s.want(409, add("grace", service))
	// Ended ones do not count.
	s.want(200, s.api("manager", "PATCH", "/a/", `{"is_active":false}`))
	s.want(201, add("manager", `{"label":"x"}`))
	s.want(409, add("manager", `{"label":"x"}`))
	s.want(201, add("ada", `{"label":"x"}`))
}

// A form that is sent again tells that its token exists, and not that there is no room.
func TestNoRoomForATokenThatExists(t *testing.T) {
	t.Parallel()
	s := newSite(t, Options{MaxTokens: 1})
	s.want(201, s.submit("ada", "/", newForm()))
	w := s.want(409, s.submit("ada", "/", newForm()))
	if !strings.Contains(w.Body.String(), "exists already") {
		t.Errorf("answered %s", w.Body)
	}
}

// A leaked key ends whatever its owner did before.
func TestNoLimitStopsARevocation(t *testing.T) {
	t.Parallel()
	for name, revoke := range map[string]func(*site) *httptest.ResponseRecorder{
		"the page": func(s *site) *httptest.ResponseRecorder { return s.submit("ada", "/id/revoke/", "reason=leaked") },
		"JSON":     func(s *site) *httptest.ResponseRecorder { return s.api("ada", "PATCH", "/id/", `{"is_active":false}`) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, Options{Limit: httpkey.PerHour(1), ReadLimit: httpkey.PerHour(1)})
			s.issue(httpkey.Token{ID: "id", Label: "x", User: "ada"})
			s.want(201, s.api("ada", "POST", "/", `{"label":"x"}`))
			s.want(429, s.api("ada", "POST", "/", `{"label":"x"}`))
			s.wantRefusal(ActionCreate, "throttled")
			s.want(200, s.api("ada", "GET", "/", ""))
			s.want(429, s.page("ada", "/"))
			s.wantRefusal(ActionRead, "throttled")
			if w := revoke(s); w.Code >= 400 || s.get("id").IsActive {
				t.Errorf("%d %s", w.Code, w.Body)
			}
			s.want(200, s.api("eve", "GET", "/", ""))
		})
	}
}

// Reads and changes take from buckets of their own, also where both limits are the same.
func TestReadsAndChangesAreLimitedApart(t *testing.T) {
	t.Parallel()
	s := newSite(t, Options{Limit: httpkey.PerHour(2), ReadLimit: httpkey.PerHour(2), Limiter: memstore.NewLimiter()})
	for range 2 {
		s.want(200, s.api("ada", "GET", "/", ""))
		s.want(201, s.api("ada", "POST", "/", `{"label":"x"}`))
	}
	s.want(429, s.api("ada", "GET", "/", ""))
	s.want(429, s.api("ada", "POST", "/", `{"label":"x"}`))
}

// The question before a revocation lists tokens, and so takes from the limit of lists. No limit stops
// the answer to it.
func TestQuestionBeforeARevocationIsARead(t *testing.T) {
	t.Parallel()
	s := newSite(t, Options{Limit: httpkey.PerHour(1), ReadLimit: httpkey.PerHour(1)})
	s.issue(httpkey.Token{ID: "id", Label: "x", User: "ada"})
	s.want(200, s.submit("ada", "/revoke", "user=ada"))
	s.want(429, s.submit("ada", "/revoke", "user=ada"))
	s.want(429, s.submit("ada", "/revoke", "id=id"))
	s.want(303, s.submit("ada", "/revoke", "id=id&confirm=yes"))
}

// The audit hears of each refusal, with the person, the act, the token and the reason.
func TestRefusalsAreAudited(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		login, method, path, body string
		headers                   []string
		action                    Action
		code, token               string
	}{
		{login: "", method: "GET", path: "/", action: ActionRead, code: "not_authenticated"},
		{login: "", method: "DELETE", path: "/id/", action: ActionDelete, code: "not_authenticated"},
		{login: "nobody", method: "POST", path: "/", body: `{"label":"x"}`, action: ActionCreate, code: "not_authenticated"},
		{login: "ada", method: "DELETE", path: "/id/", headers: []string{"Sec-Fetch-Site", "cross-site"},
			action: ActionDelete, code: "cross_site"},
		{login: "eve", method: "GET", path: "/id/", action: ActionRead, code: "not_found", token: "id"},
		{login: "eve", method: "PATCH", path: "/id/", body: `{"label":"y"}`,
			action: ActionUpdate, code: "not_found", token: "id"},
		{login: "eve", method: "DELETE", path: "/id/", action: ActionDelete, code: "not_found", token: "id"},
		{login: "eve", method: "POST", path: "/id/rotate/", body: `{"grace":0}`,
			action: ActionRotate, code: "not_found", token: "id"},
		{login: "ada", method: "POST", path: "/", body: `{"label":"x","scopes":["admin"]}`,
			action: ActionCreate, code: "forbidden"},
		{login: "ada", method: "GET", path: "/no/"},             // nothing of anybody
		{login: "ada", method: "PUT", path: "/id/"},             // a mistake
		{login: "ada", method: "POST", path: "/", body: `{"x"`}, // the same
	} {
		for _, page := range []bool{false, true} {
			if page && tt.method != "GET" {
				continue
			}
			s := newSite(t, Options{})
			s.issue(httpkey.Token{ID: "id", Label: "x", User: "ada"})
			headers := append([]string{"Content-Type", "application/json"}, tt.headers...)
			if page {
				headers = append(headers, "Accept", browserAccept)
			}
			w := s.send(tt.login, tt.method, tt.path, tt.body, headers...)
			told := s.told()
			if tt.code == "" {
				if len(told) != 0 {
					t.Errorf("%+v: told %+v", tt, told)
				}
				continue
			}
			if len(told) != 1 || w.Code < 400 {
				t.Errorf("%+v: %d, told %+v", tt, w.Code, told)
				continue
			}
			s.wantRefusal(tt.action, tt.code)
			who := people[tt.login].User
			if tt.code == "cross_site" {
				who = "" // nobody has asked for the login
			}
			if told[0].Token.ID != tt.token || told[0].Principal.User != who {
				t.Errorf("%+v: told %+v", tt, told)
			}
		}
	}
}

// A form knows the version that it was made from. Another change meanwhile is not lost.
func TestNoChangeIsLost(t *testing.T) {
	t.Parallel()
	s := newSite(t, Options{})
	s.issue(httpkey.Token{ID: "id", Label: "first", User: "ada"})
	first := hidden(t, s.page("ada", "/id/").Body.String(), "version")
	s.want(303, s.submit("ada", "/id/", "label=theirs&expiry=keep&version="+first))
	w := s.want(409, s.submit("ada", "/id/", "label=mine&description=typed+with+care&expiry=keep&version="+first))
	for _, text := range []string{"theirs", `value="mine"`, "typed with care"} {
		if !strings.Contains(w.Body.String(), text) {
			t.Errorf("the page does not show %q: %s", text, w.Body)
		}
	}
	if got := s.get("id"); got.Label != "theirs" || got.Description != "" {
		t.Errorf("the store has %+v", got)
	}
	// A person who has seen both may replace the other change.
	second := hidden(t, w.Body.String(), "version")
	s.want(303, s.submit("ada", "/id/", "label=mine&expiry=keep&version="+second))
	if got := s.get("id"); got.Label != "mine" {
		t.Errorf("the store has %+v", got)
	}
	// A use of the key is no change.
	third := hidden(t, s.page("ada", "/id/").Body.String(), "version")
	if err := s.store.Touch(t.Context(), map[string]time.Time{"id": time.Now()}); err != nil {
		t.Fatal(err)
	}
	s.want(303, s.submit("ada", "/id/", "label=again&expiry=keep&version="+third))
}

// hidden returns the value of a hidden field of a page.
func hidden(t testing.TB, body, name string) string {
	t.Helper()
	_, rest, found := strings.Cut(body, `name="`+name+`" value="`)
	value, _, closed := strings.Cut(rest, `"`)
	if !found || !closed || value == "" {
		t.Fatalf("the page has no field %s: %s", name, body)
	}
	return value
}

// A store that ignores its context delays nobody beyond the timeout.
func TestStoreThatNeverAnswers(t *testing.T) {
	t.Parallel()
	for _, q := range requests {
		asksNoStore := q.pattern == "/new" || q.pattern == "/openapi.json" || q.pattern == "/find" && q.method == "GET"
		if q.ok == http.StatusTemporaryRedirect || asksNoStore {
			continue // without a store
		}
		t.Run(q.String(), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				store := httpkeytest.NewStore(memstore.New())
				s := newSiteOn(t, store, Options{})
				s.issue(httpkey.Token{ID: "id", Label: "treasure", User: "ada"})
				answered := make(chan struct{})
				store.Before(func(context.Context, string) error {
					<-answered
					return nil
				})
				start := time.Now()
				w := q.send(s, "ada", "id")
				close(answered)
				if w.Code != http.StatusServiceUnavailable || !strings.Contains(w.Body.String(), "Try again") {
					t.Errorf("%d %s", w.Code, w.Body)
				}
				if waited := time.Since(start); waited > timeout+time.Second {
					t.Errorf("answered after %v", waited)
				}
			})
		})
	}
}

// A store that answers too late finds a request of its own, whatever the program does to the other one.
// The race detector sees it if not.
func TestStoreThatAnswersTooLate(t *testing.T) {
	t.Parallel()
	layout := func(w http.ResponseWriter, r *http.Request, page Page) {
		r.Header.Set("Accept", "*/*")
		_ = r.ParseForm()
		_, _ = io.WriteString(w, string(page.Body))
	}
	for _, late := range []time.Duration{timeout + 51*time.Millisecond, 2 * timeout} {
		synctest.Test(t, func(t *testing.T) {
			store := httpkeytest.NewStore(memstore.New())
			s := newSiteOn(t, store, Options{Layout: layout})
			s.issue(httpkey.Token{ID: "id", Label: "treasure", User: "ada"})
			store.Before(func(context.Context, string) error {
				time.Sleep(late) // of the bubble's clock
				return nil
			})
			s.want(503, s.page("ada", "/id/"))
			s.want(503, s.submit("ada", "/id/", "label=changed&expiry=keep"))
			s.want(503, s.submit("ada", "/find", "key=no+key+of+anybody"))
			time.Sleep(10 * timeout) // of the bubble's clock, until the store has answered
		})
	}
}

// A slow client has time for its body, and a store has its own.
func TestSlowBodiesTakeNoTimeOfTheStore(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, Options{})
		r := httptest.NewRequestWithContext(t.Context(), "POST", "/", slowBody{strings.NewReader(`{"label":"x"}`)})
		r.Header.Set("Login", "ada")
		r.Header.Set("Content-Type", "application/json")
		s.want(201, s.serve(r))
	})
}

// slowBody takes longer than the timeout.
type slowBody struct{ text io.Reader }

func (s slowBody) Read(b []byte) (int, error) {
	time.Sleep(2 * timeout) // of the bubble's clock
	return s.text.Read(b)
}

// A panic of the store is one of its request, as in any handler.
func TestPanicsReachTheServer(t *testing.T) {
	t.Parallel()
	store := httpkeytest.NewStore(memstore.New())
	s := newSiteOn(t, store, Options{})
	store.Before(func(context.Context, string) error { panic("the store has a bug") })
	defer func() {
		if recover() != "the store has a bug" {
			t.Error("the panic is lost")
		}
	}()
	s.api("ada", "GET", "/", "")
}

// A name is one that people can see, and that looks like no other.
func TestNamesCanBeSeen(t *testing.T) {
	t.Parallel()
	for label, code := range map[string]string{
		"":                     "blank",
		" \u00a0\u2003":        "blank",
		"\u200b":               "invisible",
		"\u200d\ufeff\u00ad":   "invisible",
		"\u3164":               "invisible", // a filler of Hangul
		"\u0301":               "invisible", // an accent alone
		"a\x00b":               "control_character",
		"a\nb":                 "control_character",
		"a\x1b[31mb":           "control_character",
		"\u202egnp.exe":        "control_character", // from right to left
		"a\u2028b":             "control_character",
		"a":                    "",
		"\u0915\u094d\u0937":   "",
		"👩\u200d💻":             "",
		"می\u200cخواهم":        "",
		"…":                    "",
		"laptop (2\u2033) – x": "",
	} {
		s := newSite(t, Options{})
		body, err := json.Marshal(map[string]string{"label": label})
		if err != nil {
			t.Fatal(err)
		}
		w := s.api("ada", "POST", "/", string(body))
		if code == "" {
			s.want(201, w)
			continue
		}
		if w.Code != 400 || !strings.Contains(w.Body.String(), `"label":[{"code":"`+code+`"`) {
			t.Errorf("%+q: %d %s, want %s", label, w.Code, w.Body, code)
		}
		if w := s.submit("ada", "/", newForm("label", label)); w.Code != 400 {
			t.Errorf("%+q on the page: %d", label, w.Code)
		}
	}
	s := newSite(t, Options{})
	w := s.want(201, s.api("ada", "POST", "/", `{"label":"x","description":"two\nlines\tand a tab"}`))
	if !strings.Contains(w.Body.String(), `two\nlines\tand`) {
		t.Errorf("created %s", w.Body)
	}
	s.want(400, s.api("ada", "POST", "/", `{"label":"x","description":"\u202e"}`))
}

// The record of a revocation has who did it, and why.
func TestRevocationsHaveAPersonAndAReason(t *testing.T) {
	t.Parallel()
	s := newSite(t, Options{})
	s.issue(httpkey.Token{ID: "id", Label: "x", User: "ada", Workspace: "acme"})
	s.want(400, s.submit("manager", "/id/revoke/", "reason="+strings.Repeat("x", 256)))
	s.want(400, s.submit("manager", "/id/revoke/", "reason=a%0ab"))
	s.want(303, s.submit("manager", "/id/revoke/", "reason=+leaked+in+CI+"))
	got := s.get("id")
	if got.IsActive || got.RevokedBy != "mary" || got.RevokedFor != "leaked in CI" || got.RevokedAt.IsZero() {
		t.Errorf("the store has %+v", got)
	}
	// The first one counts.
	s.want(303, s.submit("ada", "/id/revoke/", "reason=other"))
	if again := s.get("id"); !reflect.DeepEqual(again, got) {
		t.Errorf("the store has %+v, want %+v", again, got)
	}
}
