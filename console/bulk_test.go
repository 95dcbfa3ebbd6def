package console

import (
	"context"
	"errors"
	"fmt"
	"html"
	"net/url"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/httpkeytest"
	"github.com/httpkey/httpkey/memstore"
)

// active returns the IDs of the tokens that are not revoked, in order.
func (s *site) active() string {
	s.Helper()
	all, err := s.store.List(s.Context(), httpkey.Filter{Limit: 1000})
	if err != nil {
		s.Fatal(err)
	}
	var ids []string
	for _, t := range all {
		if t.IsActive {
			ids = append(ids, t.ID)
		}
	}
	slices.Sort(ids)
	return strings.Join(ids, " ")
}

// family issues tokens of several people.
func family(s *site) {
	s.issue(httpkey.Token{ID: "a1", Label: "laptop", User: "ada"})
	s.issue(httpkey.Token{ID: "a2", Label: "server", User: "ada", Workspace: "acme"})
	s.issue(httpkey.Token{ID: "a3", Label: "old", User: "ada", Workspace: "lab"})
	s.issue(httpkey.Token{ID: "e1", Label: "phone", User: "eve"})
	s.issue(httpkey.Token{ID: "s1", Label: "service", Workspace: "acme", Kind: httpkey.ServiceToken})
	if err := s.guard.Revoke(s.Context(), "a3", "lost"); err != nil {
		s.Fatal(err)
	}
}

func TestRevokingManyTokens(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		login, body    string
		status         int
		answer, active string
		revoked        string // by the events
		refused        string // by the events
	}{
		"one's own": {"ada", `{"ids":["a1","a2","a1"],"reason":"leak"}`, 200,
			`{"revoked":["a1","a2"],"failed":[]}`, "e1 s1", "a1 a2", ""},
		"revoked already": {"ada", `{"ids":["a3"]}`, 200, `{"revoked":["a3"],"failed":[]}`, "a1 a2 e1 s1", "", ""},
		"others', and none": {"ada", `{"ids":["e1","no","a1"]}`, 200,
			`{"revoked":["a1"],"failed":[{"id":"e1","code":"not_found"},{"id":"no","code":"not_found"}]}`,
			"a2 e1 s1", "a1", "e1"},
		"of one's workspace": {"manager", `{"ids":["a1","a2","s1"]}`, 200,
			`{"revoked":["a2","s1"],"failed":[{"id":"a1","code":"not_found"}]}`, "a1 e1", "a2 s1", "a1"},
		"anybody's, as Admin": {"boss", `{"ids":["a1","e1","s1"]}`, 200,
			`{"revoked":["a1","e1","s1"],"failed":[]}`, "a2", "a1 e1 s1", ""},
		"one's own user": {"ada", `{"user":"ada"}`, 200,
			`{"revoked":["a2","a1"],"failed":[]}`, "e1 s1", "a1 a2", ""},
		"a user, as Admin": {"boss", `{"user":"ada","reason":"left"}`, 200,
			`{"revoked":["a2","a1"],"failed":[]}`, "e1 s1", "a1 a2", ""},
		"a user, in one's workspace": {"manager", `{"user":"ada"}`, 200,
			`{"revoked":["a2"],"failed":[]}`, "a1 e1 s1", "a2", ""},
		"a user who has none": {"boss", `{"user":"nobody"}`, 200,
			`{"revoked":[],"failed":[]}`, "a1 a2 e1 s1", "", ""},
		"another user": {"eve", `{"user":"ada"}`, 403,
			`{"detail":"You may not revoke the tokens of this user.","code":"forbidden"}`, "a1 a2 e1 s1", "", "forbidden"},
		"nothing": {"ada", `{}`, 400, `"ids":[{"code":"required"`, "a1 a2 e1 s1", "", ""},
		"no IDs":  {"ada", `{"ids":[]}`, 400, `"ids":[{"code":"required"`, "a1 a2 e1 s1", "", ""},
		"both": {"ada", `{"ids":["a1"],"user":"ada"}`, 400,
			`"ids":[{"code":"contradiction"`, "a1 a2 e1 s1", "", ""},
		"a long reason": {"ada", `{"ids":["a1"],"reason":"` + strings.Repeat("x", 256) + `"}`, 400,
			`"reason":[{"code":"too_long"`, "a1 a2 e1 s1", "", ""},
		"no list":         {"ada", `{"ids":"a1"}`, 400, `"ids":[{"code":"wrong_type"`, "a1 a2 e1 s1", "", ""},
		"a strange field": {"ada", `{"ids":["a1"],"all":true}`, 400, `"all":[{"code":"unknown"`, "a1 a2 e1 s1", "", ""},
		"more than 1,000": {"ada", `{"ids":["a1"` + strings.Repeat(`,"x"`, 1000) + `]}`, 400,
			`"ids":[{"code":"too_many"`, "a1 a2 e1 s1", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, Options{Limit: httpkey.PerHour(1)}) // no limit of changes stops a revocation
			family(s)
			w := s.want(tt.status, s.api(tt.login, "POST", "/revoke", tt.body))
			if body := w.Body.String(); tt.status != 400 && body != tt.answer || !strings.Contains(body, tt.answer) {
				t.Errorf("answered %s, want %s", body, tt.answer)
			}
			if got := s.active(); got != tt.active {
				t.Errorf("active are %s, want %s", got, tt.active)
			}
			var revoked, refused []string
			for _, e := range s.told() {
				if e.Refusal != "" {
					refused = append(refused, orElse(e.Token.ID, e.Refusal))
					continue
				}
				revoked = append(revoked, e.Token.ID)
				after := s.get(e.Token.ID)
				if e.Action != ActionRevoke || e.Err != nil || after.RevokedBy != people[tt.login].User {
					t.Errorf("told %+v of %+v", e, after)
				}
				if reason := after.RevokedFor; !strings.Contains(tt.body, `"reason":"`+reason+`"`) && reason != "" {
					t.Errorf("the reason is %q", reason)
				}
			}
			slices.Sort(revoked)
			if strings.Join(revoked, " ") != tt.revoked || strings.Join(refused, " ") != tt.refused {
				t.Errorf("told of %v, refused %v", revoked, refused)
			}
		})
	}
}

