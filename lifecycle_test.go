package httpkey_test

import (
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/memstore"
)

func TestIssueFillsWhatIsItsToSet(t *testing.T) {
	t.Parallel()
	store := memstore.New()
	guard := httpkey.New(store, memstore.NewLimiter(), &httpkey.Options{Prefix: "acme_live"})
	before := time.Now()
	scopes := []string{"profile:read"}
	secret, token, err := guard.Issue(t.Context(), httpkey.Token{
		Label: "ci", User: "u-1", Workspace: "w-1", Scopes: scopes, ExpiredAt: before.Add(time.Hour),
		Hint: "mine", LastUsed: before, CreatedAt: before.Add(-time.Hour), Digest: httpkey.Digest{1},
	})
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(secret.Reveal(), "acme_live_k_") || token.Hint != secret.Reveal()[len(secret)-4:] {
		t.Errorf("the secret does not begin with the prefix, or not end with the hint")
	}
	if token.Kind != httpkey.APIKey || !token.IsActive || !token.LastUsed.IsZero() || token.Digest == (httpkey.Digest{1}) {
		t.Errorf("issued %+v", token)
	}
	if token.CreatedAt.Before(before.Truncate(time.Microsecond)) || token.CreatedAt.After(time.Now()) {
		t.Errorf("created at %v", token.CreatedAt)
	}
	if len(token.ID) != 36 || token.ID[14] != '7' {
		t.Errorf("the ID %q is not a UUID of version 7", token.ID)
	}
	scopes[0] = "changed by the caller"
	kept, err := store.Get(t.Context(), token.ID)
	if err != nil || fmt.Sprint(kept) != fmt.Sprint(token) || kept.Digest != token.Digest {
		t.Errorf("stored %+v (%v), returned %+v", kept, err, token)
	}
	if token.Scopes[0] != "profile:read" {
		t.Error("the token shares its scopes with the caller")
	}
}

func TestIssueRefusesBadTokens(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 256)
	for field, token := range map[string]httpkey.Token{
		"Kind":         {Kind: "admin"},
		"ID":           {ID: long},
		"User":         {User: "a\x00b"},
		"User ":        {User: long},
		"Workspace":    {Workspace: strings.Repeat("é", 128)},
		"Label":        {Label: strings.Repeat("é", 256)},
		"Description":  {Description: "\xff"},
		"Description ": {Description: strings.Repeat("x", 4097)},
		"Scopes":       {Scopes: []string{"two words"}},
		"Scopes ":      {Scopes: slices.Repeat([]string{"s"}, 101)},
		"Scopes  ":     {Scopes: []string{""}},
		"Scopes   ":    {Scopes: []string{long}},
		"Scopes    ":   {Scopes: []string{`a"b`}},
		"Scopes     ":  {Scopes: []string{`a\b`}},
		"Scopes      ": {Scopes: []string{"a\x7f"}},
		"Limit":        {Limit: httpkey.Limit{Rate: -1, Period: time.Second}},
		"Rate":         {Limit: httpkey.Limit{Burst: 5}},
		"ExpiredAt":    {ExpiredAt: time.Now().Add(-time.Second)},
		"ExpiredAt ":   {ExpiredAt: time.Date(10_000, 1, 1, 0, 0, 0, 0, time.UTC)}, // JSON could not write it
	} {
		store := newSpyStore()
		guard := httpkey.New(store, memstore.NewLimiter(), nil)
		secret, _, err := guard.Issue(t.Context(), token)
		if !errors.Is(err, httpkey.ErrInvalidToken) || !strings.Contains(err.Error(), strings.TrimSpace(field)) || secret != "" {
			t.Errorf("%s: Issue returned %q and %v", field, secret.Reveal(), err)
		}
		if store.count("Create") > 0 {
			t.Errorf("%s: the store was asked to create it", field)
		}
	}
	guard := newGuard(nil)
	issue(t, guard, httpkey.Token{Label: strings.Repeat("👩", 255), Description: strings.Repeat("é", 4096), Scopes: slices.Repeat([]string{"s"}, 100),
		ID: long[:255], User: long[:255], Workspace: long[:255]})
	issue(t, guard, httpkey.Token{Scopes: []string{long[:255], "!#[]~"}})
}

