package leak

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/httpkeytest"
	"github.com/httpkey/httpkey/memstore"
	"github.com/httpkey/httpkey/streams"
)

const file = "https://github.com/octocat/Hello-World/blob/123456/foo/bar.txt"

// Each match ends its key, and the answer and OnLeak say what it was.
func TestReportEndsKeys(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		good := httpkeytest.Issue(t, w.guard, httpkey.Token{User: "ann", Label: "laptop"})
		expired := httpkeytest.Issue(t, w.guard, httpkey.Token{ExpiredAt: time.Now().Add(time.Second)})
		revoked := httpkeytest.Issue(t, w.guard, httpkey.Token{})
		deleted := httpkeytest.Issue(t, w.guard, httpkey.Token{})
		other := httpkeytest.Issue(t, w.guard, httpkey.Token{})
		if err := errors.Join(
			w.guard.Revoke(t.Context(), revoked.Token.ID, "before"),
			w.store.Delete(t.Context(), deleted.Token.ID),
		); err != nil {
			t.Fatal(err)
		}
		httpkeytest.Elapse(time.Minute)
		var body []map[string]string
		var want strings.Builder
		for _, tt := range []struct{ key, label string }{
			{good.Secret.Reveal(), "true_positive"},
			{"nonsense", "false_positive"},
			{expired.Secret.Reveal(), "true_positive"},
			{"", "false_positive"},
			{revoked.Secret.Reveal(), "true_positive"},
			{deleted.Secret.Reveal(), "false_positive"},
			{strings.Repeat("x", 10_000), "false_positive"},
		} {
			body = append(body, found(tt.key, "commit", file))
			fmt.Fprintf(&want, `,{"token_raw":"%s","token_type":"httpkey_key","label":"%s"}`, tt.key, tt.label)
		}
		response := w.send(reportOf(body...))
		wantStatus(t, "the report", response, http.StatusOK)
		if got := response.Body.String(); got != "["+want.String()[1:]+"]" {
			t.Errorf("the answer is %s\nwant %s", got, want.String())
		}
		for name, created := range map[string]httpkey.Created{"good": good, "expired": expired} {
			token := w.token(t, created.Token.ID)
			if token.IsActive || token.RevokedFor != "leaked: commit, "+file || token.RevokedBy != "github secret scanning" {
				t.Errorf("%s: %+v", name, token)
			}
		}
		if token := w.token(t, revoked.Token.ID); token.RevokedFor != "before" {
			t.Errorf("the report changed a revoked token: %+v", token)
		}
		if !w.token(t, other.Token.ID).IsActive {
			t.Error("the report ended a key that it does not name")
		}
		told := w.told()
		if len(told) != 3 {
			t.Fatalf("OnLeak got %+v", told)
		}
		for i, created := range []httpkey.Created{good, expired, revoked} {
			got := told[i]
			if got.Token.ID != created.Token.ID || got.Source != "commit" || got.URL != file || got.Again != (i == 2) ||
				got.Token.Digest != (httpkey.Digest{}) || got.Token.User != created.Token.User {
				t.Errorf("OnLeak got %+v", got)
			}
		}
	})
}

