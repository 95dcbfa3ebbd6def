package httpkey_test

import (
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/memstore"
)

// show sends a request with a key and prints the answer.
func show(handler http.Handler, key httpkey.Secret, headers ...string) {
	r := httptest.NewRequest(http.MethodGet, "/reports/", nil)
	if key != "" {
		r.Header.Set("X-Api-Key", key.Reveal())
	}
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, r)
	fmt.Println(w.Code, w.Body)
	for _, name := range headers {
		fmt.Printf("%s: %s\n", name, w.Header().Get(name))
	}
}

func must[T any](value T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return value
}

// issued returns the secret and the token of a new key.
func issued(guard *httpkey.Guard, t httpkey.Token) (httpkey.Secret, httpkey.Token) {
	created := must(guard.Issue(context.Background(), t))
	return created.Secret, created.Token
}

var hello = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	token, _ := httpkey.FromContext(r.Context())
	_, _ = io.WriteString(w, strings.TrimSpace("hello "+token.User))
})

func Example() {
	guard := httpkey.New(memstore.New(), memstore.NewLimiter(), nil)
	created, err := guard.Issue(context.Background(), httpkey.Token{Label: "laptop", User: "ann"})
	if err != nil {
		log.Fatal(err)
	}
	api := guard.Handler(hello)

	show(api, created.Secret, "X-RateLimit-Limit", "X-RateLimit-Remaining")
	show(api, "", "WWW-Authenticate")
	show(api, "hk_k_made_up")
	// Output:
	// 200 hello ann
	// X-RateLimit-Limit: 60
	// X-RateLimit-Remaining: 59
	// 401 {"detail":"Authentication credentials were not provided."}
	// WWW-Authenticate: ApiKey realm="api"
	// 401 {"detail":"Given API token is not valid"}
}

func ExampleGuard_Handler() {
	guard := httpkey.New(memstore.New(), memstore.NewLimiter(), nil)
	secret, _ := issued(guard, httpkey.Token{Limits: []httpkey.Limit{{Rate: 1, Period: 12 * time.Second}}})
	api := guard.Handler(hello)

	show(api, secret)
	show(api, secret, "Retry-After")
	// Output:
	// 200 hello
	// 429 {"detail":"Request was throttled. Expected available in 12 seconds."}
	// Retry-After: 12
}

// A ReverseProxy adds the headers of its upstream to those of the Guard. If the upstream
// has limits of its own, drop its headers, so that a client sees one truth. Cache-Control of
// the upstream joins the Guard's private, which still holds.
//
// A 1xx answer of the upstream removes the Guard's headers from the final one
// (go.dev/issue/81207). A client can ask for a 100 with Expect, so Rewrite deletes that
// header. ModifyResponse sets Cache-Control again.
func ExampleGuard_Handler_reverseProxy() {
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-RateLimit-Limit", "1000")
		_, _ = fmt.Fprintf(w, "the upstream got the key %q", r.Header.Get("X-Api-Key"))
	}))
	defer upstream.Close()
	target := must(url.Parse(upstream.URL))
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			r.Out.Header.Del("X-Api-Key")
			r.Out.Header.Del("Expect")
		},
		ModifyResponse: func(r *http.Response) error {
			for _, name := range []string{"Limit", "Remaining", "Reset"} {
				r.Header.Del("X-RateLimit-" + name)
			}
			if r.Header.Get("Cache-Control") == "" {
				r.Header.Set("Cache-Control", "private")
			}
			return nil
		},
	}
	guard := httpkey.New(memstore.New(), memstore.NewLimiter(), nil)
	secret, _ := issued(guard, httpkey.Token{})

	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.Header.Set("X-Api-Key", secret.Reveal())
	w := httptest.NewRecorder()
	guard.Handler(proxy).ServeHTTP(w, r)
	fmt.Println(w.Body)
	fmt.Println(w.Header().Values("X-RateLimit-Limit"))
	// Output:
	// the upstream got the key ""
	// [60]
}

// A framework with handlers of its own calls Check and passes on the request
// that it returns.
func ExampleGuard_Check() {
	guard := httpkey.New(memstore.New(), memstore.NewLimiter(), nil)
	secret, _ := issued(guard, httpkey.Token{User: "ann"})
	framework := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r, ok := guard.Check(w, r)
		if !ok {
			return // the response is written
		}
		token, _ := httpkey.FromContext(r.Context())
		_, _ = io.WriteString(w, "hello "+token.User)
	})

	show(framework, secret)
	// Output: 200 hello ann
}

func ExampleGuard_Verify() {
	guard := httpkey.New(memstore.New(), memstore.NewLimiter(), nil)
	secret, _ := issued(guard, httpkey.Token{User: "ann"})

	token, err := guard.Verify(context.Background(), secret.Reveal())
	fmt.Println(token.User, err)
	_, err = guard.Verify(context.Background(), "hk_k_made_up")
	fmt.Println(errors.Is(err, httpkey.ErrInvalidKey))
	var refusal httpkey.Error
	fmt.Println(errors.As(err, &refusal), refusal.Status(), refusal.Reason())
	// Output:
	// ann <nil>
	// true
	// true 401 malformed
}

