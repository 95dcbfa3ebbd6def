package console

import (
	"html"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	_ "time/tzdata" // for TestExpiryChoicesAreNotMovedByTheClock, wherever it runs

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/httpkeytest"
	"github.com/httpkey/httpkey/memstore"
)

var shownSecret = regexp.MustCompile(`<code id="secret"[^>]*>(hk_[ks]_[0-9A-Za-z]{33})</code>`)

// secretOn returns the secret that a page shows.
func secretOn(t testing.TB, body string) string {
	t.Helper()
	found := shownSecret.FindStringSubmatch(body)
	if found == nil {
		t.Fatalf("no secret on %s", body)
	}
	return found[1]
}

func TestFormCreatesOneTokenHoweverOftenItIsSent(t *testing.T) {
	t.Parallel()
	s := newSite(t, Options{})
	first := s.want(201, s.submit("ada", "/", newForm()))
	secret := secretOn(t, first.Body.String())
	token, err := s.guard.Verify(t.Context(), secret)
	if err != nil || token.Label != "laptop" || token.User != "ada" {
		t.Fatalf("the secret is of %+v, %v", token, err)
	}
	again := s.want(409, s.submit("ada", "/", newForm()))
	if body := again.Body.String(); strings.Contains(body, secret) || shownSecret.MatchString(body) ||
		!strings.Contains(body, "exists already") || !strings.Contains(body, token.ID) {
		t.Errorf("the second answer: %s", body)
	}
	// The same nonce of another user is another token, and says nothing of the first.
	s.want(201, s.submit("eve", "/", newForm()))
	if all, _ := s.store.List(t.Context(), httpkey.Filter{}); len(all) != 2 {
		t.Errorf("there are %d tokens", len(all))
	}
	s.want(400, s.submit("ada", "/", newForm("nonce", "")))
}

func TestFormsSentAtOnce(t *testing.T) {
	t.Parallel()
	s := newSite(t, Options{})
	var (
		group sync.WaitGroup
		mu    sync.Mutex
		count = make(map[int]int)
	)
	for range 8 {
		group.Go(func() {
			w := s.submit("ada", "/", newForm())
			mu.Lock()
			defer mu.Unlock()
			count[w.Code]++
		})
	}
	group.Wait()
	if count[201] != 1 || count[409] != 7 {
		t.Errorf("answered %v", count)
	}
}

func TestEveryFormHasItsOwnNonce(t *testing.T) {
	t.Parallel()
	s := newSite(t, Options{})
	pattern := regexp.MustCompile(`name="nonce" value="([^"]{16,})"`)
	seen := make(map[string]bool)
	for range 3 {
		found := pattern.FindStringSubmatch(s.page("ada", "/new").Body.String())
		if found == nil || seen[found[1]] {
			t.Fatalf("nonce %v", found)
		}
		seen[found[1]] = true
	}
}

func TestRotatingOnThePage(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, Options{})
		old, _ := s.issue(httpkey.Token{ID: "id", Label: "bot", User: "ada"})
		if _, err := s.guard.Verify(t.Context(), old); err != nil {
			t.Fatal(err)
		}
		httpkeytest.Elapse(time.Minute)
		w := s.want(201, s.submit("ada", "/id/rotate/", "grace=3600"))
		secret := secretOn(t, w.Body.String())
		if !strings.Contains(w.Body.String(), "works until <time") {
			t.Errorf("it does not tell until when the old key works: %s", w.Body)
		}
		s.want(409, s.submit("ada", "/id/rotate/", "grace=3600"))
		s.want(409, s.page("ada", "/id/rotate/"))

		shows := func(path, text string) {
			t.Helper()
			if body := s.page("ada", path).Body.String(); !strings.Contains(textOf(body), text) {
				t.Errorf("%s does not show %q: %s", path, text, body)
			}
		}
		successor, err := s.guard.Verify(t.Context(), secret)
		if err != nil {
			t.Fatal(err)
		}
		everywhere := func(texts ...string) {
			t.Helper()
			for _, path := range []string{"/", "/id/", "/" + successor.ID + "/"} {
				for _, text := range texts {
					shows(path, text)
				}
			}
		}
		everywhere("Rotated, ends in 1 hour", "Rotated just now, not used since")
		httpkeytest.Elapse(3 * time.Minute)
		everywhere("Rotated, ends in 57 minutes", "Not used since the rotation 3 minutes ago")
		if _, err := s.guard.Verify(t.Context(), old); err != nil {
			t.Errorf("the old key in its grace: %v", err)
		}
		httpkeytest.Elapse(2 * time.Minute)
		everywhere("Last used 2 minutes ago, 3 minutes after the rotation")
		end := "../id/revoke/"
		body := s.page("ada", "/"+successor.ID+"/").Body.String()
		if !strings.Contains(body, `href="`+end+`">End the old key now<`) {
			t.Errorf("the new token does not offer to end the old key: %s", body)
		}
		httpkeytest.Elapse(time.Hour)
		if _, err := s.guard.Verify(t.Context(), old); err == nil {
			t.Error("the old key works after its grace")
		}
		shows("/id/", "Expired")
		if body := s.page("ada", "/"+successor.ID+"/").Body.String(); strings.Contains(body, end) {
			t.Errorf("the new token offers to end a key that has ended: %s", body)
		}
	})
}

