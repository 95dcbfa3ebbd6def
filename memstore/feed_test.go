package memstore_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/memstore"
)

// listen follows the feed of a store until the returned function is called.
func listen(t *testing.T, store *memstore.Store, changed func(httpkey.Digest)) (leave func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ready, ended := make(chan bool), make(chan error)
	go func() { ended <- store.Changes(ctx, func() { close(ready) }, changed) }()
	<-ready
	return func() {
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("Changes returned %v", err)
		}
	}
}

// Each follower learns of a change before the method that makes it returns, and can read the
// changed token. What changes nothing is not reported.
func TestChangesAreToldAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := memstore.New()
		token := httpkey.Token{ID: "a", Digest: httpkey.Digest{1}, Kind: httpkey.APIKey, IsActive: true}
		var told [2][]string
		follow := func(n int) func() {
			return listen(t, store, func(d httpkey.Digest) {
				if d != token.Digest {
					t.Error("another digest was told")
				}
				found, err := store.Get(t.Context(), "a")
				if errors.Is(err, httpkey.ErrNotFound) {
					found.Label = "gone"
				}
				told[n] = append(told[n], found.Label)
			})
		}
		update := func(id, label string, failure error) error {
			_, err := store.Update(t.Context(), id, func(t *httpkey.Token) error {
				t.Label = label
				return failure
			})
			return err
		}
		failed := errors.New("failed")
		leave, leaveToo := follow(0), follow(1)
		for _, step := range []struct {
			name string
			do   func() error
			want error
			told []string
		}{
			{"create", func() error { _, err := store.Create(t.Context(), token); return err }, nil, []string{""}},
			{"conflict", func() error { _, err := store.Create(t.Context(), token); return err }, httpkey.ErrConflict, nil},
			{"update", func() error { return update("a", "new", nil) }, nil, []string{"new"}},
			{"failed update", func() error { return update("a", "newer", failed) }, failed, nil},
			{"update of nothing", func() error { return update("b", "new", nil) }, httpkey.ErrNotFound, nil},
			{"touch", func() error { return store.Touch(t.Context(), map[string]time.Time{"a": time.Now()}) }, nil, nil},
			{"delete", func() error { return store.Delete(t.Context(), "a") }, nil, []string{"gone"}},
			{"delete of nothing", func() error { return store.Delete(t.Context(), "a") }, nil, nil},
		} {
			told = [2][]string{}
			if err := step.do(); !errors.Is(err, step.want) {
				t.Errorf("%s: %v, want %v", step.name, err, step.want)
			}
			if !slices.Equal(told[0], step.told) || !slices.Equal(told[1], step.told) {
				t.Errorf("%s: told %q, want %q each", step.name, told, step.told)
			}
		}
		leave()
		told = [2][]string{}
		if _, err := store.Create(t.Context(), token); err != nil {
			t.Fatal(err)
		}
		if len(told[0]) != 0 || len(told[1]) != 1 {
			t.Errorf("after the first follower has left, told %q", told)
		}
		leaveToo()
	}) // which fails if a goroutine is left
}

// A feed whose context has ended is never ready.
func TestChangesEndWithTheirContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	ready := func() { t.Error("the feed is ready") }
	if err := memstore.New().Changes(ctx, ready, func(httpkey.Digest) {}); !errors.Is(err, context.Canceled) {
		t.Errorf("Changes returned %v", err)
	}
}

// The functions of a follower never run at the same moment, and none is called after Changes
// has returned. The race detector sees it otherwise.
func TestChangesOfManyAtOnce(t *testing.T) {
	t.Parallel()
	const writers, each = 8, 200
	store := memstore.New()
	told := 0 // without a lock
	leave := listen(t, store, func(httpkey.Digest) { told++ })
	var writing sync.WaitGroup
	for w := range writers {
		writing.Go(func() {
			for n := range each {
				token := httpkey.Token{
					ID: string(rune('a'+w)) + string(rune('a'+n)), Digest: httpkey.Digest{byte(w), byte(n)}, Kind: httpkey.APIKey,
				}
				if _, err := store.Create(t.Context(), token); err != nil {
					t.Error(err)
				}
				listen(t, store, func(httpkey.Digest) {})()
			}
		})
	}
	writing.Wait()
	leave()
	if told != writers*each {
		t.Errorf("%d changes were told, want %d", told, writers*each)
	}
}

var _ httpkey.ChangeFeed = (*memstore.Store)(nil)