func ExampleGuard_Issue() {
	guard := httpkey.New(memstore.New(), memstore.NewLimiter(), nil)
	created, err := guard.Issue(context.Background(), httpkey.Token{
		Kind:      httpkey.ServiceToken,
		Label:     "deploy",
		Workspace: "acme",
		Scopes:    []string{"releases:write"},
		ExpiredAt: time.Now().Add(90 * 24 * time.Hour),
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(created.Secret)      // not by accident
	shown := created.Secret.Reveal() // once, to its owner
	fmt.Println(len(shown), shown[:5])
	fmt.Println(strings.HasSuffix(shown, created.Token.Hint))
	// Output:
	// [REDACTED]
	// 38 hk_s_
	// true
}

// Only the response that creates a key holds the key.
func ExampleCreated() {
	guard := httpkey.New(memstore.New(), memstore.NewLimiter(), nil)
	created := must(guard.Issue(context.Background(), httpkey.Token{Label: "laptop"}))
	var answer map[string]any
	if err := json.Unmarshal(must(json.Marshal(created)), &answer); err != nil {
		log.Fatal(err)
	}
	fmt.Println(answer["label"], answer["token"] == created.Secret.Reveal())
	fmt.Println(string(must(json.Marshal(created.Secret))))
	// Output:
	// laptop true
	// "[REDACTED]"
}

func ExampleSecret() {
	secret := httpkey.Secret("hk_k_…")
	fmt.Printf("%v %q %#v\n", secret, secret, secret)
	fmt.Println(secret.Reveal())
	// Output:
	// [REDACTED] [REDACTED] [REDACTED]
	// hk_k_…
}

func ExampleGuard_Import() {
	guard := httpkey.New(memstore.New(), memstore.NewLimiter(), &httpkey.Options{ImportedMinLength: 24})
	legacy := httpkey.Secret("acme-4f0c0a4b9f2b4f4e8d1a") // from the former table of keys
	if _, err := guard.Import(context.Background(), legacy, httpkey.Token{User: "ann", IsActive: true}); err != nil {
		log.Fatal(err)
	}
	show(guard.Handler(hello), legacy)
	// Output: 200 hello ann
}

func ExampleGuard_Rotate() {
	guard := httpkey.New(memstore.New(), memstore.NewLimiter(), nil)
	old, token := issued(guard, httpkey.Token{User: "ann"})

	successor, err := guard.Rotate(context.Background(), token.ID, 24*time.Hour)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(successor.Token.User, successor.Token.RotatedFrom == token.ID)
	show(guard.Handler(hello), old)              // for a day
	show(guard.Handler(hello), successor.Secret) // from now on
	// Output:
	// ann true
	// 200 hello ann
	// 200 hello ann
}

func ExampleGuard_Revoke() {
	store := memstore.New()
	guard := httpkey.New(store, memstore.NewLimiter(), nil)
	secret, token := issued(guard, httpkey.Token{User: "ann"})
	if err := guard.Revoke(context.Background(), token.ID, "found in a public repository"); err != nil {
		log.Fatal(err)
	}
	show(guard.Handler(hello), secret)
	fmt.Println(must(store.Get(context.Background(), token.ID)).RevokedFor)
	// Output:
	// 401 {"detail":"Given API token is not valid"}
	// found in a public repository
}

func ExampleGuard_Due() {
	guard := httpkey.New(memstore.New(), memstore.NewLimiter(), &httpkey.Options{ImportedMinLength: 16})
	created := time.Now().Add(-97 * 24 * time.Hour)
	_, err := guard.Import(context.Background(), "a-key-from-elsewhere",
		httpkey.Token{Label: "laptop", User: "ann", IsActive: true, CreatedAt: created})
	if err != nil {
		log.Fatal(err)
	}
	for token, err := range guard.Due(context.Background(), httpkey.Filter{User: "ann"}, 0) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("rotate %s: %d days old\n", token.Label, int(time.Since(token.CreatedAt).Hours()/24))
	}
	// Output: rotate laptop: 97 days old
}

func ExampleGuard_Unused() {
	guard := httpkey.New(memstore.New(), memstore.NewLimiter(), &httpkey.Options{ImportedMinLength: 16})
	created := time.Now().Add(-97 * 24 * time.Hour)
	_, err := guard.Import(context.Background(), "a-key-from-elsewhere",
		httpkey.Token{Label: "laptop", IsActive: true, CreatedAt: created})
	if err != nil {
		log.Fatal(err)
	}
	for token, err := range guard.Unused(context.Background(), httpkey.Filter{}, 30*24*time.Hour) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println("unused:", token.Label, token.LastUsed.IsZero())
	}
	// Output: unused: laptop true
}

func ExampleGuard_Close() {
	store := memstore.New()
	guard := httpkey.New(store, memstore.NewLimiter(), nil)
	secret, token := issued(guard, httpkey.Token{User: "ann"})
	show(guard.Handler(hello), secret)

	// After http.Server.Shutdown:
	if err := guard.Close(context.Background()); err != nil {
		log.Fatal(err)
	}
	fmt.Println("used:", !must(store.Get(context.Background(), token.ID)).LastUsed.IsZero())
	// Output:
	// 200 hello ann
	// used: true
}

func ExampleFromContext() {
	guard := httpkey.New(memstore.New(), memstore.NewLimiter(), nil)
	secret, _ := issued(guard, httpkey.Token{User: "ann", Workspace: "acme"})
	show(guard.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token, ok := httpkey.FromContext(r.Context())
		_, _ = fmt.Fprint(w, token.User, " of ", token.Workspace, " ", ok)
	})), secret)
	// Output: 200 ann of acme true
}

