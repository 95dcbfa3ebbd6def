package storetest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/httpkey/httpkey"
)

// storeBench holds the store for a rule.
type storeBench struct {
	open   func() httpkey.TokenStore
	claims Claims
}

type storeRule struct {
	name  string
	needs ability
	check func(context.Context, storeBench) error
	rule  string
}

var storeRules = []storeRule{
	{"RoundTrip", 0, checkRoundTrip,
		"what Create stored, it returns, and so do Lookup, Get and List through any handle, every field of it"},
	{"More", managed, checkMore,
		"what Token.More carries survives byte by byte, properties that this version does not know included"},
	{"Times", managed, checkTimes,
		"times keep their microsecond, in whatever location, and a zero time stays zero"},
	{"Text", managed, checkText,
		"text comes back byte by byte"},
	{"NotFound", 0, checkNotFound,
		"Lookup, Get and Update answer ErrNotFound for a token that is not there"},
	{"Conflict", managed, checkConflict,
		"Create answers ErrConflict, and changes nothing, if the digest exists"},
	{"ConflictID", managed | namedIDs, checkConflictID,
		"Create answers ErrConflict, and changes nothing, if the ID exists"},
	{"ConflictRace", managed, checkConflictRace,
		"of several Creates that race for one digest, exactly one wins and the others get ErrConflict"},
	{"ConflictRaceID", managed | namedIDs, checkConflictRaceID,
		"of several Creates that race for one ID, exactly one wins and the others get ErrConflict"},
	{"ExactDigests", 0, checkExactDigests,
		"digests are compared byte by byte: no letter case, no trimming, no end at a zero byte"},
	{"ExactIDs", managed | namedIDs, checkExactIDs,
		"IDs are compared byte by byte: no letter case, no trimming, no accents"},
	{"ExactFilters", managed, checkExactFilters,
		"filters are compared byte by byte: no letter case, no trimming, no accents"},
	{"Copies", managed, checkCopies,
		"tokens go in and come out as copies: a caller that changes a slice or a map of one changes only its own"},
	{"ListOrder", managed, checkListOrder,
		"List returns the newest first, by CreatedAt and then by ID, both descending"},
	{"ListFilter", managed, checkListFilter,
		"List returns all tokens that every set field of the filter selects, and no others"},
	{"ListPages", managed, checkListPages,
		"pages are whole: no token comes twice or is left out while others are created and deleted, the cursor's own " +
			"included"},
	{"ListPageSize", managed, checkListPageSize,
		"a page holds Filter.PageSize tokens at most: 100 if Limit is 0, and never more than 1,000"},
	{"Update", managed, checkUpdate,
		"Update stores each field that change sets, but ID, Digest and LastUsed stay, and returns the token as it is " +
			"stored"},
	{"UpdateError", managed, checkUpdateError,
		"an error of change is returned, for errors.Is, and changes nothing; so is that of Token.Apply"},
	{"UpdateAtomic", managed, checkUpdateAtomic,
		"Update is atomic: of changes at once, through several handles, none is lost"},
	{"EndingStays", managed, checkEndingStays,
		"no Update makes a token valid again that was revoked or has expired, or loses when and why it was revoked"},
	{"EndingRace", managed, checkEndingRace,
		"no Update undoes a revocation that comes at the same moment, though change overwrites all with an old copy"},
	{"Delete", managed, checkDelete,
		"Delete removes the token from every view, is no error if there is none, and frees ID and digest"},
	{"Touch", managed, checkTouch,
		"Touch sets LastUsed and nothing else, and keeps neither the map nor an order of its entries"},
	{"TouchLookup", managed | shownUses, checkTouchLookup,
		"Lookup shows at once what Touch has set"},
	{"TouchBackwards", managed, checkTouchBackwards,
		"Touch never moves LastUsed backwards"},
	{"TouchUnknown", 0, checkTouchUnknown,
		"Touch skips IDs that it does not hold, without an error, and does the others"},
	{"TouchConcurrent", managed, checkTouchConcurrent,
		"Touches of overlapping tokens at once all succeed, and the latest time stays"},
	{"Concurrent", managed, checkConcurrent,
		"all methods may be called at once, through several handles"},
}

// epoch is about the CreatedAt of the tests' tokens, to the microsecond. They expire around
// future.
var (
	epoch  = time.Date(2026, 2, 3, 4, 5, 6, 789_012_000, time.UTC)
	future = epoch.AddDate(200, 0, 0)
)