// Every store can keep what Issue gives it: microseconds, in UTC.
func TestTimesAreStoredToTheMicrosecond(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		if _, _, err := newGuard(nil).Issue(t.Context(), httpkey.Token{ExpiredAt: time.Now()}); !errors.Is(err, httpkey.ErrInvalidToken) {
			t.Errorf("a token that expires now: %v", err)
		}
		elapse(1500) // nanoseconds: no whole microsecond
		store := memstore.New()
		guard := httpkey.New(store, memstore.NewLimiter(), nil)
		expiry := time.Now().Add(time.Hour).In(time.FixedZone("", 3600))
		_, token := issue(t, guard, httpkey.Token{ExpiredAt: expiry})
		if _, _, err := guard.Rotate(t.Context(), token.ID, time.Minute); err != nil {
			t.Fatal(err)
		}
		retired, err := store.Get(t.Context(), token.ID)
		if err != nil {
			t.Fatal(err)
		}
		for _, at := range []time.Time{token.ExpiredAt, token.CreatedAt, retired.ExpiredAt} {
			if at.Nanosecond()%1000 != 0 || at.Location() != time.UTC {
				t.Errorf("stored %v", at)
			}
		}
		if !token.ExpiredAt.Equal(expiry.Truncate(time.Microsecond)) {
			t.Errorf("expires at %v, asked for %v", token.ExpiredAt, expiry)
		}
		if _, _, err := guard.Issue(t.Context(), httpkey.Token{ExpiredAt: time.Now()}); !errors.Is(err, httpkey.ErrInvalidToken) {
			t.Errorf("a token that expires now: %v", err)
		}
	})
}

func TestIDsAreUUIDsOfVersion7(t *testing.T) {
	t.Parallel()
	guard := newGuard(nil)
	shape := regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)
	digits := make([]map[byte]bool, 36)
	for range 300 {
		_, token := issue(t, guard, httpkey.Token{})
		if !shape.MatchString(token.ID) {
			t.Fatalf("%s is none", token.ID)
		}
		for i := range token.ID {
			if digits[i] == nil {
				digits[i] = make(map[byte]bool)
			}
			digits[i][token.ID[i]] = true
		}
	}
	for _, i := range []int{15, 16, 17, 20, 21, 22, 24, 30, 35} { // the random ones
		if len(digits[i]) < 8 {
			t.Errorf("digit %d takes only %d values", i, len(digits[i]))
		}
	}
}

func TestIssueReportsTheStore(t *testing.T) {
	t.Parallel()
	guard := newGuard(nil)
	issue(t, guard, httpkey.Token{ID: "taken"})
	secret, token, err := guard.Issue(t.Context(), httpkey.Token{ID: "taken"})
	if !errors.Is(err, httpkey.ErrConflict) || secret != "" || token.ID != "" {
		t.Errorf("Issue returned %v, %v", token, err)
	}
}

func TestImport(t *testing.T) {
	t.Parallel()
	guard := newGuard(&httpkey.Options{ImportedMinLength: 20})
	foreign := "plane_api_4f0c0a4b9f2b4f4e"
	born := time.Date(2020, 1, 2, 3, 4, 5, 6789, time.UTC)
	token, err := guard.Import(t.Context(), httpkey.Secret(foreign), httpkey.Token{User: "u-1", CreatedAt: born, RotatedFrom: "x"})
	if err != nil {
		t.Fatal(err)
	}
	if token.RotatedFrom != "" {
		t.Errorf("Import took RotatedFrom from its caller: %q", token.RotatedFrom)
	}
	if !token.CreatedAt.Equal(born.Truncate(time.Microsecond)) || token.Hint != "4f4e" {
		t.Errorf("imported %+v", token)
	}
	if w := get(guard.Handler(ok), foreign); w.Code != http.StatusOK {
		t.Errorf("the imported key got %d", w.Code)
	}
	if w := get(guard.Handler(ok), "plane_api_4f0c0a4b9f2b4f4f"); w.Code != http.StatusUnauthorized {
		t.Errorf("another foreign key got %d", w.Code)
	}
	own, _ := issue(t, guard, httpkey.Token{})
	if w := get(guard.Handler(ok), own); w.Code != http.StatusOK {
		t.Errorf("a key of our own got %d", w.Code)
	}
	for _, bad := range []string{"", "short", strings.Repeat("x", 256), "has blanks has blanks has blanks"} {
		if _, err := guard.Import(t.Context(), httpkey.Secret(bad), httpkey.Token{}); !errors.Is(err, httpkey.ErrInvalidToken) {
			t.Errorf("Import(%q) returned %v", bad, err)
		}
	}
	if _, err := newGuard(nil).Import(t.Context(), httpkey.Secret(foreign), httpkey.Token{}); err == nil || !strings.Contains(err.Error(), "ImportedMinLength") {
		t.Errorf("without the option, Import returned %v", err)
	}
}