func ExampleRequireScope() {
	guard := httpkey.New(memstore.New(), memstore.NewLimiter(), nil)
	mux := http.NewServeMux()
	mux.Handle("GET /reports/", httpkey.RequireScope("reports:read")(hello))
	api := guard.Handler(mux)

	reader, _ := issued(guard, httpkey.Token{User: "ann", Scopes: []string{"reports:read"}})
	other, _ := issued(guard, httpkey.Token{User: "bob"})
	show(api, reader)
	show(api, other)
	// Output:
	// 200 hello ann
	// 403 {"detail":"You do not have permission to perform this action."}
}

func ExampleRequireKind() {
	guard := httpkey.New(memstore.New(), memstore.NewLimiter(), nil)
	api := guard.Handler(httpkey.RequireKind(httpkey.ServiceToken)(hello))

	service, _ := issued(guard, httpkey.Token{User: "ci", Kind: httpkey.ServiceToken})
	person, _ := issued(guard, httpkey.Token{User: "ann"})
	show(api, service)
	show(api, person)
	// Output:
	// 200 hello ci
	// 403 {"detail":"You do not have permission to perform this action."}
}

func ExampleRequireWorkspace() {
	guard := httpkey.New(memstore.New(), memstore.NewLimiter(), nil)
	ofPath := func(r *http.Request) string { return strings.Split(r.URL.Path, "/")[1] }
	api := guard.Handler(httpkey.RequireWorkspace(ofPath)(hello))

	inside, _ := issued(guard, httpkey.Token{User: "ann", Workspace: "reports"})
	outside, _ := issued(guard, httpkey.Token{User: "bob", Workspace: "acme"})
	show(api, inside) // asks for /reports/
	show(api, outside)
	// Output:
	// 200 hello ann
	// 403 {"detail":"You do not have permission to perform this action."}
}

// A limit may belong to a kind, to a token, or to a request, by plan say.
func ExampleOptions_limits() {
	plans := map[string][]httpkey.Limit{"pro": {httpkey.PerMinute(600)}}
	guard := httpkey.New(memstore.New(), memstore.NewLimiter(), &httpkey.Options{
		Limits: map[httpkey.Kind][]httpkey.Limit{httpkey.APIKey: {httpkey.PerMinute(30)}},
		Charge: func(_ *http.Request, t *httpkey.Token, c *httpkey.Charge) {
			if limits, ok := plans[t.Metadata["plan"]]; ok {
				c.Limits = limits
			}
		},
	})
	byKind, _ := issued(guard, httpkey.Token{})
	byToken, _ := issued(guard, httpkey.Token{Limits: []httpkey.Limit{httpkey.PerSecond(5)}})
	byPlan, _ := issued(guard, httpkey.Token{Metadata: map[string]string{"plan": "pro"}})
	for _, key := range []httpkey.Secret{byKind, byToken, byPlan} {
		show(guard.Handler(hello), key, "X-RateLimit-Limit")
	}
	// Output:
	// 200 hello
	// X-RateLimit-Limit: 30
	// 200 hello
	// X-RateLimit-Limit: 5
	// 200 hello
	// X-RateLimit-Limit: 600
}

// Of several limits, each must have room. The headers tell of the one that binds.
func ExampleLimit() {
	guard := httpkey.New(memstore.New(), memstore.NewLimiter(), nil)
	secret, _ := issued(guard, httpkey.Token{Limits: []httpkey.Limit{
		httpkey.PerMinute(60), // at most so many at once
		httpkey.PerMonth(2),   // the quota of a plan
	}})
	for range 2 {
		show(guard.Handler(hello), secret, "X-RateLimit-Limit", "X-RateLimit-Remaining")
	}
	_, err := guard.Admit(context.Background(), secret.Reveal(), 1)
	fmt.Println(errors.Is(err, httpkey.ErrThrottled))
	// Output:
	// 200 hello
	// X-RateLimit-Limit: 2
	// X-RateLimit-Remaining: 1
	// 200 hello
	// X-RateLimit-Limit: 2
	// X-RateLimit-Remaining: 0
	// true
}

// All keys of a user take from one bucket, and reports are dear.
func ExampleOptions_charge() {
	guard := httpkey.New(memstore.New(), memstore.NewLimiter(), &httpkey.Options{
		Charge: func(r *http.Request, t *httpkey.Token, c *httpkey.Charge) {
			if t.User != "" {
				c.Bucket = "user:" + t.User
			}
			if r != nil && strings.HasPrefix(r.URL.Path, "/reports/") { // nil in Admit
				c.Cost = 10
			}
		},
	})
	first, _ := issued(guard, httpkey.Token{User: "ann"})
	second, _ := issued(guard, httpkey.Token{User: "ann"})
	show(guard.Handler(hello), first, "X-RateLimit-Remaining")
	show(guard.Handler(hello), second, "X-RateLimit-Remaining")
	// Output:
	// 200 hello ann
	// X-RateLimit-Remaining: 50
	// 200 hello ann
	// X-RateLimit-Remaining: 40
}

