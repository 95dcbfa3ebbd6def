package memstore_test

import (
	"strconv"
	"testing"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/memstore"
)

// create stores tokens.
func create(t *testing.T, store *memstore.Store, tokens ...httpkey.Token) {
	t.Helper()
	for _, token := range tokens {
		if _, err := store.Create(t.Context(), token); err != nil {
			t.Fatal(err)
		}
	}
}

// A cursor needs no token at its place, nor both of its fields.
func TestCursorIsAPlace(t *testing.T) {
	t.Parallel()
	store, at := memstore.New(), time.Now().Truncate(time.Microsecond)
	for i, created := range []time.Time{{}, {}, {}, at, at.Add(time.Microsecond)} {
		create(t, store, httpkey.Token{ID: strconv.Itoa(i), Digest: httpkey.Digest{byte(i)}, CreatedAt: created})
	}
	for cursor, want := range map[httpkey.Cursor]string{
		{}: "4", {CreatedAt: at.Add(time.Microsecond), ID: "4"}: "3", {CreatedAt: at}: "2", {ID: "2"}: "1", {ID: "1"}: "0",
	} {
		page, err := store.List(t.Context(), httpkey.Filter{After: cursor, Limit: 1})
		if err != nil || len(page) != 1 || page[0].ID != want {
			t.Errorf("after %v comes %v (%v), want %s", cursor, page, err, want)
		}
	}
}

// A successor that is deleted, or is one no more, is not found by the token that it succeeded.
func TestSuccessorsThatAreGone(t *testing.T) {
	t.Parallel()
	store := memstore.New()
	for _, id := range []string{"a", "b", "c"} {
		create(t, store, httpkey.Token{ID: id, Kind: httpkey.APIKey, Digest: httpkey.Digest{id[0]}, RotatedFrom: "old"})
	}
	if err := store.Delete(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	if _, err := store.Update(t.Context(), "b", func(t *httpkey.Token) error {
		t.RotatedFrom = ""
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	for want := range []int{1, 0} {
		found, err := store.List(t.Context(), httpkey.Filter{RotatedFrom: "old"})
		if err != nil || len(found) != 1-want {
			t.Errorf("%v, %v", found, err)
		}
		if err := store.Delete(t.Context(), "c"); err != nil {
			t.Fatal(err)
		}
	}
}

// A change that panics leaves the store unlocked, and the token as it was.
func TestPanicInChange(t *testing.T) {
	t.Parallel()
	store := memstore.New()
	create(t, store, httpkey.Token{ID: "a", Kind: httpkey.APIKey, Label: "before"})
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic is lost")
			}
		}()
		_, _ = store.Update(t.Context(), "a", func(t *httpkey.Token) error {
			t.Label = "after"
			panic("a bug of the caller")
		})
	}()
	if got, err := store.Get(t.Context(), "a"); err != nil || got.Label != "before" {
		t.Errorf("%+v, %v", got, err)
	}
}