// A pepper can be introduced and changed while keys issued before go on working.
func TestPeppers(t *testing.T) {
	t.Parallel()
	store := memstore.New()
	first, second := httpkey.Secret(strings.Repeat("1", 32)), httpkey.Secret(strings.Repeat("2", 32))
	guardWith := func(pepper httpkey.Secret, previous ...httpkey.Secret) *httpkey.Guard {
		return httpkey.New(store, memstore.NewLimiter(), &httpkey.Options{Pepper: pepper, PreviousPeppers: previous})
	}
	plain, _ := issue(t, guardWith(""), httpkey.Token{})
	old, _ := issue(t, guardWith(first, ""), httpkey.Token{})
	current, _ := issue(t, guardWith(second, first, ""), httpkey.Token{})
	for _, tt := range []struct {
		name                string
		guard               *httpkey.Guard
		plain, old, current int
	}{
		{"all", guardWith(second, first, ""), 200, 200, 200},
		{"first is gone", guardWith(second, ""), 200, 401, 200},
		{"plain is gone", guardWith(second, first), 401, 200, 200},
		{"current alone", guardWith(second), 401, 401, 200},
		{"none", guardWith(""), 200, 401, 401},
	} {
		for key, want := range map[string]int{plain: tt.plain, old: tt.old, current: tt.current} {
			if got := get(tt.guard.Handler(ok), key).Code; got != want {
				t.Errorf("%s: status %d, want %d", tt.name, got, want)
			}
		}
	}
}

func TestRotate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := memstore.New()
		guard := httpkey.New(store, memstore.NewLimiter(), nil)
		oldKey, old := issue(t, guard, httpkey.Token{
			Kind: httpkey.ServiceToken, Label: "deploy", Description: "from CI", User: "u-1", Workspace: "w-1",
			Scopes: []string{"a", "b"}, Limit: httpkey.PerSecond(5), ExpiredAt: time.Now().Add(90 * 24 * time.Hour),
		})
		elapse(time.Hour)
		secret, successor, err := guard.Rotate(t.Context(), old.ID, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		want := old
		want.ID, want.Digest, want.Hint, want.CreatedAt, want.RotatedFrom = successor.ID, successor.Digest, successor.Hint, time.Now().UTC(), old.ID
		if fmt.Sprint(successor) != fmt.Sprint(want) || successor.ID == old.ID || successor.Digest == old.Digest {
			t.Errorf("the successor is\n%+v, want\n%+v", successor, want)
		}
		status := func(key string) int { return get(guard.Handler(ok), key).Code }
		if status(oldKey) != 200 || status(secret.Reveal()) != 200 {
			t.Error("during the grace, both keys must be valid")
		}
		elapse(time.Hour - time.Microsecond)
		if status(oldKey) != 200 {
			t.Error("the old key ended before its grace")
		}
		elapse(time.Microsecond)
		if status(oldKey) != 401 || status(secret.Reveal()) != 200 {
			t.Error("after the grace, only the successor must be valid")
		}
	})
}

func TestRotateGrace(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name            string
		lifetime, grace time.Duration // lifetime 0: for ever
		want            time.Duration // that the old key lives on
	}{
		{"none", time.Hour, 0, 0},
		{"within the expiry", time.Hour, time.Minute, time.Minute},
		{"beyond the expiry", time.Hour, 2 * time.Hour, time.Hour},
		{"of a key without expiry", 0, time.Minute, time.Minute},
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
				if _, _, err := guard.Rotate(t.Context(), old.ID, tt.grace); err != nil {
					t.Fatal(err)
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
	if _, _, err := guard.Rotate(t.Context(), token.ID, -1); err == nil || !strings.Contains(err.Error(), "grace") {
		t.Errorf("a negative grace returned %v", err)
	}
}

func TestRotateRefusesWhatIsOver(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		guard := newGuard(nil)
		_, revoked := issue(t, guard, httpkey.Token{})
		_, expired := issue(t, guard, httpkey.Token{ExpiredAt: time.Now().Add(time.Second)})
		if err := guard.Revoke(t.Context(), revoked.ID); err != nil {
			t.Fatal(err)
		}
		elapse(time.Second)
		for id, want := range map[string]error{revoked.ID: httpkey.ErrInactive, expired.ID: httpkey.ErrInactive, "none": httpkey.ErrNotFound} {
			if secret, _, err := guard.Rotate(t.Context(), id, 0); !errors.Is(err, want) || secret != "" {
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
			guard := newGuard(nil)
			token := httpkey.Token{}
			if lifetime > 0 {
				token.ExpiredAt = time.Now().Add(lifetime)
			}
			_, old := issue(t, guard, token)
			_, second, err := guard.Rotate(t.Context(), old.ID, time.Hour)
			if err != nil {
				t.Fatal(err)
			}
			if _, _, err := guard.Rotate(t.Context(), second.ID, time.Hour); err != nil {
				t.Fatal(err)
			}
			_, again, err := guard.Rotate(t.Context(), old.ID, time.Hour)
			if err != nil || !again.ExpiredAt.Equal(old.ExpiredAt) {
				t.Errorf("the successor expires at %v (%v), want %v", again.ExpiredAt, err, old.ExpiredAt)
			}
		})
	}
}

