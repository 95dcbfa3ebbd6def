package httpkeytest_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/httpkeytest"
	"github.com/httpkey/httpkey/memstore"
)

var (
	errDown = errors.New("down")
	greet   = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token, _ := httpkey.FromContext(r.Context())
		_, _ = fmt.Fprint(w, "hello ", token.User)
	})
)

func limited(limit httpkey.Limit) *httpkey.Options {
	return &httpkey.Options{Limits: map[httpkey.Kind][]httpkey.Limit{httpkey.APIKey: {limit}}}
}

// A test of a handler needs a Guard, a key, and a request.
func TestNewServesARequest(t *testing.T) {
	t.Parallel()
	guard, key := httpkeytest.New(t, limited(httpkey.PerHour(2)))
	ann := httpkeytest.Issue(t, guard, httpkey.Token{User: "ann"}).Secret.Reveal()
	for _, tt := range []struct {
		key, body string
		status    int
	}{
		{key, "hello ", 200}, {ann, "hello ann", 200}, {"", `{"detail":"Authentication credentials were not provided."}`,
			401},
		{key, "hello ", 200}, {"nonsense", `{"detail":"Given API token is not valid"}`, 401},
	} {
		if w := httpkeytest.Get(guard.Handler(greet), tt.key); w.Code != tt.status || w.Body.String() != tt.body {
			t.Errorf("%q is answered %d %s, want %d %s", tt.key, w.Code, w.Body, tt.status, tt.body)
		}
	}
	if w := httpkeytest.Get(guard.Handler(greet), key); w.Code != http.StatusTooManyRequests {
		t.Errorf("over the limit, status %d", w.Code)
	}
}

// In a bubble, a limit refills as time passes, and no goroutine is left.
func TestElapseInABubble(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		guard, key := httpkeytest.New(t, limited(httpkey.PerDay(1)))
		for n, want := range []int{200, 429, 429, 200} {
			if got := httpkeytest.Get(guard.Handler(greet), key).Code; got != want {
				t.Errorf("request %d: status %d, want %d", n, got, want)
			}
			httpkeytest.Elapse(8 * time.Hour)
		}
	})
}

// calls are those of every method of a store, by its name.
func calls(ctx context.Context, store httpkey.TokenStore) map[string]func() error {
	return map[string]func() error{
		"Create": func() error {
			_, err := store.Create(ctx, httpkey.Token{ID: "new", Digest: httpkey.Digest{2}, Kind: httpkey.APIKey})
			return err
		},
		"Lookup": func() error { _, err := store.Lookup(ctx, httpkey.Digest{1}); return err },
		"Get":    func() error { _, err := store.Get(ctx, "old"); return err },
		"List":   func() error { _, err := store.List(ctx, httpkey.Filter{}); return err },
		"Update": func() error {
			_, err := store.Update(ctx, "old", func(t *httpkey.Token) error { t.Label = "changed"; return nil })
			return err
		},
		"Delete": func() error { return store.Delete(ctx, "old") },
		"Touch":  func() error { return store.Touch(ctx, map[string]time.Time{"old": time.Now()}) },
	}
}

// A method fails by its fault, before or after the call, and no other method fails.
func TestStoreFaults(t *testing.T) {
	t.Parallel()
	for _, isLost := range []bool{false, true} {
		for method := range calls(t.Context(), nil) {
			behind := memstore.New()
			store := httpkeytest.NewStore(behind)
			old := httpkey.Token{ID: "old", Digest: httpkey.Digest{1}, Kind: httpkey.APIKey, IsActive: true}
			if _, err := behind.Create(t.Context(), old); err != nil {
				t.Fatal(err)
			}
			set := store.Before
			if isLost {
				set = store.After
			}
			set(httpkeytest.Fail(errDown, method))
			for other, call := range calls(t.Context(), store) {
				if other == "Delete" {
					continue // it would take away the token of the others
				}
				wantFault(t, store, other, method, call)
			}
			if method == "Delete" {
				wantFault(t, store, "Delete", method, calls(t.Context(), store)["Delete"])
			}
			_, oldErr := behind.Get(t.Context(), "old")
			_, newErr := behind.Get(t.Context(), "new")
			if method == "Delete" && (oldErr != nil) != isLost || method == "Create" && (newErr == nil) != isLost {
				t.Errorf("%s, lost %v: of the old token %v, of the new one %v", method, isLost, oldErr, newErr)
			}
			set(nil)
			if err := calls(t.Context(), store)["List"](); err != nil {
				t.Errorf("without a fault, List returned %v", err)
			}
		}
	}
}

// wantFault makes the one call of a method, where another or itself has a fault.
func wantFault(t *testing.T, store *httpkeytest.Store, method, faulty string, call func() error) {
	t.Helper()
	if err := call(); errors.Is(err, errDown) != (method == faulty) || method != faulty && err != nil {
		t.Errorf("with a fault of %s, %s returned %v", faulty, method, err)
	}
	if n := store.Calls(method); n != 1 {
		t.Errorf("%s was called %d times", method, n)
	}
}

