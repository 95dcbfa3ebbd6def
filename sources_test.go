package httpkey_test

import (
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/httpkeytest"
	"github.com/httpkey/httpkey/memstore"
)

// withoutJWT is the Source of the example in the documentation: JSON Web Tokens are none of
// its business.
func withoutJWT(r *http.Request) []string {
	keys := httpkey.FromBearer()(r)
	if len(keys) != 1 || strings.HasPrefix(keys[0], "hk_") {
		return keys
	}
	return nil
}

// sources are those of the table below, in the order of its answers.
var sources = []struct {
	name     string
	sources  []httpkey.Source
	isBearer bool
}{
	{"the default", nil, false},
	{"bearer", []httpkey.Source{httpkey.FromBearer()}, true},
	{"both", []httpkey.Source{httpkey.FromHeader("x-api-key"), httpkey.FromBearer()}, true},
	{"a function", []httpkey.Source{withoutJWT}, true},
	{"a header and a function", []httpkey.Source{withoutJWT, httpkey.FromHeader("X-Api-Key")}, true},
}

// A Guard reads the headers of its sources and no others. It finds the key valid, missing or not
// valid.
func TestSources(t *testing.T) {
	t.Parallel()
	const (
		key, other, unknown = "$key", "$other", "$unknown" // replaced by keys
		jwt                 = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl"
	)
	basic := "Basic " + base64.StdEncoding.EncodeToString([]byte("hk_k_user:password"))
	type lines []string
	for _, tt := range []struct {
		name       string
		x, bearers lines // of X-Api-Key and Authorization
		want       string
	}{
		{"nothing", nil, nil, "m m m m m"},
		{"a key", lines{key}, nil, "v m v m v"},
		{"a bearer key", nil, lines{"Bearer " + key}, "m v v v v"},
		{"a bearer key in small letters", nil, lines{"bearer " + key}, "m v v v v"},
		{"a bearer key in capitals", nil, lines{"BEARER " + key}, "m v v v v"},
		{"one key twice", lines{key}, lines{"Bearer " + key}, "v v v v v"},
		{"two keys", lines{key}, lines{"Bearer " + other}, "v v i v i"},
		{"two keys, one of them unknown", lines{key}, lines{"Bearer " + unknown}, "v i i i i"},

		{"an empty line", lines{""}, nil, "m m m m m"},
		{"blanks", lines{" \t "}, lines{" "}, "m m m m m"},
		{"blanks around a key", lines{" \t" + key + "\t "}, nil, "v m v m v"},
		{"blanks around a bearer key", nil, lines{" \tBearer   " + key + " \t"}, "m v v v v"},
		{"a scheme alone", nil, lines{"Bearer"}, "m m m m m"},
		{"a scheme and blanks", nil, lines{"Bearer   "}, "m m m m m"},
		{"a blank line beside a bearer key", lines{" "}, lines{"Bearer " + key}, "m v v v v"},
		{"a scheme alone beside a key", lines{key}, lines{"Bearer "}, "v m v m v"},

		{"Basic", nil, lines{basic}, "m m m m m"},
		{"Basic twice", nil, lines{basic, basic}, "m m m m m"},
		{"Basic beside a key", lines{key}, lines{basic}, "v m v m v"},
		{"Basic beside a bearer key", nil, lines{basic, "Bearer " + key}, "m i i i i"},
		{"another scheme", nil, lines{"Token " + key}, "m m m m m"},
		{"a scheme that begins alike", nil, lines{"BearerToken " + key}, "m m m m m"},
		{"no blank behind the scheme", nil, lines{"Bearer" + key}, "m m m m m"},
		{"a tab behind the scheme", nil, lines{"Bearer\t" + key}, "m m m m m"},
		{"a key without a scheme", nil, lines{key}, "m m m m m"},

		{"a JSON Web Token", nil, lines{"Bearer " + jwt}, "m i i m m"},
		{"a JSON Web Token beside a key", lines{key}, lines{"Bearer " + jwt}, "v i i m v"},
		{"a JSON Web Token beside a bearer key", nil, lines{"Bearer " + jwt, "Bearer " + key}, "m i i i i"},

		{"two lines of one key", lines{key, key}, nil, "i m i m i"},
		{"two lines of two keys", lines{key, other}, nil, "i m i m i"},
		{"a key and an empty line", lines{key, ""}, nil, "i m i m i"},
		{"two bearer lines of one key", nil, lines{"Bearer " + key, "Bearer " + key}, "m i i i i"},
		{"two bearer lines of two keys", nil, lines{"Bearer " + key, "Bearer " + other}, "m i i i i"},
		{"a bearer key and a scheme alone", nil, lines{"Bearer " + key, "Bearer"}, "m i i i i"},
		{"two keys in a line", lines{key + ", " + other}, nil, "i m i m i"},
		{"two bearer keys in a line", nil, lines{"Bearer " + key + ", Bearer " + other}, "m i i i i"},
		{"two lines beside a bearer key", lines{key, key}, lines{"Bearer " + key}, "i v i v i"},

		{"an unknown key", lines{unknown}, nil, "i m i m i"},
		{"an unknown bearer key", nil, lines{"Bearer " + unknown}, "m i i i i"},
		{"nonsense", lines{"nonsense"}, nil, "i m i m i"},
		{"bearer nonsense", nil, lines{"Bearer nonsense"}, "m i i m m"},
		{"nonsense beside a bearer key", lines{"nonsense"}, lines{"Bearer " + key}, "i v i v i"},
		{"a scheme in the other header", lines{"Bearer " + key}, nil, "i m i m i"},
		{"a parameter behind a bearer key", nil, lines{"Bearer " + key + `, realm="api"`}, "m i i i i"},
		{"a key in quotes", nil, lines{`Bearer "` + key + `"`}, "m i i m m"},
		{"a long key", lines{strings.Repeat("k", 10_000)}, lines{"Bearer hk_k_" + strings.Repeat("k", 10_000)},
			"i i i i i"},
	} {
		for i, answer := range strings.Fields(tt.want) {
			source := sources[i]
			t.Run(tt.name+", "+source.name, func(t *testing.T) {
				t.Parallel()
				var seen events
				store := httpkeytest.NewStore(memstore.New())
				guard := httpkey.New(store, memstore.NewLimiter(), &httpkey.Options{
					Sources: source.sources, Observers: observers(&seen)})
				good, token := issue(t, guard, httpkey.Token{})
				another, _ := issue(t, guard, httpkey.Token{})
				r := httptest.NewRequest(http.MethodGet, "/", nil)
				keys := strings.NewReplacer(key, good, other, another, unknown, madeUp())
				for name, lines := range map[string]lines{"X-Api-Key": tt.x, "Authorization": tt.bearers} {
					for _, line := range lines {
						r.Header.Add(name, keys.Replace(line))
					}
				}
				w := httptest.NewRecorder()
				var user httpkey.Token
				guard.Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
					user, _ = httpkey.FromContext(r.Context())
				})).ServeHTTP(w, r)

				h, e := w.Header(), seen.last(t)
				challenges := []string{`ApiKey realm="api"`}
				if source.isBearer {
					challenges = append(challenges, `Bearer realm="api"`)
				}
				if answer == "v" {
					isAnother := user.ID != "" && user.ID != token.ID
					if w.Code != 200 || user.ID == "" || h["Www-Authenticate"] != nil || h.Get("X-RateLimit-Remaining") != "59" ||
						isAnother != (tt.name == "two keys" && source.sources != nil) {
						t.Errorf("%d %v, and the token is %v", w.Code, h, user)
					}
					return
				}
				body := map[string]string{"m": missing, "i": invalid}[answer]
				if w.Code != 401 || w.Body.String() != body || !slices.Equal(h["Www-Authenticate"], challenges) ||
					h.Get("X-RateLimit-Limit") != "" || h.Get("Cache-Control") != "no-store" {
					t.Errorf("%d %s %v, want %s and %q", w.Code, w.Body, h, body, challenges)
				}
				calls := 0
				switch {
				case answer == "m" && e.Reason == httpkey.ReasonMissing, e.Reason == httpkey.ReasonMalformed:
				case e.Reason == httpkey.ReasonUnknown && strings.Contains(tt.name, "unknown"):
					calls = 1
				default:
					t.Errorf("the reason is %q", e.Reason)
				}
				if got := store.Calls("Lookup"); got != calls {
					t.Errorf("the store was asked %d times", got)
				}
			})
		}
	}
}