func TestDeletingWantsTheName(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		label, typed string
		confirmed    bool
	}{
		{"bot", "bot", true},
		{"bot", " bot ", true},
		{"two\n words ", "two words", true},
		{"bot", "", false},
		{"bot", "Bot", true}, // a phone writes it so
		{"bot", "bots", false},
		{"Ada’s “bot” – old", `ada's "bot" - old`, true},
		{"caf\u00e9", "cafe\u0301", true},
		{"a\u200bb", "ab", true},
		{"مفتاح 🔑", "مفتاح 🔑", true},
		{"", "hint", true},
		{"", "", false},
	} {
		for _, action := range []string{"delete"} {
			s := newSite(t, Options{})
			_, token := s.issue(httpkey.Token{ID: "id", Label: tt.label, User: "ada"})
			typed := strings.ReplaceAll(tt.typed, "hint", token.Hint)
			w := s.submit("ada", "/id/"+action+"/", "name="+url.QueryEscape(typed))
			after, err := s.store.Get(t.Context(), "id")
			done := err != nil || !after.IsActive
			if done != tt.confirmed || (w.Code == http.StatusSeeOther) != tt.confirmed {
				t.Errorf("%s %q by typing %q: %d, done is %v", action, tt.label, tt.typed, w.Code, done)
			}
			if !tt.confirmed && (w.Code != 400 || !strings.Contains(w.Body.String(), "not the name")) {
				t.Errorf("%s %q by typing %q: %d %s", action, tt.label, tt.typed, w.Code, w.Body)
			}
		}
	}
}

// A short imported key has no hint: without a label, people confirm with the ID.
func TestTokensWithoutLabelAndHintHaveAName(t *testing.T) {
	t.Parallel()
	for _, action := range []string{"delete"} {
		for typed, want := range map[string]int{"": 400, "no": 400, "the++id": 303} {
			s := newSite(t, Options{})
			if _, err := s.store.Create(t.Context(), httpkey.Token{
				ID: "the  id", Kind: httpkey.APIKey, User: "ada", IsActive: true, CreatedAt: time.Now(),
			}); err != nil {
				t.Fatal(err)
			}
			if w := s.page("ada", "/"); !strings.Contains(w.Body.String(), "<bdi>the id</bdi>") {
				t.Errorf("the list does not name it:\n%s", w.Body)
			}
			if w := s.submit("ada", "/the%20%20id/"+action+"/", "name="+typed); w.Code != want {
				t.Errorf("%s by typing %q: %d, want %d", action, typed, w.Code, want)
			}
		}
	}
}

func TestConfirmationShowsTheLastUse(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, Options{})
		secret, _ := s.issue(httpkey.Token{ID: "id", Label: "bot", User: "ada"})
		for _, action := range []string{"revoke", "delete", "rotate"} {
			body := s.page("ada", "/id/"+action+"/").Body.String()
			if !strings.Contains(body, "<dt>Last used</dt><dd>Never</dd>") {
				t.Errorf("%s of an unused token: %s", action, body)
			}
		}
		if _, err := s.guard.Verify(t.Context(), secret); err != nil {
			t.Fatal(err)
		}
		httpkeytest.Elapse(3 * time.Hour)
		for _, action := range []string{"revoke", "delete", "rotate"} {
			const used = `<time datetime="2000-01-01T00:00:00Z" data-format="exact">1 January 2000, 00:00:00 UTC</time>`
			body := s.page("ada", "/id/"+action+"/").Body.String()
			if !strings.Contains(body, used) || !strings.Contains(textOf(body), "1 January 2000, 00:00:00 UTC (3 hours ago)") {
				t.Errorf("%s: %s", action, body)
			}
			if action != "rotate" && !strings.Contains(textOf(body), "stops working at once") {
				t.Errorf("%s does not say what breaks: %s", action, body)
			}
		}
	})
}

