package console

import (
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/httpkeytest"
)

// A search for anything that a list shows of a token finds it.
func TestWhatIsShownIsFound(t *testing.T) {
	t.Parallel()
	s := newSite(t, Options{})
	_, token := s.issue(httpkey.Token{
		ID: "0190-id", Label: "Café  „Été“ – Straße", Description: "first line\nsecond line", User: "ada", Workspace: "acme",
		Scopes: []string{"read"},
	})
	_, service := s.issue(httpkey.Token{Label: "other", Workspace: "acme", Kind: httpkey.ServiceToken})
	for search, want := range map[string]bool{
		"hk_k_…" + token.Hint:                  true,
		"hk_k_..." + token.Hint:                true,
		"HK_K_…" + strings.ToUpper(token.Hint): true,
		"…" + token.Hint:                       true,
		"hk_s_…" + token.Hint:                  false,
		"hk_k_":                                true,
		"Café":                                 true, // NFC
		"Cafe\u0301":                           true, // NFD
		"CAFÉ":                                 true,
		`"été" - strasse`:                      true,
		"c\u200bafé":                           true, // with an invisible character
		"cafe":                                 false,
		"line second":                          true, // of two lines
		"0190-ID":                              true,
		"acme read":                            false, // of two fields
		"\u200b":                               true,  // nothing to look for
	} {
		got := slices.Contains(s.listed("root", "search="+url.QueryEscape(search)).ids(), token.ID)
		if got != want {
			t.Errorf("%q finds it: %v, want %v", search, got, want)
		}
	}
	got := s.listed("root", "search="+url.QueryEscape("hk_s_…"+service.Hint)).ids()
	if len(got) != 1 || got[0] != service.ID {
		t.Errorf("the service token: %v", got)
	}
}

// Filters by state and by owner select what a person manages of it.
func TestFiltersByStateAndOwner(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, Options{ExpiresSoon: 7 * day, Unused: 90 * day, Old: 365 * day})
		s.issue(httpkey.Token{ID: "unused", Label: "x", User: "ada"})
		httpkeytest.Elapse(100 * day)
		s.issue(httpkey.Token{ID: "expiring", Label: "x", User: "ada", Workspace: "acme", ExpiredAt: time.Now().Add(day)})
		s.issue(httpkey.Token{ID: "fresh", Label: "x", User: "ada", Workspace: "lab", ExpiredAt: time.Now().Add(30 * day)})
		s.issue(httpkey.Token{ID: "eves", Label: "x", User: "eve", Workspace: "acme"})
		s.issue(httpkey.Token{ID: "service", Label: "x", Workspace: "acme", Kind: httpkey.ServiceToken})
		for _, tt := range []struct{ login, parameters, want string }{
			{"root", "status=unused", "unused"},
			{"root", "status=expiring", "expiring"},
			{"root", "status=care", "expiring unused"},
			{"root", "user=ada", "expiring fresh unused"},
			{"root", "user=eve", "eves"},
			{"root", "workspace=acme", "eves expiring service"},
			{"root", "workspace=acme&user=ada", "expiring"},
			{"root", "workspace=acme&kind=service_token", "service"},
			{"ada", "workspace=acme", "expiring"}, // a member sees their own
			{"ada", "user=eve", ""},
			{"ada", "workspace=nowhere", ""},
			{"manager", "user=ada", "expiring"},
			{"manager", "workspace=lab", ""},
			{"boss", "user=eve", "eves"},
			{"boss", "workspace=lab", "fresh"},
			{"boss", "", "eves expiring fresh service unused"},
		} {
			got := s.listed(tt.login, tt.parameters)
			ids := got.ids()
			slices.Sort(ids)
			if strings.Join(ids, " ") != tt.want || *got.TotalResults != len(ids) {
				t.Errorf("%s with %s: %v, want %s", tt.login, tt.parameters, ids, tt.want)
			}
			rows := rowsOn(s.page(tt.login, "/?"+tt.parameters).Body.String())
			slices.Sort(rows)
			if !slices.Equal(rows, ids) {
				t.Errorf("the page of %s with %s: %v", tt.login, tt.parameters, rows)
			}
		}
	})
}

// An Admin of very many tokens finds those of one user, because the store selects them.
func TestAdminsAskTheStoreForAUser(t *testing.T) {
	t.Parallel()
	s := newSite(t, Options{})
	s.issue(httpkey.Token{ID: "eves", Label: "x", User: "eve", ExpiredAt: time.Now().Add(day)})
	move := func(t *httpkey.Token) error { t.CreatedAt = time.Unix(1, 0); return nil }
	if _, err := s.store.Update(t.Context(), "eves", move); err != nil {
		t.Fatal(err)
	}
	fill(s, maxScan+1, "")
	if got := s.listed("boss", "user=eve"); len(got.Results) != 1 || *got.TotalResults != 1 {
		t.Errorf("eve has %v", got.ids())
	}
}

// People choose whose tokens they see, if they manage those of others.
func TestChoicesOfOwners(t *testing.T) {
	t.Parallel()
	s := newSite(t, Options{})
	for _, workspace := range []string{"", "acme", "lab"} {
		s.issue(httpkey.Token{Label: "x", User: "ada", Workspace: workspace})
	}
	for _, tt := range []struct {
		login, path string
		has, hasNot []string
	}{
		{"ada", "/", nil, []string{`name="user"`, `name="workspace"`, `name="kind"`}},
		{"root", "/?workspace=lab", []string{
			`<option value="ada">Mine</option>`, `<option value="acme">acme</option>`,
			`<option value="lab" selected>lab</option>`,
		}, []string{`<input type="text" id="user"`}},
		{"root", "/?user=eve", []string{`<option value="eve" selected>eve</option>`}, nil},
		{"boss", "/?user=ada", []string{`<input type="text" id="user" name="user" value="ada"`}, nil},
	} {
		body := s.want(200, s.page(tt.login, tt.path)).Body.String()
		for _, part := range tt.has {
			if !strings.Contains(body, part) {
				t.Errorf("%s of %s has no %s: %s", tt.path, tt.login, part, body)
			}
		}
		for _, part := range tt.hasNot {
			if strings.Contains(body, part) {
				t.Errorf("%s of %s has %s", tt.path, tt.login, part)
			}
		}
	}
}
