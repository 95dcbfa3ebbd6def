package httpkey_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/gob"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	htmltemplate "html/template"
	"io"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"testing"
	texttemplate "text/template"

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
		"the digest in gob":       inGob([32]byte(digest)),
	}
}

// inGob returns the bytes of an array in a stream of gob, without its type.
func inGob(array [32]byte) string {
	var text bytes.Buffer
	encoder := gob.NewEncoder(&text)
	_ = encoder.Encode([32]byte{})
	text.Reset()
	_ = encoder.Encode(array)
	return text.String()[text.Len()-len(array):]
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

// printers are the ways in which a program may write a value by accident.
func printers(t *testing.T) map[string]func(any) string {
	t.Helper()
	all := map[string]func(any) string{
		"Sprintln": func(value any) string { return fmt.Sprintln(value) },
		"Errorf":   func(value any) string { return fmt.Errorf("failed with %v", value).Error() },
		"json":     written(func(w io.Writer, value any) error { return json.NewEncoder(w).Encode(value) }),
		"xml":      written(func(w io.Writer, value any) error { return xml.NewEncoder(w).Encode(value) }),
		"gob":      written(func(w io.Writer, value any) error { return gob.NewEncoder(w).Encode(value) }),
	}
	for _, verb := range verbs {
		all["Sprintf "+verb] = func(value any) string { return fmt.Sprintf(verb, value) }
		all["Sprintf of a list "+verb] = func(value any) string { return fmt.Sprintf(verb, []any{value}) }
	}
	for how, handler := range map[string]func(io.Writer) slog.Handler{
		"slog text": func(w io.Writer) slog.Handler { return slog.NewTextHandler(w, nil) },
		"slog json": func(w io.Writer) slog.Handler { return slog.NewJSONHandler(w, nil) },
	} {
		all[how] = written(func(w io.Writer, value any) error {
			slog.New(handler(w)).Info("message", "value", value, slog.Group("group", "value", value))
			return nil
		})
	}
	for _, page := range []string{
		`{{.}}`, `{{print .}}`, `{{println . "x"}}`, `{{printf "%v %+v %#v %x" . . . .}}`, `{{. | html}}`, `{{. | urlquery}}`,
		`{{with $x := .}}{{$x}}{{end}}`, `<a title="{{.}}" title={{.}}>`, `<a href="/?q={{.}}">`, `<a href="{{.}}">`,
		`<p style="color: {{.}}">`, `<!-- {{.}} -->`, `<textarea>{{.}}</textarea>`,
		`<script>const json = {{.}}; const text = "{{.}}"</script>`, `<button onclick="json({{.}})">`,
	} {
		all["text/template "+page] = written(texttemplate.Must(texttemplate.New("").Parse(page)).Execute)
		all["html/template "+page] = written(func(w io.Writer, value any) error {
			return htmltemplate.Must(htmltemplate.New("").Parse(page)).Execute(w, value)
		})
	}
	return all
}

// written returns what write has written, also if it fails, and its error.
func written(write func(io.Writer, any) error) func(any) string {
	return func(value any) string {
		var text bytes.Buffer
		err := write(&text, value)
		return fmt.Sprintf("%s %v", text.String(), err)
	}
}

// isJSON reports whether a printer writes JSON, which shows the secret of a Created on purpose.
func isJSON(printer string) bool {
	return printer == "json" || strings.HasPrefix(printer, "html/template <script>") ||
		strings.HasPrefix(printer, "html/template <button")
}

// Nothing that holds a secret, a digest or a pepper shows it, however it is printed.
func TestNothingPrintsSecrets(t *testing.T) {
	t.Parallel()
	pepper := httpkey.Secret("pepper-0123456789abcdef-0123456789abcdef")
	store := memstore.New()
	opts := &httpkey.Options{Pepper: pepper, PreviousPeppers: []httpkey.Secret{pepper + "-previous"}}
	guard := httpkey.New(store, memstore.NewLimiter(), opts)
	created := httpkeytest.Issue(t, guard, httpkey.Token{Metadata: map[string]string{"plan": "team"}})
	secret, token := created.Secret, created.Token
	if token.Digest == (httpkey.Digest{}) {
		t.Fatal("the token has no digest to be found")
	}
	admission, err := guard.Admit(t.Context(), secret.Reveal(), 1)
	if err != nil {
		t.Fatal(err)
	}
	var inside context.Context
	handler := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { inside = r.Context() })
	httpkeytest.Get(guard.Handler(handler), secret.Reveal())
	inMemory := inside
	remote := httpkey.New(httpkeytest.NewStore(store), memstore.NewLimiter(), opts)
	httpkeytest.Get(remote.Handler(handler), secret.Reveal())
	_, refusal := guard.Verify(t.Context(), secret.Reveal()+"x")

	request := httpkeytest.Request(http.MethodGet, "/", secret.Reveal()) // whose header is the observer's not to show

	type holder struct {
		Secret httpkey.Secret
		Digest httpkey.Digest
		Token  *httpkey.Token
		Any    any
		Nested any
	}
	admissionPointer := &admission
	values := map[string]any{
		"Secret":        secret,
		"*Secret":       &secret,
		"[]Secret":      []httpkey.Secret{secret},
		"Digest":        token.Digest,
		"*Digest":       &token.Digest,
		"[]Digest":      []httpkey.Digest{token.Digest},
		"map[Digest]":   map[httpkey.Digest]int{token.Digest: 1},
		"Token":         token,
		"*Token":        &token,
		"[]Token":       []httpkey.Token{token},
		"map of Tokens": map[string]httpkey.Token{"token": token},
		"Created":       created,
		"*Created":      &created,
		"Admission":     *admission,
		"*Admission":    admission,
		"**Admission":   &admissionPointer,
		"struct": holder{secret, token.Digest, &token, token,
			&holder{Any: opts, Nested: redactedJSON{&httpkey.Created{Token: token, Secret: secret}}}},
		"*Options":            opts,
		"Options":             *opts,
		"Guard":               guard,
		"Guard of a remote":   remote,
		"Store":               store,
		"remote store":        guard.Store(),
		"context":             inMemory,
		"context of a remote": inside,
		"test context":        httpkey.NewContext(t.Context(), token),
		"request":             request.Clone(inside).Context(),
		"Error":               refusal,
		"Event":               httpkey.Event{Token: token, Request: request, Err: refusal},
		"*Event":              &httpkey.Event{Token: token, Request: request, Err: refusal},
	}
	for how, show := range printers(t) {
		for name, value := range values {
			if isJSON(how) && strings.HasSuffix(name, "Created") {
				continue
			}
			text := show(value)
			assertNoTraces(t, name+" by "+how, text, secret.Reveal(), token.Digest)
			if strings.Contains(text, pepper.Reveal()) || strings.Contains(text, hex.EncodeToString([]byte(pepper))) {
				t.Errorf("%s by %s shows the pepper: %q", name, how, text)
			}
		}
	}
}