func orElse(text, other string) string {
	if text == "" {
		return other
	}
	return text
}

// Tokens that are issued while those of a user are revoked are revoked, too.
func TestRevokingAUserReachesNewTokens(t *testing.T) {
	t.Parallel()
	store := httpkeytest.NewStore(memstore.New())
	s := newSiteOn(t, store, Options{})
	for i := range 1200 { // more than a page of the store
		s.issue(httpkey.Token{ID: fmt.Sprint("a", i), Label: "x", User: "ada"})
	}
	late := 0
	store.Before(func(_ context.Context, method string) error {
		if method == "Update" && late < 3 {
			late++
			s.issue(httpkey.Token{ID: fmt.Sprint("late", late), Label: "x", User: "ada"})
		}
		return nil
	})
	var answer revoked
	decode(t, s.want(200, s.api("boss", "POST", "/revoke", `{"user":"ada"}`)), &answer)
	if len(answer.Revoked) != 1203 || s.active() != "" {
		t.Errorf("%d revoked, and active are %s", len(answer.Revoked), s.active())
	}
}

// A store that fails for some tokens does not keep the others from being revoked.
func TestRevokingManyWhileTheStoreFails(t *testing.T) {
	t.Parallel()
	store := httpkeytest.NewStore(memstore.New())
	s := newSiteOn(t, store, Options{})
	family(s)
	failing := 0
	store.Before(func(_ context.Context, method string) error {
		if method == "Update" {
			if failing++; failing == 1 {
				return errors.New("no connection")
			}
		}
		return nil
	})
	w := s.want(200, s.api("ada", "POST", "/revoke", `{"ids":["a1","a2"]}`))
	if want := `{"revoked":["a2"],"failed":[{"id":"a1","code":"unavailable"}]}`; w.Body.String() != want {
		t.Errorf("answered %s", w.Body)
	}
	failing = 0
	body := s.want(503, s.submit("boss", "/revoke", "id=a1&id=e1&confirm=yes&reason=leak")).Body.String()
	if s.active() != "a1 s1" || !strings.Contains(body, `name="id" value="a1"`) || strings.Contains(body, `value="e1"`) ||
		!strings.Contains(body, "Try again") || !strings.Contains(body, `value="leak"`) {
		t.Errorf("active are %s, and the page: %s", s.active(), body)
	}
	failing = 0
	w = s.want(200, s.api("boss", "POST", "/revoke", `{"user":"ada"}`))
	var answer revoked
	decode(t, w, &answer)
	if len(answer.Revoked)+len(answer.Failed) != 1 {
		t.Errorf("answered %s", w.Body)
	}
	store.Before(func(_ context.Context, method string) error {
		if method == "List" {
			return errors.New("no connection")
		}
		return nil
	})
	s.want(503, s.api("boss", "POST", "/revoke", `{"user":"ada"}`))
}