// A key in use in two processes, with an open stream in the second, ends in both.
func TestReportEndsStreams(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	store := memstore.New()
	first, second := httpkey.New(store, httpkey.Unlimited, nil), httpkey.New(store, httpkey.Unlimited, nil)
	key := httpkeytest.Issue(t, first, httpkey.Token{}).Secret.Reveal()
	watcher := streams.New(store, nil)
	go watcher.Run(ctx)
	server := httptest.NewServer(second.Handler(watcher.Handler(http.HandlerFunc(
		func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprintf(w, "open\n")
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
			fmt.Fprintf(w, "%v\n", context.Cause(r.Context()))
		}))))
	defer server.Close()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("X-Api-Key", key)
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	lines := bufio.NewScanner(response.Body)
	if lines.Scan(); lines.Text() != "open" {
		t.Fatalf("the stream begins with %q", lines.Text())
	}

	github := newFakeGitHub(t, "one")
	publisher := httptest.NewTLSServer(github)
	defer publisher.Close()
	reports := GitHub(first, &GitHubOptions{KeysURL: publisher.URL, Client: publisher.Client()})
	w := httptest.NewRecorder()
	reports.ServeHTTP(w, github.report("one", reportOf(found(key, "commit", file))))
	wantStatus(t, "the report", w, http.StatusOK)
	if lines.Scan(); lines.Text() != streams.ErrEnded.Error() { // the test would not end if the stream did not
		t.Errorf("the stream ends with %q", lines.Text())
	}
	for name, guard := range map[string]*httpkey.Guard{"first": first, "second": second} {
		if w := httpkeytest.Get(guard.Handler(http.NotFoundHandler()), key); w.Code != http.StatusUnauthorized {
			t.Errorf("the %s process answers %d", name, w.Code)
		}
	}
}