// A template prints the value behind a pointer, unless that value has a String method.
func TestTemplatesPrintNames(t *testing.T) {
	t.Parallel()
	store := memstore.New()
	print := printers(t)["text/template {{.}}"]
	guard := httpkey.New(store, httpkey.Unlimited, nil)
	for want, value := range map[string]any{"httpkey.Guard": guard, "memstore.Store": store} {
		if got := print(value); got != want+" <nil>" {
			t.Errorf("a template prints %q, want %q", got, want)
		}
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
	guard := httpkey.New(store, memstore.NewLimiter(), &httpkey.Options{
		Observers: observers(httpkey.SlogObserver(slog.New(handler)), &seen)})
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

// A panic prints a value with its String method and not with Format. So do dumpers.
func TestPanicDoesNotPrintSecrets(t *testing.T) {
	t.Parallel()
	for _, value := range []any{httpkey.Secret("hunter2"), httpkey.Digest([]byte("hunter2 hunter2 hunter2 hunter2!"))} {
		if s, ok := value.(fmt.Stringer); !ok || s.String() != "[REDACTED]" {
			t.Errorf("a panic prints the %T", value)
		}
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

// A session may keep tokens in gob. gob returns an error for a token with a digest, and encodes a
// token without one.
func TestGobOfTokens(t *testing.T) {
	t.Parallel()
	guard := newGuard(nil)
	created := httpkeytest.Issue(t, guard, httpkey.Token{User: "ann", Metadata: map[string]string{"plan": "team"}})
	bare := created.Token
	bare.Digest = httpkey.Digest{}
	for name, tt := range map[string]struct {
		value  any
		passes bool
	}{
		"token":                      {created.Token, false},
		"token without a digest":     {bare, true},
		"created":                    {created, false},
		"created without a digest":   {httpkey.Created{Token: bare, Secret: created.Secret}, false},
		"created without the secret": {httpkey.Created{Token: bare}, true},
		"secret":                     {created.Secret, false},
		"digest":                     {created.Token.Digest, false},
	} {
		var text bytes.Buffer
		err := gob.NewEncoder(&text).Encode(tt.value)
		if (err == nil) != tt.passes || err != nil && !strings.Contains(err.Error(), "httpkey: a Secret or a Digest") {
			t.Errorf("%s: %v", name, err)
		}
		if token, ok := tt.value.(httpkey.Token); ok && tt.passes {
			var got httpkey.Token
			if err := gob.NewDecoder(&text).Decode(&got); err != nil || !reflect.DeepEqual(got, token) {
				t.Errorf("%s: decoded %+v, want %+v (%v)", name, got, token, err)
			}
		}
	}
}
