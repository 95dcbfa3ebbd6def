package console

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/httpkeytest"
	"github.com/httpkey/httpkey/memstore"
)

// says fails the test unless a page has each text, and none that begins with "not: ".
func (s *site) says(body string, texts ...string) {
	s.Helper()
	read := textOf(body)
	for _, text := range texts {
		forbidden, isForbidden := strings.CutPrefix(text, "not: ")
		switch {
		case isForbidden && strings.Contains(read, forbidden):
			s.Errorf("the page says %q: %s", forbidden, read)
		case !isForbidden && !strings.Contains(read, text):
			s.Errorf("the page does not say %q: %s", text, read)
		}
	}
}

func TestRevokedTokenSaysWhenAndWhyAndByWhom(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ reason, want string }{
		{"leaked in CI", "Revoked 3 days ago by ada: leaked in CI"},
		{"", "Revoked 3 days ago by ada"},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := newSite(t, Options{})
			s.issue(httpkey.Token{ID: "id", Label: "bot", User: "ada", ExpiredAt: time.Now().Add(4 * day)})
			s.want(303, s.submit("ada", "/id/revoke/", "reason="+strings.ReplaceAll(tt.reason, " ", "+")))
			httpkeytest.Elapse(3 * day)
			for _, path := range []string{"/", "/id/", "/id/delete/"} {
				s.says(s.page("ada", path).Body.String(), tt.want, "not: in 1 day", "not: Expires 5")
			}
			if body := s.page("ada", "/id/").Body.String(); strings.Contains(body, "<dt>Expires</dt>") {
				t.Errorf("a revoked token has an expiry to come: %s", textOf(body))
			}
		})
	}
}

// A token that an older version of httpkey revoked has no time and no reason.
func TestRevocationOfWhichNothingIsKnown(t *testing.T) {
	t.Parallel()
	s := newSite(t, Options{})
	if _, err := s.store.Create(t.Context(), httpkey.Token{
		ID: "id", Label: "bot", Kind: httpkey.APIKey, User: "ada", CreatedAt: time.Now().Add(-day),
	}); err != nil {
		t.Fatal(err)
	}
	s.says(s.page("ada", "/id/").Body.String(), "Revoked", "not: Revoked by", "not: Revoked :")
}

func TestRevokePageSaysWhatBreaks(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, Options{})
		secret, _ := s.issue(httpkey.Token{ID: "id", Label: "bot", User: "ada"})
		for _, action := range []string{"revoke", "delete"} {
			s.says(s.page("ada", "/id/"+action+"/").Body.String(),
				"Anything using this key stops working at once", "It was never used.")
		}
		if _, err := s.guard.Verify(t.Context(), secret); err != nil {
			t.Fatal(err)
		}
		httpkeytest.Elapse(3 * time.Minute)
		for _, action := range []string{"revoke", "delete"} {
			s.says(s.page("ada", "/id/"+action+"/").Body.String(), "Last used 3 minutes ago.")
		}
		if body := s.page("ada", "/id/revoke/").Body.String(); strings.Contains(body, `name="name"`) ||
			!strings.Contains(body, `name="reason"`) {
			t.Errorf("the page to revoke has the wrong fields: %s", body)
		}
	})
}

// Only a key that works is worth to type a name for.
func TestDeletingAnEndedTokenAsksNothing(t *testing.T) {
	t.Parallel()
	s := newSite(t, Options{})
	s.issue(httpkey.Token{ID: "id", Label: "bot", User: "ada"})
	if body := s.page("ada", "/id/delete/").Body.String(); !strings.Contains(body, `name="name"`) {
		t.Errorf("deleting a key that works does not ask for its name: %s", body)
	}
	if err := s.guard.Revoke(t.Context(), "id", ""); err != nil {
		t.Fatal(err)
	}
	body := s.page("ada", "/id/delete/").Body.String()
	if strings.Contains(body, `name="name"`) {
		t.Errorf("deleting an ended token asks for its name: %s", body)
	}
	s.says(body, "The record of the token is lost", "not: stops working")
	s.want(303, s.submit("ada", "/id/delete/", ""))
}

func TestRotatePageSaysWhenTheKeysEnd(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) { // it is 1 January 2000, 00:00 UTC
		s := newSite(t, Options{})
		s.issue(httpkey.Token{ID: "id", Label: "bot", User: "ada", ExpiredAt: time.Now().Add(2 * time.Hour)})
		s.says(s.page("ada", "/id/rotate/").Body.String(),
			"The old key ends Now", "In 1 hour 1 Jan 2000, 01:00 UTC",
			"not: In 24 hours", "not: In 7 days 8 Jan 2000, 00:00 UTC",
			"The new key expires", "As the old key 1 Jan 2000, 02:00 UTC", "In 7 days 8 Jan 2000")
		s.issue(httpkey.Token{ID: "endless", Label: "bot", User: "ada"})
		s.says(s.page("ada", "/endless/rotate/").Body.String(), "In 24 hours 2 Jan 2000, 00:00 UTC", "As the old key Never")
	})
}