// A key that came over gRPC, say, is admitted without HTTP.
func ExampleGuard_Admit() {
	guard := httpkey.New(memstore.New(), memstore.NewLimiter(), nil)
	secret, _ := issued(guard, httpkey.Token{User: "ann"})

	admission, err := guard.Admit(context.Background(), secret.Reveal(), 5)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(admission.Token.User, admission.Result.Remaining)

	look, err := guard.Admit(context.Background(), secret.Reveal(), 0) // takes nothing, and is no use
	fmt.Println(look.Result.Remaining, err)

	_, err = guard.Admit(context.Background(), secret.Reveal(), 56)
	fmt.Println(errors.Is(err, httpkey.ErrThrottled))
	// Output:
	// ann 55
	// 55 <nil>
	// true
}

// The cost of a request may be known only once it is answered.
func ExampleAdmission_Charge() {
	guard := httpkey.New(memstore.New(), memstore.NewLimiter(), nil)
	secret, _ := issued(guard, httpkey.Token{})
	api := guard.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		admission, _ := httpkey.AdmissionFrom(r.Context())
		rows := 25 // that were read
		if err := admission.Charge(r.Context(), rows); err != nil {
			log.Print(err)
		}
		_, _ = fmt.Fprint(w, rows, " rows")
	}))
	show(api, secret, "X-RateLimit-Remaining")
	show(api, secret, "X-RateLimit-Remaining")
	// Output:
	// 200 25 rows
	// X-RateLimit-Remaining: 59
	// 200 25 rows
	// X-RateLimit-Remaining: 33
}

// Support staff give a customer a fresh start.
func ExampleResetter() {
	limiter := memstore.NewLimiter()
	guard := httpkey.New(memstore.New(), limiter, &httpkey.Options{
		Limits: map[httpkey.Kind][]httpkey.Limit{httpkey.APIKey: {httpkey.PerHour(1)}},
	})
	secret, token := issued(guard, httpkey.Token{})
	show(guard.Handler(hello), secret)
	show(guard.Handler(hello), secret)
	err := limiter.Reset(context.Background(), &httpkey.Charge{
		Bucket: token.Payer(), Limits: []httpkey.Limit{httpkey.PerHour(1)},
	})
	fmt.Println(err)
	show(guard.Handler(hello), secret)
	// Output:
	// 200 hello
	// 429 {"detail":"Request was throttled. Expected available in 3600 seconds."}
	// <nil>
	// 200 hello
}

func ExampleAdmissionFrom() {
	guard := httpkey.New(memstore.New(), memstore.NewLimiter(), nil)
	secret, _ := issued(guard, httpkey.Token{User: "ann"})
	show(guard.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		admission, ok := httpkey.AdmissionFrom(r.Context())
		_, _ = fmt.Fprint(w, admission.Token.User, " has ", admission.Result.Remaining, " left ", ok)
	})), secret)
	// Output: 200 ann has 59 left true
}

// A handler is tested with a token in the context of its request, without a Guard.
func ExampleNewContext() {
	api := httpkey.RequireScope("reports:read")(hello)
	test := func(t httpkey.Token) {
		r := httptest.NewRequest(http.MethodGet, "/", http.NoBody)
		w := httptest.NewRecorder()
		api.ServeHTTP(w, r.WithContext(httpkey.NewContext(r.Context(), t)))
		fmt.Println(w.Code, w.Body)
	}
	test(httpkey.Token{User: "ann", Scopes: []string{"reports:read"}})
	test(httpkey.Token{User: "bob"})
	// Output:
	// 200 hello ann
	// 403 {"detail":"You do not have permission to perform this action."}
}

// A framework with handlers of its own runs any middleware of net/http.
func ExamplePasses() {
	guard := httpkey.New(memstore.New(), memstore.NewLimiter(), nil)
	reader, _ := issued(guard, httpkey.Token{User: "ann", Scopes: []string{"reports:read"}})
	other, _ := issued(guard, httpkey.Token{User: "bob"})
	framework := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for _, middleware := range []func(http.Handler) http.Handler{guard.Handler, httpkey.RequireScope("reports:read")} {
			var ok bool
			if r, ok = httpkey.Passes(middleware, w, r); !ok {
				return // the response is written
			}
		}
		hello(w, r)
	})
	show(framework, reader)
	show(framework, other)
	// Output:
	// 200 hello ann
	// 403 {"detail":"You do not have permission to perform this action."}
}

// A table of keys that the program has already goes on being its own.
func ExampleLookupOnly() {
	owners := map[httpkey.Digest]string{ // as from a table of SHA-256 digests
		sha256.Sum256([]byte("acme-4f0c0a4b9f2b4f4e8d1a")): "ann",
	}
	store := httpkey.LookupOnly{
		ByDigest: func(_ context.Context, d httpkey.Digest) (httpkey.Token, error) {
			owner, ok := owners[d]
			if !ok {
				return httpkey.Token{}, httpkey.ErrNotFound
			}
			return httpkey.Token{ID: owner, Digest: d, User: owner, IsActive: true}, nil
		},
	}
	guard := httpkey.New(store, memstore.NewLimiter(), &httpkey.Options{ImportedMinLength: 24})
	show(guard.Handler(hello), "acme-4f0c0a4b9f2b4f4e8d1a")
	show(guard.Handler(hello), "acme-4f0c0a4b9f2b4f4e8d1b")
	_, err := guard.Issue(context.Background(), httpkey.Token{})
	fmt.Println(errors.Is(err, errors.ErrUnsupported))
	// Output:
	// 200 hello ann
	// 401 {"detail":"Given API token is not valid"}
	// true
}

