package httpkey_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"
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
	secret, token, err := guard.Issue(context.Background(), t)
	if err != nil {
		log.Fatal(err)
	}
	return secret, token
}

var hello = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	token, _ := httpkey.FromContext(r.Context())
	_, _ = io.WriteString(w, strings.TrimSpace("hello "+token.User))
})

func Example() {
	guard := httpkey.New(memstore.New(), memstore.NewLimiter(), nil)
	secret, _, err := guard.Issue(context.Background(), httpkey.Token{Label: "laptop", User: "ann"})
	if err != nil {
		log.Fatal(err)
	}
	api := guard.Handler(hello)

	show(api, secret, "X-RateLimit-Limit", "X-RateLimit-Remaining")
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
	secret, _ := issued(guard, httpkey.Token{Limit: httpkey.Limit{Rate: 1, Period: 12 * time.Second}})
	api := guard.Handler(hello)

	show(api, secret)
	show(api, secret, "Retry-After")
	// Output:
	// 200 hello
	// 429 {"detail":"Request was throttled. Expected available in 12 seconds."}
	// Retry-After: 12
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
	secret, token, err := guard.Issue(context.Background(), httpkey.Token{
		Kind:      httpkey.ServiceToken,
		Label:     "deploy",
		Workspace: "acme",
		Scopes:    []string{"releases:write"},
		ExpiredAt: time.Now().Add(90 * 24 * time.Hour),
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(secret)                                    // not by accident
	fmt.Println(len(secret.Reveal()), secret.Reveal()[:5]) // show it once, to its owner
	fmt.Println(strings.HasSuffix(secret.Reveal(), token.Hint))
	// Output:
	// [REDACTED]
	// 38 hk_s_
	// true
}

// The answer to the request that creates a key is the one that holds it.
func ExampleCreated() {
	secret := httpkey.Secret("hk_k_…") // as Issue returns it
	created := httpkey.Created{Secret: secret, Token: httpkey.Token{ID: "t-1", Kind: httpkey.APIKey, Label: "laptop", IsActive: true}}
	var answer map[string]any
	if err := json.Unmarshal(must(json.Marshal(created)), &answer); err != nil {
		log.Fatal(err)
	}
	fmt.Println(answer["id"], answer["label"], answer["token"])
	fmt.Println(string(must(json.Marshal(secret))))
	// Output:
	// t-1 laptop hk_k_…
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
	if _, err := guard.Import(context.Background(), legacy, httpkey.Token{User: "ann"}); err != nil {
		log.Fatal(err)
	}
	show(guard.Handler(hello), legacy)
	// Output: 200 hello ann
}

func ExampleGuard_Rotate() {
	guard := httpkey.New(memstore.New(), memstore.NewLimiter(), nil)
	old, token := issued(guard, httpkey.Token{User: "ann"})

	successor, next, err := guard.Rotate(context.Background(), token.ID, 24*time.Hour)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(next.User, next.RotatedFrom == token.ID)
	show(guard.Handler(hello), old)       // for a day
	show(guard.Handler(hello), successor) // from now on
	// Output:
	// ann true
	// 200 hello ann
	// 200 hello ann
}

func ExampleGuard_Revoke() {
	guard := httpkey.New(memstore.New(), memstore.NewLimiter(), nil)
	secret, token := issued(guard, httpkey.Token{User: "ann"})
	if err := guard.Revoke(context.Background(), token.ID); err != nil {
		log.Fatal(err)
	}
	show(guard.Handler(hello), secret)
	// Output: 401 {"detail":"Given API token is not valid"}
}

func ExampleGuard_Due() {
	guard := httpkey.New(memstore.New(), memstore.NewLimiter(), &httpkey.Options{ImportedMinLength: 16})
	created := time.Now().Add(-97 * 24 * time.Hour)
	_, err := guard.Import(context.Background(), "a-key-from-elsewhere", httpkey.Token{Label: "laptop", User: "ann", CreatedAt: created})
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
	_, err := guard.Import(context.Background(), "a-key-from-elsewhere", httpkey.Token{Label: "laptop", CreatedAt: created})
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
func ExampleOptions_limit() {
	plans := map[string]httpkey.Limit{"pro": httpkey.PerMinute(600)}
	guard := httpkey.New(memstore.New(), memstore.NewLimiter(), &httpkey.Options{
		APIKeyLimit: httpkey.PerMinute(30),
		Limit:       func(_ *http.Request, t httpkey.Token) httpkey.Limit { return plans[t.Workspace] },
	})
	byKind, _ := issued(guard, httpkey.Token{})
	byToken, _ := issued(guard, httpkey.Token{Limit: httpkey.PerSecond(5)})
	byPlan, _ := issued(guard, httpkey.Token{Workspace: "pro"})
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

func ExampleOptions_cost() {
	guard := httpkey.New(memstore.New(), memstore.NewLimiter(), &httpkey.Options{
		Cost: func(r *http.Request, _ httpkey.Token) int {
			if r.URL.Path == "/reports/" {
				return 10
			}
			return 1
		},
	})
	secret, _ := issued(guard, httpkey.Token{})
	show(guard.Handler(hello), secret, "X-RateLimit-Remaining")
	// Output:
	// 200 hello
	// X-RateLimit-Remaining: 50
}

// All keys of a user take from one bucket.
func ExampleBucket() {
	guard := httpkey.New(memstore.New(), memstore.NewLimiter(), &httpkey.Options{Bucket: httpkey.PerUser})
	first, _ := issued(guard, httpkey.Token{User: "ann"})
	second, _ := issued(guard, httpkey.Token{User: "ann"})
	show(guard.Handler(hello), first, "X-RateLimit-Remaining")
	show(guard.Handler(hello), second, "X-RateLimit-Remaining")
	// Output:
	// 200 hello ann
	// X-RateLimit-Remaining: 59
	// 200 hello ann
	// X-RateLimit-Remaining: 58
}

func ExampleOptions_iETFHeaders() {
	guard := httpkey.New(memstore.New(), memstore.NewLimiter(), &httpkey.Options{IETFHeaders: true})
	secret, _ := issued(guard, httpkey.Token{})
	show(guard.Handler(hello), secret, "RateLimit-Policy", "RateLimit")
	// Output:
	// 200 hello
	// RateLimit-Policy: "default";q=60;w=60
	// RateLimit: "default";r=59;t=1
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
	secret, _ := issued(guard, httpkey.Token{Limit: httpkey.PerHour(1)})
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
	guard := httpkey.New(memstore.New(), memstore.NewLimiter(), &httpkey.Options{Observer: httpkey.SlogObserver(logger)})
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