func TestScopesThatAreNone(t *testing.T) {
	t.Parallel()
	for options, want := range map[string]string{"": "Scopes None", "All that you may do": "Scopes All that you may do"} {
		s := newSite(t, Options{NoScopes: options})
		s.issue(httpkey.Token{ID: "id", Label: "bot", User: "ada"})
		s.says(s.page("ada", "/id/").Body.String(), want)
		s.says(s.submit("ada", "/", newForm()).Body.String(), want)
		s.says(s.page("ada", "/").Body.String(), strings.TrimPrefix(want, "Scopes "))
	}
}

func TestEmptyListHelps(t *testing.T) {
	t.Parallel()
	s := newSite(t, Options{DocsURL: "https://docs.example.com/api"})
	body := s.page("ada", "/").Body.String()
	s.says(body,
		"You have no tokens yet.", "Generate a token, copy its key", "Generate new token", "Read the documentation")
	if !strings.Contains(body, `href="https://docs.example.com/api"`) {
		t.Errorf("no link to the documentation: %s", body)
	}
	body = s.page("ada", "/?search=x").Body.String()
	s.says(body, "No tokens match. Clear filters", "not: You have no tokens yet.")
	s.says(newSite(t, Options{}).page("ada", "/").Body.String(), "not: Read the documentation")
}

// The first request with a new key is one press away. The key stands in no URL.
func TestSecretPageHasACommandToTry(t *testing.T) {
	t.Parallel()
	s := newSite(t, Options{TryURL: "https://api.example.com/v1/me?pretty=1&x=2"})
	w := s.want(201, s.submit("ada", "/", newForm()))
	secret := secretOn(t, w.Body.String())
	s.says(w.Body.String(),
		"curl -H 'X-Api-Key: "+secret+"' 'https://api.example.com/v1/me?pretty=1&x=2'", "Lost it? Rotate")
	if !strings.Contains(w.Body.String(), `data-copy="try"`) {
		t.Errorf("nothing copies the command: %s", w.Body)
	}
	s.says(newSite(t, Options{}).submit("ada", "/", newForm()).Body.String(), "not: curl")
}

// A reload sends the form again. The key is gone, and a rotation gives another.
func TestLostKeyLeadsToARotation(t *testing.T) {
	t.Parallel()
	s := newSite(t, Options{})
	s.want(201, s.submit("ada", "/", newForm()))
	w := s.want(409, s.submit("ada", "/", newForm()))
	s.says(w.Body.String(), "This token exists already", "cannot be shown again", "Lost it? Rotate")
	all, _ := s.store.List(t.Context(), httpkey.Filter{})
	path := "/" + all[0].ID + "/rotate/"
	if !strings.Contains(w.Body.String(), `href=".`+path+`"`) {
		t.Errorf("no link to the rotation: %s", w.Body)
	}
	s.want(201, s.submit("ada", path, "grace=0"))
	w = s.want(409, s.submit("ada", path, "grace=0"))
	s.says(w.Body.String(), "This token was rotated", "Lost it? Rotate")
}

// A change by somebody else meanwhile is shown beside one's own.
func TestConflictShowsBothVersions(t *testing.T) {
	t.Parallel()
	s := newSite(t, Options{})
	_, token := s.issue(httpkey.Token{ID: "id", Label: "before", User: "ada"})
	s.want(200, s.api("ada", "PATCH", "/id/", `{"label":"theirs","description":"their text"}`))
	form := "label=mine&description=my+text&expiry=keep&version=" + versionOf(token)
	body := s.want(409, s.submit("ada", "/id/", form)).Body.String()
	s.says(body, "Someone else changed this token", "What is saved now", "theirs", "their text", "my text")
	if !strings.Contains(body, `value="mine"`) {
		t.Errorf("what was typed is lost: %s", body)
	}
}

func TestLimitsInWords(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, Options{})
		s.guard = httpkey.New(s.store, memstore.NewLimiter(), &httpkey.Options{Limits: map[httpkey.Kind][]httpkey.Limit{
			httpkey.APIKey: {httpkey.PerMinute(60), httpkey.PerMonth(10_000)},
		}})
		s.handler = New(s.guard, &Options{Principal: s.handler.(*console).options.Principal})
		secret, _ := s.issue(httpkey.Token{ID: "id", Label: "bot", User: "ada"})
		const words = "60 a minute, 10,000 a month"
		s.says(s.page("ada", "/new").Body.String(), words)
		s.says(s.submit("ada", "/", newForm()).Body.String(), words)
		for range 2 {
			if admission, err := s.guard.Admit(t.Context(), secret, 1); err != nil || admission == nil {
				t.Fatal(err)
			}
		}
		s.says(s.page("ada", "/").Body.String(), words)
		s.says(s.page("ada", "/id/").Body.String(), "Limits "+words, "Left now 58 of 60 a minute, 9,998 of 10,000 a month")
		if err := s.guard.Revoke(t.Context(), "id", ""); err != nil {
			t.Fatal(err)
		}
		s.says(s.page("ada", "/id/").Body.String(), "not: Left now")
	})
}

