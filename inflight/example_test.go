package inflight_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/inflight"
	"github.com/httpkey/httpkey/memstore"
)

// get sends a request with a key and prints the answer.
func get(api http.Handler, key httpkey.Secret) {
	r := httptest.NewRequest(http.MethodGet, "/reports/", http.NoBody)
	r.Header.Set("X-Api-Key", key.Reveal())
	w := httptest.NewRecorder()
	api.ServeHTTP(w, r)
	fmt.Println(w.Code, w.Body, w.Header()["Retry-After"])
}

func issue(guard *httpkey.Guard, t httpkey.Token) httpkey.Secret {
	created, err := guard.Issue(context.Background(), t)
	if err != nil {
		log.Fatal(err)
	}
	return created.Secret
}

// Each token may make one report at a time. The handler here sends more requests, to show what
// they get while its own is in progress.
func Example() {
	guard := httpkey.New(memstore.New(), memstore.NewLimiter(), nil)
	ann, bob := issue(guard, httpkey.Token{User: "ann"}), issue(guard, httpkey.Token{User: "bob"})
	reports := inflight.New(1, nil)

	var api http.Handler
	makeReport := func(w http.ResponseWriter, r *http.Request) {
		token, _ := httpkey.FromContext(r.Context())
		if token.User == "ann" {
			get(api, ann)
			get(api, bob)
		}
		_, _ = fmt.Fprint(w, "report of ", token.User)
	}
	api = guard.Handler(reports.Handler(http.HandlerFunc(makeReport)))

	get(api, ann)
	// Output:
	// 429 {"detail":"Request was throttled. Expected available in 1 second."} [1]
	// 200 report of bob []
	// 200 report of ann []
}

// All tokens of a workspace share a cap, and each plan has its own. A request without a
// workspace is not capped.
func Example_workspaces() {
	byWorkspace := &inflight.Options{Payer: func(r *http.Request) string {
		token, _ := httpkey.FromContext(r.Context())
		return token.Workspace
	}}
	free, team := inflight.New(1, byWorkspace), inflight.New(20, byWorkspace)
	capped := func(next http.Handler) http.Handler {
		free, team := free.Handler(next), team.Handler(next)
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if token, _ := httpkey.FromContext(r.Context()); token.Metadata["plan"] == "team" {
				team.ServeHTTP(w, r)
				return
			}
			free.ServeHTTP(w, r)
		})
	}

	guard := httpkey.New(memstore.New(), memstore.NewLimiter(), nil)
	ann, bob := issue(guard, httpkey.Token{Workspace: "acme"}), issue(guard, httpkey.Token{Workspace: "acme"})
	eve := issue(guard, httpkey.Token{Workspace: "big", Metadata: map[string]string{"plan": "team"}})
	var api http.Handler
	depth := 0
	api = guard.Handler(capped(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		if depth++; depth == 1 { // while the request of ann is in progress
			get(api, bob)
			get(api, eve)
		}
	})))
	get(api, ann)
	// Output:
	// 429 {"detail":"Request was throttled. Expected available in 1 second."} [1]
	// 200  []
	// 200  []
}

// A framework with its own handler types calls Enter, as it calls the Check of a Guard.
func ExampleCap_Enter() {
	guard := httpkey.New(memstore.New(), memstore.NewLimiter(), nil)
	uploads := inflight.New(2, nil)
	middleware := func(w http.ResponseWriter, r *http.Request, next func(*http.Request)) { // of gin, say
		r, ok := guard.Check(w, r)
		if !ok {
			return
		}
		leave, ok := uploads.Enter(w, r)
		if !ok {
			return
		}
		defer leave()
		next(r)
	}

	r := httptest.NewRequest(http.MethodPost, "/uploads/", http.NoBody)
	r.Header.Set("X-Api-Key", issue(guard, httpkey.Token{User: "ann"}).Reveal())
	middleware(httptest.NewRecorder(), r, func(r *http.Request) {
		token, _ := httpkey.FromContext(r.Context())
		fmt.Println("upload of", token.User)
	})
	// Output:
	// upload of ann
}

// A service without HTTP counts the calls that its Guard admits.
func ExampleCap_Acquire() {
	guard := httpkey.New(memstore.New(), memstore.NewLimiter(), nil)
	calls := inflight.New(1, nil)
	errBusy := errors.New("too many calls at once") // codes.ResourceExhausted of gRPC, say
	intercept := func(ctx context.Context, secret string, call func()) error {
		admission, err := guard.Admit(ctx, secret, 1)
		if err != nil {
			return err
		}
		release, ok := calls.Acquire(ctx, admission.Token.Payer())
		if !ok {
			return errBusy
		}
		defer release()
		call()
		return nil
	}

	ctx, key := context.Background(), issue(guard, httpkey.Token{}).Reveal()
	err := intercept(ctx, key, func() {
		fmt.Println("during the first call:", intercept(ctx, key, func() {}))
	})
	fmt.Println("the first call:", err)
	// Output:
	// during the first call: too many calls at once
	// the first call: <nil>
}
