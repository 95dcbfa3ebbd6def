package httpkey_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/httpkeytest"
	"github.com/httpkey/httpkey/memstore"
)

func TestRotate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := memstore.New()
		guard := httpkey.New(store, memstore.NewLimiter(), nil)
		oldKey, old := issue(t, guard, httpkey.Token{
			Kind: httpkey.ServiceToken, Label: "deploy", Description: "from CI", User: "u-1", Workspace: "w-1",
			Scopes: []string{"a", "b"}, Limits: limits(httpkey.PerSecond(5), httpkey.PerDay(50)),
			Metadata: map[string]string{"plan": "pro"}, CreatedBy: "u-2", ExpiredAt: time.Now().Add(90 * 24 * time.Hour),
		})
		httpkeytest.Elapse(time.Hour)
		created, err := guard.Rotate(t.Context(), old.ID, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		successor := created.Token
		want := old
		want.ID, want.Digest, want.Hint, want.CreatedAt, want.RotatedFrom =
			successor.ID, successor.Digest, successor.Hint, time.Now().UTC(), old.ID
		if fmt.Sprint(asShown(successor)) != fmt.Sprint(asShown(want)) || successor.ID == old.ID ||
			successor.Digest == old.Digest {
			t.Errorf("the successor is\n%+v, want\n%+v", successor, want)
		}
		if successor.Payer() != old.Payer() {
			t.Errorf("the successor pays from %q, its predecessor from %q", successor.Payer(), old.Payer())
		}
		kept, err := store.Get(t.Context(), old.ID)
		if err != nil || kept.RotatedTo != successor.ID || kept.RotatedFrom != "" || !kept.IsActive {
			t.Errorf("the old token is %+v (%v), its successor is %s", kept, err, successor.ID)
		}
		status := func(key string) int { return httpkeytest.Get(guard.Handler(ok), key).Code }
		if status(oldKey) != 200 || status(created.Secret.Reveal()) != 200 {
			t.Error("during the grace, both keys must be valid")
		}
		httpkeytest.Elapse(time.Hour - time.Microsecond)
		if status(oldKey) != 200 {
			t.Error("the old key ended before its grace")
		}
		httpkeytest.Elapse(time.Microsecond)
		if status(oldKey) != 401 || status(created.Secret.Reveal()) != 200 {
			t.Error("after the grace, only the successor must be valid")
		}
	})
}

// asShown is a token as its exported fields are.
func asShown(t httpkey.Token) httpkey.Token {
	if err := t.SetMore(""); err != nil {
		panic(err)
	}
	return t
}

func TestRotateGrace(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name     string
		lifetime time.Duration // 0: for ever
		graces   []time.Duration
		want     time.Duration // how long the old key lives on
	}{
		{"none", time.Hour, []time.Duration{0}, 0},
		{"within the expiry", time.Hour, []time.Duration{time.Minute}, time.Minute},
		{"beyond the expiry", time.Hour, []time.Duration{2 * time.Hour}, time.Hour},
		{"of a key without expiry", 0, []time.Duration{time.Minute}, time.Minute},
		{"a longer one later", time.Hour, []time.Duration{time.Minute, time.Hour}, time.Minute},
		{"a shorter one later", 0, []time.Duration{time.Hour, time.Minute}, time.Minute},
		{"none and then one", 0, []time.Duration{0, time.Hour}, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				store := memstore.New()
				guard := httpkey.New(store, memstore.NewLimiter(), nil)
				token := httpkey.Token{}
				if tt.lifetime > 0 {
					token.ExpiredAt = time.Now().Add(tt.lifetime)
				}
				_, old := issue(t, guard, token)
				for _, grace := range tt.graces {
					created, err := guard.Rotate(t.Context(), old.ID, grace)
					if err != nil {
						t.Fatal(err)
					}
					if !created.Token.ExpiredAt.Equal(old.ExpiredAt) {
						t.Errorf("the successor expires at %v, want %v", created.Token.ExpiredAt, old.ExpiredAt)
					}
				}
				got, err := store.Get(t.Context(), old.ID)
				if err != nil || !got.ExpiredAt.Equal(time.Now().Add(tt.want)) {
					t.Errorf("the old key lives on for %v (%v), want %v", time.Until(got.ExpiredAt), err, tt.want)
				}
			})
		})
	}
	guard := newGuard(nil)
	_, token := issue(t, guard, httpkey.Token{})
	if _, err := guard.Rotate(t.Context(), token.ID, -1); err == nil || !strings.Contains(err.Error(), "grace") {
		t.Errorf("a negative grace returned %v", err)
	}
}

