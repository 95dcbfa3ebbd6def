package console

import (
	"context"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/httpkeytest"
	"github.com/httpkey/httpkey/memstore"
)

// ifMatch sends a request in JSON with an If-Match header.
func (s *site) ifMatch(tags, method, path, body string) *httptest.ResponseRecorder {
	return s.send("ada", method, path, body, "Content-Type", "application/json", "If-Match", tags)
}

// conditional are the requests that may have an If-Match header, with the status of their success.
var conditional = []struct {
	method, path, body string
	ok                 int
}{
	{http.MethodPatch, "/id/", `{"label":"y"}`, 200},
	{http.MethodPatch, "/id/", `{"is_active":false}`, 200},
	{http.MethodPatch, "/id/", `{"is_active":false,"label":"y"}`, 200},
	{http.MethodDelete, "/id/", ``, 204},
	{http.MethodPost, "/id/rotate/", `{"grace":60}`, 201},
}

func TestIfMatch(t *testing.T) {
	t.Parallel()
	for _, q := range conditional {
		for _, tt := range []struct {
			name, tags string // with TAG for the ETag of the token
			status     int    // 0: of a success
		}{
			{"the version", `TAG`, 0},
			{"one of several", `"other", TAG`, 0},
			{"of several with empty ones", `, ,TAG ,, "other",`, 0},
			{"any", `*`, 0},
			{"another version", `"other"`, 412},
			{"a part of the version", `"x"TAG"x"`, 400},
			{"the weak version", `W/TAG`, 412},
			{"the weak version and another", `W/TAG, "other"`, 412},
			{"the empty tag", `""`, 412},
			{"without quotes", `other`, 400},
			{"an open quote", `"other`, 400},
			{"a lower w", `w/TAG`, 400},
			{"any and more", `*, TAG`, 400},
			{"a blank in a tag", `"a b"`, 400},
			{"two without a comma", `TAG TAG`, 400},
			{"nothing", ``, 400},
			{"nothing but commas", ` , ,`, 400},
			{"too long", `TAG,` + strings.Repeat(`"x",`, 1024), 400},
		} {
			t.Run(q.method+" "+q.body+"/"+tt.name, func(t *testing.T) {
				t.Parallel()
				s := newSite(t, Options{})
				s.issue(httpkey.Token{ID: "id", Label: "x", User: "ada"})
				before := s.get("id")
				tag := s.want(200, s.api("ada", "GET", "/id/", "")).Header().Get("ETag")
				want := tt.status
				if want == 0 {
					want = q.ok
				}
				w := s.want(want, s.ifMatch(strings.ReplaceAll(tt.tags, "TAG", tag), q.method, q.path, q.body))
				if want < 300 {
					return
				}
				code := map[int]string{400: "malformed", 412: "precondition_failed"}[want]
				if got := refusalIn(t, w); !strings.HasPrefix(got, code+": ") {
					t.Errorf("answered %s", got)
				}
				if got := w.Header().Get("ETag"); want == 412 && got != tag || want == 400 && got != "" {
					t.Errorf("the ETag is %s, of the token %s", got, tag)
				}
				if after := s.get("id"); versionOf(after) != versionOf(before) {
					t.Errorf("the token was changed: %+v", after)
				}
				if told := s.told(); len(told) != 0 {
					t.Errorf("told %+v", told)
				}
			})
		}
	}
}

// An ETag comes with each answer that is about one token, and names its version.
func TestVersions(t *testing.T) {
	t.Parallel()
	s := newSite(t, Options{})
	tagOf := func(status int, w *httptest.ResponseRecorder) string {
		t.Helper()
		tag := s.want(status, w).Header().Get("ETag")
		if len(tag) < 4 || tag[0] != '"' || tag[len(tag)-1] != '"' {
			t.Errorf("the ETag is %s", tag)
		}
		return tag
	}
	get := func(id string) string { t.Helper(); return tagOf(200, s.api("ada", "GET", "/"+id+"/", "")) }
	created := s.api("ada", "POST", "/", `{"label":"x"}`)
	first := tagOf(201, created)
	secret, token := s.created(created)
	if _, err := s.guard.Verify(t.Context(), secret); err != nil {
		t.Fatal(err)
	}
	if again := get(token.ID); again != first || s.get(token.ID).LastUsed.IsZero() {
		t.Errorf("after a use the version is %s, before it %s", again, first)
	}
	changed := tagOf(200, s.api("ada", "PATCH", "/"+token.ID+"/", `{"label":"y"}`))
	rotated := s.api("ada", "POST", "/"+token.ID+"/rotate/", `{"grace":60}`)
	successor := tagOf(201, rotated)
	_, next := s.created(rotated)
	old := get(token.ID)
	revoked := tagOf(200, s.api("ada", "PATCH", "/"+next.ID+"/", `{"is_active":false}`))
	tags := []string{first, changed, successor, old, revoked}
	if slices.Sort(tags); len(slices.Compact(tags)) != 5 {
		t.Errorf("the versions are %v", tags)
	}
	if got := get(next.ID); got != revoked {
		t.Errorf("the version is %s, answered was %s", got, revoked)
	}
	if got := s.api("ada", "GET", "/", "").Header().Get("ETag"); got != "" {
		t.Errorf("a list has the ETag %s", got)
	}
}

