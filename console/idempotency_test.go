package console

import (
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/httpkey/httpkey"
)

// createOnce sends a request to create a token, with an Idempotency-Key.
func (s *site) createOnce(login, key, body string) *httptest.ResponseRecorder {
	return s.send(login, "POST", "/", body, "Content-Type", "application/json", "Idempotency-Key", key)
}

func TestIdempotencyKey(t *testing.T) {
	t.Parallel()
	longest := strings.Repeat("k", 255)
	for _, tt := range []struct {
		name, key, again string
		status           int // of the first request
	}{
		{"with quotes", `"8e03978e-40d5-43e8-bc93-6894a57f9324"`, `"8e03978e-40d5-43e8-bc93-6894a57f9324"`, 201},
		{"without", `8e03978e`, `8e03978e`, 201},
		{"once with, once without", `"8e03978e"`, `8e03978e`, 201},
		{"with escapes", `"a\"b\\c"`, `"a\"b\\c"`, 201},
		{"all signs", "!#$%&'()*+,-./09:;<=>?@AZ[]^_`az{|}~", "!#$%&'()*+,-./09:;<=>?@AZ[]^_`az{|}~", 201},
		{"a backslash without quotes", `a\b`, `"a\\b"`, 201},
		{"the longest", longest, `"` + longest + `"`, 201},
		{"too long", longest + "k", "", 400},
		{"too long, with quotes", `"` + longest + `k"`, "", 400},
		{"empty", ``, "", 400},
		{"empty quotes", `""`, "", 400},
		{"a blank", `a b`, "", 400},
		{"a blank in quotes", `"a b"`, "", 400},
		{"an open quote", `"a`, "", 400},
		{"a quote at the end", `a"`, "", 400},
		{"a quote inside", `"a"b"`, "", 400},
		{"a parameter", `"a";b=1`, "", 400},
		{"another escape", `"a\b"`, "", 400},
		{"an open escape", `"a\`, "", 400},
		{"an escaped end", `"a\"`, "", 400},
		{"no ASCII", `ä`, "", 400},
		{"DEL", "a\x7f", "", 400},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, Options{})
			first := s.want(tt.status, s.createOnce("ada", tt.key, `{"label":"x"}`))
			if tt.status != 201 {
				if got := refusalIn(t, first); !strings.HasPrefix(got, "malformed: The Idempotency-Key must") {
					t.Errorf("answered %s", got)
				}
				return
			}
			secret, token := s.created(first)
			s.wantNoSecondToken(token, secret, s.createOnce("ada", tt.again, `{"label":"x"}`))
			s.wantNoSecondToken(token, secret, s.createOnce("ada", tt.again, `{"label":"another","expired_at":null}`))
		})
	}
}

// wantNoSecondToken fails the test unless w tells of the token, without its key.
func (s *site) wantNoSecondToken(token httpkey.Token, secret string, w *httptest.ResponseRecorder) {
	s.Helper()
	var refused refusal
	decode(s, s.want(409, w), &refused)
	if refused.Code != "created_already" || refused.ID != token.ID || w.Header().Get("Location") != "./"+token.ID+"/" ||
		strings.Contains(w.Body.String(), secret) || strings.Contains(w.Body.String(), `"token"`) {
		s.Errorf("answered %v %s", w.Header(), w.Body)
	}
	if all, err := s.store.List(s.Context(), httpkey.Filter{User: token.User}); err != nil || len(all) != 1 {
		s.Errorf("there are %d tokens, %v", len(all), err)
	}
}