// A fault without methods applies to all of them.
func TestFaultOfAllMethods(t *testing.T) {
	t.Parallel()
	store := httpkeytest.NewStore(memstore.New())
	store.Before(httpkeytest.Fail(errDown))
	for method, call := range calls(t.Context(), store) {
		if err := call(); !errors.Is(err, errDown) {
			t.Errorf("%s returned %v", method, err)
		}
	}
}

// A stall lasts as long as the context of the call, and a lag its own time at most.
func TestFaultsHeedTheContext(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		fault httpkeytest.Fault
		want  time.Duration
		err   error
	}{
		"stall":       {httpkeytest.Stall("Allow"), 100 * time.Millisecond, context.DeadlineExceeded},
		"short lag":   {httpkeytest.Lag(30*time.Millisecond, "Allow"), 30 * time.Millisecond, nil},
		"long lag":    {httpkeytest.Lag(time.Second, "Allow"), 100 * time.Millisecond, context.DeadlineExceeded},
		"of another":  {httpkeytest.Stall("Lookup"), 0, nil},
		"not at once": {nil, 0, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				limiter := httpkeytest.NewLimiter(memstore.NewLimiter())
				limiter.Before(tt.fault)
				ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
				defer cancel()
				start := time.Now()
				r, err := limiter.Allow(ctx, &httpkey.Charge{Bucket: "b", Limits: []httpkey.Limit{httpkey.PerMinute(5)}, Cost: 1})
				if took := time.Since(start); took != tt.want || !errors.Is(err, tt.err) || r.Allowed != (tt.err == nil) {
					t.Errorf("%+v, %v after %v, want %v after %v", r, err, took, tt.err, tt.want)
				}
				if n := limiter.Calls("Allow"); n != 1 {
					t.Errorf("%d calls", n)
				}
			})
		})
	}
}

// A Guard asks a Store and a Limiter by their methods, and so meets their faults.
func TestGuardMeetsFaults(t *testing.T) {
	t.Parallel()
	store, limiter := httpkeytest.NewStore(memstore.New()), httpkeytest.NewLimiter(memstore.NewLimiter())
	guard := httpkey.New(store, limiter, nil)
	key := httpkeytest.Issue(t, guard, httpkey.Token{}).Secret.Reveal()
	status := func() int { return httpkeytest.Get(guard.Handler(greet), key).Code }
	if got := status(); got != http.StatusOK || store.Calls("Lookup") != 1 || limiter.Calls("Allow") != 1 {
		t.Errorf("status %d, %d lookups", got, store.Calls("Lookup"))
	}
	store.Before(httpkeytest.Fail(errDown, "Lookup"))
	if got := status(); got != http.StatusServiceUnavailable {
		t.Errorf("with the store down, status %d", got)
	}
	store.Before(nil)
	limiter.After(httpkeytest.Fail(errDown))
	if got := status(); got != http.StatusServiceUnavailable {
		t.Errorf("with the limiter's answers lost, status %d", got)
	}
}

// A Limiter passes Reset on, with its faults, to a limiter that has one.
func TestLimiterResets(t *testing.T) {
	t.Parallel()
	limiter := httpkeytest.NewLimiter(memstore.NewLimiter())
	c := &httpkey.Charge{Bucket: "b", Limits: []httpkey.Limit{httpkey.PerMinute(5)}, Cost: 3}
	left := func() int {
		r, err := limiter.Allow(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		return r.Remaining
	}
	left()
	limiter.Before(httpkeytest.Fail(errDown, "Reset"))
	if err := limiter.Reset(t.Context(), c); !errors.Is(err, errDown) || limiter.Calls("Reset") != 1 {
		t.Errorf("a Reset that fails returned %v after %d calls", err, limiter.Calls("Reset"))
	}
	limiter.Before(nil)
	if err := limiter.Reset(t.Context(), c); err != nil || left() != 2 {
		t.Errorf("a Reset returned %v, or did nothing", err)
	}
	none := httpkeytest.NewLimiter(httpkey.Unlimited)
	if err := none.Reset(t.Context(), c); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("without a Reset to pass on, it returned %v", err)
	}
}

func ExampleStore() {
	store := httpkeytest.NewStore(memstore.New())
	guard := httpkey.New(store, memstore.NewLimiter(), nil)
	created, err := guard.Issue(context.Background(), httpkey.Token{User: "ann"})
	if err != nil {
		panic(err)
	}
	store.Before(httpkeytest.Fail(errors.New("connection refused"), "Lookup"))
	fmt.Println(httpkeytest.Get(guard.Handler(greet), created.Secret.Reveal()).Body)
	// Output: {"detail":"Authentication is temporarily unavailable."}
}