// Without scripts, people check tokens, see what would end, and confirm.
func TestRevokingSelectedTokensOnThePage(t *testing.T) {
	t.Parallel()
	s := newSite(t, Options{})
	family(s)
	body := s.page("boss", "/?per_page=99&order_by=label").Body.String()
	form := regexp.MustCompile(`(?s)<form method="post" action="\.(/revoke[^"]*)">(.*?)</form>`).FindStringSubmatch(body)
	if form == nil {
		t.Fatalf("no form: %s", body)
	}
	var boxes []string
	checkbox := regexp.MustCompile(`<input type="checkbox" name="id" value="([^"]*)" data-choose aria-label="([^"]*)">`)
	for _, box := range checkbox.FindAllStringSubmatch(form[2], -1) {
		boxes = append(boxes, box[1])
		if want := "Select " + s.get(box[1]).Label + ", hk_"; !strings.HasPrefix(box[2], want) {
			t.Errorf("a checkbox is called %s", box[2])
		}
	}
	if want := []string{"a1", "e1", "a2", "s1"}; !reflect.DeepEqual(boxes, want) { // a3 has ended
		t.Errorf("the checkboxes are %v, want %v", boxes, want)
	}
	path := html.UnescapeString(form[1])
	confirm := s.want(200, s.submit("boss", path, "id=a1&id=e1&id=a3&id=no")).Body.String()
	for _, text := range []string{
		"Revoke 2 tokens?", "laptop", "phone", `name="reason"`, `value="a1"`, `value="e1"`, "Never",
	} {
		if !strings.Contains(confirm, text) {
			t.Errorf("the question has no %s: %s", text, confirm)
		}
	}
	if strings.Contains(confirm, `value="a3"`) || s.active() != "a1 a2 e1 s1" {
		t.Errorf("active are %s before it is confirmed; the question: %s", s.active(), confirm)
	}
	long := s.want(400, s.submit("boss", path, "id=a1&confirm=yes&reason="+strings.Repeat("x", 256))).Body.String()
	if !strings.Contains(long, "at most 255") || !strings.Contains(long, `value="a1"`) || s.active() != "a1 a2 e1 s1" {
		t.Errorf("a long reason: %s", long)
	}
	to := s.want(303, s.submit("boss", path, "id=a1&id=e1&confirm=yes&reason=+leak+")).Header().Get("Location")
	if s.active() != "a2 s1" || s.get("a1").RevokedFor != "leak" || to != "./?order_by=label&per_page=99&revoked=2" {
		t.Errorf("active are %s, then %s", s.active(), to)
	}
	if body := s.page("boss", to[1:]).Body.String(); !strings.Contains(body, `role="status">2 tokens revoked.<`) {
		t.Errorf("the list does not say what was done: %s", body)
	}
	if w := s.want(400, s.submit("boss", path, "")); !strings.Contains(w.Body.String(), "Select at least one token.") {
		t.Errorf("nothing selected: %s", w.Body)
	}
	// Somebody else has revoked them meanwhile: there is nothing to ask.
	if to := s.want(303, s.submit("boss", path, "id=a1")).Header().Get("Location"); to != "./?order_by=label&per_page=99" {
		t.Errorf("nothing left to revoke: %s", to)
	}
}