// Many tables have the SHA-256 of each key in hexadecimal digits.
func ExampleParseDigest() {
	row := struct{ ID, KeyHash string }{"17", "9bdca41e2a30d63d19016bd5fe0f0e6c06e4e1de4e0fd1a8b8f1c42e0a3e2f5d"}
	digest, err := httpkey.ParseDigest(row.KeyHash)
	fmt.Println(digest, err)
	_, err = httpkey.ParseDigest(row.KeyHash[:40]) // of SHA-1
	fmt.Println(err)
	// Output:
	// [REDACTED] <nil>
	// httpkey: invalid token: a digest has 64 hexadecimal digits, and this text has 40 bytes
}

// A digest shows only by its method Hex, which writes it for a table.
func ExampleDigest_Hex() {
	digest := httpkey.Digest(sha256.Sum256([]byte("acme-4f0c0a4b9f2b4f4e8d1a")))
	fmt.Println("log:", digest)
	fmt.Println("table:", digest.Hex())
	// Output:
	// log: [REDACTED]
	// table: 200acaee66f73f166318d300b41494609833158d1c0be52725fc17845e9d6fb7
}

// A key may be good only where its program runs.
func ExampleOptions_clientAddr() {
	guard := httpkey.New(memstore.New(), memstore.NewLimiter(), &httpkey.Options{
		ClientAddr: func(r *http.Request) netip.Addr { // behind a proxy of our own, which sets it
			addr, _ := netip.ParseAddr(r.Header.Get("X-Real-Ip"))
			return addr
		},
	})
	office := []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24")}
	secret, _ := issued(guard, httpkey.Token{User: "ann", Networks: office})
	for _, addr := range []string{"203.0.113.7", "198.51.100.7"} {
		r := httptest.NewRequest(http.MethodGet, "/", http.NoBody)
		r.Header.Set("X-Api-Key", secret.Reveal())
		r.Header.Set("X-Real-Ip", addr)
		w := httptest.NewRecorder()
		guard.Handler(hello).ServeHTTP(w, r)
		fmt.Println(w.Code, w.Body)
	}
	// Output:
	// 200 hello ann
	// 401 {"detail":"Given API token is not valid"}
}

// Keys come in Authorization: Bearer, and still in X-Api-Key.
func ExampleFromBearer() {
	guard := httpkey.New(memstore.New(), memstore.NewLimiter(), &httpkey.Options{
		Sources: []httpkey.Source{httpkey.FromBearer(), httpkey.FromHeader("X-Api-Key")},
	})
	secret, _ := issued(guard, httpkey.Token{User: "ann"})
	api := guard.Handler(hello)
	for _, header := range []http.Header{
		{"Authorization": {"Bearer " + secret.Reveal()}},
		{"X-Api-Key": {secret.Reveal()}},
		{},
	} {
		w := httptest.NewRecorder()
		r := httptest.NewRequest(http.MethodGet, "/", http.NoBody)
		r.Header = header
		api.ServeHTTP(w, r)
		fmt.Println(w.Code, w.Body)
		for _, challenge := range w.Header().Values("WWW-Authenticate") {
			fmt.Println("WWW-Authenticate:", challenge)
		}
	}
	// Output:
	// 200 hello ann
	// 200 hello ann
	// 401 {"detail":"Authentication credentials were not provided."}
	// WWW-Authenticate: ApiKey realm="api"
	// WWW-Authenticate: Bearer realm="api"
}

// The key is the password of HTTP Basic authentication, as curl -u sends it.
func ExampleSource() {
	fromBasic := func(r *http.Request) []string {
		_, password, ok := r.BasicAuth()
		if !ok {
			return nil
		}
		return []string{password}
	}
	guard := httpkey.New(memstore.New(), memstore.NewLimiter(), &httpkey.Options{
		Sources: []httpkey.Source{httpkey.FromHeader("X-Api-Key"), fromBasic},
	})
	secret, _ := issued(guard, httpkey.Token{User: "ann"})
	r := httptest.NewRequest(http.MethodGet, "/", http.NoBody)
	r.SetBasicAuth("key", secret.Reveal())
	w := httptest.NewRecorder()
	guard.Handler(hello).ServeHTTP(w, r)
	fmt.Println(w.Code, w.Body)
	// Output: 200 hello ann
}

// Everybody may read reports, within a limit for each address. A key has its own limit.
func ExampleOptions_anonymous() {
	guard := httpkey.New(memstore.New(), memstore.NewLimiter(), &httpkey.Options{
		Anonymous: func(r *http.Request, c *httpkey.Charge) bool {
			c.Limits = []httpkey.Limit{httpkey.PerMinute(10)}
			return r.Method == http.MethodGet && strings.HasPrefix(r.URL.Path, "/reports/")
		},
	})
	secret, _ := issued(guard, httpkey.Token{User: "ann"})
	api := guard.Handler(hello)
	show(api, "", "X-RateLimit-Limit")
	show(api, secret, "X-RateLimit-Limit")
	show(api, "hk_k_made_up")
	// Output:
	// 200 hello
	// X-RateLimit-Limit: 10
	// 200 hello ann
	// X-RateLimit-Limit: 60
	// 401 {"detail":"Given API token is not valid"}
}

