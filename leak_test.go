package httpkey_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/httpkeytest"
	"github.com/httpkey/httpkey/memstore"
)

// traces are the forms in which a secret or a digest could turn up in a text.
func traces(secret string, digest httpkey.Digest) map[string]string {
	sum := digest[:]
	return map[string]string{
		"the secret":              secret,
		"its random part":         secret[5:32],
		"the secret in hex":       hex.EncodeToString([]byte(secret)),
		"the secret in base64":    base64.StdEncoding.EncodeToString([]byte(secret))[:40],
		"its bytes":               strings.Trim(fmt.Sprint([]byte(secret)), "[]"),
		"the digest in hex":       hex.EncodeToString(sum),
		"the digest in HEX":       strings.ToUpper(hex.EncodeToString(sum)),
		"the digest in base64":    base64.StdEncoding.EncodeToString(sum),
		"the digest in base64url": base64.RawURLEncoding.EncodeToString(sum),
		"the digest's bytes":      strings.Trim(fmt.Sprint(sum), "[]"),
		"the digest in Go":        strings.TrimSuffix(strings.TrimPrefix(fmt.Sprintf("%#v", sum), "[]byte{"), "}"),
		"the digest in JSON":      strings.ReplaceAll(strings.Trim(fmt.Sprint(sum), "[]"), " ", ","),
		"the digest raw":          string(sum),
		"the digest quoted":       strings.Trim(fmt.Sprintf("%q", sum), `"`),
	}
}

func assertNoTraces(t *testing.T, where, text string, secret string, digest httpkey.Digest) {
	t.Helper()
	for what, trace := range traces(secret, digest) {
		if strings.Contains(text, trace) {
			t.Errorf("%s shows %s: %.300q", where, what, text)
		}
	}
}

// redactedJSON removes the values that JSON may show.
type redactedJSON struct {
	Created *httpkey.Created `json:"-" xml:"-"`
}

// verbs are all but %p, and %w outside of Errorf's errors: fmt asks no value how it
// wants to be shown by these.
var verbs = []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "% x", "%d", "%o", "%b", "%c", "%U", "%t", "%T",
	"%10.3v", "%z"}

// Nothing that holds a secret, a digest or a pepper shows it, however it is printed.
func TestNothingPrintsSecrets(t *testing.T) {
	t.Parallel()
	pepper := httpkey.Secret("pepper-0123456789abcdef-0123456789abcdef")
	store := memstore.New()
	opts := &httpkey.Options{Pepper: pepper, PreviousPeppers: []httpkey.Secret{pepper + "-previous"}}
	guard := httpkey.New(store, memstore.NewLimiter(), opts)
	created := httpkeytest.Issue(t, guard, httpkey.Token{})
	secret, token := created.Secret, created.Token
	if token.Digest == (httpkey.Digest{}) {
		t.Fatal("the token has no digest to be found")
	}
	admission, err := guard.Admit(t.Context(), secret.Reveal(), 1)
	if err != nil {
		t.Fatal(err)
	}
	var inside context.Context
	httpkeytest.Get(guard.Handler(http.HandlerFunc(func(_ http.ResponseWriter,
		r *http.Request) {
		inside = r.Context()
	})), secret.Reveal())

	request := httpkeytest.Request(http.MethodGet, "/", secret.Reveal()) // whose header is the observer's not to show

	type holder struct {
		Secret httpkey.Secret
		Digest httpkey.Digest
		Token  *httpkey.Token
		Any    any
		Nested any
	}
	for name, value := range map[string]any{
		"Secret":      secret,
		"*Secret":     &secret,
		"[]Secret":    []httpkey.Secret{secret},
		"Digest":      token.Digest,
		"*Digest":     &token.Digest,
		"map[Digest]": map[httpkey.Digest]int{token.Digest: 1},
		"Token":       token,
		"*Token":      &token,
		"[]Token":     []httpkey.Token{token},
		"Created":     created,
		"*Created":    &created,
		"Admission":   admission,
		"*Admission":  *admission,
		"struct": holder{secret, token.Digest, &token, token,
			&holder{Any: opts, Nested: redactedJSON{&httpkey.Created{Token: token, Secret: secret}}}},
		"Options":      opts,
		"Guard":        guard,
		"Store":        store,
		"context":      inside,
		"test context": httpkey.NewContext(t.Context(), token),
		"Event":        httpkey.Event{Token: token, Request: request},
		"*Event":       &httpkey.Event{Token: token, Request: request},
	} {
		show := func(how, text string) {
			t.Helper()
			assertNoTraces(t, name+" by "+how, text, secret.Reveal(), token.Digest)
			if strings.Contains(text, pepper.Reveal()) || strings.Contains(text, hex.EncodeToString([]byte(pepper))) {
				t.Errorf("%s by %s shows the pepper: %q", name, how, text)
			}
		}
		for _, verb := range verbs {
			show(verb, fmt.Sprintf(verb, value))
		}
		show("Sprintln", fmt.Sprintln(value))
		show("Errorf", fmt.Errorf("failed with %v", value).Error())
		for how, handler := range map[string]func(io.Writer) slog.Handler{
			"slog text": func(w io.Writer) slog.Handler { return slog.NewTextHandler(w, nil) },
			"slog JSON": func(w io.Writer) slog.Handler { return slog.NewJSONHandler(w, nil) },
		} {
			var buf bytes.Buffer
			slog.New(handler(&buf)).Info("message", "value", value, slog.Group("group", "value", value))
			show(how, buf.String())
		}
		if name == "Created" || name == "*Created" {
			continue // the one JSON that is to show it
		}
		if _, isMap := value.(map[httpkey.Digest]int); !isMap {
			text, _ := json.Marshal(value)
			show("json", string(text))
		}
		text, _ := xml.Marshal(value)
		show("xml", string(text))
	}
}

