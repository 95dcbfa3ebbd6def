package httpkey_test

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/httpkeytest"
	"github.com/httpkey/httpkey/memstore"
)

func TestImport(t *testing.T) {
	t.Parallel()
	guard := newGuard(&httpkey.Options{ImportedMinLength: 20})
	foreign := "plane_api_4f0c0a4b9f2b4f4e_4f0c0a4b9f2b4f4e"
	born := time.Date(2020, 1, 2, 3, 4, 5, 6789, time.UTC)
	token, err := guard.Import(t.Context(), httpkey.Secret(foreign), httpkey.Token{
		User: "u-1", IsActive: true, CreatedAt: born, LastUsed: born.Add(time.Hour), CreatedBy: "migration",
		RotatedFrom: "x", RotatedTo: "y", RevokedFor: "z", RevokedBy: "v",
	})
	if err != nil {
		t.Fatal(err)
	}
	if token.RotatedFrom+token.RotatedTo+token.RevokedFor+token.RevokedBy != "" {
		t.Errorf("Import took rotation and revocation from its caller: %+v", token)
	}
	created := born.Truncate(time.Microsecond)
	if !token.CreatedAt.Equal(created) || !token.LastUsed.Equal(created.Add(time.Hour)) || token.Hint != "4f4e" ||
		token.CreatedBy != "migration" {
		t.Errorf("imported %+v", token)
	}
	if w := httpkeytest.Get(guard.Handler(ok), foreign); w.Code != http.StatusOK {
		t.Errorf("the imported key got %d", w.Code)
	}
	another := "plane_api_4f0c0a4b9f2b4f4e_4f0c0a4b9f2b4f4f"
	if w := httpkeytest.Get(guard.Handler(ok), another); w.Code != http.StatusUnauthorized {
		t.Errorf("another foreign key got %d", w.Code)
	}
	own, _ := issue(t, guard, httpkey.Token{})
	if w := httpkeytest.Get(guard.Handler(ok), own); w.Code != http.StatusOK {
		t.Errorf("a key of our own got %d", w.Code)
	}
	for _, bad := range []string{"", "short", strings.Repeat("x", 256), "has blanks has blanks has blanks"} {
		if _, err := guard.Import(t.Context(), httpkey.Secret(bad), httpkey.Token{}); !errors.Is(err,
			httpkey.ErrInvalidToken) {
			t.Errorf("Import(%q) returned %v", bad, err)
		}
	}
	if _, err := newGuard(nil).Import(t.Context(), httpkey.Secret(foreign), httpkey.Token{}); err == nil ||
		!strings.Contains(err.Error(), "ImportedMinLength") {
		t.Errorf("without the option, Import returned %v", err)
	}
}

// A key that has ended in its old table is not valid after an import, and no second import makes it valid.
func TestImportRevivesNoKey(t *testing.T) {
	t.Parallel()
	const key = "plane_api_4f0c0a4b9f2b4f4e_4f0c0a4b"
	past := time.Now().Add(-time.Hour).UTC().Truncate(time.Microsecond)
	for name, token := range map[string]httpkey.Token{
		"inactive":               {},
		"revoked":                {RevokedAt: past, RevokedFor: "leaked", RevokedBy: "ann"},
		"expired":                {IsActive: true, ExpiredAt: past},
		"inactive and expired":   {ExpiredAt: past},
		"revoked for no reason":  {RevokedAt: past},
		"revoked, but used once": {RevokedAt: past, RevokedFor: "leaked", LastUsed: past.Add(-time.Hour)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			store := memstore.New()
			guard := httpkey.New(store, memstore.NewLimiter(), &httpkey.Options{ImportedMinLength: 20})
			token.CreatedAt = past.Add(-2 * time.Hour)
			imported, err := guard.Import(t.Context(), key, token)
			if err != nil {
				t.Fatal(err)
			}
			kept, err := store.Get(t.Context(), imported.ID)
			if err != nil {
				t.Fatal(err)
			}
			for _, got := range []httpkey.Token{imported, kept} {
				if got.IsActive != token.IsActive || !got.ExpiredAt.Equal(token.ExpiredAt) || !got.LastUsed.Equal(token.LastUsed) ||
					!got.CreatedAt.Equal(token.CreatedAt) || !got.RevokedAt.Equal(token.RevokedAt) ||
					got.RevokedFor != token.RevokedFor || got.RevokedBy != token.RevokedBy {
					t.Errorf("imported %+v, want %+v", got, token)
				}
			}
			if w := httpkeytest.Get(guard.Handler(ok), key); w.Code != http.StatusUnauthorized {
				t.Errorf("the key got %d", w.Code)
			}
			if _, err := guard.Rotate(t.Context(), imported.ID, 0); !errors.Is(err, httpkey.ErrInactive) {
				t.Errorf("Rotate returned %v", err)
			}
			if _, err := guard.Import(t.Context(), key, httpkey.Token{IsActive: true}); !errors.Is(err, httpkey.ErrConflict) {
				t.Errorf("a second Import returned %v", err)
			}
		})
	}
	guard := newGuard(&httpkey.Options{ImportedMinLength: 20})
	_, err := guard.Import(t.Context(), key, httpkey.Token{IsActive: true, RevokedAt: past})
	if !errors.Is(err, httpkey.ErrInvalidToken) || !strings.Contains(err.Error(), "RevokedAt") {
		t.Errorf("Import of a token that is active and revoked returned %v", err)
	}
}