// A login page takes one attempt from the client's address, and gives it back on success.
func ExampleGuard_LimitBy() {
	guard := httpkey.New(memstore.New(), memstore.NewLimiter(), nil)
	limit := guard.LimitBy(func(_ *http.Request, c *httpkey.Charge) {
		c.Limits = []httpkey.Limit{{Name: "login", Rate: 1, Period: time.Hour}}
	})
	login := limit(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.FormValue("password") != "correct horse" {
			http.Error(w, "wrong password", http.StatusUnauthorized)
			return
		}
		if admission, ok := httpkey.AdmissionFrom(r.Context()); ok {
			if err := admission.Charge(r.Context(), -1); err != nil {
				log.Print(err)
			}
		}
		_, _ = io.WriteString(w, "welcome")
	}))
	for _, password := range []string{"correct+horse", "correct+horse", "battery", "staple"} {
		w := httptest.NewRecorder()
		login.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/login?password="+password, http.NoBody))
		fmt.Println(w.Code, strings.TrimSpace(w.Body.String()))
	}
	// Output:
	// 200 welcome
	// 200 welcome
	// 401 wrong password
	// 429 {"detail":"Request was throttled. Expected available in 3600 seconds."}
}

// A client behind the proxy cannot choose its address.
func ExampleTrustedProxies() {
	guard := httpkey.New(memstore.New(), memstore.NewLimiter(), &httpkey.Options{
		ClientAddr: httpkey.TrustedProxies(netip.MustParsePrefix("10.0.0.0/8")),
	})
	office := []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24")}
	secret, _ := issued(guard, httpkey.Token{User: "ann", Networks: office})
	for _, forwarded := range []string{
		"203.0.113.7",               // the proxy has added the client's address
		"203.0.113.7, 198.51.100.7", // the client has sent the first one
	} {
		r := httptest.NewRequest(http.MethodGet, "/", http.NoBody)
		r.RemoteAddr = "10.0.0.1:1234"
		r.Header.Set("X-Forwarded-For", forwarded)
		r.Header.Set("X-Api-Key", secret.Reveal())
		w := httptest.NewRecorder()
		guard.Handler(hello).ServeHTTP(w, r)
		fmt.Println(w.Code, w.Body)
	}
	// Output:
	// 200 hello ann
	// 401 {"detail":"Given API token is not valid"}
}

// An address may try two unknown keys an hour. A good key from there passes all the same.
func ExampleOptions_failures() {
	guard := httpkey.New(memstore.New(), memstore.NewLimiter(), &httpkey.Options{Failures: httpkey.PerHour(2)})
	secret, _ := issued(guard, httpkey.Token{User: "ann"})
	elsewhere := httpkey.New(memstore.New(), httpkey.Unlimited, nil)
	for range 3 {
		unknown, _ := issued(elsewhere, httpkey.Token{})
		show(guard.Handler(hello), unknown)
	}
	show(guard.Handler(hello), secret)
	// Output:
	// 401 {"detail":"Given API token is not valid"}
	// 401 {"detail":"Given API token is not valid"}
	// 429 {"detail":"Request was throttled. Expected available in 1800 seconds."}
	// 200 hello ann
}

// The old table has the SHA-512 of each key. The first use of a key imports it.
func ExampleOptions_adopt() {
	old := map[[sha512.Size]byte]string{
		sha512.Sum512([]byte("acme-4f0c0a4b9f2b4f4e8d1a")): "ann",
	}
	guard := httpkey.New(memstore.New(), memstore.NewLimiter(), &httpkey.Options{
		ImportedMinLength: 24,
		Adopt: func(_ context.Context, secret string) (httpkey.Token, error) {
			owner, ok := old[sha512.Sum512([]byte(secret))]
			if !ok {
				return httpkey.Token{}, httpkey.ErrNotFound
			}
			return httpkey.Token{User: owner, IsActive: true}, nil
		},
	})
	api := guard.Handler(hello)
	show(api, "acme-4f0c0a4b9f2b4f4e8d1a")
	clear(old) // the key works without the old table from now on
	show(api, "acme-4f0c0a4b9f2b4f4e8d1a")
	show(api, "acme-4f0c0a4b9f2b4f4e8d1b")
	// Output:
	// 200 hello ann
	// 200 hello ann
	// 401 {"detail":"Given API token is not valid"}
}

// A key from the environment is there after every start.
func ExampleGuard_Ensure() {
	key := httpkey.Secret("the-key-of-the-operator-0f2b4f4e") // os.Getenv("OPERATOR_KEY"), say
	store := memstore.New()
	for range 2 { // two starts of the program
		guard := httpkey.New(store, memstore.NewLimiter(), &httpkey.Options{ImportedMinLength: 32})
		if _, err := guard.Ensure(context.Background(), key, httpkey.Token{User: "operator"}); err != nil {
			log.Fatal(err)
		}
		show(guard.Handler(hello), key)
	}
	// Output:
	// 200 hello operator
	// 200 hello operator
}