// Of several successors, the newest tells the expiry that is meant.
func TestRotateFollowsTheNewestSuccessor(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := memstore.New()
		guard := httpkey.New(store, memstore.NewLimiter(), nil)
		_, old := issue(t, guard, httpkey.Token{})
		want := time.Now().Add(10 * time.Hour).UTC()
		for range 2 {
			_, successor, err := guard.Rotate(t.Context(), old.ID, time.Hour)
			if err != nil {
				t.Fatal(err)
			}
			want = want.Add(time.Hour)
			successor.ExpiredAt = want
			if err := store.Update(t.Context(), successor); err != nil {
				t.Fatal(err)
			}
			elapse(time.Minute)
		}
		if _, last, err := guard.Rotate(t.Context(), old.ID, 0); err != nil || !last.ExpiredAt.Equal(want) {
			t.Errorf("the last successor expires at %v (%v), want %v", last.ExpiredAt, err, want)
		}
	})
}

// A token that is deleted while it is being rotated has no end to be given.
func TestRotateOfATokenThatIsDeletedMeanwhile(t *testing.T) {
	t.Parallel()
	store := newSpyStore()
	guard := httpkey.New(store, memstore.NewLimiter(), nil)
	_, old := issue(t, guard, httpkey.Token{})
	store.failWith(func(method string, _ int) error {
		if method == "Create" {
			return store.Delete(t.Context(), old.ID)
		}
		return nil
	})
	if secret, _, err := guard.Rotate(t.Context(), old.ID, 0); err != nil || secret == "" {
		t.Errorf("Rotate returned %v", err)
	}
}

// A store may hold a circle of successors, by whatever mistake.
func TestRotateInACircleEnds(t *testing.T) {
	t.Parallel()
	store := memstore.New()
	guard := httpkey.New(store, memstore.NewLimiter(), nil)
	_, token := issue(t, guard, httpkey.Token{ID: "a", RotatedFrom: "a"})
	if token.RotatedFrom != "" {
		t.Errorf("Issue took RotatedFrom from its caller: %q", token.RotatedFrom)
	}
	token.RotatedFrom = token.ID
	if err := store.Update(t.Context(), token); err != nil {
		t.Fatal(err)
	}
	if _, _, err := guard.Rotate(t.Context(), token.ID, 0); !errors.Is(err, httpkey.ErrInvalidToken) {
		t.Errorf("Rotate returned %v", err)
	}
}

