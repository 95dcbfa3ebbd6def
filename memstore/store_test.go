package memstore

import (
	"strconv"
	"testing"
	"time"

	"github.com/httpkey/httpkey"
)

// A cursor needs no token at its place, nor both of its fields.
func TestCursorIsAPlace(t *testing.T) {
	t.Parallel()
	store, at := New(), time.Now().Truncate(time.Microsecond)
	for i, created := range []time.Time{{}, {}, {}, at, at.Add(time.Microsecond)} {
		err := store.Create(t.Context(), httpkey.Token{ID: strconv.Itoa(i), Digest: httpkey.Digest{byte(i)}, CreatedAt: created})
		if err != nil {
			t.Fatal(err)
		}
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

// A successor that is deleted, or is one no more, is not found by what it succeeded.
func TestSuccessorsThatAreGone(t *testing.T) {
	t.Parallel()
	store := New()
	for _, id := range []string{"a", "b", "c"} {
		if err := store.Create(t.Context(), httpkey.Token{ID: id, Digest: httpkey.Digest{id[0]}, RotatedFrom: "old"}); err != nil {
			t.Fatal(err)
		}
	}
	if err := store.Delete(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	if err := store.Update(t.Context(), httpkey.Token{ID: "b"}); err != nil {
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

// elapse lets d of a bubble's time elapse, which takes none: every caller is in [synctest.Test].
func elapse(d time.Duration) { time.Sleep(d) }