// Requests that GitHub has not signed get one answer, and change nothing.
func TestForgedReportsAreRefused(t *testing.T) {
	t.Parallel()
	foreign, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	const refused, invalid = `{"detail":"The report has no valid signature."}`, `{"detail":"The report is not valid."}`
	const tooLarge = `{"detail":"The report is too large."}`
	const identifier, signature = "Github-Public-Key-Identifier", "Github-Public-Key-Signature"
	sign := func(r *http.Request, body string) {
		sum, err := ecdsa.SignASN1(rand.Reader, foreign, hash([]byte(body)))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set(signature, base64.StdEncoding.EncodeToString(sum))
	}
	for _, tt := range []struct {
		name   string
		forge  func(w *world, body string) *http.Request
		status int
		body   string
	}{
		{"no identifier", func(w *world, body string) *http.Request {
			r := w.github.report("one", body)
			r.Header.Del(identifier)
			return r
		}, 401, refused},
		{"an unknown identifier", func(w *world, body string) *http.Request {
			r := w.github.report("one", body)
			r.Header.Set(identifier, "two")
			return r
		}, 401, refused},
		{"two identifiers", func(w *world, body string) *http.Request {
			r := w.github.report("one", body)
			r.Header.Add(identifier, "one")
			return r
		}, 401, refused},
		{"a huge identifier", func(w *world, body string) *http.Request {
			r := w.github.report("one", body)
			r.Header.Set(identifier, strings.Repeat("1", 100_000))
			return r
		}, 401, refused},
		{"no signature", func(w *world, body string) *http.Request {
			r := w.github.report("one", body)
			r.Header.Del(signature)
			return r
		}, 401, refused},
		{"two signatures", func(w *world, body string) *http.Request {
			r := w.github.report("one", body)
			r.Header.Add(signature, r.Header.Get(signature))
			return r
		}, 401, refused},
		{"a signature that is no base64", func(w *world, body string) *http.Request {
			r := w.github.report("one", body)
			r.Header.Set(signature, "?")
			return r
		}, 401, refused},
		{"a signature that is no ASN.1", func(w *world, body string) *http.Request {
			r := w.github.report("one", body)
			r.Header.Set(signature, base64.StdEncoding.EncodeToString(make([]byte, 64)))
			return r
		}, 401, refused},
		{"a signature with a tail", func(w *world, body string) *http.Request {
			r := w.github.report("one", body)
			good, err := base64.StdEncoding.DecodeString(r.Header.Get(signature))
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set(signature, base64.StdEncoding.EncodeToString(append(good, 0)))
			return r
		}, 401, refused},
		{"the signature of another key", func(w *world, body string) *http.Request {
			r := w.github.report("one", body)
			sign(r, body)
			return r
		}, 401, refused},
		{"another body", func(w *world, body string) *http.Request {
			r := w.github.report("one", "[]")
			return withBody(r, body)
		}, 401, refused},
		{"the body with a space", func(w *world, body string) *http.Request {
			return withBody(w.github.report("one", body), body+" ")
		}, 401, refused},
		{"a truncated body", func(w *world, body string) *http.Request {
			return withBody(w.github.report("one", body), body[:len(body)-1])
		}, 401, refused},
		{"a body that breaks off", func(w *world, body string) *http.Request {
			r := withBody(w.github.report("one", body), body)
			r.Body = http.MaxBytesReader(nil, brokenOff{r.Body}, 1<<20)
			return r
		}, 400, invalid},
		{"no body", func(w *world, body string) *http.Request {
			r := w.github.report("one", body)
			r.Body, r.ContentLength = http.NoBody, 0
			return r
		}, 401, refused},
		{"a huge body", func(w *world, body string) *http.Request {
			return w.github.report("one", body+strings.Repeat(" ", maxReport))
		}, 413, tooLarge},
		{"a huge body without a length", func(w *world, body string) *http.Request {
			r := w.github.report("one", body+strings.Repeat(" ", maxReport))
			r.ContentLength = -1
			return r
		}, 413, tooLarge},
		{"a huge length", func(w *world, body string) *http.Request {
			r := w.github.report("one", body)
			r.Body, r.ContentLength = brokenOff{r.Body}, maxReport+1 // the body is not read
			return r
		}, 413, tooLarge},
		{"too many matches", func(w *world, body string) *http.Request {
			return w.github.report("one", body[:len(body)-1]+strings.Repeat(",{}", maxMatches)+"]")
		}, 413, tooLarge},
		{"no JSON", func(w *world, body string) *http.Request { return w.github.report("one", body+"]") }, 400, invalid},
		{"null", func(w *world, _ string) *http.Request { return w.github.report("one", "null") }, 400, invalid},
		{"an object", func(w *world, body string) *http.Request {
			return w.github.report("one", body[1:len(body)-1])
		}, 400, invalid},
		{"GET", func(w *world, body string) *http.Request {
			r := w.github.report("one", body)
			r.Method = http.MethodGet
			return r
		}, 405, `{"detail":"Method not allowed."}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, nil)
			created := httpkeytest.Issue(t, w.guard, httpkey.Token{})
			lookups := w.store.Calls("Lookup")
			response := w.post(tt.forge(w, reportOf(found(created.Secret.Reveal(), "commit", file))))
			wantStatus(t, tt.name, response, tt.status)
			if response.Body.String() != tt.body {
				t.Errorf("the body is %s", response.Body)
			}
			if fetches, _ := w.github.counts(); fetches != 0 && tt.name == "a huge identifier" {
				t.Error("GitHub was asked for it")
			}
			if got := response.Header().Get("WWW-Authenticate"); (got != "") != (tt.status == 401) {
				t.Errorf("WWW-Authenticate is %q", got)
			}
			if !w.token(t, created.Token.ID).IsActive || w.told() != nil || w.store.Calls("Lookup") != lookups {
				t.Error("the report had an effect")
			}
		})
	}
}

func withBody(r *http.Request, body string) *http.Request {
	other := httptest.NewRequest(r.Method, r.URL.Path, strings.NewReader(body))
	other.Header = r.Header
	return other
}

// brokenOff is a body whose client has gone.
type brokenOff struct{ body interface{ Close() error } }

func (b brokenOff) Read([]byte) (int, error) { return 0, errors.New("connection reset") }
func (b brokenOff) Close() error             { return b.body.Close() }

// The example of GitHub's documentation has a good signature of the key that GitHub publishes.
func TestExampleOfTheDocumentation(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	const id = "bcb53661c06b4728e59d897fb6165d5c9cda0fd9cdf9d09ead458168deb7518c"
	w.github.list = `{"public_keys":[{"key_identifier":"` + id + `",` +
		`"key":"-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEYAGMWO8XgCamYKMJS6jc/qgvSlAd\n` +
		`AjPuDPRcXU22YxgBrz+zoN19MzuRyW87qEt9/AmtoNP5GrobzUvQSyJFVw==\n-----END PUBLIC KEY-----\n","is_current":true}]}`
	const body = `[{"source":"commit","token":"some_token","type":"some_type","url":"https://example.com/base-repo-url/"}]`
	r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(body))
	r.Header.Set("Github-Public-Key-Identifier", id)
	r.Header.Set("Github-Public-Key-Signature",
		"MEQCIQDaMKqrGnE27S0kgMrEK0eYBmyG0LeZismAEz/BgZyt7AIfXt9fErtRS4XaeSt/AO1RtBY66YcAdjxji410VQV4xg==")
	response := w.post(r)
	wantStatus(t, "the example", response, http.StatusOK)
	const want = `[{"token_raw":"some_token","token_type":"some_type","label":"false_positive"}]`
	if got := response.Body.String(); got != want {
		t.Errorf("the answer is %s", got)
	}
}

// A report that comes again gets the same answer, and changes nothing.
func TestReportMayComeAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		created := httpkeytest.Issue(t, w.guard, httpkey.Token{})
		body := reportOf(found(created.Secret.Reveal(), "commit", file))
		first := w.send(body)
		ended, told := w.token(t, created.Token.ID), w.told()
		if len(told) != 1 || told[0].Again {
			t.Errorf("OnLeak got %+v", told)
		}
		httpkeytest.Elapse(time.Minute)
		second := w.send(body)
		if first.Code != 200 || second.Code != 200 || first.Body.String() != second.Body.String() {
			t.Errorf("%d %s, then %d %s", first.Code, first.Body, second.Code, second.Body)
		}
		if again := w.token(t, created.Token.ID); !again.RevokedAt.Equal(ended.RevokedAt) || again.IsActive {
			t.Errorf("the second report changed %+v to %+v", ended, again)
		}
		if told := w.told(); len(told) != 1 || !told[0].Again {
			t.Errorf("OnLeak got %+v", told)
		}
	})
}

// A key that was found in several places ends once, and OnLeak is told of each place.
func TestKeyInSeveralPlaces(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	created := httpkeytest.Issue(t, w.guard, httpkey.Token{})
	var places []map[string]string
	for i := range 50 {
		places = append(places, found(created.Secret.Reveal(), "gist_content", fmt.Sprint(file, "?", i)))
	}
	lookups := w.store.Calls("Lookup")
	wantStatus(t, "the report", w.send(reportOf(places...)), http.StatusOK)
	if n := w.store.Calls("Lookup") - lookups; n != 1 {
		t.Errorf("the key was looked up %d times", n)
	}
	if reason := w.token(t, created.Token.ID).RevokedFor; reason != "leaked: gist_content, "+file+"?0" {
		t.Errorf("the reason is %q", reason)
	}
	told := w.told()
	for i, report := range told {
		if report.URL != fmt.Sprint(file, "?", i) || report.Again != (i > 0) {
			t.Errorf("OnLeak got %+v", report)
		}
	}
	if len(told) != 50 {
		t.Errorf("OnLeak got %d places", len(told))
	}
}

// While the store is down, GitHub is asked to send the report again, and then the key ends.
func TestStoreThatIsDown(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]httpkeytest.Fault{
		"no lookup":    httpkeytest.Fail(errDown, "Lookup"),
		"no change":    httpkeytest.Fail(errDown, "Update"),
		"a stall":      httpkeytest.Stall(),
		"read only":    httpkeytest.Stall("Update"),
		"lost answers": nil,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, nil)
				created := httpkeytest.Issue(t, w.guard, httpkey.Token{})
				body := reportOf(found(created.Secret.Reveal(), "commit", file))
				w.store.Before(fault)
				if fault == nil {
					w.store.After(httpkeytest.Fail(errDown, "Update"))
				}
				start := time.Now()
				response := w.send(body)
				if elapsed := time.Since(start); elapsed > callTimeout {
					t.Errorf("the answer took %v", elapsed)
				}
				wantStatus(t, "a store that is down", response, http.StatusServiceUnavailable)
				if response.Header().Get("Retry-After") == "" || strings.Contains(response.Body.String(), "down") {
					t.Errorf("%v %s", response.Header(), response.Body)
				}
				if told := w.told(); told != nil {
					t.Errorf("OnLeak got %+v", told)
				}
				w.store.Before(nil)
				w.store.After(nil)
				wantStatus(t, "the store is back", w.send(body), http.StatusOK)
				if w.token(t, created.Token.ID).IsActive || len(w.told()) != 1 {
					t.Error("the second report ended nothing, or told nobody")
				}
			})
		})
	}
}