// A page shows any label as text, apart from the text around it. The form gives it back as
// it was.
func TestLabelsAreText(t *testing.T) {
	t.Parallel()
	for _, label := range []string{
		`<script>alert(1)</script>`,
		`"><img src=x onerror=alert(1)>`,
		`</title><b>`,
		`{{.Secret}} ${x} {{"{{"}}`,
		strings.Repeat("🔑", 255),
		strings.Repeat("w", 255),
		"مفتاح الخادم",
		"👩\u200d💻 می\u200cخواهم",
		"a & b &lt;",
	} {
		s := newSite(t, Options{})
		created := s.want(201, s.submit("ada", "/", newForm("label", label, "description", label)))
		all, err := s.store.List(t.Context(), httpkey.Filter{})
		if err != nil || len(all) != 1 || all[0].Label != label {
			t.Fatalf("the store has %v, %v", all, err)
		}
		path := "/" + all[0].ID + "/"
		pages := map[string]string{"secret": created.Body.String()}
		for _, p := range []string{"/", path, path + "rotate/", path + "revoke/", path + "delete/"} {
			pages[p] = s.want(200, s.page("ada", p)).Body.String()
		}
		for name, body := range pages {
			escaped := strings.Contains(body, "<bdi>"+html.EscapeString(label)+"</bdi>")
			if !escaped && !strings.Contains(html.UnescapeString(body), "<bdi>"+label+"</bdi>") {
				t.Errorf("%s does not show %.40q: %s", name, label, body)
			}
			for _, tag := range []string{"<script>alert", "<img", "</title><b>"} {
				if strings.Contains(body, tag) {
					t.Errorf("%s holds %s", name, tag)
				}
			}
		}
		escape := strings.NewReplacer("%", "%25", "&", "%26", ";", "%3B", "+", "%2B")
		s.want(303, s.submit("ada", path, "label="+escape.Replace(label)))
		if got := s.get(all[0].ID).Label; got != label {
			t.Errorf("after an edit it is %q, want %q", got, label)
		}
	}
}

func TestExpiryOnThePage(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) { // it is 1 January 2000, 00:00 UTC
		now := time.Now().UTC()
		for _, tt := range []struct {
			policy       time.Duration
			expiry, date string
			want         time.Time
			status       int
		}{
			{0, "7", "", now.Add(7 * day), 201},
			{0, "30", "", now.Add(30 * day), 201},
			{0, "90", "", now.Add(90 * day), 201},
			{0, "365", "", now.Add(365 * day), 201},
			{0, "never", "", time.Time{}, 201},
			{0, "custom", "2000-02-29", time.Date(2000, 3, 1, 0, 0, 0, 0, time.UTC), 201},
			{0, "custom", "2000-01-01", now.Add(day), 201}, // today, which is not over
			{0, "custom", "", time.Time{}, 400},
			{0, "custom", "2000-02-30", time.Time{}, 400},
			{0, "custom", "1999-12-31", time.Time{}, 400},
			{0, "never", "2000-02-29", time.Time{}, 400}, // which of both?
			{0, "7", "2000-02-29", time.Time{}, 400},
			{0, "custom", "1999-01-01", time.Time{}, 400},
			{0, "custom", "0001-01-01", time.Time{}, 400},
			{60 * day, "custom", "0001-01-01", time.Time{}, 400},
			{0, "custom", "0000-12-31", time.Time{}, 400}, // its end would be never
			{0, "custom", "9999-12-31", time.Time{}, 400}, // its end has a year of five digits
			{60 * day, "custom", "9999-12-31", time.Time{}, 400},
			{0, "8", "", time.Time{}, 400},
			{0, "keep", "", time.Time{}, 400},
			{0, "", "", time.Time{}, 400},
			{0, "longest", "", time.Time{}, 400},
			{60 * day, "30", "", now.Add(30 * day), 201},
			{60 * day, "90", "", time.Time{}, 400},
			{60 * day, "never", "", time.Time{}, 400},
			{60 * day, "longest", "", now.Add(60 * day), 201},
			{60 * day, "custom", "2000-02-29", now.Add(60 * day), 201},
			{60*day + time.Hour, "custom", "2000-03-01", now.Add(60*day + time.Hour), 201},
			{60 * day, "custom", "2000-03-01", time.Time{}, 400},
			{time.Hour, "longest", "", now.Add(time.Hour), 201},
		} {
			s := newSite(t, Options{MaxLifetime: tt.policy})
			w := s.submit("ada", "/", newForm("expiry", tt.expiry, "date", tt.date))
			if w.Code != tt.status {
				t.Errorf("%+v: status %d: %s", tt, w.Code, w.Body)
				continue
			}
			if tt.status == 400 {
				if !strings.Contains(w.Body.String(), `aria-describedby="expired_at-error"`) ||
					!strings.Contains(w.Body.String(), `href="#expired_at"`) {
					t.Errorf("%+v: the page does not say what is wrong: %s", tt, w.Body)
				}
				if tt.date == "0001-01-01" && !strings.Contains(w.Body.String(), "in the future") {
					t.Errorf("%+v: the page does not say that it is past: %s", tt, w.Body)
				}
				continue
			}
			all, _ := s.store.List(t.Context(), httpkey.Filter{})
			if len(all) != 1 || !all[0].ExpiredAt.Equal(tt.want) {
				t.Errorf("%+v: created %v", tt, all)
			}
		}
	})
}