// token returns an active token with every other field set, different for each n.
func token(n int) httpkey.Token {
	t := httpkey.Token{
		ID:          fmt.Sprintf("token-%06d", n),
		Hint:        fmt.Sprintf("%04d", n%10000),
		Kind:        httpkey.APIKey,
		Label:       fmt.Sprintf("label %d", n),
		Description: fmt.Sprintf("description %d", n),
		User:        fmt.Sprintf("user-%d", n),
		Workspace:   fmt.Sprintf("workspace-%d", n),
		Scopes:      []string{"profile:read", fmt.Sprintf("scope:%d", n)},
		IsActive:    true,
		ExpiredAt:   future.Add(time.Duration(n) * time.Hour),
		LastUsed:    epoch.Add(time.Duration(n) * time.Minute),
		CreatedAt:   epoch.Add(time.Duration(n) * time.Second),
		RotatedFrom: fmt.Sprintf("rotated-%d", n),
		Limits: []httpkey.Limit{
			{Name: "often", Rate: n + 1, Burst: n + 2, Period: 90 * time.Second},
			{Rate: 1000 + n, Calendar: "month", DryRun: true},
		},
		Networks:  []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("2001:db8::/32")},
		Metadata:  map[string]string{"plan": fmt.Sprint("plan ", n), "": "<&>"},
		CreatedBy: fmt.Sprintf("admin-%d", n),
		RotatedTo: fmt.Sprintf("successor-%d", n),
	}
	for i := range t.Digest {
		t.Digest[i] = byte(n >> (8 * (i % 4)))
	}
	t.Digest[31] = 0xff
	return t
}

// revoked returns token(n) as a revoked token.
func revoked(n int) httpkey.Token {
	t := token(n)
	t.IsActive, t.RevokedAt = false, epoch.Add(time.Duration(n)*time.Hour)
	t.RevokedFor, t.RevokedBy = fmt.Sprint("reason ", n), fmt.Sprintf("admin-%d", n)
	return t
}

// equal reports whether two tokens are equal; locations of times may differ.
func equal(a, b httpkey.Token) bool {
	return a.ID == b.ID && a.Digest == b.Digest && a.Hint == b.Hint && a.Kind == b.Kind &&
		a.Label == b.Label && a.Description == b.Description && a.User == b.User && a.Workspace == b.Workspace &&
		slices.Equal(a.Scopes, b.Scopes) && a.IsActive == b.IsActive &&
		a.ExpiredAt.Equal(b.ExpiredAt) && a.LastUsed.Equal(b.LastUsed) && a.CreatedAt.Equal(b.CreatedAt) &&
		a.RotatedFrom == b.RotatedFrom && a.More() == b.More()
}

// same reports whether got equals want in all that the store claims to keep.
func (b storeBench) same(got, want httpkey.Token) bool {
	if b.claims.LookupOnly {
		return got.ID == want.ID && got.Digest == want.Digest &&
			got.IsActive == want.IsActive && got.ExpiredAt.Equal(want.ExpiredAt)
	}
	return equal(got, want)
}

// create stores a token and returns the stored token.
func (b storeBench) create(ctx context.Context, s httpkey.TokenStore, t httpkey.Token) (httpkey.Token, error) {
	stored, err := s.Create(ctx, t)
	if err != nil {
		return stored, fmt.Errorf("Create(%s): %w", t.ID, err)
	}
	if b.claims.ChoosesIDs {
		t.ID = stored.ID
	}
	if !b.same(stored, t) {
		return stored, fmt.Errorf("Create(%s) returned another token:\n%s", t.ID, differences(stored, t))
	}
	return stored, nil
}

// createAll stores several tokens, and replaces each by the stored token.
func (b storeBench) createAll(ctx context.Context, s httpkey.TokenStore, tokens ...*httpkey.Token) error {
	for _, t := range tokens {
		stored, err := b.create(ctx, s, *t)
		if err != nil {
			return err
		}
		*t = stored
	}
	return nil
}

// differences lists the fields in which got and want differ.
func differences(got, want httpkey.Token) string {
	var all []string
	of := reflect.TypeFor[httpkey.Token]()
	for i := range of.NumField() {
		if a, b := reflect.ValueOf(got).Field(i), reflect.ValueOf(want).Field(i); of.Field(i).IsExported() {
			if a, b := fmt.Sprintf("%+v", a), fmt.Sprintf("%+v", b); a != b {
				all = append(all, fmt.Sprintf("%s is %.300s, want %.300s", of.Field(i).Name, a, b))
			}
		}
	}
	if a, b := got.More(), want.More(); a != b {
		all = append(all, fmt.Sprintf("More is %.1000s, want %.1000s", a, b))
	}
	return strings.Join(all, "\n")
}