func TestRotateRefusesWhatIsOver(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		guard := newGuard(nil)
		_, revoked := issue(t, guard, httpkey.Token{})
		_, expired := issue(t, guard, httpkey.Token{ExpiredAt: time.Now().Add(time.Second)})
		_, rotated := issue(t, guard, httpkey.Token{ExpiredAt: time.Now().Add(time.Second)})
		_, revokedLater := issue(t, guard, httpkey.Token{})
		for _, id := range []string{rotated.ID, revokedLater.ID} {
			if _, err := guard.Rotate(t.Context(), id, 0); err != nil {
				t.Fatal(err)
			}
		}
		for _, id := range []string{revoked.ID, revokedLater.ID} {
			if err := guard.Revoke(t.Context(), id, ""); err != nil {
				t.Fatal(err)
			}
		}
		httpkeytest.Elapse(time.Second)
		for id, want := range map[string]error{
			revoked.ID: httpkey.ErrInactive, expired.ID: httpkey.ErrInactive, "none": httpkey.ErrNotFound,
			rotated.ID:      httpkey.ErrInactive, // its planned expiry is over, too
			revokedLater.ID: httpkey.ErrInactive,
		} {
			created, err := guard.Rotate(t.Context(), id, 0)
			if !errors.Is(err, want) || created.Secret != "" || !strings.HasPrefix(err.Error(), "httpkey: ") {
				t.Errorf("Rotate returned %v, want %v", err, want)
			}
		}
	})
}

// A job that lost the answer and rotates again must not get a key that ends
// with the grace of the first attempt.
func TestRotatingAgainKeepsTheExpiry(t *testing.T) {
	t.Parallel()
	for name, lifetime := range map[string]time.Duration{"with expiry": 1000 * time.Hour, "without": 0} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				guard := newGuard(nil)
				token := httpkey.Token{}
				if lifetime > 0 {
					token.ExpiredAt = time.Now().Add(lifetime)
				}
				_, old := issue(t, guard, token)
				ids := []string{old.ID}
				for n := range 12 { // of the first, and of successors of all generations
					created, err := guard.Rotate(t.Context(), ids[n/2], time.Minute)
					if err != nil || !created.Token.ExpiredAt.Equal(old.ExpiredAt) || created.Token.RotatedFrom != ids[n/2] {
						t.Fatalf("successor %d is %+v (%v), want an expiry at %v", n, created.Token, err, old.ExpiredAt)
					}
					ids = append(ids, created.Token.ID)
					httpkeytest.Elapse(time.Hour) // the key that was rotated has ended
				}
			})
		})
	}
}

// The end that somebody gives a key while it is in its grace is its own: it is not
// prolonged, and says nothing of the successor.
func TestRotatedKeyCanBeEndedSooner(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := memstore.New()
		guard := httpkey.New(store, memstore.NewLimiter(), nil)
		_, old := issue(t, guard, httpkey.Token{})
		if _, err := guard.Rotate(t.Context(), old.ID, time.Hour); err != nil {
			t.Fatal(err)
		}
		sooner := time.Now().Add(time.Minute).UTC()
		update(t, store, old.ID, func(token *httpkey.Token) { token.ExpiredAt = sooner })
		created, err := guard.Rotate(t.Context(), old.ID, time.Hour)
		if err != nil || !created.Token.ExpiredAt.IsZero() {
			t.Errorf("the successor is %+v (%v)", created.Token, err)
		}
		if got, _ := store.Get(t.Context(), old.ID); !got.ExpiredAt.Equal(sooner) {
			t.Errorf("the old key expires at %v, want %v", got.ExpiredAt, sooner)
		}
	})
}

// A token that is deleted while it is being rotated has no end to be given.
func TestRotateOfATokenThatIsDeletedMeanwhile(t *testing.T) {
	t.Parallel()
	store := httpkeytest.NewStore(memstore.New())
	guard := httpkey.New(store, memstore.NewLimiter(), nil)
	_, old := issue(t, guard, httpkey.Token{})
	store.Before(func(ctx context.Context, method string) error {
		if method == "Create" {
			return store.Delete(ctx, old.ID)
		}
		return nil
	})
	created, err := guard.Rotate(t.Context(), old.ID, 0)
	if err != nil || httpkeytest.Get(guard.Handler(ok), created.Secret.Reveal()).Code != http.StatusOK {
		t.Errorf("Rotate returned %v", err)
	}
}