// A made-up link does not make a list say that tokens were revoked.
func TestListsSayWhatIsTrue(t *testing.T) {
	t.Parallel()
	s := newSite(t, Options{})
	family(s) // one was revoked just now
	for path, says := range map[string]bool{
		"/?revoked=1": true, "/?revoked=2": false, "/?revoked=0": false, "/?revoked=-1": false, "/?revoked=x": false,
		"/": false,
	} {
		if body := s.page("boss", path).Body.String(); strings.Contains(body, " revoked.<") != says {
			t.Errorf("%s: %s", path, body)
		}
	}
	if body := s.page("eve", "/?revoked=1").Body.String(); strings.Contains(body, " revoked.<") {
		t.Error("the list tells of another's token")
	}
}

// An Admin who looks at the tokens of a user can revoke them all.
func TestRevokingAUserOnThePage(t *testing.T) {
	t.Parallel()
	s := newSite(t, Options{})
	family(s)
	for path, offered := range map[string]bool{"/": false, "/?user=ada": true, "/?user=nobody": false} {
		if body := s.page("boss", path).Body.String(); strings.Contains(body, "Revoke all tokens of this user") != offered {
			t.Errorf("%s: offered is not %v", path, offered)
		}
	}
	if body := s.page("manager", "/?user=ada").Body.String(); strings.Contains(body, "Revoke all tokens of this user") {
		t.Error("it is offered to others")
	}
	question := s.want(200, s.submit("boss", "/revoke?from=user%3Dada", "user=ada")).Body.String()
	for _, text := range []string{
		"Revoke 2 tokens?", "laptop", "server", `<input type="hidden" name="user" value="ada">`,
	} {
		if !strings.Contains(question, text) {
			t.Errorf("the question has no %s: %s", text, question)
		}
	}
	if strings.Contains(question, `name="id"`) || strings.Contains(question, ">old<") {
		t.Errorf("the question: %s", question)
	}
	to := s.want(303, s.submit("boss", "/revoke?from=user%3Dada", "user=ada&confirm=yes")).Header().Get("Location")
	if s.active() != "e1 s1" || to != "./?user=ada&revoked=2" {
		t.Errorf("active are %s, then %s", s.active(), to)
	}
	s.want(403, s.submit("eve", "/revoke", "user=ada&confirm=yes"))
}

// Of very many tokens the question shows the first ones, and counts all.
func TestTheQuestionCountsAllTokens(t *testing.T) {
	t.Parallel()
	s := newSite(t, Options{})
	for i := range 130 {
		s.issue(httpkey.Token{Label: fmt.Sprint(i), User: "ada", ExpiredAt: time.Now().Add(time.Hour)})
	}
	body := s.want(200, s.submit("boss", "/revoke", url.Values{"user": {"ada"}}.Encode())).Body.String()
	if !strings.Contains(body, "Revoke 130 tokens?") || !strings.Contains(body, "And 30 more.") {
		t.Errorf("the question: %s", body)
	}
}

// If the client hangs up, the rest is revoked all the same.
func TestRevokingGoesOnIfTheClientHangsUp(t *testing.T) {
	t.Parallel()
	store := httpkeytest.NewStore(memstore.New())
	s := newSiteOn(t, store, Options{})
	family(s)
	ctx, hangUp := context.WithCancel(t.Context())
	store.Before(func(ctx context.Context, method string) error {
		if method == "Update" {
			hangUp()
		}
		return ctx.Err()
	})
	c := s.handler.(*console)
	all, err := c.revokeBulk(ctx, people["ada"], bulk{ids: []string{"a1", "a2"}})
	if err != nil || len(all.Revoked) != 2 || s.active() != "e1 s1" {
		t.Errorf("%+v, %v; active are %s", all, err, s.active())
	}
}