// A Source may look anywhere. A Guard that reads no bearer key does not name that scheme.
func TestSourcesOfYourOwn(t *testing.T) {
	t.Parallel()
	inQuery := func(r *http.Request) []string { return r.URL.Query()["key"] }
	inCookie := func(r *http.Request) (keys []string) {
		for _, cookie := range r.CookiesNamed("key") {
			keys = append(keys, cookie.Value)
		}
		return keys
	}
	guard := newGuard(&httpkey.Options{Sources: []httpkey.Source{inQuery, inCookie, httpkey.FromHeader("x-other")}})
	key, _ := issue(t, guard, httpkey.Token{})
	for _, tt := range []struct {
		query, cookie, header, standard string
		want                            int
	}{
		{query: "key=" + key, want: 200},
		{cookie: "key=" + key, want: 200},
		{header: key, want: 200},
		{query: "key=" + key, cookie: "key=" + key, header: key, want: 200},
		{query: "key=" + key, cookie: "key=x", want: 401},
		{query: "key=" + key + "&key=" + key, want: 401},
		{query: "key=", header: key, want: 200},
		{standard: key, want: 401},
	} {
		r := httptest.NewRequest(http.MethodGet, "/?"+tt.query, nil)
		r.Header.Set("Cookie", tt.cookie)
		r.Header.Set("X-Other", tt.header)
		r.Header.Set("X-Api-Key", tt.standard)
		w := httptest.NewRecorder()
		guard.Handler(ok).ServeHTTP(w, r)
		challenges := w.Header()["Www-Authenticate"]
		if w.Code != tt.want || w.Code == 401 && !slices.Equal(challenges, []string{`ApiKey realm="api"`}) {
			t.Errorf("%+v: %d %v", tt, w.Code, w.Header())
		}
	}
}