// A caller whose time is over when the store has done its part still gets the successor, and
// leaves none that nobody has the secret of.
func TestRotateWhoseTimeIsOver(t *testing.T) {
	t.Parallel()
	for _, method := range []string{"Create", "Update"} {
		ctx, cancel := context.WithCancel(t.Context())
		store := httpkeytest.NewStore(memstore.New())
		guard := httpkey.New(store, memstore.NewLimiter(), nil)
		_, old := issue(t, guard, httpkey.Token{})
		store.Before(func(ctx context.Context, _ string) error { return ctx.Err() })
		store.After(func(ctx context.Context, m string) error {
			if m == method {
				cancel()
			}
			return ctx.Err()
		})
		created, err := guard.Rotate(ctx, old.ID, 0)
		store.Before(nil)
		store.After(nil)
		left, listErr := store.List(t.Context(), httpkey.Filter{RotatedFrom: old.ID})
		switch kept, getErr := store.Get(t.Context(), old.ID); {
		case listErr != nil || getErr != nil:
			t.Fatal(listErr, getErr)
		case err != nil && (len(left) > 0 || kept.RotatedTo != "" || created.Secret != ""):
			t.Errorf("after %s: %v; but %d successors are left, and the old token is %+v", method, err, len(left), kept)
		case err == nil && httpkeytest.Get(guard.Handler(ok), created.Secret.Reveal()).Code != http.StatusOK:
			t.Errorf("after %s, the successor is not valid", method)
		}
		cancel()
	}
}

// A key that is revoked while it is being rotated stays so, and has no successor.
func TestRotateDoesNotResurrect(t *testing.T) {
	t.Parallel()
	store := httpkeytest.NewStore(memstore.New())
	var seen events
	guard := httpkey.New(store, memstore.NewLimiter(), &httpkey.Options{Observers: observers(&seen)})
	key, old := issue(t, guard, httpkey.Token{})
	store.After(func(ctx context.Context, method string) error {
		if method == "Create" {
			return guard.Revoke(ctx, old.ID, "leaked")
		}
		return nil
	})
	created, err := guard.Rotate(t.Context(), old.ID, time.Hour)
	if !errors.Is(err, httpkey.ErrInactive) || created.Secret != "" {
		t.Errorf("Rotate returned %v", err)
	}
	if got := httpkeytest.Get(guard.Handler(ok), key).Code; got != http.StatusUnauthorized {
		t.Errorf("the revoked key got %d", got)
	}
	if left, err := store.List(t.Context(), httpkey.Filter{RotatedFrom: old.ID}); err != nil || len(left) > 0 {
		t.Errorf("left are %v (%v)", left, err)
	}
	if got := seen.types(httpkey.EventRotated); len(got) > 0 {
		t.Error("a rotation was told that has not happened")
	}
}

// fault is a call of a store that fails: before it is done, or when its answer is lost.
type fault struct {
	method string
	call   int // from 1
	lost   bool
}

// breakStore makes a store fail at calls that are counted from now on. It returns whether a
// call of a method has failed.
func breakStore(store *httpkeytest.Store, faults []fault) (failed func(method string) bool) {
	begun, hit := make(map[string]int), make(map[string]bool)
	for _, f := range faults {
		begun[f.method] = store.Calls(f.method)
	}
	on := func(lost bool) httpkeytest.Fault {
		return func(_ context.Context, method string) error {
			for _, f := range faults {
				if f.lost == lost && f.method == method && store.Calls(method)-begun[method] == f.call {
					hit[method] = true
					return errDown
				}
			}
			return nil
		}
	}
	store.Before(on(false))
	store.After(on(true))
	return func(method string) bool { return hit[method] }
}