func TestOnlyTheCreatingAnswerHasTheSecret(t *testing.T) {
	t.Parallel()
	guard := newGuard(nil)
	created := httpkeytest.Issue(t, guard, httpkey.Token{})
	secret, token := created.Secret, created.Token
	text, err := json.Marshal(created)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), `"token":"`+secret.Reveal()+`"`) {
		t.Errorf("the creating answer has no secret: %s", text)
	}
	text, err = json.Marshal(token)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(text), `"token"`) {
		t.Errorf("another answer has a token: %s", text)
	}
}

// Every way through the Guard, with everything that is written on it looked at:
// logs, events, errors, responses, and the dumps of a panic and of all goroutines.
func TestRequestsLeaveNoTraces(t *testing.T) {
	var output lockedBuffer
	handler := slog.NewTextHandler(&output, &slog.HandlerOptions{Level: slog.LevelDebug})
	store := httpkeytest.NewStore(memstore.New())
	var seen events
	both := observers{httpkey.SlogObserver(slog.New(handler)), &seen}
	guard := httpkey.New(store, memstore.NewLimiter(), &httpkey.Options{Observer: both})
	key, token := issue(t, guard, httpkey.Token{User: "u-1", Limits: limits(httpkey.PerMinute(4))})
	var dump []byte
	server := httptest.NewUnstartedServer(guard.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/panic":
			panic(fmt.Sprintf("%+v %+v", r.Context(), w.Header()))
		case "/dump":
			dump = make([]byte, 1<<20)
			dump = dump[:runtime.Stack(dump, true)]
		}
	})))
	server.Config.ErrorLog = log.New(&output, "", 0)
	server.Start()
	send := func(path, key string) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("X-Api-Key", key)
		response, err := server.Client().Do(r)
		if err != nil {
			return // the panic hangs up
		}
		_ = response.Write(&output)
		_ = response.Body.Close()
	}
	send("/dump", key)
	send("/panic", key)
	send("/", key)
	send("/", key)
	send("/", key) // throttled
	send("/", key+"x")
	store.Before(httpkeytest.Fail(errors.New("down")))
	send("/", key)
	_, err := guard.Verify(t.Context(), key)
	fmt.Fprintf(&output, "%v %+v %#v\n", err, err, err)
	store.Before(nil)
	if err := guard.Revoke(t.Context(), token.ID, ""); err != nil {
		t.Fatal(err)
	}
	_, err = guard.Verify(t.Context(), key)
	fmt.Fprintf(&output, "%v %+v %#v\n", err, err, err)
	server.Close()
	_ = guard.Close(t.Context())

	for _, want := range []string{"panic serving", "429 Too Many", "reason=inactive", "reason=store",
		"token=" + token.ID} {
		if !strings.Contains(output.String(), want) {
			t.Errorf("the way that prints %q was not taken:\n%s", want, output.String())
		}
	}
	if !bytes.Contains(dump, []byte(".(*Guard).Handler")) {
		t.Error("the dump does not show the guard")
	}
	assertNoTraces(t, "the output", output.String(), key, token.Digest)
	assertNoTraces(t, "the dump", string(dump), key, token.Digest)
	for _, e := range seen.all {
		if e.Token.Digest != (httpkey.Digest{}) {
			t.Errorf("a %s event has a digest", e.Type)
		}
		assertNoTraces(t, "an event", fmt.Sprintf("%#v", e), key, token.Digest)
	}
}