// holds checks that Lookup, Get and List return want.
func (b storeBench) holds(ctx context.Context, s httpkey.TokenStore, want httpkey.Token) error {
	got, err := s.Lookup(ctx, want.Digest)
	if err != nil {
		return fmt.Errorf("Lookup of the digest of %s: %w", want.ID, err)
	}
	if b.claims.LateUses && got.LastUsed.Before(want.LastUsed) {
		got.LastUsed = want.LastUsed
	}
	if !b.same(got, want) {
		return fmt.Errorf("Lookup of the digest of %s returned another token:\n%s", want.ID, differences(got, want))
	}
	if b.claims.LookupOnly {
		return nil
	}
	if got, err = s.Get(ctx, want.ID); err != nil {
		return fmt.Errorf("Get(%s): %w", want.ID, err)
	}
	if !equal(got, want) {
		return fmt.Errorf("Get(%s) returned another token:\n%s", want.ID, differences(got, want))
	}
	page, err := s.List(ctx, httpkey.Filter{User: want.User})
	if err != nil {
		return fmt.Errorf("List of user %s: %w", want.User, err)
	}
	if len(page) != 1 {
		return fmt.Errorf("List of user %s returned %v, want only %s", want.User, idsOf(page), want.ID)
	}
	if !equal(page[0], want) {
		return fmt.Errorf("List of user %s returned another token:\n%s", want.User, differences(page[0], want))
	}
	return nil
}

func notFound(method string, err error) error {
	if !errors.Is(err, httpkey.ErrNotFound) {
		return fmt.Errorf("%s returned the error %v, want ErrNotFound", method, err)
	}
	return nil
}

func checkRoundTrip(ctx context.Context, b storeBench) error {
	writer, reader := b.open(), b.open()
	bare := httpkey.Token{ID: "bare", Kind: httpkey.ServiceToken, User: "bare", CreatedAt: epoch}
	for _, want := range []httpkey.Token{token(1), token(2), revoked(3), bare} {
		stored, err := b.create(ctx, writer, want)
		if err != nil {
			return err
		}
		if err := b.holds(ctx, reader, stored); err != nil {
			return err
		}
	}
	return nil
}

// later is a More with the payer and the planned expiry of a rotated token, and with
// properties of a later version.
const later = `{"payer":"first","planned_expiry":"2230-01-02T03:04:05.000006Z",` +
	`"later":{"b":[1,2.50,1e2,12345678901234567890],"a":null," ":"ü<\u0000\u2028\"\\"},"Z":"","a":true}`

func checkMore(ctx context.Context, b storeBench) error {
	s, other := b.open(), b.open()
	bare := httpkey.Token{ID: "bare", Kind: httpkey.APIKey, User: "bare", IsActive: true, CreatedAt: epoch}
	for i, fields := range []httpkey.Token{token(0), bare} {
		t := fields
		if err := t.SetMore(later); err != nil {
			return err
		}
		t.Limits, t.Networks, t.Metadata, t.CreatedBy = fields.Limits, fields.Networks, fields.Metadata, fields.CreatedBy
		t.Digest[0] = byte(i)
		want, err := b.create(ctx, s, t)
		if err != nil {
			return err
		}
		if err := b.holds(ctx, other, want); err != nil {
			return err
		}
		if got, err := other.Lookup(ctx, want.Digest); err != nil || got.Payer() != "token:first" {
			return fmt.Errorf("the token pays from %q (%v), want the bucket of the token that it came from", got.Payer(), err)
		}
		want.Label = "changed"
		if _, err := other.Update(ctx, want.ID, func(t *httpkey.Token) error {
			*t = httpkey.Token{ // a caller can set only the exported fields
				Hint: want.Hint, Kind: want.Kind, Label: want.Label, Description: want.Description, User: want.User,
				Workspace: want.Workspace, Scopes: want.Scopes, IsActive: want.IsActive, ExpiredAt: want.ExpiredAt,
				CreatedAt: want.CreatedAt, RotatedFrom: want.RotatedFrom, Limits: want.Limits, Networks: want.Networks,
				Metadata: want.Metadata, CreatedBy: want.CreatedBy, RotatedTo: want.RotatedTo,
			}
			return nil
		}); err != nil {
			return fmt.Errorf("Update: %w", err)
		}
		if err := b.holds(ctx, s, want); err != nil {
			return fmt.Errorf("after an Update: %w", err)
		}
	}
	full, err := b.create(ctx, s, fullToken())
	if err != nil {
		return err
	}
	return b.holds(ctx, other, full)
}

// fullToken returns a token whose further fields are as long as Token.Validate allows.
func fullToken() httpkey.Token {
	t := token(9)
	for n := range 7 {
		name := strings.Repeat(fmt.Sprint(n), 64)
		t.Limits = append(t.Limits, httpkey.Limit{Name: name, Rate: 1<<31 - 1, Burst: 1, Period: time.Hour})
	}
	t.Limits = t.Limits[1:]
	for n := range 98 {
		prefix := netip.PrefixFrom(netip.MustParseAddr(fmt.Sprintf("2001:db8:1111:2222:3333:4444:5555:%x", 0x1000+n)), 128)
		t.Networks = append(t.Networks, prefix)
	}
	t.Metadata = map[string]string{"key": strings.Repeat("\x01", 4093)} // each takes six bytes as JSON
	t.CreatedBy, t.RotatedTo = strings.Repeat("\x02", 255), strings.Repeat("\x03", 255)
	t.IsActive, t.RevokedBy = false, strings.Repeat("\x04", 255)
	return t
}