// The form shows the date of each choice before the choice.
func TestExpiryChoicesShowTheirDates(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		checked := regexp.MustCompile(`value="([^"]*)" required checked`)
		for _, tt := range []struct {
			policy     time.Duration
			chosen     string
			shows, not []string
		}{
			{0, "90",
				[]string{"8 Jan 2000", "31 Jan 2000", "31 Mar 2000", "31 Dec 2000", `value="never"`, `min="2000-01-01"`},
				[]string{"longest", "max="}},
			{60 * day, "longest",
				[]string{"8 Jan 2000", "31 Jan 2000", "In 60 days, the longest allowed", "1 Mar 2000", `max="2000-02-29"`},
				[]string{"31 Mar 2000", `value="never"`}},
			{90 * day, "90", []string{"31 Mar 2000"}, []string{"longest", `value="365"`, `value="never"`}},
			{time.Hour, "longest", []string{"In 1 hour, the longest allowed"}, []string{`value="7"`, `value="custom"`}},
		} {
			body := newSite(t, Options{MaxLifetime: tt.policy}).page("ada", "/new").Body.String()
			for _, text := range tt.shows {
				if !strings.Contains(body, text) {
					t.Errorf("with a policy of %v the form does not show %q: %s", tt.policy, text, body)
				}
			}
			for _, text := range tt.not {
				if strings.Contains(body, text) {
					t.Errorf("with a policy of %v the form shows %q", tt.policy, text)
				}
			}
			_, choices, _ := strings.Cut(body, `id="expired_at"`)
			if found := checked.FindStringSubmatch(choices); found == nil || found[1] != tt.chosen {
				t.Errorf("with a policy of %v %v is chosen, want %s", tt.policy, found, tt.chosen)
			}
		}
	})
}

// A policy of 90 days has room for 90 days even if the clock is put back in between.
func TestExpiryChoicesAreNotMovedByTheClock(t *testing.T) {
	t.Parallel()
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	c := newSite(t, Options{MaxLifetime: 90 * day}).handler.(*console)
	for _, now := range []time.Time{
		time.Date(2026, 9, 1, 12, 0, 0, 0, berlin), time.Date(2026, 3, 1, 12, 0, 0, 0, berlin),
	} {
		var offered []string
		for _, choice := range c.newForm(people["ada"], now).Expiries {
			offered = append(offered, choice.Value)
		}
		if got := strings.Join(offered, " "); got != "7 30 90 custom" {
			t.Errorf("on %v there are %s", now, got)
		}
	}
}

func TestEditingOnThePage(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, Options{})
		expiry := time.Now().Add(10 * day)
		s.issue(httpkey.Token{ID: "id", Label: "a", User: "ada", ExpiredAt: expiry})
		w := s.want(303, s.submit("ada", "/id/", "label=b&description=c&expiry=keep"))
		if got := w.Header().Get("Location"); got != "./?done=updated" {
			t.Errorf("Location is %q", got)
		}
		if got := s.get("id"); got.Label != "b" || got.Description != "c" || !got.ExpiredAt.Equal(expiry) {
			t.Errorf("the store has %+v", got)
		}
		s.want(303, s.submit("ada", "/id/", "label=b&expiry=30"))
		if got := s.get("id"); got.Description != "" || !got.ExpiredAt.Equal(time.Now().Add(30*day)) {
			t.Errorf("the store has %+v", got)
		}
		blank := s.want(400, s.submit("ada", "/id/", "label=&description=kept&expiry=keep")).Body.String()
		if !strings.Contains(blank, ">kept</textarea>") || !strings.Contains(blank, `aria-invalid="true"`) {
			t.Errorf("a blank label: %s", blank)
		}
		if body := s.page("ada", "/id/?done=updated").Body.String(); !strings.Contains(body, "Your changes are saved.") {
			t.Errorf("nothing tells that it is saved: %s", body)
		}
		if body := s.page("ada", "/id/?done=%3Cb%3E").Body.String(); strings.Contains(body, `role="status"`) {
			t.Errorf("anybody can make it say something: %s", body)
		}
	})
}