// Requests that share neither the key nor the person share no token. A form has no key.
func TestIdempotencyKeysDiffer(t *testing.T) {
	t.Parallel()
	s := newSite(t, Options{})
	seen := map[string]bool{}
	for _, w := range []*httptest.ResponseRecorder{
		s.createOnce("ada", nonce, `{"label":"x"}`),
		s.createOnce("eve", nonce, `{"label":"x"}`),
		s.createOnce("ada", nonce+"2", `{"label":"x"}`),
		s.createOnce("ada", strings.ToUpper(nonce), `{"label":"x"}`),
		s.api("ada", "POST", "/", `{"label":"x"}`),
		s.api("ada", "POST", "/", `{"label":"x"}`),
	} {
		_, token := s.created(w)
		seen[token.ID] = true
	}
	s.want(201, s.submit("ada", "/", newForm()))
	seen[s.get(idOf("ada", nonce)).ID] = true
	if len(seen) != 7 {
		t.Errorf("the tokens are %v", seen)
	}
}

// Two headers are two keys, and neither is the one.
func TestTwoIdempotencyKeys(t *testing.T) {
	t.Parallel()
	s := newSite(t, Options{})
	r := httptest.NewRequestWithContext(t.Context(), "POST", "/", strings.NewReader(`{"label":"x"}`))
	r.Header = map[string][]string{
		"Login": {"ada"}, "Content-Type": {"application/json"}, "Idempotency-Key": {"a", "a"},
	}
	s.want(400, s.serve(r))
}

// A retry is told so although there is no room for another token.
func TestRetryOfTheLastToken(t *testing.T) {
	t.Parallel()
	s := newSite(t, Options{MaxTokens: 1})
	secret, token := s.created(s.createOnce("ada", "a", `{"label":"x"}`))
	s.wantNoSecondToken(token, secret, s.createOnce("ada", "a", `{"label":"x"}`))
	refused := s.want(409, s.createOnce("ada", "b", `{"label":"x"}`))
	if got := refusalIn(t, refused); !strings.HasPrefix(got, "too_many_tokens: ") {
		t.Errorf("answered %s", got)
	}
}

// A request that was refused leaves its key free.
func TestIdempotencyKeyOfARefusedRequest(t *testing.T) {
	t.Parallel()
	s := newSite(t, Options{})
	s.want(400, s.createOnce("ada", "a", `{"label":""}`))
	s.want(403, s.createOnce("ada", "a", `{"label":"x","scopes":["admin"]}`))
	s.want(201, s.createOnce("ada", "a", `{"label":"x"}`))
}

func TestOfCreatesAtOnceOneIsMade(t *testing.T) {
	t.Parallel()
	s := newSite(t, Options{})
	answers := make(chan *httptest.ResponseRecorder, 20)
	var group sync.WaitGroup
	for range cap(answers) {
		group.Go(func() { answers <- s.createOnce("ada", "a", `{"label":"x"}`) })
	}
	group.Wait()
	close(answers)
	made := 0
	for w := range answers {
		if w.Code == 201 {
			made++
		} else if got := refusalIn(t, w); !strings.HasPrefix(got, "created_already: ") {
			t.Errorf("answered %d %s", w.Code, got)
		}
	}
	if all, _ := s.store.List(t.Context(), httpkey.Filter{}); made != 1 || len(all) != 1 {
		t.Errorf("%d requests were answered 201, and there are %d tokens", made, len(all))
	}
}

func FuzzIdempotencyKey(f *testing.F) {
	for _, text := range []string{``, `a`, `"a"`, `"a\"b"`, `"a\\"`, `"a\`, `a"b`, `""`, `"a";b`, "\x80"} {
		f.Add(text)
	}
	quote := strings.NewReplacer(`"`, `\"`, `\`, `\\`)
	f.Fuzz(func(t *testing.T, text string) {
		key, ok := parseIdempotencyKey(text)
		if !ok {
			return
		}
		if key == "" || len(key) > 255 || strings.ContainsFunc(key, func(r rune) bool { return r < '!' || r > '~' }) {
			t.Errorf("%q has the key %q", text, key)
		}
		if again, ok := parseIdempotencyKey(`"` + quote.Replace(key) + `"`); !ok || again != key {
			t.Errorf("%q has the key %q, and in quotes %q", text, key, again)
		}
	})
}