// A key whose successor is gone ended by a rotation. That is no expiry to keep.
func TestExpiryOfATokenThatIsRotatedAgain(t *testing.T) {
	t.Parallel()
	s := newSite(t, Options{})
	s.issue(httpkey.Token{ID: "id", Label: "bot", User: "ada"})
	const keep = "As the old key"
	s.says(s.page("ada", "/id/rotate/").Body.String(), keep)
	_, successor := s.created(s.want(201, s.api("ada", "POST", "/id/rotate/", `{"grace":3600}`)))
	s.want(204, s.api("ada", "DELETE", "/"+successor.ID+"/", ""))
	body := s.want(200, s.page("ada", "/id/rotate/")).Body.String()
	s.says(body, "not: "+keep)
	if !strings.Contains(body, `value="90" required checked`) {
		t.Errorf("the default lifetime is not chosen: %s", body)
	}
}

// A limit that is only tried refuses nothing, so people are not told that it applies.
func TestLimitsThatAreOnlyTried(t *testing.T) {
	t.Parallel()
	tried := httpkey.PerMinute(7)
	tried.DryRun = true
	for _, tt := range []struct {
		everything  bool
		limits      []httpkey.Limit
		words, left string
	}{
		{false, []httpkey.Limit{httpkey.PerHour(60), tried}, "Limits 60 an hour", "Left now 60 of 60 an hour"},
		{false, []httpkey.Limit{tried}, "Limits Unlimited", "not: Left now"},
		{true, []httpkey.Limit{httpkey.PerHour(60)}, "Limits Unlimited", "not: Left now"},
	} {
		s := newSiteOf(t, httpkey.New(memstore.New(), memstore.NewLimiter(), &httpkey.Options{
			Limits: map[httpkey.Kind][]httpkey.Limit{httpkey.APIKey: tt.limits}, DryRun: tt.everything,
		}), Options{})
		s.issue(httpkey.Token{ID: "id", Label: "bot", User: "ada"})
		s.says(s.page("ada", "/id/").Body.String(), tt.words, tt.left, "not: 7 a minute")
	}
}

func TestEveryLimitHasWords(t *testing.T) {
	t.Parallel()
	for want, limit := range map[string]httpkey.Limit{
		"No requests":             httpkey.PerMinute(0),
		"1 a second":              httpkey.PerSecond(1),
		"60 a minute":             httpkey.PerMinute(60),
		"1,000 an hour":           httpkey.PerHour(1000),
		"5 a day":                 httpkey.PerDay(5),
		"10,000 a month":          httpkey.PerMonth(10_000),
		"60 a minute (5 at once)": {Rate: 60, Burst: 5, Period: time.Minute},
		"5 every 10 seconds":      {Rate: 5, Period: 10 * time.Second},
		"5 every 90 minutes":      {Rate: 5, Period: 90 * time.Minute},
		"5 every 250 ms":          {Rate: 5, Period: 250 * time.Millisecond},
		"1 every 2 days":          {Rate: 1, Period: 2 * day},
	} {
		var got strings.Builder
		view := limitsView{true, []limitView{limitViewOf(limit.Resolve())}}
		if err := ownPages(t)["list"].ExecuteTemplate(&got, "limits", view); err != nil || got.String() != want {
			t.Errorf("%+v is %q, %v; want %q", limit, &got, err, want)
		}
	}
}

// A refusal that a person can act on says how, and when.
func TestThrottledPageSaysHowLongToWait(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, Options{Limit: httpkey.PerMinute(1)})
		s.want(201, s.submit("ada", "/", newForm()))
		w := s.want(429, s.submit("ada", "/", newForm("nonce", nonce+"2")))
		s.says(w.Body.String(), "Too many requests", "Wait 1 minute, then try again.")
	})
	for wait, want := range map[time.Duration]span{
		0:                  {1, "second"},
		time.Millisecond:   {1, "second"},
		59 * time.Second:   {59, "second"},
		59*time.Second + 1: {1, "minute"},
		61 * time.Second:   {2, "minute"},
		2*time.Hour + 1:    {2, "hour"},
	} {
		if got := waitOf(wait); got != want {
			t.Errorf("%v is a wait of %v, want %v", wait, got, want)
		}
	}
}
