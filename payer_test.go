package httpkey_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/httpkeytest"
	"github.com/httpkey/httpkey/memstore"
)

// hostile are names that look like payers, or like parts of them.
var hostile = []string{
	"a", "b", "a:b", "user", "user:", "user:a", "user:user:a", "token:", "token:a", "token:user:a", "workspace:a",
	"anonymous:", "anonymous:192.0.2.1", "probe", "probe:", ":", "::", ":a", " user:a", "User:a", "user:a ", "user：a",
	"token", "{token:a}", "token:a}", "%", "token%3Aa", "user\u0301:a", "ｕser:a", "rate:a", "team:a",
}

// payer is the payer of a request: a token, a user, a workspace, or a name of the program's own.
type payer struct{ kind, name string }

// Two payers never share a bucket, whatever IDs, users, workspaces and own names are, and
// however a token is rotated.
func TestPayersNeverCollide(t *testing.T) {
	t.Parallel()
	edits := map[string]edit{
		"token":     func(*http.Request, *httpkey.Token, *httpkey.Charge) {},
		"user":      func(_ *http.Request, t *httpkey.Token, c *httpkey.Charge) { c.Bucket = "user:" + t.User },
		"workspace": func(_ *http.Request, t *httpkey.Token, c *httpkey.Charge) { c.Bucket = "workspace:" + t.Workspace },
		"own":       func(_ *http.Request, t *httpkey.Token, c *httpkey.Charge) { c.Bucket = t.User },
		"own, and a token that is changed": func(_ *http.Request, t *httpkey.Token, c *httpkey.Charge) {
			c.Bucket = t.User
			if kind, name, ok := strings.Cut(t.User, ":"); ok {
				t.ID, t.User, t.Workspace = name, name, name
				t.RotatedFrom = kind
			}
		},
	}
	payers := map[string]payer{"probe": {"limiter", "probe"}, "anonymous:192.0.2.1": {"address", "192.0.2.1"}}
	asked := ""
	limiter := limiterFunc(func(_ context.Context, c *httpkey.Charge) (httpkey.Result, error) {
		asked = c.Bucket
		return httpkey.Result{Allowed: true}, nil
	})
	refused := 0
	for kind, edit := range edits {
		for _, name := range hostile {
			var seen events
			guard := httpkey.New(memstore.New(), limiter, &httpkey.Options{Charge: edit, Observers: observers(&seen)})
			key, token := issue(t, guard, httpkey.Token{ID: "t-" + name, User: name, Workspace: name})
			if kind == "token" {
				key, token = issue(t, guard, httpkey.Token{ID: name})
			}
			rotated, err := guard.Rotate(t.Context(), token.ID, 0)
			if err != nil {
				t.Fatal(err)
			}
			again, err := guard.Rotate(t.Context(), rotated.Token.ID, 0)
			if err != nil {
				t.Fatal(err)
			}
			own := payer{strings.TrimSuffix(kind, ", and a token that is changed"), name}
			for _, key := range []string{key, again.Secret.Reveal()} {
				asked = ""
				w := httpkeytest.Get(guard.Handler(ok), key)
				switch {
				case w.Code == http.StatusUnauthorized: // the first key: its successors pay
				case w.Code == http.StatusOK:
					if first, known := payers[asked]; known && first != own {
						t.Errorf("%v and %v share the bucket %q", first, own, asked)
					}
					payers[asked] = own
				case own.kind == "own" && w.Code == http.StatusServiceUnavailable && asked == "":
					refused++
					if e := seen.last(t); e.Reason != httpkey.ReasonLimiter || !errors.Is(e.Err, httpkey.ErrInvalidLimit) ||
						!strings.Contains(e.Err.Error(), fmt.Sprintf("Bucket is %q", name)) {
						t.Errorf("%q is refused with %v", name, e.Err)
					}
				default:
					t.Errorf("%v: status %d, bucket %q", own, w.Code, asked)
				}
			}
		}
	}
	// Each of the names with a beginning that means another kind, by two edits: the others are the program's own.
	meant := slices.DeleteFunc(slices.Clone(hostile), func(name string) bool {
		kind, _, isKind := strings.Cut(name, ":")
		return name != "probe" && (!isKind || !slices.Contains([]string{"token", "user", "workspace", "anonymous"}, kind))
	})
	if refused != 2*len(meant) {
		t.Errorf("%d charges are refused, want those of %q, by two edits", refused, meant)
	}
}

// The Guard refuses a charge that names another token, user or workspace, also without limits. It
// accepts the names of the request's own token.
func TestForeignPayers(t *testing.T) {
	t.Parallel()
	for bucket, want := range map[string]int{
		"token:t": 200, "user:ann": 200, "workspace:w": 200, "team:w": 200, "": 503, "ann": 200, "tokens:x": 200, "user": 200,
		"token:other": 503, "token:": 503, "token:t2": 503, "token:T": 503, "user:bob": 503, "user:": 503,
		"user:ann:reports": 503, "workspace:v": 503, "anonymous:": 503, "anonymous:192.0.2.1": 503, "probe": 503,
	} {
		for name, limited := range map[string]bool{"limited": true, "unlimited": false} {
			guard := newGuard(&httpkey.Options{Charge: func(_ *http.Request, _ *httpkey.Token, c *httpkey.Charge) {
				c.Bucket = bucket
				if !limited {
					c.Limits = nil
				}
			}})
			key, _ := issue(t, guard, httpkey.Token{ID: "t", User: "ann", Workspace: "w"})
			if w := httpkeytest.Get(guard.Handler(ok), key); w.Code != want {
				t.Errorf("%q, %s: status %d, want %d", bucket, name, w.Code, want)
			}
			_, err := guard.Admit(t.Context(), key, 1)
			if (err == nil) != (want == 200) {
				t.Errorf("%q, %s: Admit returned %v", bucket, name, err)
			}
		}
	}
}