// A store that fails at any one or two calls, before or after it has done them, leaves the
// holder with a valid key while it can be read. An error comes without a secret, and
// tells the truth of the old key. Repeating leads to a good key.
func TestRotateWithAFailingStore(t *testing.T) {
	t.Parallel()
	var single []fault
	for _, method := range []string{"Get", "Create", "Update", "Delete"} {
		for call := 1; call <= 3; call++ {
			single = append(single, fault{method, call, false}, fault{method, call, true})
		}
	}
	var sets [][]fault
	for i, first := range single {
		sets = append(sets, []fault{first})
		for _, second := range single[i+1:] {
			sets = append(sets, []fault{first, second})
		}
	}
	failures := 0
	for _, faults := range sets {
		for _, grace := range []time.Duration{0, time.Hour} {
			what := fmt.Sprintf("%v, grace %v", faults, grace)
			store := httpkeytest.NewStore(memstore.New())
			var seen events
			guard := httpkey.New(store, memstore.NewLimiter(), &httpkey.Options{Observers: observers(&seen)})
			expiry := time.Now().Add(1000 * time.Hour).UTC().Truncate(time.Microsecond)
			oldKey, old := issue(t, guard, httpkey.Token{ExpiredAt: expiry})
			isValid := func(key string) bool {
				return key != "" && httpkeytest.Get(guard.Handler(ok), key).Code == http.StatusOK
			}

			failed := breakStore(store, faults)
			created, err := guard.Rotate(t.Context(), old.ID, grace)
			store.Before(nil)
			store.After(nil)

			key := created.Secret.Reveal()
			if err != nil {
				failures++
				if !errors.Is(err, errDown) || key != "" || created.Token.ID != "" || len(seen.types(httpkey.EventRotated)) > 0 {
					t.Errorf("%s: Rotate returned %+v, %v", what, created, err)
				}
				kept, getErr := store.Get(t.Context(), old.ID)
				if asItWas := kept.ExpiredAt.Equal(expiry) && kept.RotatedTo == ""; getErr != nil ||
					strings.Contains(err.Error(), "old key is as it was") && !asItWas {
					t.Errorf("%s: %v; but the old token is %+v (%v)", what, err, kept, getErr)
				}
			} else if !isValid(key) || !created.Token.ExpiredAt.Equal(expiry) || len(seen.types(httpkey.EventRotated)) != 1 {
				t.Errorf("%s: the successor is not valid: %+v", what, created.Token)
			}
			if !failed("Get") && !isValid(oldKey) && !isValid(key) {
				t.Errorf("%s: no key is valid (%v)", what, err)
			}
			left, listErr := store.List(t.Context(), httpkey.Filter{RotatedFrom: old.ID})
			if listErr != nil || err != nil && len(left) > 0 && !failed("Get") && !strings.Contains(err.Error(), left[0].ID) {
				t.Errorf("%s: %d successors are left without an owner (%v), and not named: %v", what, len(left), listErr, err)
			}

			again, err := guard.Rotate(t.Context(), old.ID, 0)
			if err != nil || !isValid(again.Secret.Reveal()) || isValid(oldKey) || !again.Token.ExpiredAt.Equal(expiry) {
				t.Errorf("%s: rotating again returned %+v, %v", what, again.Token, err)
			}
			if kept, err := store.Get(t.Context(), old.ID); err != nil || kept.RotatedTo != again.Token.ID ||
				again.Token.RotatedFrom != old.ID {
				t.Errorf("%s: the tokens are not linked: %+v (%v)", what, kept, err)
			}
		}
	}
	t.Logf("%d ways to fail, %d of them errors", 2*len(sets), failures)
	if failures < len(sets)/3 {
		t.Errorf("only %d of %d were errors: the faults are not where the calls are", failures, 2*len(sets))
	}
}

// A key that is rotated again and again has no more than its one limit, wherever the
// token is kept.
func TestRotationsShareTheBucket(t *testing.T) {
	t.Parallel()
	for name, store := range map[string]httpkey.TokenStore{
		"in memory": memstore.New(),
		"elsewhere": httpkeytest.NewStore(memstore.New()),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				guard := httpkey.New(store, memstore.NewLimiter(), nil)
				key, token := issue(t, guard, httpkey.Token{})
				keys := []string{key}
				for range 30 {
					created, err := guard.Rotate(t.Context(), token.ID, time.Hour)
					if err != nil {
						t.Fatal(err)
					}
					token = created.Token
					keys = append(keys, created.Secret.Reveal())
				}
				admitted := 0
				for range 60 {
					for _, key := range keys {
						switch code := httpkeytest.Get(guard.Handler(ok), key).Code; code {
						case http.StatusOK:
							admitted++
						case http.StatusTooManyRequests:
						default:
							t.Fatalf("status %d", code)
						}
					}
				}
				if admitted != 60 {
					t.Errorf("%d requests were admitted at once, want 60", admitted)
				}
				if err := guard.Close(t.Context()); err != nil {
					t.Error(err)
				}
			})
		})
	}
}