// A change that comes between the request and its write is not lost: the store decides.
func TestIfMatchIsDecidedWithTheWrite(t *testing.T) {
	t.Parallel()
	for _, q := range conditional {
		if q.body == `{"is_active":false}` {
			continue // a revocation loses nothing
		}
		t.Run(q.method+" "+q.body, func(t *testing.T) {
			t.Parallel()
			var s *site
			s = newSite(t, Options{Limiter: meanwhile(func() {
				if _, err := s.store.Update(s.Context(), "id", func(t *httpkey.Token) error {
					t.Description = "theirs"
					return nil
				}); err != nil {
					s.Error(err)
				}
			})})
			s.issue(httpkey.Token{ID: "id", Label: "x", User: "ada"})
			w := s.want(412, s.ifMatch(`"`+versionOf(s.get("id"))+`"`, q.method, q.path, q.body))
			got := s.get("id")
			if got.Description != "theirs" || got.Label != "x" || got.RotatedTo != "" || !got.IsActive {
				t.Errorf("the store has %+v", got)
			}
			if tag := w.Header().Get("ETag"); tag != `"`+versionOf(got)+`"` {
				t.Errorf("the ETag is %s", tag)
			}
		})
	}
}

// Of changes at once that are made for one version, one is made.
func TestOfChangesForOneVersionOneIsMade(t *testing.T) {
	t.Parallel()
	s := newSite(t, Options{})
	s.issue(httpkey.Token{ID: "id", Label: "x", User: "ada"})
	tag := `"` + versionOf(s.get("id")) + `"`
	statuses := make(chan int, 10)
	var group sync.WaitGroup
	for i := range cap(statuses) {
		group.Go(func() {
			statuses <- s.ifMatch(tag, "PATCH", "/id/", `{"label":"`+strings.Repeat("y", i+1)+`"}`).Code
		})
	}
	group.Wait()
	close(statuses)
	n := map[int]int{}
	for status := range statuses {
		n[status]++
	}
	if n[200] != 1 || n[412] != 9 {
		t.Errorf("answered %v", n)
	}
}

// A token that is not there is not found, whatever the condition.
func TestIfMatchOfATokenThatIsNotThere(t *testing.T) {
	t.Parallel()
	inner := memstore.New()
	store := httpkeytest.NewStore(inner)
	s := newSiteOn(t, store, Options{})
	for _, q := range conditional {
		for _, tags := range []string{`*`, `"x"`} {
			s.want(404, s.ifMatch(tags, q.method, q.path, q.body))
		}
	}
	s.issue(httpkey.Token{ID: "id", Label: "x", User: "ada"})
	tag, gets := `"`+versionOf(s.get("id"))+`"`, 0
	store.Before(func(ctx context.Context, method string) error {
		if method != "Get" {
			return nil
		}
		if gets++; gets == 2 {
			return inner.Delete(ctx, "id")
		}
		return nil
	})
	s.want(404, s.ifMatch(tag, "DELETE", "/id/", ""))
}

func FuzzIfMatch(f *testing.F) {
	for _, text := range []string{``, `*`, `"a"`, `W/"a"`, `"a", "b"`, `"a`, `W/`, `,,`, "\"\x80\"", `"a"b`} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		strong, ok := parseEntityTags(text)
		if !ok {
			if len(strong) > 0 {
				t.Errorf("of %q, which is no list, there are %v", text, strong)
			}
			return
		}
		for tag := range strong {
			if !strings.Contains(text, `"`+tag+`"`) || strings.ContainsAny(tag, "\" \t\r\n\x00\x7f") {
				t.Errorf("%q has the tag %q", text, tag)
			}
		}
		again, ok := parseEntityTags(text + `, W/"x"`)
		if !ok || len(again) != len(strong) {
			t.Errorf("%q has %v, and with a weak tag %v", text, strong, again)
		}
	})
}