// The finder of a leaked key ends it, without its ID.
func ExampleGuard_RevokeKey() {
	guard := httpkey.New(memstore.New(), memstore.NewLimiter(), nil)
	secret, _ := issued(guard, httpkey.Token{User: "ann"})
	for _, found := range []httpkey.Secret{secret, "hk_k_made_up"} {
		err := guard.RevokeKey(context.Background(), found, "found in a public repository")
		fmt.Println(err == nil, errors.Is(err, httpkey.ErrNotFound))
	}
	show(guard.Handler(hello), secret)
	// Output:
	// true false
	// false true
	// 401 {"detail":"Given API token is not valid"}
}

// One route serves keys, and people who are signed in.
func ExampleGuard_NewContext() {
	guard := httpkey.New(memstore.New(), memstore.NewLimiter(), nil)
	reports := httpkey.RequireScope("reports:read")(hello)
	withKey := guard.Handler(reports)
	api := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		session, err := r.Cookie("session")
		if err != nil {
			withKey.ServeHTTP(w, r)
			return
		}
		token := httpkey.Token{User: session.Value, Scopes: []string{"reports:read"}} // as your login knows it
		reports.ServeHTTP(w, r.WithContext(guard.NewContext(r.Context(), token)))
	})
	secret, _ := issued(guard, httpkey.Token{User: "ann", Scopes: []string{"reports:read"}})
	show(api, secret)
	r := httptest.NewRequest(http.MethodGet, "/", http.NoBody)
	r.AddCookie(&http.Cookie{Name: "session", Value: "bob"})
	w := httptest.NewRecorder()
	api.ServeHTTP(w, r)
	fmt.Println(w.Code, w.Body)
	// Output:
	// 200 hello ann
	// 200 hello bob
}

func ExampleRequireAnyScope() {
	guard := httpkey.New(memstore.New(), memstore.NewLimiter(), nil)
	api := guard.Handler(httpkey.RequireAnyScope("reports:read", "admin")(hello))

	reader, _ := issued(guard, httpkey.Token{User: "ann", Scopes: []string{"reports:read"}})
	admin, _ := issued(guard, httpkey.Token{User: "bob", Scopes: []string{"admin"}})
	other, _ := issued(guard, httpkey.Token{User: "eve", Scopes: []string{"pages:read"}})
	for _, key := range []httpkey.Secret{reader, admin, other} {
		show(api, key)
	}
	// Output:
	// 200 hello ann
	// 200 hello bob
	// 403 {"detail":"You do not have permission to perform this action."}
}

// The scope to write implies the one to read, and a star implies every scope.
func ExampleOptions_scopeImplies() {
	guard := httpkey.New(memstore.New(), memstore.NewLimiter(), &httpkey.Options{
		ScopeImplies: func(have, want string) bool {
			resource, toRead := strings.CutSuffix(want, ":read")
			return have == "*" || toRead && have == resource+":write"
		},
	})
	api := guard.Handler(httpkey.RequireScope("reports:read")(hello))
	for _, scope := range []string{"reports:write", "*", "pages:write"} {
		secret, _ := issued(guard, httpkey.Token{User: "ann", Scopes: []string{scope}})
		show(api, secret)
	}
	// Output:
	// 200 hello ann
	// 200 hello ann
	// 403 {"detail":"You do not have permission to perform this action."}
}

// The log says which scope a refused key lacks. The client is not told.
func ExampleError_MissingScopes() {
	guard := httpkey.New(memstore.New(), memstore.NewLimiter(), &httpkey.Options{
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, e httpkey.Error) {
			fmt.Println(e.Reason(), e.MissingScopes())
			httpkey.WriteError(w, r, e)
		},
	})
	secret, _ := issued(guard, httpkey.Token{Scopes: []string{"reports:read"}})
	show(guard.Handler(httpkey.RequireScope("reports:read", "reports:export")(hello)), secret)
	// Output:
	// scope [reports:export]
	// 403 {"detail":"You do not have permission to perform this action."}
}

// A new limit is tried out before it refuses anybody.
func ExampleOptions_dryRun() {
	guard := httpkey.New(memstore.New(), memstore.NewLimiter(), &httpkey.Options{DryRun: true})
	secret, _ := issued(guard, httpkey.Token{Limits: []httpkey.Limit{httpkey.PerHour(1)}})
	for range 2 {
		show(guard.Handler(hello), secret, "X-RateLimit-Dry-Run")
	}
	// Output:
	// 200 hello
	// X-RateLimit-Dry-Run: allowed
	// 200 hello
	// X-RateLimit-Dry-Run: denied
}

// A request to a status page takes nothing, and is no use of the key.
func ExampleGuard_CheckCost() {
	guard := httpkey.New(memstore.New(), memstore.NewLimiter(), nil)
	secret, _ := issued(guard, httpkey.Token{User: "ann"})
	limits := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r, ok := guard.CheckCost(w, r, 0); ok {
			hello(w, r)
		}
	})
	show(guard.Handler(hello), secret, "X-RateLimit-Remaining")
	show(limits, secret, "X-RateLimit-Remaining")
	show(limits, secret, "X-RateLimit-Remaining")
	// Output:
	// 200 hello ann
	// X-RateLimit-Remaining: 59
	// 200 hello ann
	// X-RateLimit-Remaining: 59
	// 200 hello ann
	// X-RateLimit-Remaining: 59
}