// A rotated token may also pay by its own ID. Otherwise a program that names its payers so
// would work until the first rotation.
func TestRotatedTokensMayPayByTheirOwnID(t *testing.T) {
	t.Parallel()
	var payers []string
	limiter := limiterFunc(func(_ context.Context, c *httpkey.Charge) (httpkey.Result, error) {
		payers = append(payers, c.Bucket)
		return httpkey.Result{Allowed: true}, nil
	})
	guard := httpkey.New(memstore.New(), limiter, &httpkey.Options{
		Charge: func(_ *http.Request, t *httpkey.Token, c *httpkey.Charge) { c.Bucket = "token:" + t.ID },
	})
	_, token := issue(t, guard, httpkey.Token{})
	rotated, err := guard.Rotate(t.Context(), token.ID, 0)
	if err != nil {
		t.Fatal(err)
	}
	w := httpkeytest.Get(guard.Handler(ok), rotated.Secret.Reveal())
	if want := []string{"token:" + rotated.Token.ID}; w.Code != http.StatusOK || !slices.Equal(payers, want) {
		t.Errorf("status %d, payers %q, want 200 and %q", w.Code, payers, want)
	}
}

// Tokens without a user or a workspace share no bucket, and neither do those for which Charge
// names none: one of them could end the quota of all others.
func TestNobodyIsNoPayer(t *testing.T) {
	t.Parallel()
	for name, edit := range map[string]edit{
		"no user":      func(_ *http.Request, t *httpkey.Token, c *httpkey.Charge) { c.Bucket = "user:" + t.User },
		"no workspace": func(_ *http.Request, t *httpkey.Token, c *httpkey.Charge) { c.Bucket = "workspace:" + t.Workspace },
		"a new charge": func(_ *http.Request, _ *httpkey.Token, c *httpkey.Charge) {
			*c = httpkey.Charge{Limits: c.Limits, Cost: 1}
		},
	} {
		var seen events
		guard := newGuard(&httpkey.Options{Charge: edit, Observers: observers(&seen)})
		for range 2 {
			key, _ := issue(t, guard, httpkey.Token{Limits: limits(httpkey.PerHour(1))})
			w := httpkeytest.Get(guard.Handler(ok), key)
			if e := seen.last(t); w.Code != http.StatusServiceUnavailable || !errors.Is(e.Err, httpkey.ErrInvalidLimit) {
				t.Errorf("%s: status %d, observed %v", name, w.Code, e.Err)
			}
		}
	}
}

// Issue and Import refuse an ID that cannot be a segment of a URL path. A token of an earlier
// version with such an ID works, and can be read, changed, rotated and revoked.
func TestIDsHaveURLs(t *testing.T) {
	t.Parallel()
	for _, id := range []string{".", "..", "/", "a/b", "/a", "a/", "../a", "a\nb", "\t", "a\x7f", "a\u0085b", "\x1b[31m"} {
		store := memstore.New()
		guard := httpkey.New(store, memstore.NewLimiter(), &httpkey.Options{ImportedMinLength: 20})
		foreign := httpkey.Secret("plane_api_4f0c0a4b9f2b4f4e_4f0c0a4b")
		_, issueErr := guard.Issue(t.Context(), httpkey.Token{ID: id})
		_, importErr := guard.Import(t.Context(), foreign, httpkey.Token{ID: id})
		for _, err := range []error{issueErr, importErr} {
			if !errors.Is(err, httpkey.ErrInvalidToken) || !strings.Contains(err.Error(), fmt.Sprintf("ID is %q", id)) {
				t.Errorf("%q: %v", id, err)
			}
		}
		created := httpkeytest.Issue(t, guard, httpkey.Token{})
		key, old := created.Secret.Reveal(), created.Token
		if err := store.Delete(t.Context(), old.ID); err != nil {
			t.Fatal(err)
		}
		old.ID = id
		if _, err := store.Create(t.Context(), old); err != nil {
			t.Fatal(err)
		}
		if w := httpkeytest.Get(guard.Handler(ok), key); w.Code != http.StatusOK {
			t.Errorf("%q: the key of a stored token got %d", id, w.Code)
		}
		changed := update(t, store, id, func(t *httpkey.Token) { t.Label = "new" })
		if got, err := store.Get(t.Context(), id); err != nil || got.Label != "new" || changed.ID != id {
			t.Errorf("%q: stored %+v (%v)", id, got, err)
		}
		_, err := store.Update(t.Context(), id, func(t *httpkey.Token) error { t.Label = "\x00"; return nil })
		if !errors.Is(err, httpkey.ErrInvalidToken) {
			t.Errorf("%q: an update to an invalid label returned %v", id, err)
		}
		rotated, err := guard.Rotate(t.Context(), id, 0)
		if err != nil || rotated.Token.RotatedFrom != id {
			t.Errorf("%q: Rotate returned %v, %v", id, rotated, err)
		}
		if err := guard.Revoke(t.Context(), id, "leaked"); err != nil {
			t.Errorf("%q: Revoke returned %v", id, err)
		}
		if w := httpkeytest.Get(guard.Handler(ok), key); w.Code != http.StatusUnauthorized {
			t.Errorf("%q: the revoked key got %d", id, w.Code)
		}
	}
	for _, id := range []string{"a", "...", ".a", "a.", "a b", "a:b", `a\b`, "a%2Fb", "a?b", "a#b", "ä", "\u202e", "~"} {
		issue(t, newGuard(nil), httpkey.Token{ID: id})
	}
}
