package httpkey_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/httpkeytest"
	"github.com/httpkey/httpkey/memstore"
)

func TestRevokeBy(t *testing.T) {
	t.Parallel()
	store := memstore.New()
	var seen events
	guard := httpkey.New(store, memstore.NewLimiter(), &httpkey.Options{Observers: observers(&seen)})
	_, token := issue(t, guard, httpkey.Token{User: "ann", RevokedBy: "eve"})
	if token.RevokedBy != "" {
		t.Errorf("Issue took RevokedBy from its caller: %+v", token)
	}
	long := strings.Repeat("x", 256)
	if err := guard.RevokeBy(t.Context(), token.ID, long, ""); !errors.Is(err, httpkey.ErrInvalidToken) {
		t.Errorf("a user that is too long returned %v", err)
	}
	for _, user := range []string{"admin", "eve"} {
		if err := guard.RevokeBy(t.Context(), token.ID, user, "leaked by "+user); err != nil {
			t.Fatal(err)
		}
	}
	update(t, store, token.ID, func(t *httpkey.Token) { t.RevokedBy = "eve" })
	kept, err := store.Get(t.Context(), token.ID)
	if err != nil || kept.IsActive || kept.RevokedBy != "admin" || kept.RevokedFor != "leaked by admin" {
		t.Errorf("kept %+v (%v)", kept, err)
	}
	if last := seen.last(t); last.Type != httpkey.EventRevoked || last.Token.RevokedBy != "admin" {
		t.Errorf("told %+v", last)
	}
	_, old := issue(t, guard, httpkey.Token{})
	if err := guard.Revoke(t.Context(), old.ID, ""); err != nil {
		t.Fatal(err)
	}
	if kept, err := store.Get(t.Context(), old.ID); err != nil || kept.IsActive || kept.RevokedBy != "" {
		t.Errorf("kept %+v (%v)", kept, err)
	}
}

func TestRevokeAll(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := memstore.New()
		var seen events
		guard := httpkey.New(store, memstore.NewLimiter(), &httpkey.Options{Observers: observers(&seen)})
		rotated := func(grace time.Duration, token httpkey.Token) string {
			t.Helper()
			_, old := issue(t, guard, token)
			if _, err := guard.Rotate(t.Context(), old.ID, grace); err != nil {
				t.Fatal(err)
			}
			return old.ID
		}
		ann := httpkey.Token{User: "ann", Workspace: "lab"}
		_, active := issue(t, guard, ann)
		inGrace, ended := rotated(time.Hour, ann), rotated(0, ann) // and their two successors
		_, revoked := issue(t, guard, ann)
		if err := guard.RevokeBy(t.Context(), revoked.ID, "ann", "lost"); err != nil {
			t.Fatal(err)
		}
		_, expired := issue(t, guard, httpkey.Token{User: "ann", ExpiredAt: time.Now().Add(time.Minute)})
		_, expiring := issue(t, guard, httpkey.Token{User: "ann", ExpiredAt: time.Now().Add(2 * time.Minute)})
		_, other := issue(t, guard, httpkey.Token{User: "bob", Workspace: "lab"})
		httpkeytest.Elapse(time.Minute)
		seen.all = nil
		n, err := guard.RevokeAll(t.Context(), httpkey.Filter{User: "ann"}, "left the company")
		if n != 6 || err != nil {
			t.Errorf("RevokeAll returned %d, %v, want 6", n, err)
		}
		if told := seen.types(httpkey.EventRevoked); len(told) != 6 {
			t.Errorf("%d revocations were told", len(told))
		}
		for _, id := range []string{active.ID, inGrace, ended, expiring.ID} {
			kept, err := store.Get(t.Context(), id)
			if err != nil || kept.IsActive || kept.RevokedFor != "left the company" || !kept.RevokedAt.Equal(time.Now()) {
				t.Errorf("kept %+v (%v)", kept, err)
			}
			if _, err := guard.Rotate(t.Context(), id, 0); !errors.Is(err, httpkey.ErrInactive) {
				t.Errorf("Rotate returned %v", err)
			}
		}
		if kept, err := store.Get(t.Context(), revoked.ID); err != nil || kept.RevokedFor != "lost" {
			t.Errorf("kept %+v (%v)", kept, err)
		}
		for _, id := range []string{expired.ID, other.ID} {
			if kept, err := store.Get(t.Context(), id); err != nil || !kept.IsActive {
				t.Errorf("kept %+v (%v)", kept, err)
			}
		}
		if n, err := guard.RevokeAll(t.Context(), httpkey.Filter{User: "ann"}, ""); n != 0 || err != nil {
			t.Errorf("again, RevokeAll returned %d, %v", n, err)
		}
		lab := httpkey.Filter{Workspace: "lab", Kind: httpkey.APIKey}
		if n, err := guard.RevokeAll(t.Context(), lab, ""); n != 1 || err != nil {
			t.Errorf("of the workspace, RevokeAll returned %d, %v", n, err)
		}
	})
}