// An event has the request, key and all; the observer of slog writes nothing of it.
func TestSlogObserverDoesNotLogTheRequest(t *testing.T) {
	t.Parallel()
	_, key := httpkeytest.New(t, nil)
	request := httpkeytest.Request(http.MethodGet, "/?api_key="+key, key)
	for name, handler := range map[string]func(io.Writer, *slog.HandlerOptions) slog.Handler{
		"text": func(w io.Writer, o *slog.HandlerOptions) slog.Handler { return slog.NewTextHandler(w, o) },
		"JSON": func(w io.Writer, o *slog.HandlerOptions) slog.Handler { return slog.NewJSONHandler(w, o) },
	} {
		var buf bytes.Buffer
		observer := httpkey.SlogObserver(slog.New(handler(&buf, &slog.HandlerOptions{Level: slog.LevelDebug})))
		types := []httpkey.EventType{
			httpkey.EventAdmitted, httpkey.EventRefused, httpkey.EventIssued, httpkey.EventRotated,
			httpkey.EventRevoked, httpkey.EventWeakKey, httpkey.EventLimiterDown, httpkey.EventLimiterUp,
			httpkey.EventFlushFailed,
		}
		for _, event := range types {
			observer.Observe(t.Context(), &httpkey.Event{Type: event, Reason: httpkey.ReasonScope,
				Token: httpkey.Token{ID: "t-1"}, Request: request, Err: errDown})
		}
		if lines := strings.Count(buf.String(), "\n"); lines != len(types) {
			t.Errorf("%s: %d lines of %d events", name, lines, len(types))
		}
		if strings.Contains(buf.String(), key[5:32]) {
			t.Errorf("%s: the log shows the key: %s", name, buf.String())
		}
	}
}

// lockedBuffer is written to by a server's goroutines.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// A handler of logs that looks at the kind of a value sees a plain string.
func TestSecretIsResolvedForLogs(t *testing.T) {
	t.Parallel()
	if value := slog.AnyValue(httpkey.Secret("hunter2")).Resolve(); value.Kind() != slog.KindString ||
		value.String() != "[REDACTED]" {
		t.Errorf("resolved to %v", value)
	}
}

// A Guard that is copied into an unexported field, which no method protects, does
// not show the pepper there.
func TestGuardDoesNotKeepThePepper(t *testing.T) {
	t.Parallel()
	pepper := httpkey.Secret(strings.Repeat("pepper", 6))
	guard := newGuard(&httpkey.Options{Pepper: pepper, PreviousPeppers: []httpkey.Secret{pepper + "-previous"}})
	type fields httpkey.Guard // without methods
	if text := fmt.Sprintf("%+v", (*fields)(guard)); strings.Contains(text, pepper.Reveal()) {
		t.Errorf("the Guard holds it: %s", text)
	}
}

// A panic prints a value by its String method, not by Format.
func TestPanicDoesNotPrintSecrets(t *testing.T) {
	t.Parallel()
	for _, value := range []any{httpkey.Secret("hunter2"), httpkey.Created{Secret: "hunter2"}} {
		if s, ok := value.(fmt.Stringer); ok && strings.Contains(s.String(), "hunter2") {
			t.Errorf("%T.String shows the secret", value)
		}
	}
	if _, ok := any(httpkey.Secret("")).(fmt.Stringer); !ok {
		t.Error("without String, a panic prints the string that a Secret is")
	}
}

// observers tells several.
type observers []httpkey.Observer

func (all observers) Observe(ctx context.Context, e *httpkey.Event) {
	for _, o := range all {
		o.Observe(ctx, e)
	}
}

// The store is given a digest, and the limiter an ID: neither a secret.
func TestStoreAndLimiterNeverSeeTheSecret(t *testing.T) {
	t.Parallel()
	var bucket string
	store := memstore.New()
	guard := httpkey.New(store, limiterFunc(func(_ context.Context, c *httpkey.Charge) (httpkey.Result, error) {
		bucket = c.Bucket
		return httpkey.Result{Allowed: true}, nil
	}), nil)
	created := httpkeytest.Issue(t, guard, httpkey.Token{})
	secret, token := created.Secret, created.Token
	httpkeytest.Get(guard.Handler(ok), secret.Reveal())
	if bucket != "token:"+token.ID {
		t.Errorf("the limiter's bucket is %q, want that of the token's ID", bucket)
	}
	kept, err := store.Get(t.Context(), token.ID)
	if err != nil {
		t.Fatal(err)
	}
	kept.Digest = httpkey.Digest{}
	if text := fmt.Sprintf("%#v", kept); strings.Contains(text, secret.Reveal()[5:32]) {
		t.Errorf("the stored token holds the secret: %s", text)
	}
	if want := secret.Reveal()[len(secret)-4:]; kept.Hint != want {
		t.Errorf("the hint is %q, want the last four characters, %q", kept.Hint, want)
	}
}
