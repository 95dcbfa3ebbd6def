package console

import (
	"html"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/httpkey/httpkey"
)

// A person who opens a token from a list, and goes back or changes it, comes to the same list.
func TestTheWayBackLeadsToTheSameList(t *testing.T) {
	t.Parallel()
	s := newSite(t, Options{})
	for _, id := range []string{"a", "b", "c"} {
		s.issue(httpkey.Token{ID: id, Label: "x " + id, User: "ada"})
	}
	first := s.page("root", "/?search=x&status=works&order_by=label&per_page=1").Body.String()
	list := linksOn(first)["next"] // the second page
	body := s.want(200, s.page("root", list)).Body.String()
	found := regexp.MustCompile(`href="\.(/b/\?from=[^"]*)"`).FindStringSubmatch(body)
	if found == nil {
		t.Fatalf("the list does not link to b: %s", body)
	}
	token := html.UnescapeString(found[1])
	from := strings.TrimPrefix(token, "/b/")
	for _, path := range []string{"/b/", "/b/rotate/", "/b/revoke/", "/b/delete/", "/new", "/find"} {
		body := s.want(200, s.page("root", path+from)).Body.String()
		root := strings.Repeat("../", strings.Count(path, "/")-1)
		if root == "" {
			root = "./"
		}
		if back := html.EscapeString(root + strings.TrimPrefix(list, "/")); !strings.Contains(body, `href="`+back+`"`) {
			t.Errorf("%s does not lead back by %s: %s", path, back, body)
		}
		for _, action := range regexp.MustCompile(`action="([^"]*)"`).FindAllStringSubmatch(body, -1) {
			if !strings.Contains(html.UnescapeString(action[1]), from) {
				t.Errorf("%s has a form to %s", path, action[1])
			}
		}
	}
	s.want(404, s.page("root", "/no/"+from))
	for path, want := range map[string]string{
		"/b/": "./?done=updated&" + from[1:], "/b/revoke/": "../?done=revoked&" + from[1:],
	} {
		if to := s.want(303, s.submit("root", path+from, "label=x+b&expiry=keep")).Header().Get("Location"); to != want {
			t.Errorf("%s leads to %s, want %s", path, to, want)
		}
	}
	to := s.want(303, s.submit("root", "/b/delete/"+from, "name=x+b")).Header().Get("Location")
	if want := "../../" + strings.TrimPrefix(list, "/") + "&done=deleted"; to != want {
		t.Errorf("after a deletion: %s, want %s", to, want)
	}
}

// A made-up way back is not followed, and nothing of it is written.
func TestTheWayBackIsChecked(t *testing.T) {
	t.Parallel()
	s := newSite(t, Options{})
	s.issue(httpkey.Token{ID: "id", Label: "x", User: "ada"})
	for _, from := range []string{
		"https://evil.example/", "//evil.example", "order_by=evil", "search=%zz", "evil=evil", `"><script>evil`,
		"cursor=evil", "per_page=1&search=" + strings.Repeat("evil", 100), "search=a;evil",
	} {
		body := s.want(200, s.page("ada", "/id/?"+url.Values{"from": {from}}.Encode())).Body.String()
		if strings.Contains(body, "evil") || !strings.Contains(body, `<a href="../">`) {
			t.Errorf("from %q: %s", from, body)
		}
	}
}

// A form without JavaScript keeps the order of the list.
func TestFiltersKeepTheOrder(t *testing.T) {
	t.Parallel()
	s := newSite(t, Options{})
	s.issue(httpkey.Token{ID: "id", Label: "x", User: "ada"})
	body := s.page("ada", "/?order_by=-label").Body.String()
	if !strings.Contains(body, `<input type="hidden" name="order_by" value="-label">`) {
		t.Errorf("the form loses the order: %s", body)
	}
}