// A store that stalls is asked few times about many keys.
func TestStoreThatStallsGetsFewCalls(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		w.store.Before(httpkeytest.Stall())
		var matches []map[string]string
		for i := range 1000 {
			matches = append(matches, found(fmt.Sprint("key", i), "commit", file))
		}
		start := time.Now()
		wantStatus(t, "the report", w.send(reportOf(matches...)), http.StatusServiceUnavailable)
		if elapsed, calls := time.Since(start), w.store.Calls("Lookup"); elapsed > 2*callTimeout || calls > 2*maxCalls {
			t.Errorf("%d calls, in %v", calls, elapsed)
		}
	})
}

// A token that cannot be revoked does not keep the others alive.
func TestOneKeyThatFails(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	var all []httpkey.Created
	var matches []map[string]string
	for range 20 {
		created := httpkeytest.Issue(t, w.guard, httpkey.Token{})
		all = append(all, created)
		matches = append(matches, found(created.Secret.Reveal(), "commit", file))
	}
	w.guard = httpkey.New(failsFor{w.store, all[3].Token.Digest}, httpkey.Unlimited, nil)
	w.handler = GitHub(w.guard, &GitHubOptions{Client: &http.Client{Transport: w.github}, OnLeak: w.onLeak})
	wantStatus(t, "the report", w.send(reportOf(matches...)), http.StatusServiceUnavailable)
	for i, created := range all {
		if w.token(t, created.Token.ID).IsActive != (i == 3) {
			t.Errorf("token %d: %+v", i, w.token(t, created.Token.ID))
		}
	}
	if told := w.told(); len(told) != len(all)-1 {
		t.Errorf("OnLeak got %d reports", len(told))
	}
}