// A later change of the caller's list has no effect.
func TestSourcesAreCopied(t *testing.T) {
	t.Parallel()
	list := []httpkey.Source{httpkey.FromHeader("X-Other")}
	guard := newGuard(&httpkey.Options{Sources: list})
	list[0] = httpkey.FromHeader("X-Api-Key")
	key, _ := issue(t, guard, httpkey.Token{})
	if w := httpkeytest.Get(guard.Handler(ok), key); w.Code != 401 || w.Body.String() != missing {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// KeyOf finds the key that Check would look up, whatever the store knows of it.
func TestKeyOf(t *testing.T) {
	t.Parallel()
	guard, key := httpkeytest.New(t, &httpkey.Options{
		Sources: []httpkey.Source{httpkey.FromHeader("X-Api-Key"), httpkey.FromBearer()},
	})
	other, _ := httpkeytest.New(t, nil)
	unknown := httpkeytest.Issue(t, other, httpkey.Token{}).Secret.Reveal()
	for _, tt := range []struct {
		name   string
		header http.Header
		want   string
	}{
		{"a key", http.Header{"X-Api-Key": {" " + key}}, key},
		{"a bearer key", http.Header{"Authorization": {"Bearer " + key}}, key},
		{"twice the same", http.Header{"X-Api-Key": {key}, "Authorization": {"Bearer " + key}}, key},
		{"an unknown key", http.Header{"X-Api-Key": {unknown}}, unknown},
		{"no key", nil, ""},
		{"two keys", http.Header{"X-Api-Key": {key}, "Authorization": {"Bearer " + unknown}}, ""},
		{"two lines", http.Header{"X-Api-Key": {key, key}}, ""},
		{"a malformed key", http.Header{"X-Api-Key": {"nonsense"}}, ""},
		{"a key elsewhere", http.Header{"Api-Key": {key}}, ""},
	} {
		r := httpkeytest.Request(http.MethodGet, "/", "")
		r.Header = tt.header
		if got, ok := guard.KeyOf(r); ok != (tt.want != "") || got.Reveal() != tt.want {
			t.Errorf("%s: %q %v", tt.name, got.Reveal(), ok)
		}
	}
}

func TestFromHeaderNeedsAName(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"", "X Api", "X-Api-Key:", "é", "X\n"} {
		func() {
			defer func() {
				if text, _ := recover().(string); !strings.HasPrefix(text, "httpkey: FromHeader") {
					t.Errorf("%q: panicked with %q", name, text)
				}
			}()
			httpkey.FromHeader(name)
		}()
	}
}

// A Source from a header costs no allocation, and one from a scheme costs one.
func TestAllocationsOfSources(t *testing.T) {
	// Not parallel: AllocsPerRun counts those of the whole process.
	for _, tt := range []struct {
		sources []httpkey.Source
		bearer  bool
		most    float64
	}{
		{nil, false, 2},
		{[]httpkey.Source{httpkey.FromHeader("X-Api-Key")}, false, 2},
		{[]httpkey.Source{httpkey.FromHeader("X-Api-Key"), httpkey.FromBearer()}, false, 2},
		{[]httpkey.Source{httpkey.FromHeader("X-Api-Key"), httpkey.FromBearer()}, true, 3},
		{[]httpkey.Source{httpkey.FromBearer()}, true, 3},
	} {
		guard := newGuard(&httpkey.Options{Sources: tt.sources, Limits: map[httpkey.Kind][]httpkey.Limit{
			httpkey.APIKey: {httpkey.PerSecond(1_000_000_000)}}})
		key, _ := issue(t, guard, httpkey.Token{})
		r := httpkeytest.Request(http.MethodGet, "/", key)
		if tt.bearer {
			r.Header = http.Header{"Authorization": {"Bearer " + key}}
		}
		w := &quiet{header: make(http.Header)}
		handler := guard.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
		if got := testing.AllocsPerRun(200, func() {
			clear(w.header)
			handler.ServeHTTP(w, r)
		}); got > tt.most || w.status != 0 {
			t.Errorf("%d sources, by bearer %v: %v allocations and status %d", len(tt.sources), tt.bearer, got, w.status)
		}
	}
}
