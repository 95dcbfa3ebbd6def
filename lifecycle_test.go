package httpkey_test

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/httpkeytest"
	"github.com/httpkey/httpkey/memstore"
)

func TestIssueFillsWhatIsItsToSet(t *testing.T) {
	t.Parallel()
	store := memstore.New()
	guard := httpkey.New(store, memstore.NewLimiter(), &httpkey.Options{Prefix: "acme_live"})
	before := time.Now()
	scopes := []string{"profile:read"}
	created, err := guard.Issue(t.Context(), httpkey.Token{
		Label: "ci", User: "u-1", Workspace: "w-1", Scopes: scopes, ExpiredAt: before.Add(time.Hour),
		Hint: "mine", LastUsed: before, CreatedAt: before.Add(-time.Hour), Digest: httpkey.Digest{1},
	})
	if err != nil {
		t.Fatal(err)
	}
	secret, token := created.Secret, created.Token
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
		"Limits":       {Limits: limits(httpkey.Limit{Rate: -1, Period: time.Second})},
		"Period":       {Limits: limits(httpkey.Limit{Rate: 5})},
		"Limits ":      {Limits: limits(httpkey.PerMinute(5), httpkey.PerMinute(6))}, // one bucket
		"Limits  ":     {Limits: slices.Repeat(limits(httpkey.PerMinute(5)), 9)},
		"Networks":     {Networks: []netip.Prefix{{}}},
		"Networks ":    {Networks: []netip.Prefix{netip.MustParsePrefix("::ffff:10.0.0.0/104")}},
		"Networks  ":   {Networks: slices.Repeat([]netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, 101)},
		"Metadata":     {Metadata: map[string]string{"a": "\x00"}},
		"Metadata ":    {Metadata: map[string]string{"a\xff": ""}},
		"Metadata  ":   {Metadata: map[string]string{"a": strings.Repeat("x", 4096)}},
		"CreatedBy":    {CreatedBy: long},
		"ExpiredAt":    {ExpiredAt: time.Now().Add(-time.Second)},
		"ExpiredAt ":   {ExpiredAt: time.Date(10_000, 1, 1, 0, 0, 0, 0, time.UTC)}, // JSON could not write it
	} {
		store := httpkeytest.NewStore(memstore.New())
		guard := httpkey.New(store, memstore.NewLimiter(), nil)
		created, err := guard.Issue(t.Context(), token)
		if !errors.Is(err, httpkey.ErrInvalidToken) || !strings.Contains(err.Error(), strings.TrimSpace(field)) ||
			created.Secret != "" {
			t.Errorf("%s: Issue returned %q and %v", field, created.Secret.Reveal(), err)
		}
		if store.Calls("Create") > 0 {
			t.Errorf("%s: the store was asked to create it", field)
		}
	}
	guard := newGuard(nil)
	issue(t, guard, httpkey.Token{Label: strings.Repeat("👩", 255), Description: strings.Repeat("é", 4096),
		Scopes: slices.Repeat([]string{"s"}, 100),
		ID:     long[:255], User: long[:255], Workspace: long[:255]})
	issue(t, guard, httpkey.Token{Scopes: []string{long[:255], "!#[]~"}})
}