// A key whose successor has expired is past rotating, though its grace goes on.
func TestRotateAfterAnExpiredSuccessor(t *testing.T) {
	t.Parallel()
	store := memstore.New()
	guard := httpkey.New(store, memstore.NewLimiter(), nil)
	_, old := issue(t, guard, httpkey.Token{})
	_, successor, err := guard.Rotate(t.Context(), old.ID, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	successor.ExpiredAt = time.Now()
	if err := store.Update(t.Context(), successor); err != nil {
		t.Fatal(err)
	}
	if _, _, err := guard.Rotate(t.Context(), old.ID, 0); !errors.Is(err, httpkey.ErrInactive) {
		t.Errorf("Rotate returned %v", err)
	}
}

// A store that fails at any step, before or after it has done the step, never
// leaves the holder without a valid key.
func TestRotateWithAFailingStore(t *testing.T) {
	t.Parallel()
	down := errors.New("down")
	for _, step := range []string{"Get 1", "List 1", "Create 1", "Get 2", "Update 1", "Create done", "Update done"} {
		t.Run(step, func(t *testing.T) {
			t.Parallel()
			store := newSpyStore()
			guard := httpkey.New(store, memstore.NewLimiter(), nil)
			oldKey, old := issue(t, guard, httpkey.Token{})
			clear(store.calls)
			failAt := func(at string) error {
				if at == step {
					return down
				}
				return nil
			}
			store.failWith(func(method string, call int) error { return failAt(fmt.Sprint(method, " ", call)) })
			store.lose = func(method string) error { return failAt(method + " done") } // the deed is done, the answer lost
			secret, successor, err := guard.Rotate(t.Context(), old.ID, 0)
			if !errors.Is(err, down) {
				t.Fatalf("Rotate returned %v", err)
			}
			store.failWith(nil)
			var valid []string
			for name, key := range map[string]string{"old": oldKey, "successor": secret.Reveal()} {
				if key != "" && get(guard.Handler(ok), key).Code == http.StatusOK {
					valid = append(valid, name)
				}
			}
			if len(valid) == 0 {
				t.Error("no key is valid any more")
			}
			if (secret == "") != (successor.ID == "") {
				t.Error("a secret came without its token, or a token without its secret")
			}
		})
	}
}

// A key that is revoked while it is being rotated stays revoked.
func TestRotateDoesNotResurrect(t *testing.T) {
	t.Parallel()
	store := newSpyStore()
	guard := httpkey.New(store, memstore.NewLimiter(), nil)
	key, old := issue(t, guard, httpkey.Token{})
	clear(store.calls)
	store.failWith(func(method string, call int) error {
		if method == "Create" {
			revoked := old
			revoked.IsActive = false
			return store.Store.Update(t.Context(), revoked)
		}
		return nil
	})
	if _, _, err := guard.Rotate(t.Context(), old.ID, time.Hour); err != nil {
		t.Fatal(err)
	}
	if got := get(guard.Handler(ok), key).Code; got != http.StatusUnauthorized {
		t.Errorf("the revoked key got %d", got)
	}
}

func TestRevoke(t *testing.T) {
	t.Parallel()
	store := newSpyStore()
	guard := httpkey.New(store, memstore.NewLimiter(), nil)
	key, token := issue(t, guard, httpkey.Token{Label: "ci"})
	for range 2 {
		if err := guard.Revoke(t.Context(), token.ID); err != nil {
			t.Fatal(err)
		}
		if got := get(guard.Handler(ok), key).Code; got != http.StatusUnauthorized {
			t.Errorf("status %d", got)
		}
	}
	kept, err := store.Get(t.Context(), token.ID)
	if err != nil || kept.Label != "ci" || kept.IsActive || store.count("Update") != 1 {
		t.Errorf("kept %+v (%v) in %d writes", kept, err, store.count("Update"))
	}
	down := errors.New("down")
	_, other := issue(t, guard, httpkey.Token{})
	store.failWith(func(method string, _ int) error {
		if method == "Update" {
			return down
		}
		return nil
	})
	if err := guard.Revoke(t.Context(), other.ID); !errors.Is(err, down) {
		t.Errorf("with a store that fails, Revoke returned %v", err)
	}
	if err := guard.Revoke(t.Context(), "none"); !errors.Is(err, httpkey.ErrNotFound) {
		t.Errorf("revoking nothing returned %v", err)
	}
}

// Clocks differ: a token may have been used before it was created.
func TestNewTokensAreNotUnused(t *testing.T) {
	t.Parallel()
	store := newSpyStore()
	guard := httpkey.New(store, memstore.NewLimiter(), nil)
	born := time.Now()
	err := store.Create(t.Context(), httpkey.Token{ID: "odd", IsActive: true, CreatedAt: born, LastUsed: born.Add(-time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	for token, err := range guard.Unused(t.Context(), httpkey.Filter{}, time.Minute) {
		t.Errorf("%s is unused as soon as it is created (%v)", token.ID, err)
	}
}

func TestDueReadsNoPageTooMany(t *testing.T) {
	t.Parallel()
	store := newSpyStore()
	guard := httpkey.New(store, memstore.NewLimiter(), nil)
	for range 5 {
		issue(t, guard, httpkey.Token{})
	}
	for _, err := range guard.Due(t.Context(), httpkey.Filter{Limit: 2}, time.Hour) {
		if err != nil {
			t.Fatal(err)
		}
	}
	if n := store.count("List"); n != 3 {
		t.Errorf("%d pages of 2 were read for 5 tokens, want 3", n)
	}
}

func TestDueAndUnused(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const day = 24 * time.Hour
		store := newSpyStore()
		guard := httpkey.New(store, memstore.NewLimiter(), nil)
		old, _ := issue(t, guard, httpkey.Token{ID: "old", User: "ann"})
		issue(t, guard, httpkey.Token{ID: "old and unused", User: "ann"})
		issue(t, guard, httpkey.Token{ID: "of another", User: "bob"})
		issue(t, guard, httpkey.Token{ID: "revoked", User: "ann"})
		issue(t, guard, httpkey.Token{ID: "expired", User: "ann", ExpiredAt: time.Now().Add(day)})
		if err := guard.Revoke(t.Context(), "revoked"); err != nil {
			t.Fatal(err)
		}
		elapse(30 * day)
		issue(t, guard, httpkey.Token{ID: "younger", User: "ann"})
		elapse(60*day - time.Microsecond)

		list := func(f func() ([]string, error)) string {
			ids, err := f()
			if err != nil {
				t.Fatal(err)
			}
			return strings.Join(ids, ", ")
		}
		due := func(f httpkey.Filter, age time.Duration) func() ([]string, error) {
			return func() (ids []string, err error) {
				for token, err := range guard.Due(t.Context(), f, age) {
					if err != nil {
						return nil, err
					}
					ids = append(ids, token.ID)
				}
				return ids, nil
			}
		}
		unused := func(f httpkey.Filter, idle time.Duration) func() ([]string, error) {
			return func() (ids []string, err error) {
				for token, err := range guard.Unused(t.Context(), f, idle) {
					if err != nil {
						return nil, err
					}
					ids = append(ids, token.ID)
				}
				return ids, nil
			}
		}
		ann := httpkey.Filter{User: "ann", Limit: 2} // in pages
		if got := list(due(ann, 0)); got != "" {
			t.Errorf("a microsecond before 90 days, due are %s", got)
		}
		elapse(time.Microsecond)
		get(guard.Handler(ok), old)
		if err := guard.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := list(due(ann, 0)); got != "old and unused, old" {
			t.Errorf("after 90 days, due are %s", got)
		}
		if got := list(due(ann, -1)); got != "old and unused, old" {
			t.Errorf("with a negative age, due are %s", got)
		}
		if got := list(due(ann, 60*day)); got != "younger, old and unused, old" {
			t.Errorf("at 60 days, due are %s", got)
		}
		if got := list(unused(ann, 0)); got != "old and unused" {
			t.Errorf("after 90 days, unused are %s", got)
		}
		if got := list(unused(httpkey.Filter{}, 0)); got != "old and unused, of another" {
			t.Errorf("of all, unused are %s", got)
		}
		all := guard.Due(t.Context(), ann, time.Hour)
		for range 2 { // an iterator can be used again
			n := 0
			for _, err := range all {
				if err != nil {
					t.Error(err)
				}
				n++
			}
			if n != 3 {
				t.Errorf("%d tokens are an hour old, want 3", n)
			}
		}
		for _, err := range guard.Due(t.Context(), ann, time.Hour) {
			if err != nil {
				t.Error(err)
			}
			break // must not go on
		}
		down := errors.New("down")
		store.failWith(func(string, int) error { return down })
		if _, err := due(ann, 0)(); !errors.Is(err, down) || !strings.HasPrefix(err.Error(), "httpkey: ") {
			t.Errorf("with the store down, Due yields %v", err)
		}
	})
}

func TestMasked(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		options httpkey.Options
		kind    httpkey.Kind
		want    string
	}{
		{httpkey.Options{}, httpkey.APIKey, "hk_k_…"},
		{httpkey.Options{}, httpkey.ServiceToken, "hk_s_…"},
		{httpkey.Options{Prefix: "acme_live"}, httpkey.APIKey, "acme_live_k_…"},
		{httpkey.Options{ImportedMinLength: 20}, httpkey.APIKey, "…"},
	} {
		guard := newGuard(&tt.options)
		secret, token := issue(t, guard, httpkey.Token{Kind: tt.kind})
		got := guard.Masked(token)
		beginning, _, _ := strings.Cut(got, "…")
		if got != tt.want+secret[len(secret)-4:] || !strings.HasPrefix(secret, beginning) {
			t.Errorf("%s is masked as %s, want %s and its last four characters", secret, got, tt.want)
		}
	}
}
