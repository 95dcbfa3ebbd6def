package httpkey_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
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
		guard := httpkey.New(store, memstore.NewLimiter(), &httpkey.Options{Observers: observers(&seen)})
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
	guard := httpkey.New(store, memstore.NewLimiter(), &httpkey.Options{Observers: observers(&seen)})
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

// RevokeKeyOf ends the key that a request carries where the Guard looks for keys. It answers only
// if there is no key to end, or the store failed.
func TestRevokeKeyOf(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		lines  []string // {key} stands for the key
		fault  httpkeytest.Fault
		reason httpkey.Reason // of the refusal; empty: there is none
		status int
		ends   bool
	}{
		"a key":             {lines: []string{"{key}"}, ends: true},
		"a key with blanks": {lines: []string{" {key}\t"}, ends: true},
		"a malformed key":   {lines: []string{"hunter2"}},
		"a mistyped key":    {lines: []string{"{key}0"}},
		"no key":            {reason: httpkey.ReasonMissing, status: 401},
		"a blank key":       {lines: []string{" "}, reason: httpkey.ReasonMissing, status: 401},
		"two lines":         {lines: []string{"{key}", "{key}"}, reason: httpkey.ReasonMalformed, status: 401},
		"a failed Lookup": {lines: []string{"{key}"}, fault: httpkeytest.Fail(errDown, "Lookup"),
			reason: httpkey.ReasonStore, status: 503},
		"a failed Update": {lines: []string{"{key}"}, fault: httpkeytest.Fail(errDown, "Update"),
			reason: httpkey.ReasonStore, status: 503},
		"a Lookup stalls": {lines: []string{"{key}"}, fault: httpkeytest.Stall("Lookup"),
			reason: httpkey.ReasonStore, status: 503},
		"a store that lags":  {lines: []string{"{key}"}, fault: httpkeytest.Lag(400 * time.Millisecond), ends: true},
		"a key just deleted": {lines: []string{"{key}"}, fault: httpkeytest.Fail(httpkey.ErrNotFound, "Update")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				store := httpkeytest.NewStore(memstore.New())
				var seen events
				guard := httpkey.New(store, memstore.NewLimiter(), &httpkey.Options{Observers: observers(&seen)})
				key, token := issue(t, guard, httpkey.Token{})
				store.Before(tt.fault)
				ctx, cancel := context.WithCancel(t.Context())
				r := httpkeytest.Request(http.MethodPost, "/", "").WithContext(ctx)
				for _, line := range tt.lines {
					r.Header.Add("X-Api-Key", strings.ReplaceAll(line, "{key}", key))
				}
				cancel() // the client hangs up
				w, start := httptest.NewRecorder(), time.Now()
				ended := guard.RevokeKeyOf(w, r, "leaked")
				if took := time.Since(start); took > time.Second {
					t.Errorf("it took %v", took)
				}
				hasAnswered := w.Body.Len() > 0 || len(w.Header()) > 0
				if ended != (tt.reason == "") || ended == hasAnswered || !ended && w.Code != tt.status {
					t.Errorf("returned %v, with the response %d %v %s", ended, w.Code, w.Header(), w.Body)
				}
				if last := seen.last(t); last.Reason != tt.reason || tt.status == 503 && last.Err == nil {
					t.Errorf("the last event is %+v", last)
				}
				store.Before(nil)
				kept, err := store.Get(t.Context(), token.ID)
				if err != nil || kept.IsActive == tt.ends || tt.ends && kept.RevokedFor != "leaked" {
					t.Errorf("kept %+v (%v)", kept, err)
				}
			})
		})
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