func checkTimes(ctx context.Context, b storeBench) error {
	s := b.open()
	for i, at := range []time.Time{
		epoch,
		epoch.Add(time.Microsecond),
		epoch.Add(-time.Microsecond),
		epoch.In(time.FixedZone("", -11*3600-1800)),
		time.Date(1969, 12, 31, 23, 59, 59, 999_999_000, time.UTC),
		time.Date(2262, 4, 12, 0, 0, 0, 1000, time.UTC), // beyond what Unix nanoseconds can count
		{},
	} {
		want := revoked(i)
		want.ExpiredAt, want.LastUsed, want.RevokedAt = at, at, at
		if !at.IsZero() {
			want.CreatedAt = at
		}
		if err := b.keeps(ctx, s, want); err != nil {
			return err
		}
	}
	return nil
}

// keeps creates a token and checks that the store holds it.
func (b storeBench) keeps(ctx context.Context, s httpkey.TokenStore, t httpkey.Token) error {
	stored, err := b.create(ctx, s, t)
	if err != nil {
		return err
	}
	return b.holds(ctx, s, stored)
}

func checkText(ctx context.Context, b storeBench) error {
	s := b.open()
	for i, text := range []string{
		"", " ", " a ", "0", "null", "a,b", `'";--\`, "<script>&amp;", "tab\tline\nend", "ünï©ödé",
		"\u202eright to left", "👩‍👩‍👧‍👦", strings.Repeat("🔑", 255),
	} {
		want := revoked(i)
		want.Label, want.Description = text, strings.Repeat(text, 4096/max(1, utf8.RuneCountInString(text)))
		want.RevokedFor, want.Metadata = text, map[string]string{text: text}
		if err := b.keeps(ctx, s, want); err != nil {
			return err
		}
	}
	return nil
}

func checkNotFound(ctx context.Context, b storeBench) error {
	s := b.open()
	if _, err := b.create(ctx, s, token(1)); err != nil {
		return err
	}
	absent := token(2)
	_, err := s.Lookup(ctx, absent.Digest)
	if err := notFound("Lookup", err); err != nil {
		return err
	}
	_, err = s.Lookup(ctx, httpkey.Digest{})
	if err := notFound("Lookup of the zero digest", err); err != nil || b.claims.LookupOnly {
		return err
	}
	_, err = s.Get(ctx, absent.ID)
	if err := notFound("Get", err); err != nil {
		return err
	}
	_, err = s.Update(ctx, absent.ID, set(absent))
	if err := notFound("Update", err); err != nil {
		return err
	}
	_, err = s.Get(ctx, absent.ID)
	return notFound("Get after an Update of nothing", err)
}

// set returns a change that replaces all fields of a token by those of another.
func set(to httpkey.Token) func(*httpkey.Token) error {
	return func(t *httpkey.Token) error {
		*t = to.Clone()
		return nil
	}
}

func checkConflict(ctx context.Context, b storeBench) error {
	second := token(2)
	second.Digest = token(1).Digest
	return b.refuses(ctx, second)
}

func checkConflictID(ctx context.Context, b storeBench) error {
	second := token(2)
	second.ID = token(1).ID
	return errors.Join(b.refuses(ctx, second), b.refuses(ctx, token(1)))
}

// refuses checks that a token conflicts with token(1), and leaves no trace.
func (b storeBench) refuses(ctx context.Context, second httpkey.Token) error {
	s, other := b.open(), b.open()
	first, err := s.Create(ctx, token(1))
	if errors.Is(err, httpkey.ErrConflict) { // from the previous call
		first, err = token(1), nil
	}
	if err != nil {
		return fmt.Errorf("Create: %w", err)
	}
	if _, err := other.Create(ctx, second); !errors.Is(err, httpkey.ErrConflict) {
		return fmt.Errorf("Create of a token that conflicts returned the error %v, want ErrConflict", err)
	}
	if err := b.holds(ctx, s, first); err != nil {
		return fmt.Errorf("after a Create that conflicts: %w", err)
	}
	if second.Digest != first.Digest {
		_, err := s.Lookup(ctx, second.Digest)
		return notFound("Lookup of the digest that a refused Create brought", err)
	}
	if second.ID != first.ID {
		_, err = s.Get(ctx, second.ID)
		return notFound("Get of the ID that a refused Create brought", err)
	}
	return nil
}

func checkConflictRace(ctx context.Context, b storeBench) error {
	return b.oneWins(ctx, func(t *httpkey.Token, n int) { t.ID = token(2000 + n).ID })
}

func checkConflictRaceID(ctx context.Context, b storeBench) error {
	return b.oneWins(ctx, func(t *httpkey.Token, n int) { t.Digest = token(1000 + n).Digest })
}

// oneWins creates variants of token(1) concurrently, and checks that one call succeeds.
func (b storeBench) oneWins(ctx context.Context, vary func(t *httpkey.Token, n int)) error {
	const racers = 16
	errs := make([]error, racers)
	var wg sync.WaitGroup
	for n := range racers {
		s := b.open()
		wg.Go(func() {
			t := token(1)
			vary(&t, n)
			_, errs[n] = s.Create(ctx, t)
		})
	}
	wg.Wait()
	won := 0
	for _, err := range errs {
		switch {
		case err == nil:
			won++
		case !errors.Is(err, httpkey.ErrConflict):
			return fmt.Errorf("a Create that raced returned the error %w, want ErrConflict", err)
		}
	}
	if won != 1 {
		return fmt.Errorf("%d of %d Creates that raced succeeded, want 1", won, racers)
	}
	return nil
}

func checkExactDigests(ctx context.Context, b storeBench) error {
	s := b.open()
	stored := token(1)
	for i := range stored.Digest {
		stored.Digest[i] = 'a'
	}
	stored.Digest[7] = 0 // where a C string would end
	stored.Digest[31] = ' '
	stored, err := b.create(ctx, s, stored)
	if err != nil {
		return err
	}
	change := func(i int, to byte) httpkey.Digest {
		d := stored.Digest
		d[i] = to
		return d
	}
	for what, d := range map[string]httpkey.Digest{
		"upper case":           change(0, 'A'),
		"an accent":            change(1, 0xe1),
		"another zero byte":    change(8, 0),
		"no zero byte":         change(7, 'a'),
		"a trailing zero":      change(31, 0),
		"another trailing one": change(31, '\t'),
		"one bit":              change(30, 'a'^1),
	} {
		_, err := s.Lookup(ctx, d)
		if err := notFound("Lookup of a digest that differs by "+what, err); err != nil {
			return err
		}
	}
	return b.holds(ctx, s, stored)
}

// similar are names that a database may take for the same name.
var similar = []string{
	"key", "Key", "KEY", "kéy", "ke\u0301y", "key ", " key", "key\t", "0", "00", "ß", "ss",
	strings.Repeat("k", 254), strings.Repeat("k", 255),
}

func checkExactIDs(ctx context.Context, b storeBench) error {
	s := b.open()
	for i, name := range similar {
		t := token(i)
		t.ID = name
		if _, err := b.create(ctx, s, t); err != nil {
			return fmt.Errorf("beside similar names: %w", err)
		}
	}
	for i, name := range similar {
		if got, err := s.Get(ctx, name); err != nil || got.Label != token(i).Label {
			return fmt.Errorf("Get(%q) returned %q (%v), want the token of just that ID", name, got.ID, err)
		}
	}
	for _, absent := range []string{"kEy", "key  ", "k", "", "0.0", "SS"} {
		_, err := s.Get(ctx, absent)
		if err := notFound(fmt.Sprintf("Get(%q)", absent), err); err != nil {
			return err
		}
	}
	return nil
}

func checkExactFilters(ctx context.Context, b storeBench) error {
	s := b.open()
	for i, name := range similar {
		t := token(i)
		t.User, t.Workspace, t.RotatedFrom = name, name, name
		if _, err := b.create(ctx, s, t); err != nil {
			return fmt.Errorf("beside similar names: %w", err)
		}
	}
	for i, name := range similar {
		for _, f := range []httpkey.Filter{{User: name}, {Workspace: name}, {RotatedFrom: name}} {
			page, err := s.List(ctx, f)
			if err != nil {
				return fmt.Errorf("List(%+v): %w", f, err)
			}
			if len(page) != 1 || page[0].Label != token(i).Label {
				return fmt.Errorf("List(%+v) returned %d tokens, want the one", f, len(page))
			}
		}
	}
	return nil
}

func checkCopies(ctx context.Context, b storeBench) error {
	s := b.open()
	given := token(1)
	stored, err := b.create(ctx, s, given)
	if err != nil {
		return err
	}
	want := stored.Clone()
	var inside *httpkey.Token // the argument of an Update's change
	for _, step := range []struct {
		name  string
		token func() (httpkey.Token, error)
	}{
		{"given to Create", func() (httpkey.Token, error) { return given, nil }},
		{"that Create returned", func() (httpkey.Token, error) { return stored, nil }},
		{"that Lookup returned", func() (httpkey.Token, error) { return s.Lookup(ctx, want.Digest) }},
		{"that Get returned", func() (httpkey.Token, error) { return s.Get(ctx, want.ID) }},
		{"that List returned", func() (httpkey.Token, error) {
			page, err := s.List(ctx, httpkey.Filter{})
			if err != nil || len(page) == 0 {
				return httpkey.Token{}, errors.Join(err, errors.New("no token"))
			}
			return page[0], nil
		}},
		{"that Update returned", func() (httpkey.Token, error) {
			return s.Update(ctx, want.ID, func(t *httpkey.Token) error {
				inside = t
				return nil
			})
		}},
		{"that Update passed to change", func() (httpkey.Token, error) { return *inside, nil }},
		{"that change put there", func() (httpkey.Token, error) {
			given = want.Clone()
			_, err := s.Update(ctx, want.ID, func(t *httpkey.Token) error {
				t.Scopes, t.Limits, t.Networks, t.Metadata = given.Scopes, given.Limits, given.Networks, given.Metadata
				return nil
			})
			return given, err
		}},
	} {
		t, err := step.token()
		if err != nil {
			return fmt.Errorf("the token %s: %w", step.name, err)
		}
		spoil(t)
		if err := b.holds(ctx, s, want); err != nil {
			return fmt.Errorf("after the token %s was changed: %w", step.name, err)
		}
	}
	return nil
}

// spoil changes everything that copies of a token share.
func spoil(t httpkey.Token) {
	for i := range t.Scopes {
		t.Scopes[i] = "spoiled"
	}
	for i := range t.Limits {
		t.Limits[i].Rate = 0
	}
	for i := range t.Networks {
		t.Networks[i] = netip.Prefix{}
	}
	for name := range t.Metadata {
		t.Metadata[name] = "spoiled"
	}
}

// ids lists what f selects, page by page.
func ids(ctx context.Context, s httpkey.TokenStore, f httpkey.Filter) ([]string, error) {
	var all []string
	for {
		page, err := s.List(ctx, f)
		if err != nil {
			return nil, fmt.Errorf("List(%+v): %w", f, err)
		}
		all = append(all, idsOf(page)...)
		if len(page) < f.PageSize() || len(all) > 10_000 {
			return all, nil
		}
		f.After = page[len(page)-1].Cursor()
	}
}

func checkListOrder(ctx context.Context, b storeBench) error {
	s := b.open()
	// The order of creation is neither by time nor by ID; c and a have the same CreatedAt.
	var tokens []httpkey.Token
	for n, t := range []struct {
		id    string
		after time.Duration
	}{{"b", 2}, {"d", 0}, {"c", 1}, {"a", 1}, {"e", 3}} {
		made := token(n)
		made.ID, made.CreatedAt = t.id, epoch.Add(t.after*time.Microsecond)
		made, err := b.create(ctx, s, made)
		if err != nil {
			return err
		}
		tokens = append(tokens, made)
	}
	slices.SortFunc(tokens, func(t, u httpkey.Token) int { return t.Cursor().Compare(u.Cursor()) })
	want := idsOf(tokens)
	for _, size := range []int{0, 1, 2, 3} {
		got, err := ids(ctx, b.open(), httpkey.Filter{Limit: size})
		if err != nil {
			return err
		}
		if !slices.Equal(got, want) {
			return fmt.Errorf("List with Limit %d returned %v, want %v", size, got, want)
		}
	}
	return nil
}

func idsOf(tokens []httpkey.Token) (ids []string) {
	for _, t := range tokens {
		ids = append(ids, t.ID)
	}
	return ids
}

func checkListFilter(ctx context.Context, b storeBench) error {
	s := b.open()
	var all []httpkey.Token
	for n := range 24 {
		t := token(n)
		t.User, t.Workspace = fmt.Sprint("u", n%2), fmt.Sprint("w", n%3)
		t.Kind = []httpkey.Kind{httpkey.APIKey, httpkey.ServiceToken}[n/2%2]
		t.RotatedFrom = fmt.Sprint("r", n%4)
		t, err := b.create(ctx, s, t)
		if err != nil {
			return err
		}
		all = append(all, t)
	}
	slices.Reverse(all)
	for _, user := range []string{"", "u0", "u2"} {
		for _, workspace := range []string{"", "w1", "w9"} {
			for _, kind := range []httpkey.Kind{"", httpkey.ServiceToken} {
				for _, rotated := range []string{"", "r2"} {
					f := httpkey.Filter{User: user, Workspace: workspace, Kind: kind, RotatedFrom: rotated, Limit: 2}
					var want []string
					for _, t := range all {
						if f.Matches(&t) {
							want = append(want, t.ID)
						}
					}
					got, err := ids(ctx, s, f)
					if err != nil {
						return err
					}
					if !slices.Equal(got, want) {
						return fmt.Errorf("List(%+v) returned %v, want %v", f, got, want)
					}
				}
			}
		}
	}
	return nil
}

func checkListPages(ctx context.Context, b storeBench) error {
	s, other := b.open(), b.open()
	var want []string
	for n := range 20 {
		t, err := b.create(ctx, s, token(n))
		if err != nil {
			return err
		}
		want = append([]string{t.ID}, want...)
	}
	var got []string
	f := httpkey.Filter{Limit: 3}
	for newer := 100; ; newer++ {
		page, err := s.List(ctx, f)
		if err != nil {
			return fmt.Errorf("List: %w", err)
		}
		got = append(got, idsOf(page)...)
		if len(page) < 3 || len(got) > 100 {
			break
		}
		last := page[len(page)-1]
		f.After = last.Cursor()
		if err := other.Delete(ctx, last.ID); err != nil {
			return fmt.Errorf("Delete: %w", err)
		}
		for _, n := range []int{newer, newer + 100} {
			if _, err := b.create(ctx, other, token(n)); err != nil {
				return err
			}
		}
	}
	if !slices.Equal(got, want) {
		return fmt.Errorf("the pages held %v, want %v", got, want)
	}
	return nil
}

func checkListPageSize(ctx context.Context, b storeBench) error {
	s := b.open()
	for n := range 1003 {
		if _, err := b.create(ctx, s, token(n)); err != nil {
			return err
		}
	}
	for limit, want := range map[int]int{-1: 100, 0: 100, 1: 1, 101: 101, 1000: 1000, 1001: 1000, 5000: 1000} {
		page, err := s.List(ctx, httpkey.Filter{Limit: limit})
		if err != nil {
			return fmt.Errorf("List: %w", err)
		}
		if len(page) != want {
			return fmt.Errorf("List with Limit %d of 1,003 tokens returned %d, want %d", limit, len(page), want)
		}
	}
	return nil
}

func checkDelete(ctx context.Context, b storeBench) error {
	s, other := b.open(), b.open()
	gone, stays := token(1), token(2)
	if err := b.createAll(ctx, s, &gone, &stays); err != nil {
		return err
	}
	if err := b.holds(ctx, other, gone); err != nil { // a cache has the token in memory now
		return err
	}
	for _, id := range []string{gone.ID, gone.ID, "never there"} {
		if err := s.Delete(ctx, id); err != nil {
			return fmt.Errorf("Delete(%q): %w", id, err)
		}
	}
	_, err := other.Lookup(ctx, gone.Digest)
	if err := notFound("Lookup of a deleted token", err); err != nil {
		return err
	}
	_, err = other.Get(ctx, gone.ID)
	if err := notFound("Get of a deleted token", err); err != nil {
		return err
	}
	_, err = other.Update(ctx, gone.ID, set(gone))
	if err := notFound("Update of a deleted token", err); err != nil {
		return err
	}
	left, err := ids(ctx, other, httpkey.Filter{})
	if err != nil {
		return err
	}
	if !slices.Equal(left, []string{stays.ID}) {
		return fmt.Errorf("List returned %v after a Delete, want only %s", left, stays.ID)
	}
	if err := b.createAll(ctx, other, &gone); err != nil {
		return fmt.Errorf("once more after the Delete: %w", err)
	}
	return errors.Join(b.holds(ctx, s, gone), b.holds(ctx, s, stays))
}

func checkTouch(ctx context.Context, b storeBench) error {
	s, other := b.open(), b.open()
	const tokens = 1000 // the most that a Guard passes at once
	used := make(map[string]time.Time)
	want := make([]httpkey.Token, tokens)
	for n := range tokens {
		want[n] = token(n)
		if n%2 == 0 {
			want[n].LastUsed = time.Time{}
		}
		if err := b.createAll(ctx, s, &want[n]); err != nil {
			return err
		}
		want[n].LastUsed = epoch.Add(24*time.Hour + time.Duration(n)*time.Microsecond)
		used[want[n].ID] = want[n].LastUsed
	}
	if err := s.Touch(ctx, used); err != nil {
		return fmt.Errorf("Touch of %d tokens: %w", tokens, err)
	}
	for id := range used {
		used[id] = epoch.Add(1000 * time.Hour)
	}
	for _, empty := range []map[string]time.Time{nil, {}} {
		if err := s.Touch(ctx, empty); err != nil {
			return fmt.Errorf("Touch of nothing: %w", err)
		}
	}
	for n := 0; n < tokens; n += 37 {
		if err := b.holds(ctx, other, want[n]); err != nil {
			return err
		}
	}
	return nil
}

func checkTouchLookup(ctx context.Context, b storeBench) error {
	s, other := b.open(), b.open()
	want := token(1)
	if err := b.createAll(ctx, s, &want); err != nil {
		return err
	}
	for range 3 {
		want.LastUsed = want.LastUsed.Add(time.Second)
		if err := s.Touch(ctx, map[string]time.Time{want.ID: want.LastUsed}); err != nil {
			return fmt.Errorf("Touch: %w", err)
		}
		for range 2 {
			if got, err := other.Lookup(ctx, want.Digest); err != nil || !got.LastUsed.Equal(want.LastUsed) {
				return fmt.Errorf("Lookup returned the LastUsed %v (%v), want %v", got.LastUsed, err, want.LastUsed)
			}
		}
	}
	return nil
}

func checkTouchBackwards(ctx context.Context, b storeBench) error {
	s := b.open()
	want := token(1)
	if err := b.createAll(ctx, s, &want); err != nil {
		return err
	}
	for _, step := range []time.Duration{time.Microsecond, -time.Microsecond, -time.Hour, 0, time.Second, -time.Second} {
		at := want.LastUsed.Add(step)
		if err := s.Touch(ctx, map[string]time.Time{want.ID: at}); err != nil {
			return fmt.Errorf("Touch: %w", err)
		}
		if step > 0 {
			want.LastUsed = at
		}
		if err := b.holds(ctx, s, want); err != nil {
			return fmt.Errorf("after a Touch %v from the last: %w", step, err)
		}
	}
	return nil
}

func checkTouchUnknown(ctx context.Context, b storeBench) error {
	s := b.open()
	want := token(1)
	if err := b.createAll(ctx, s, &want); err != nil {
		return err
	}
	want.LastUsed = want.LastUsed.Add(time.Hour)
	used := map[string]time.Time{want.ID: want.LastUsed, "unknown": want.LastUsed, "": want.LastUsed}
	if err := s.Touch(ctx, used); err != nil {
		return fmt.Errorf("Touch with unknown IDs: %w", err)
	}
	if err := b.holds(ctx, s, want); err != nil || b.claims.LookupOnly {
		return err
	}
	_, err := s.Get(ctx, "unknown")
	return notFound("Get of an ID that only a Touch named", err)
}

func checkTouchConcurrent(ctx context.Context, b storeBench) error {
	const tokens, writers, rounds = 50, 8, 20
	s := b.open()
	stored := make([]httpkey.Token, tokens)
	for n := range stored {
		stored[n] = token(n)
		if err := b.createAll(ctx, s, &stored[n]); err != nil {
			return err
		}
	}
	last := epoch.Add(1000 * time.Hour)
	errs := make([]error, writers)
	var wg sync.WaitGroup
	for w := range writers {
		s := b.open()
		wg.Go(func() {
			for round := range rounds {
				used := make(map[string]time.Time)
				for _, t := range stored {
					if round == w || rand.IntN(2) == 0 {
						used[t.ID] = last.Add(-time.Duration(rand.IntN(1000)) * time.Second)
					}
				}
				if round == w { // in some round, one writer has the latest time
					used[stored[w].ID] = last
				}
				errs[w] = errors.Join(errs[w], s.Touch(ctx, used))
			}
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("Touch: %w", err)
	}
	for _, t := range stored[:writers] {
		got, err := s.Get(ctx, t.ID)
		if err != nil {
			return fmt.Errorf("Get: %w", err)
		}
		if !got.LastUsed.Equal(last) {
			return fmt.Errorf("LastUsed of %s is %v, the latest time was %v", got.ID, got.LastUsed, last)
		}
	}
	return nil
}

func checkConcurrent(ctx context.Context, b storeBench) error {
	const workers, rounds = 8, 25
	errs := make([]error, workers)
	var wg sync.WaitGroup
	for w := range workers {
		s := b.open()
		wg.Go(func() {
			for round := range rounds {
				errs[w] = errors.Join(errs[w], b.live(ctx, s, token(w*rounds+round), round%2 == 0))
			}
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	left, err := ids(ctx, b.open(), httpkey.Filter{})
	if err == nil && len(left) != workers*(rounds/2) {
		err = fmt.Errorf("List returned %d tokens, want %d", len(left), workers*(rounds/2))
	}
	return err
}

// live takes a token through all methods of a store.
func (b storeBench) live(ctx context.Context, s httpkey.TokenStore, t httpkey.Token, isDeleted bool) error {
	if err := b.createAll(ctx, s, &t); err != nil {
		return err
	}
	err := b.holds(ctx, s, t)
	_, updateErr := s.Update(ctx, t.ID, set(t))
	err = errors.Join(err, updateErr, s.Touch(ctx, map[string]time.Time{t.ID: t.LastUsed.Add(time.Second)}))
	if isDeleted {
		err = errors.Join(err, s.Delete(ctx, t.ID))
	}
	return err
}