// Issue passes times in microseconds and UTC, which every store can keep.
func TestTimesAreStoredToTheMicrosecond(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		if _, err := newGuard(nil).Issue(t.Context(), httpkey.Token{ExpiredAt: time.Now()}); !errors.Is(err,
			httpkey.ErrInvalidToken) {
			t.Errorf("a token that expires now: %v", err)
		}
		httpkeytest.Elapse(1500) // nanoseconds: no whole microsecond
		store := memstore.New()
		guard := httpkey.New(store, memstore.NewLimiter(), nil)
		expiry := time.Now().Add(time.Hour).In(time.FixedZone("", 3600))
		_, token := issue(t, guard, httpkey.Token{ExpiredAt: expiry})
		if _, err := guard.Rotate(t.Context(), token.ID, time.Minute); err != nil {
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
		if _, err := guard.Issue(t.Context(), httpkey.Token{ExpiredAt: time.Now()}); !errors.Is(err,
			httpkey.ErrInvalidToken) {
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
	created, err := guard.Issue(t.Context(), httpkey.Token{ID: "taken"})
	if !errors.Is(err, httpkey.ErrConflict) || created.Secret != "" || created.Token.ID != "" {
		t.Errorf("Issue returned %v, %v", created, err)
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
			if got := httpkeytest.Get(tt.guard.Handler(ok), key).Code; got != want {
				t.Errorf("%s: status %d, want %d", tt.name, got, want)
			}
		}
	}
}

// Clocks differ: a token may have been used before it was created.
func TestNewTokensAreNotUnused(t *testing.T) {
	t.Parallel()
	store := httpkeytest.NewStore(memstore.New())
	guard := httpkey.New(store, memstore.NewLimiter(), nil)
	born := time.Now()
	_, err := store.Create(t.Context(), httpkey.Token{ID: "odd", IsActive: true, CreatedAt: born,
		LastUsed: born.Add(-time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	for token, err := range guard.Unused(t.Context(), httpkey.Filter{}, time.Minute) {
		t.Errorf("%s is unused as soon as it is created (%v)", token.ID, err)
	}
}

func TestDueReadsNoPageTooMany(t *testing.T) {
	t.Parallel()
	store := httpkeytest.NewStore(memstore.New())
	guard := httpkey.New(store, memstore.NewLimiter(), nil)
	for range 5 {
		issue(t, guard, httpkey.Token{})
	}
	for _, err := range guard.Due(t.Context(), httpkey.Filter{Limit: 2}, time.Hour) {
		if err != nil {
			t.Fatal(err)
		}
	}
	if n := store.Calls("List"); n != 3 {
		t.Errorf("%d pages of 2 were read for 5 tokens, want 3", n)
	}
}

func TestExpiring(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const day = 24 * time.Hour
		store := httpkeytest.NewStore(memstore.New())
		guard := httpkey.New(store, memstore.NewLimiter(), nil)
		in := func(d time.Duration) time.Time { return time.Now().Add(d) }
		for id, token := range map[string]httpkey.Token{
			"of another":    {User: "bob", ExpiredAt: in(day)},
			"never":         {User: "ann"},
			"in 7 days":     {User: "ann", ExpiredAt: in(7 * day)},
			"later":         {User: "ann", ExpiredAt: in(7*day + time.Microsecond)},
			"in 90 days":    {User: "ann", ExpiredAt: in(90 * day)},
			"after 90 days": {User: "ann", ExpiredAt: in(90*day + time.Microsecond)},
			"revoked":       {User: "ann", ExpiredAt: in(day)},
			"rotated":       {User: "ann", ExpiredAt: in(365 * day)},
			"expired":       {User: "ann", ExpiredAt: in(time.Microsecond)},
		} {
			token.ID = id
			issue(t, guard, token)
		}
		if err := guard.Revoke(t.Context(), "revoked", ""); err != nil {
			t.Fatal(err)
		}
		rotated, err := guard.Rotate(t.Context(), "rotated", day) // its own end is a grace
		if err != nil {
			t.Fatal(err)
		}
		ann := httpkey.Filter{User: "ann", Limit: 2} // in pages
		expiring := func(f httpkey.Filter, within time.Duration) (ids []string) {
			for token, err := range guard.Expiring(t.Context(), f, within) {
				if err != nil {
					t.Fatal(err)
				}
				ids = append(ids, token.ID)
			}
			slices.Sort(ids)
			return ids
		}
		httpkeytest.Elapse(time.Microsecond) // "expired" is, and the others are as much nearer
		for _, tt := range []struct {
			f      httpkey.Filter
			within time.Duration
			want   []string
		}{
			{ann, 7*day - 2*time.Microsecond, nil},
			{ann, 7*day - time.Microsecond, []string{"in 7 days"}},
			{ann, 7 * day, []string{"in 7 days", "later"}},
			{httpkey.Filter{}, 7 * day, []string{"in 7 days", "later", "of another"}},
			{ann, 0, []string{"after 90 days", "in 7 days", "in 90 days", "later"}},
			{ann, math.MaxInt64, []string{rotated.Token.ID, "after 90 days", "in 7 days", "in 90 days", "later"}},
		} {
			if got := expiring(tt.f, tt.within); !slices.Equal(got, tt.want) {
				t.Errorf("of %q within %v, %q expire, want %q", tt.f.User, tt.within, got, tt.want)
			}
		}
		down := errors.New("down")
		store.Before(httpkeytest.Fail(down))
		for token, err := range guard.Expiring(t.Context(), ann, day) {
			if !errors.Is(err, down) {
				t.Errorf("with the store down, Expiring yields %q, %v", token.ID, err)
			}
		}
	})
}

func TestDueAndUnused(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const day = 24 * time.Hour
		store := httpkeytest.NewStore(memstore.New())
		guard := httpkey.New(store, memstore.NewLimiter(), nil)
		old, _ := issue(t, guard, httpkey.Token{ID: "old", User: "ann"})
		issue(t, guard, httpkey.Token{ID: "old and unused", User: "ann"})
		issue(t, guard, httpkey.Token{ID: "of another", User: "bob"})
		issue(t, guard, httpkey.Token{ID: "revoked", User: "ann"})
		issue(t, guard, httpkey.Token{ID: "expired", User: "ann", ExpiredAt: time.Now().Add(day)})
		if err := guard.Revoke(t.Context(), "revoked", ""); err != nil {
			t.Fatal(err)
		}
		httpkeytest.Elapse(30 * day)
		issue(t, guard, httpkey.Token{ID: "younger", User: "ann"})
		httpkeytest.Elapse(60*day - time.Microsecond)

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
		httpkeytest.Elapse(time.Microsecond)
		httpkeytest.Get(guard.Handler(ok), old)
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
		store.Before(httpkeytest.Fail(down))
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