func TestRevokeAllReadsEveryPage(t *testing.T) {
	t.Parallel()
	store := httpkeytest.NewStore(memstore.New())
	guard := httpkey.New(store, memstore.NewLimiter(), nil)
	for range 2000 { // the last page is full
		issue(t, guard, httpkey.Token{Workspace: "lab"})
	}
	n, err := guard.RevokeAll(t.Context(), httpkey.Filter{Workspace: "lab"}, "closed")
	if n != 2000 || err != nil || store.Calls("List") != 6 {
		t.Errorf("RevokeAll returned %d, %v, after %d calls of List", n, err, store.Calls("List"))
	}
}

func TestRevokeAllRefusesFilters(t *testing.T) {
	t.Parallel()
	store := httpkeytest.NewStore(memstore.New())
	guard := httpkey.New(store, memstore.NewLimiter(), nil)
	_, token := issue(t, guard, httpkey.Token{User: "ann"})
	for name, tt := range map[string]struct {
		filter httpkey.Filter
		reason string
		says   string
	}{
		"empty":         {httpkey.Filter{}, "", "set its User, Workspace, Kind or RotatedFrom"},
		"a limit":       {httpkey.Filter{User: "ann", Limit: 50}, "", "After or Limit"},
		"a limit alone": {httpkey.Filter{Limit: 50}, "", "After or Limit"},
		"a cursor":      {httpkey.Filter{User: "ann", After: token.Cursor()}, "", "After or Limit"},
		"a reason":      {httpkey.Filter{User: "ann"}, strings.Repeat("x", 256), "the reason is too long"},
	} {
		n, err := guard.RevokeAll(t.Context(), tt.filter, tt.reason)
		if n != 0 || err == nil || !strings.Contains(err.Error(), tt.says) || !strings.HasPrefix(err.Error(), "httpkey: ") {
			t.Errorf("%s: %d, %v", name, n, err)
		}
		if isInvalid := errors.Is(err, httpkey.ErrInvalidToken); isInvalid != (tt.reason != "") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if store.Calls("List")+store.Calls("Update") > 0 {
		t.Error("a refused Filter reached the store")
	}
}

func TestRevokeAllWithAFailingStore(t *testing.T) {
	t.Parallel()
	const tokens = 40
	always := func(err error, method string) func(func(string) int) httpkeytest.Fault {
		return func(func(string) int) httpkeytest.Fault { return httpkeytest.Fail(err, method) }
	}
	for name, tt := range map[string]struct {
		fault  func(calls func(string) int) httpkeytest.Fault
		n      int
		failed int // that the error names; -1: there is no error
	}{
		"one Update fails, and the next pass repeats it": {func(calls func(string) int) httpkeytest.Fault {
			return func(_ context.Context, method string) error {
				if method == "Update" && calls("Update") == 7 {
					return errDown
				}
				return nil
			}
		}, tokens, -1},
		"all Updates fail":    {always(errDown, "Update"), 0, 10},
		"the tokens are gone": {always(httpkey.ErrNotFound, "Update"), 0, -1},
		"List fails":          {always(errDown, "List"), 0, 1},
		"the second List fails": {func(calls func(string) int) httpkeytest.Fault {
			return func(_ context.Context, method string) error {
				if method == "List" && calls("List") == 2 {
					return errDown
				}
				return nil
			}
		}, tokens, 1},
	} {
		store := httpkeytest.NewStore(memstore.New())
		guard := httpkey.New(store, memstore.NewLimiter(), nil)
		for range tokens {
			issue(t, guard, httpkey.Token{User: "ann"})
		}
		store.Before(tt.fault(store.Calls))
		n, err := guard.RevokeAll(t.Context(), httpkey.Filter{User: "ann"}, "")
		if n != tt.n || (err == nil) != (tt.failed < 0) {
			t.Errorf("%s: %d, %v", name, n, err)
		}
		if err != nil && (!errors.Is(err, errDown) || strings.Count(err.Error(), "httpkey: revoke") != tt.failed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A context that ends ends RevokeAll, also while others keep making tokens.
func TestRevokeAllEndsWithItsContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := httpkeytest.NewStore(memstore.New())
		guard := httpkey.New(store, memstore.NewLimiter(), nil)
		store.After(func(_ context.Context, method string) error {
			if method == "Update" { // somebody issues a token for each that is revoked
				issue(t, guard, httpkey.Token{User: "ann"})
			}
			return nil
		})
		store.Before(httpkeytest.Lag(time.Second, "List"))
		issue(t, guard, httpkey.Token{User: "ann"})
		ctx, cancel := context.WithTimeout(t.Context(), 10500*time.Millisecond)
		defer cancel()
		start := time.Now()
		n, err := guard.RevokeAll(ctx, httpkey.Filter{User: "ann"}, "")
		if n != 10 || !errors.Is(err, context.DeadlineExceeded) || time.Since(start) > 11*time.Second {
			t.Errorf("%d, %v after %v", n, err, time.Since(start))
		}
	})
}

// No rotation at the same moment saves a key from RevokeAll.
func TestRotationsDoNotEscapeRevokeAll(t *testing.T) {
	t.Parallel()
	rotations := 0
	for range 20 {
		store := memstore.New()
		guard := httpkey.New(store, memstore.NewLimiter(), nil)
		const chains = 4
		keys := make([][]string, chains)
		var begun, writers sync.WaitGroup
		begun.Add(chains)
		for i := range chains {
			key, token := issue(t, guard, httpkey.Token{User: "ann"})
			keys[i] = append(keys[i], key)
			writers.Go(func() {
				for id := token.ID; ; {
					created, err := guard.Rotate(context.Background(), id, time.Hour)
					if len(keys[i]) == 1 {
						begun.Done()
					}
					if err != nil {
						if !errors.Is(err, httpkey.ErrInactive) {
							t.Error(err)
						}
						return
					}
					id = created.Token.ID
					keys[i] = append(keys[i], created.Secret.Reveal())
					if len(keys[i]) > 500 { // a chain that escapes has failed
						return
					}
				}
			})
		}
		begun.Wait()
		n, err := guard.RevokeAll(t.Context(), httpkey.Filter{User: "ann"}, "leaked")
		writers.Wait()
		if n < chains || err != nil {
			t.Fatalf("RevokeAll returned %d, %v", n, err)
		}
		for i := range keys {
			rotations += len(keys[i]) - 1
			for _, key := range keys[i] {
				if code := httpkeytest.Get(guard.Handler(ok), key).Code; code != http.StatusUnauthorized {
					t.Fatalf("after RevokeAll, a key of %d has status %d", len(keys[i]), code)
				}
			}
		}
		left, err := store.List(t.Context(), httpkey.Filter{User: "ann", Limit: 1000})
		for _, token := range left {
			if token.IsActive {
				t.Fatalf("left is %+v", token)
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("there were %d rotations", rotations)
}

// Of calls at once, one rotates.
func TestRotateOnce(t *testing.T) {
	t.Parallel()
	for range 50 {
		store := memstore.New()
		guard := httpkey.New(store, memstore.NewLimiter(), nil)
		_, old := issue(t, guard, httpkey.Token{})
		errs := make([]error, 8)
		var all sync.WaitGroup
		for i := range errs {
			all.Go(func() { _, errs[i] = guard.RotateOnce(context.Background(), old.ID, time.Hour) })
		}
		all.Wait()
		done := 0
		for _, err := range errs {
			switch {
			case err == nil:
				done++
			case !errors.Is(err, httpkey.ErrConflict) || !strings.HasPrefix(err.Error(), "httpkey: rotate: "):
				t.Fatal(err)
			}
		}
		left, err := store.List(t.Context(), httpkey.Filter{})
		if done != 1 || len(left) != 2 || err != nil {
			t.Fatalf("%d rotations are done, %d tokens are left (%v)", done, len(left), err)
		}
		if _, err := guard.Rotate(t.Context(), old.ID, time.Hour); err != nil {
			t.Errorf("Rotate after RotateOnce: %v", err)
		}
		if _, err := guard.RotateOnce(t.Context(), fmt.Sprint("no", old.ID), 0); !errors.Is(err, httpkey.ErrNotFound) {
			t.Errorf("RotateOnce of nothing: %v", err)
		}
	}
}