// failsFor is a store that cannot look one token up.
type failsFor struct {
	httpkey.TokenStore
	digest httpkey.Digest
}

func (s failsFor) Lookup(ctx context.Context, d httpkey.Digest) (httpkey.Token, error) {
	if d == s.digest {
		return httpkey.Token{}, errDown
	}
	return s.TokenStore.Lookup(ctx, d)
}

// Ten thousand keys in a report end within bounds of memory, a few at a time.
func TestReportOfTenThousandKeys(t *testing.T) {
	if testing.Short() {
		t.Skip("it issues 10,000 keys")
	}
	synctest.Test(t, func(t *testing.T) { // not parallel: it measures the memory of the process
		const n = 10_000
		w := newWorld(t, nil)
		w.handler = GitHub(w.guard, &GitHubOptions{Client: &http.Client{Transport: w.github}})
		var matches []map[string]string
		for range n {
			key := httpkeytest.Issue(t, w.guard, httpkey.Token{}).Secret.Reveal()
			matches = append(matches, found(key, "commit", file))
		}
		body := reportOf(matches...)
		r := w.github.report("one", body)
		const lag = 500 * time.Microsecond // of each of two calls
		w.store.Before(httpkeytest.Lag(lag, "Lookup", "Update"))
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		start := time.Now()
		response := w.post(r)
		elapsed := time.Since(start)
		runtime.ReadMemStats(&after)
		wantStatus(t, "the report", response, http.StatusOK)
		if got, want := elapsed, n*2*lag/maxCalls; got < want || got > want*11/10 {
			t.Errorf("the report took %v, want %v: %d calls at once", got, want, maxCalls)
		}
		allocated := after.TotalAlloc - before.TotalAlloc
		if t.Logf("a report of %d bytes allocated %d MB", len(body), allocated>>20); allocated > 256<<20 {
			t.Errorf("the report allocated %d bytes", allocated)
		}
		if labels := strings.Count(response.Body.String(), "true_positive"); labels != n {
			t.Errorf("%d labels", labels)
		}
		active, err := w.guard.Store().List(t.Context(), httpkey.Filter{Limit: 1})
		if err != nil || len(active) != 1 || active[0].IsActive {
			t.Errorf("%+v %v", active, err)
		}
	})
}