// A key has one token, whichever pepper its digest was made with.
func TestImportOfAKeyKnownUnderAnotherPepper(t *testing.T) {
	t.Parallel()
	const key = "plane_api_4f0c0a4b9f2b4f4e_4f0c0a4b"
	first, second := httpkey.Secret(strings.Repeat("1", 32)), httpkey.Secret(strings.Repeat("2", 32))
	for _, under := range []httpkey.Options{{}, {Pepper: first}, {Pepper: second}} {
		store := httpkeytest.NewStore(memstore.New())
		guardWith := func(o httpkey.Options) *httpkey.Guard {
			o.ImportedMinLength = 20
			return httpkey.New(store, memstore.NewLimiter(), &o)
		}
		imported, err := guardWith(under).Import(t.Context(), key, httpkey.Token{})
		if err != nil {
			t.Fatal(err)
		}
		guard := guardWith(httpkey.Options{Pepper: second, PreviousPeppers: []httpkey.Secret{first, ""}})
		token, err := guard.Import(t.Context(), key, httpkey.Token{IsActive: true})
		if !errors.Is(err, httpkey.ErrConflict) || token.ID != "" {
			t.Errorf("Import returned %v, %v", token, err)
		}
		all, err := store.List(t.Context(), httpkey.Filter{})
		if err != nil || len(all) != 1 || all[0].ID != imported.ID {
			t.Errorf("the store has %v (%v)", all, err)
		}
		if w := httpkeytest.Get(guard.Handler(ok), key); w.Code != http.StatusUnauthorized {
			t.Errorf("the key, which is inactive, got %d", w.Code)
		}
		down := errors.New("down")
		store.Before(httpkeytest.Fail(down, "Lookup"))
		if _, err := guard.Import(t.Context(), key+"x", httpkey.Token{}); !errors.Is(err, down) {
			t.Errorf("without an answer, Import returned %v", err)
		}
		if n := store.Calls("Create"); n > 2 {
			t.Errorf("%d tokens were created", n)
		}
		store.Before(nil)
		if _, err := guard.Import(t.Context(), key+"x", httpkey.Token{}); err != nil {
			t.Errorf("Import of another key returned %v", err)
		}
	}
}

// A store that compares only a part of a digest finds another token. That is no conflict.
func TestImportComparesDigests(t *testing.T) {
	t.Parallel()
	store := anyDigest{memstore.New()}
	guard := httpkey.New(store, memstore.NewLimiter(), &httpkey.Options{
		ImportedMinLength: 20, Pepper: httpkey.Secret(strings.Repeat("1", 32)), PreviousPeppers: []httpkey.Secret{""}})
	for _, key := range []httpkey.Secret{"plane_api_4f0c0a4b9f2b4f4e", "plane_api_4f0c0a4b9f2b4f4f"} {
		if _, err := guard.Import(t.Context(), key, httpkey.Token{}); err != nil {
			t.Error(err)
		}
	}
}

// anyDigest is a store that finds a token for every digest.
type anyDigest struct{ httpkey.TokenStore }

func (s anyDigest) Lookup(ctx context.Context, _ httpkey.Digest) (httpkey.Token, error) {
	all, err := s.List(ctx, httpkey.Filter{Limit: 1})
	if err != nil || len(all) == 0 {
		return httpkey.Token{}, cmp.Or(err, httpkey.ErrNotFound)
	}
	return all[0], nil
}

// A hint would reveal much of a short key. Without a pepper, a thief of the store can guess a key
// of few random bits.
func TestImportOfShortKeys(t *testing.T) {
	t.Parallel()
	pepper := httpkey.Secret(strings.Repeat("1", 32))
	for _, tt := range []struct {
		length   int
		pepper   httpkey.Secret
		wantHint bool
		want     []httpkey.EventType
	}{
		{16, "", false, []httpkey.EventType{httpkey.EventIssued, httpkey.EventWeakKey}},
		{31, "", false, []httpkey.EventType{httpkey.EventIssued, httpkey.EventWeakKey}},
		{32, "", true, []httpkey.EventType{httpkey.EventIssued}},
		{16, pepper, false, []httpkey.EventType{httpkey.EventIssued}},
		{32, pepper, true, []httpkey.EventType{httpkey.EventIssued}},
		{255, pepper, true, []httpkey.EventType{httpkey.EventIssued}},
	} {
		var seen events
		guard := newGuard(&httpkey.Options{ImportedMinLength: 16, Pepper: tt.pepper, Observers: observers(&seen)})
		key := strings.Repeat("x", tt.length-4) + "4f4e"
		token, err := guard.Import(t.Context(), httpkey.Secret(key), httpkey.Token{IsActive: true})
		if err != nil {
			t.Fatal(err)
		}
		if (token.Hint == "4f4e") != tt.wantHint || (token.Hint == "") == tt.wantHint {
			t.Errorf("%d characters have the hint %q", tt.length, token.Hint)
		}
		if got := guard.Masked(token); got != "…"+token.Hint {
			t.Errorf("%d characters are masked as %q", tt.length, got)
		}
		if _, err := guard.Import(t.Context(), httpkey.Secret(key), httpkey.Token{}); !errors.Is(err, httpkey.ErrConflict) {
			t.Errorf("a second Import returned %v", err)
		}
		if got := seen.types(); !slices.Equal(got, tt.want) {
			t.Errorf("%d characters and the pepper %q have the events %v, want %v", tt.length, tt.pepper.Reveal(), got, tt.want)
		}
		for _, e := range seen.all {
			if e.Token.ID != token.ID || e.Token.Digest != (httpkey.Digest{}) {
				t.Errorf("the event %s is of %+v", e.Type, e.Token)
			}
		}
		rotated, err := guard.Rotate(t.Context(), token.ID, 0)
		if err != nil || len(rotated.Token.Hint) != 4 {
			t.Errorf("the successor has the hint %q (%v)", rotated.Token.Hint, err)
		}
		if got := seen.types(httpkey.EventWeakKey); len(got) > 1 {
			t.Errorf("a rotation warns of a weak key")
		}
	}
}
