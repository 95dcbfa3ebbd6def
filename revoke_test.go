package httpkey_test

import (
	"context"
	"errors"
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

func TestRevoke(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := httpkeytest.NewStore(memstore.New())
		var seen events
		guard := httpkey.New(store, memstore.NewLimiter(), &httpkey.Options{Observer: &seen})
		key, token := issue(t, guard, httpkey.Token{Label: "ci"})
		httpkeytest.Elapse(time.Hour)
		revokedAt := time.Now()
		for _, reason := range []string{"leaked", "for another reason"} {
			if err := guard.Revoke(t.Context(), token.ID, reason); err != nil {
				t.Fatal(err)
			}
			if got := httpkeytest.Get(guard.Handler(ok), key).Code; got != http.StatusUnauthorized {
				t.Errorf("status %d", got)
			}
			httpkeytest.Elapse(time.Hour)
		}
		kept, err := store.Get(t.Context(), token.ID)
		if err != nil || kept.Label != "ci" || kept.IsActive || kept.RevokedFor != "leaked" ||
			!kept.RevokedAt.Equal(revokedAt) {
			t.Errorf("kept %+v (%v), revoked at %v", kept, err, revokedAt)
		}
		if got := seen.types(httpkey.EventRevoked); len(got) != 1 {
			t.Errorf("%d revocations were told, want 1", len(got))
		}
	})
}

func TestRevokeReportsItsErrors(t *testing.T) {
	t.Parallel()
	store := httpkeytest.NewStore(memstore.New())
	var seen events
	guard := httpkey.New(store, memstore.NewLimiter(), &httpkey.Options{Observer: &seen})
	_, token := issue(t, guard, httpkey.Token{})
	if err := guard.Revoke(t.Context(), token.ID, strings.Repeat("x", 256)); !errors.Is(err, httpkey.ErrInvalidToken) {
		t.Errorf("a reason that is too long returned %v", err)
	}
	if err := guard.Revoke(t.Context(), "none", ""); !errors.Is(err, httpkey.ErrNotFound) {
		t.Errorf("revoking nothing returned %v", err)
	}
	store.Before(httpkeytest.Fail(errDown, "Update"))
	if err := guard.Revoke(t.Context(), token.ID, ""); !errors.Is(err, errDown) {
		t.Errorf("with a store that fails, Revoke returned %v", err)
	}
	if got := seen.types(httpkey.EventRevoked); len(got) > 0 {
		t.Error("a revocation was told that has not happened")
	}
}

// A token that no Guard would have stored can be revoked, too.
func TestRevokeOfAnInvalidToken(t *testing.T) {
	t.Parallel()
	store := memstore.New()
	guard := httpkey.New(store, memstore.NewLimiter(), nil)
	odd := httpkey.Token{ID: "odd", IsActive: true, Kind: "robot", Label: strings.Repeat("x", 300)}
	if _, err := store.Create(t.Context(), odd); err != nil {
		t.Fatal(err)
	}
	if err := guard.Revoke(t.Context(), odd.ID, "leaked"); err != nil {
		t.Fatal(err)
	}
	if kept, _ := store.Get(t.Context(), odd.ID); kept.IsActive || kept.RevokedAt.IsZero() {
		t.Errorf("kept %+v", kept)
	}
}

// No update undoes a revocation, not even one that writes a token as it was read before.
func TestUpdatesDoNotUndoARevocation(t *testing.T) {
	t.Parallel()
	store := memstore.New()
	guard := httpkey.New(store, memstore.NewLimiter(), nil)
	undone, late := 0, 0
	for range 300 {
		key, token := issue(t, guard, httpkey.Token{})
		var writers sync.WaitGroup
		writers.Go(func() {
			_, err := store.Update(context.Background(), token.ID, func(t *httpkey.Token) error {
				stale := token
				stale.Label = "written"
				*t = stale
				return nil
			})
			if errors.Is(err, httpkey.ErrInactive) {
				late++
			} else if err != nil {
				t.Error(err)
			}
		})
		writers.Go(func() {
			if err := guard.Revoke(context.Background(), token.ID, "leaked"); err != nil {
				t.Error(err)
			}
		})
		writers.Wait()
		kept, err := store.Get(t.Context(), token.ID)
		if err != nil || kept.IsActive || kept.RevokedFor != "leaked" ||
			httpkeytest.Get(guard.Handler(ok), key).Code != http.StatusUnauthorized {
			undone++
		}
	}
	t.Logf("%d of 300 updates came after the revocation", late)
	if undone > 0 {
		t.Errorf("%d of 300 revocations were undone", undone)
	}
}