// A report that a slow store cannot end in time ends with the next ones.
func TestSlowStoreNeedsSeveralReports(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		var matches []map[string]string
		for range 200 {
			key := httpkeytest.Issue(t, w.guard, httpkey.Token{}).Secret.Reveal()
			matches = append(matches, found(key, "commit", file))
		}
		body := reportOf(matches...)
		w.store.Before(httpkeytest.Lag(time.Second, "Update"))
		for i, want := range []int{503, 503, 200} {
			start := time.Now()
			wantStatus(t, fmt.Sprint("report ", i), w.send(body), want)
			if elapsed := time.Since(start); elapsed > endTimeout+callTimeout {
				t.Errorf("report %d took %v", i, elapsed)
			}
		}
		isTold := make(map[string]bool)
		for _, report := range w.told() {
			isTold[report.Token.ID] = true
		}
		if len(isTold) != 200 {
			t.Errorf("OnLeak got %d tokens", len(isTold))
		}
	})
}

// A key that only Options.Adopt knows ends too.
func TestAdoptedKeyEnds(t *testing.T) {
	t.Parallel()
	for name, isActive := range map[string]bool{"good": true, "ended": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, &httpkey.Options{
				ImportedMinLength: 16,
				Adopt: func(_ context.Context, secret string) (httpkey.Token, error) {
					if secret != "old-key-of-a-table" {
						return httpkey.Token{}, httpkey.ErrNotFound
					}
					return httpkey.Token{ID: "old", IsActive: isActive}, nil
				},
			})
			body := reportOf(found("old-key-of-a-table", "npm", ""), found("new-key-of-a-table", "npm", ""))
			response := w.send(body)
			wantStatus(t, "the report", response, http.StatusOK)
			if text := response.Body.String(); strings.Count(text, "true_positive") != 1 {
				t.Errorf("the answer is %s", text)
			}
			if w.token(t, "old").IsActive {
				t.Error("the key has not ended")
			}
			if told := w.told(); len(told) != 1 || told[0].Again == isActive {
				t.Errorf("OnLeak got %+v", told)
			}
		})
	}
}

// No key and no digest of a report is in an event, a reason, or a refusal.
func TestReportsLeaveNoTraces(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	created := httpkeytest.Issue(t, w.guard, httpkey.Token{})
	key := created.Secret.Reveal()
	body := reportOf(found(key, key[:60%len(key)], "https://github.com/"+key))
	text := ""
	for _, fault := range []httpkeytest.Fault{httpkeytest.Fail(errDown, "Lookup"), httpkeytest.Fail(errDown, "Update")} {
		w.store.Before(fault)
		text += w.send(body).Body.String()
	}
	w.store.Before(nil)
	text += w.post(withBody(w.github.report("one", body), body+" ")).Body.String()
	wantStatus(t, "the report", w.send(body), http.StatusOK)
	text += w.log.String() + fmt.Sprintf("%+v %v", w.told(), w.token(t, created.Token.ID).RevokedFor)
	for _, trace := range []string{key, key[5:32], hex.EncodeToString(created.Token.Digest[:])} {
		if strings.Contains(text, trace) {
			t.Errorf("%q is in %s", trace, text)
		}
	}
	if !strings.Contains(text, "the store is down") || !strings.Contains(text, "revoked") {
		t.Errorf("the Observer was not told: %s", text)
	}
}