// A program that changes its prefix accepts the keys of before.
func ExampleOptions_previousPrefixes() {
	store := memstore.New()
	old, _ := issued(httpkey.New(store, memstore.NewLimiter(), nil), httpkey.Token{User: "ann"})

	guard := httpkey.New(store, memstore.NewLimiter(), &httpkey.Options{
		Prefix:           "acme",
		PreviousPrefixes: []string{"hk"},
	})
	secret, _ := issued(guard, httpkey.Token{User: "bob"})
	fmt.Println(secret.Reveal()[:7])
	show(guard.Handler(hello), old)
	show(guard.Handler(hello), secret)
	// Output:
	// acme_k_
	// 200 hello ann
	// 200 hello bob
}

func ExampleOptions_iETFHeaders() {
	guard := httpkey.New(memstore.New(), memstore.NewLimiter(), &httpkey.Options{IETFHeaders: true})
	secret, _ := issued(guard, httpkey.Token{})
	show(guard.Handler(hello), secret, "RateLimit-Policy", "RateLimit")
	// Output:
	// 200 hello
	// RateLimit-Policy: "default";q=60;w=60
	// RateLimit: "default";r=59;t=59
}

// A pepper is introduced without reissuing the keys from before.
func ExampleOptions_pepper() {
	store := memstore.New()
	before := httpkey.New(store, memstore.NewLimiter(), nil)
	secret, _ := issued(before, httpkey.Token{User: "ann"})

	pepper := httpkey.Secret("from the environment, 32 bytes or more")
	guard := httpkey.New(store, memstore.NewLimiter(), &httpkey.Options{
		Pepper:          pepper,
		PreviousPeppers: []httpkey.Secret{""}, // none
	})
	show(guard.Handler(hello), secret)
	// Output: 200 hello ann
}

// Answer as the live Plane API does where it differs from its documentation.
func ExampleOptions_errorHandler() {
	guard := httpkey.New(memstore.New(), memstore.NewLimiter(), &httpkey.Options{
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, e httpkey.Error) {
			if !errors.Is(e, httpkey.ErrThrottled) {
				httpkey.WriteError(w, r, e)
				return
			}
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(e.Status())
			_, _ = io.WriteString(w, `{"error_code":5900,"error_message":"RATE_LIMIT_EXCEEDED"}`)
		},
	})
	secret, _ := issued(guard, httpkey.Token{Limits: []httpkey.Limit{httpkey.PerHour(1)}})
	show(guard.Handler(hello), secret)
	show(guard.Handler(hello), secret)
	show(guard.Handler(hello), "")
	// Output:
	// 200 hello
	// 429 {"error_code":5900,"error_message":"RATE_LIMIT_EXCEEDED"}
	// 401 {"detail":"Authentication credentials were not provided."}
}

func ExampleSlogObserver() {
	logger := slog.New(slog.NewTextHandler(os.Stdout, &slog.HandlerOptions{
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		},
	}))
	guard := httpkey.New(memstore.New(), memstore.NewLimiter(), &httpkey.Options{
		Observers: []httpkey.Observer{httpkey.SlogObserver(logger)},
	})
	show(guard.Handler(hello), "hk_k_made_up") // the client is not told why, the log is
	// Output:
	// level=INFO msg="httpkey: refused" reason=malformed
	// 401 {"detail":"Given API token is not valid"}
}

func ExampleUnlimited() {
	guard := httpkey.New(memstore.New(), httpkey.Unlimited, nil)
	secret, _ := issued(guard, httpkey.Token{User: "ann"})
	show(guard.Handler(hello), secret, "X-RateLimit-Limit")
	// Output:
	// 200 hello ann
	// X-RateLimit-Limit:
}

// A page shows what applies to a token, and what is left now.
func ExampleGuard_Peek() {
	guard := httpkey.New(memstore.New(), memstore.NewLimiter(), nil)
	key, token := issued(guard, httpkey.Token{Limits: []httpkey.Limit{httpkey.PerMinute(60), httpkey.PerMonth(10_000)}})
	must(guard.Admit(context.Background(), key.Reveal(), 5))

	fmt.Println(len(must(guard.LimitsOf(token))), "limits")
	for _, one := range must(guard.Peek(context.Background(), token)).Each {
		fmt.Println(one.Remaining, "of", one.Limit.Rate)
	}
	// Output:
	// 2 limits
	// 55 of 60
	// 9995 of 10000
}

// Somebody leaves the company: first their account is closed, then all of their keys end.
func ExampleGuard_RevokeAll() {
	guard := httpkey.New(memstore.New(), memstore.NewLimiter(), nil)
	for _, label := range []string{"laptop", "phone"} {
		issued(guard, httpkey.Token{User: "ada", Label: label})
	}
	fmt.Println(must(guard.RevokeAll(context.Background(), httpkey.Filter{User: "ada"}, "left the company")))

	n, err := guard.RevokeAll(context.Background(), httpkey.Filter{}, "") // nobody may mean every key
	fmt.Println(n, err != nil)
	// Output:
	// 2
	// 0 true
}

// A key was found in a public repository. Whose is it, and does it still work?
func ExampleGuard_Lookup() {
	guard := httpkey.New(memstore.New(), memstore.NewLimiter(), nil)
	key, token := issued(guard, httpkey.Token{User: "ada", Label: "laptop"})
	_ = guard.RevokeBy(context.Background(), token.ID, "grace", "found on GitHub")

	found := must(guard.Lookup(context.Background(), key))
	fmt.Println(found.User, found.Label, found.IsActive, found.RevokedBy)
	// Output: ada laptop false grace
}
