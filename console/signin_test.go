package console

import (
	"html"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/httpkey/httpkey"
)

// signIn is a login with the way back to the address that a person asked for.
func signIn(r *http.Request) string {
	return "https://login.example/?next=" + url.QueryEscape(r.RequestURI)
}

var signInLink = regexp.MustCompile(`<a class="button primary" href="([^"]*)">Sign in</a>`)

// mounted is a console below /settings/tokens.
func mounted(t *testing.T, opts Options) *site {
	t.Helper()
	s := newSite(t, opts)
	s.handler = http.StripPrefix("/settings/tokens", s.handler)
	return s
}

func TestPageWithoutASessionLeadsToTheLogin(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		signIn func(*http.Request) string
		want   string // the link; none: no link
	}{
		"with a way back": {signIn, "https://login.example/?next=%2Fsettings%2Ftokens%2Fid%2F%3Fdone%3Dupdated"},
		"a path":          {func(*http.Request) string { return "/login" }, "/login"},
		"none":            {nil, ""},
		"not now":         {func(*http.Request) string { return "" }, ""},
		"a script":        {func(*http.Request) string { return "javascript:alert(1)" }, "#ZgotmplZ"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := mounted(t, Options{SignIn: tt.signIn})
			w := s.want(401, s.page("", "/settings/tokens/id/?done=updated"))
			link := signInLink.FindStringSubmatch(w.Body.String())
			if (link == nil) != (tt.want == "") || link != nil && html.UnescapeString(link[1]) != tt.want {
				t.Errorf("the page has the link %q, want %q: %s", link, tt.want, w.Body)
			}
			if strings.Contains(w.Body.String(), "<form") {
				t.Errorf("the page has a form: %s", w.Body)
			}
			api := s.want(401, s.api("", "GET", "/settings/tokens/id/", ""))
			if strings.Contains(api.Body.String(), "login.example") {
				t.Errorf("a program is told %s", api.Body)
			}
		})
	}
}

var hiddenField = regexp.MustCompile(`<input type="hidden" name="([^"]*)" value="([^"]*)">`)

// hiddenFields returns the form that a page has in hidden fields.
func hiddenFields(w *httptest.ResponseRecorder) url.Values {
	values := url.Values{}
	for _, field := range hiddenField.FindAllStringSubmatch(w.Body.String(), -1) {
		values.Add(html.UnescapeString(field[1]), html.UnescapeString(field[2]))
	}
	return values
}

// Nothing that a person has typed is lost if their session ends meanwhile: the page sends it again.
func TestFormWithoutASessionCanBeSentAgain(t *testing.T) {
	t.Parallel()
	for name, opts := range map[string]Options{
		"with a login": {SignIn: signIn}, "without a login": {}, "in a layout": {SignIn: signIn, Layout: framedBy("Acme")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := mounted(t, opts)
			form := url.Values{
				"nonce": {nonce}, "label": {`"quoted" <b>&amp; é`}, "description": {"two\r\nlines "}, "kind": {"api_key"},
				"expiry": {"90"}, "scopes": {"read", "write"}, `"><script>`: {"odd"},
			}
			w := s.want(401, s.submit("", "/settings/tokens/", form.Encode()))
			body := w.Body.String()
			if got := hiddenFields(w); got.Encode() != form.Encode() {
				t.Errorf("the page has\n%v\nwant\n%v", got, form)
			}
			for text, want := range map[string]bool{
				"Your session has ended.": true,
				`<form method="post">`:    true, // to the address that it was sent to
				"<script>":                false,
				`<a class="button" href="https://login.example/?next=%2Fsettings%2Ftokens%2F" target="_blank"`: opts.SignIn != nil,
			} {
				if strings.Contains(body, text) != want {
					t.Errorf("the page has %q: %v, want %v: %s", text, !want, want, body)
				}
			}
			if tokens, _ := s.store.List(t.Context(), httpkey.Filter{}); len(tokens) != 0 {
				t.Fatalf("there is a token: %v", tokens)
			}
			again := s.want(201, s.submit("ada", "/settings/tokens/", hiddenFields(w).Encode()))
			token, err := s.guard.Verify(t.Context(), secretOn(t, again.Body.String()))
			if err != nil || token.Label != form.Get("label") || token.Description != "two\nlines" || len(token.Scopes) != 2 {
				t.Errorf("the token is %+v, %v", token, err)
			}
		})
	}
}

// A form that nobody may see again, or that is none, is not given back.
func TestWhatIsNotGivenBack(t *testing.T) {
	t.Parallel()
	const key = "hk_k_0123456789012345678901234567890"
	for name, tt := range map[string]struct {
		body    string
		headers []string
		status  int
	}{
		"a key":              {"label=secretly&key=" + key, nil, 401},
		"of another site":    {"label=secretly", []string{"Sec-Fetch-Site", "cross-site"}, 403},
		"of another origin":  {"label=secretly", []string{"Origin", "https://evil.example"}, 403},
		"too large":          {"label=secretly" + strings.Repeat("x", maxBody), nil, 401},
		"too many fields":    {strings.Repeat("scopes=secretly&", maxUnsent+1), nil, 401},
		"malformed":          {"label=secretly&%zz", nil, 401},
		"of another type":    {"label=secretly", []string{"Content-Type", "text/plain"}, 401},
		"without any fields": {"", nil, 401},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, Options{SignIn: signIn})
			headers := append([]string{"Accept", browserAccept, "Content-Type", formType}, tt.headers...)
			w := s.want(tt.status, s.send("", http.MethodPost, "/find", tt.body, headers...))
			if body := w.Body.String(); strings.Contains(body, "secretly") || strings.Contains(body, "<form") ||
				strings.Contains(body, key) {
				t.Errorf("the page has %s", body)
			}
		})
	}
}