// A report is done also if GitHub hangs up.
func TestGitHubHangsUp(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	created := httpkeytest.Issue(t, w.guard, httpkey.Token{})
	var atOnLeak error
	w.handler = GitHub(w.guard, &GitHubOptions{
		Client: &http.Client{Transport: w.github},
		OnLeak: func(ctx context.Context, r Report) {
			atOnLeak = ctx.Err()
			w.onLeak(ctx, r)
		},
	})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r := w.github.report("one", reportOf(found(created.Secret.Reveal(), "commit", file)))
	wantStatus(t, "the report", w.post(r.WithContext(ctx)), http.StatusOK)
	if w.token(t, created.Token.ID).IsActive || len(w.told()) != 1 || atOnLeak != nil {
		t.Errorf("the key has not ended, or OnLeak got %v", atOnLeak)
	}
}

// A token that is deleted meanwhile has ended too.
func TestTokenIsDeletedMeanwhile(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	key := httpkeytest.Issue(t, w.guard, httpkey.Token{}).Secret.Reveal()
	w.store.Before(httpkeytest.Fail(httpkey.ErrNotFound, "Update"))
	response := w.send(reportOf(found(key, "commit", file)))
	wantStatus(t, "the report", response, http.StatusOK)
	if !strings.Contains(response.Body.String(), "true_positive") || len(w.told()) != 1 {
		t.Errorf("the answer is %s", response.Body)
	}
}

// A key that had no turn has no label.
func TestKeyWithoutTurn(t *testing.T) {
	t.Parallel()
	matches := []match{{Token: "a"}, {Token: "b"}}
	ends := map[httpkey.Secret]*ending{"a": {isAsked: true}, "b": {}}
	if labels, err := labelsOf(matches, ends); !errors.Is(err, errTimeout) || labels != nil {
		t.Errorf("%v %v", labels, err)
	}
}

// A body must come within a time, which does not bound what comes after it.
func TestBodyHasADeadline(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		response := &deadlines{ResponseRecorder: httptest.NewRecorder()}
		w.handler.ServeHTTP(response, w.github.report("one", "[]"))
		wantStatus(t, "the report", response.ResponseRecorder, http.StatusOK)
		if got := response.read; len(got) != 2 || !got[0].Equal(time.Now().Add(readTimeout)) || !got[1].IsZero() {
			t.Errorf("the deadlines are %v", got)
		}
	})
}

type deadlines struct {
	*httptest.ResponseRecorder
	read []time.Time
}

func (d *deadlines) SetReadDeadline(at time.Time) error {
	d.read = append(d.read, at)
	return nil
}

// A panic in a store reaches the server of the report, and does not end the program.
func TestPanicOfAStore(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.store.Before(func(context.Context, string) error { panic("a bug") })
	defer func() {
		if cause := recover(); cause != "a bug" {
			t.Errorf("the handler panics with %v", cause)
		}
	}()
	w.send(reportOf(found("key", "commit", file)))
}

func TestGitHubRefusesBadOptions(t *testing.T) {
	t.Parallel()
	guard, _ := httpkeytest.New(t, nil)
	for _, tt := range []struct {
		name string
		make func()
		want string
	}{
		{"no Guard", func() { GitHub(nil, nil) }, "needs a Guard"},
		{"no Guard for PlainHTTP", func() { PlainHTTP(nil, nil) }, "needs a Guard"},
		{"http", func() { GitHub(guard, &GitHubOptions{KeysURL: "http://github.test/keys"}) }, "KeysURL"},
		{"no host", func() { GitHub(guard, &GitHubOptions{KeysURL: "https:///keys"}) }, "KeysURL"},
		{"no address", func() { GitHub(guard, &GitHubOptions{KeysURL: "://"}) }, "KeysURL"},
		{"a password", func() { GitHub(guard, &GitHubOptions{KeysURL: "https://a:hunter2@github.test/"}) }, "KeysURL"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			defer func() {
				text := fmt.Sprint(recover())
				if !strings.Contains(text, tt.want) || !strings.HasPrefix(text, "httpkey: ") || strings.Contains(text, "hunter2") {
					t.Errorf("the panic is %q", text)
				}
			}()
			tt.make()
		})
	}
	GitHub(guard, nil) // the defaults are good
}