func TestWhatIsOffered(t *testing.T) {
	t.Parallel()
	s := newSite(t, Options{})
	for login, want := range map[string][3]bool{"ada": {false, false, true}, "manager": {true, true, true}} {
		body := s.page(login, "/new").Body.String()
		for i, field := range []string{`name="kind"`, `name="workspace"`, `name="scopes"`} {
			if strings.Contains(body, field) != want[i] {
				t.Errorf("%s is offered %s: %v", login, field, !want[i])
			}
		}
	}
	s.issue(httpkey.Token{ID: "id", Label: "x", User: "ada"})
	if err := s.guard.Revoke(t.Context(), "id", ""); err != nil {
		t.Fatal(err)
	}
	body := s.page("ada", "/id/").Body.String()
	for _, link := range []string{`href="rotate/"`, `href="revoke/"`, `name="expiry"`} {
		if strings.Contains(body, link) {
			t.Errorf("a revoked token offers %s", link)
		}
	}
	s.want(409, s.page("ada", "/id/rotate/"))
}

// A page shows IDs by their names, and the owner of a token if it is another person.
func TestNamesAreShown(t *testing.T) {
	t.Parallel()
	store := memstore.New()
	guard := httpkey.New(store, httpkey.Unlimited, nil)
	p := Principal{
		User: "u-1", Workspaces: []string{"w-1", "w-2"}, Scopes: []string{"s-1"},
		Names: map[string]string{"u-1": "Ada", "u-2": "Grace", "w-1": "Acme", "s-1": "Read issues"},
	}
	handler := New(guard, &Options{Principal: func(*http.Request) (Principal, error) { return p, nil }})
	s := &site{TB: t, guard: guard, store: store, handler: handler}
	s.issue(httpkey.Token{ID: "own", Label: "x", User: "u-1"})
	for _, path := range []string{"/", "/own/", "/own/revoke/"} {
		if body := s.page("", path).Body.String(); strings.Count(body, "<bdi>Ada</bdi>") != 1 ||
			strings.Contains(body, "<bdi>Acme") {
			t.Errorf("%s of an own token: %s", path, body)
		}
	}
	s.issue(httpkey.Token{ID: "other", Label: "x", User: "u-2", Workspace: "w-1", Scopes: []string{"s-1"}})
	s.issue(httpkey.Token{ID: "unnamed", Label: "x", User: "u-3", Workspace: "w-2"})
	for path, names := range map[string][]string{
		"/":              {"Grace", "Acme", "Read issues", "u-3", "w-2"},
		"/other/":        {"Grace", "Acme", "Read issues"},
		"/other/delete/": {"Grace", "Acme"},
		"/unnamed/":      {"u-3", "w-2"},
	} {
		body := s.page("", path).Body.String()
		for _, name := range names {
			if !strings.Contains(body, "<bdi>"+name+"</bdi>") {
				t.Errorf("%s does not show %s: %s", path, name, body)
			}
		}
	}
	if body := s.page("", "/new").Body.String(); !strings.Contains(body, `<option value="w-1">Acme</option>`) ||
		!strings.Contains(body, "<bdi>Read issues</bdi>") {
		t.Errorf("the form: %s", body)
	}
}

// A page says from which networks a key works.
func TestNetworksAreShown(t *testing.T) {
	t.Parallel()
	s := newSite(t, Options{})
	s.issue(httpkey.Token{ID: "id", Label: "x", User: "ada", Networks: []netip.Prefix{
		netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("2001:db8::/32"),
	}})
	const want = `<dt>Networks</dt><dd><code>192.0.2.0/24</code>, <code>2001:db8::/32</code></dd>`
	if body := s.page("ada", "/id/").Body.String(); !strings.Contains(body, want) {
		t.Errorf("the page does not show them: %s", body)
	}
}
