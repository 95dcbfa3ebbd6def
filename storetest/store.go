// Package storetest checks that a token store or a limiter keeps the rules that
// [httpkey.TokenStore] and [httpkey.Limiter] set. Call [Run] and [RunLimiter]
// from the tests of your own implementation:
//
//	func TestStore(t *testing.T) {
//		storetest.Run(t, func(t *testing.T) func() httpkey.TokenStore {
//			backend := openEmptyDatabase(t)
//			return func() httpkey.TokenStore { return mystore.New(backend) }
//		})
//	}
//
// Each rule is a subtest. A failure says what was seen and which rule that breaks.
package storetest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/httpkey/httpkey"
)

// StoreFactory makes a new and empty backend for one rule, and returns the
// function that opens a handle on it. All handles of one backend must show the
// same tokens. Use t for the clean-up, and to fail if there is no backend.
type StoreFactory func(t *testing.T) (open func() httpkey.TokenStore)

// Run checks every rule of [httpkey.TokenStore], each on a backend of its own, and
// those of [httpkey.EntryStore] if it is one.
func Run(t *testing.T, factory StoreFactory) {
	runStore(t, factory, storeRules)
	if findersOf(factory(t)) != nil {
		t.Run("Entries", func(t *testing.T) {
			finders := func(t *testing.T) func() httpkey.TokenStore { return findersOf(factory(t)) }
			runStore(t, finders, slices.Concat(storeRules, entryRules))
		})
	}
}

func runStore(t *testing.T, factory StoreFactory, rules []storeRule) {
	for _, rule := range rules {
		t.Run(rule.name, func(t *testing.T) {
			if err := rule.check(t.Context(), factory(t)); err != nil {
				t.Errorf("%v\nThe rule: %s", err, rule.rule)
			}
		})
	}
}

type storeRule struct {
	name  string
	rule  string
	check func(ctx context.Context, open func() httpkey.TokenStore) error
}

var storeRules = []storeRule{
	{"RoundTrip", "what Create stored, Lookup, Get and List return through any handle, every field of it", checkRoundTrip},
	{"Times", "times keep their microsecond, in whatever location, and a zero time stays zero", checkTimes},
	{"Text", "text comes back byte by byte", checkText},
	{"NotFound", "Lookup, Get and Update answer ErrNotFound for what is not there", checkNotFound},
	{"Conflict", "Create answers ErrConflict, and changes nothing, if the ID or the digest exists", checkConflict},
	{"ConflictRace", "of several Creates that race for one ID or one digest, exactly one wins and the others get ErrConflict", checkConflictRace},
	{"ExactDigests", "digests are compared byte by byte: no letter case, no trimming, no end at a zero byte", checkExactDigests},
	{"ExactStrings", "IDs and filters are compared byte by byte: no letter case, no trimming, no accents", checkExactStrings},
	{"Copies", "tokens go in and come out as copies: a caller who changes Scopes changes only its own", checkCopies},
	{"ListOrder", "List returns the newest first, by CreatedAt and then by ID, both descending", checkListOrder},
	{"ListFilter", "List returns all tokens that every set field of the filter selects, and no others", checkListFilter},
	{"ListPages", "pages are whole: no token comes twice or is left out while others are created and deleted, the cursor's own included", checkListPages},
	{"ListPageSize", "a page holds Filter.PageSize tokens at most: 100 if Limit is 0, and never more than 1,000", checkListPageSize},
	{"Update", "Update replaces every field but Digest and LastUsed, which stay, also against a stale copy", checkUpdate},
	{"Delete", "Delete removes the token from every view, is no error if there is none, and frees ID and digest", checkDelete},
	{"Touch", "Touch sets LastUsed and nothing else, and keeps neither the map nor an order of its entries", checkTouch},
	{"TouchBackwards", "Touch never moves LastUsed backwards", checkTouchBackwards},
	{"TouchUnknown", "Touch skips IDs that it does not hold, without an error, and does the others", checkTouchUnknown},
	{"TouchConcurrent", "Touches of overlapping tokens at once all succeed, and the latest time stays", checkTouchConcurrent},
	{"Concurrent", "all methods may be called at once, through several handles", checkConcurrent},
}

// epoch is the time around which the tests' tokens are made, to the microsecond.
var epoch = time.Date(2026, 2, 3, 4, 5, 6, 789_012_000, time.UTC)

// token returns a token with every field set, different for each n.
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
		Limit:       httpkey.Limit{Rate: n + 1, Burst: n + 2, Period: 90 * time.Second},
		IsActive:    true,
		ExpiredAt:   epoch.Add(time.Duration(n) * time.Hour),
		LastUsed:    epoch.Add(time.Duration(n) * time.Minute),
		CreatedAt:   epoch.Add(time.Duration(n) * time.Second),
		RotatedFrom: fmt.Sprintf("rotated-%d", n),
	}
	for i := range t.Digest {
		t.Digest[i] = byte(n >> (8 * (i % 4)))
	}
	t.Digest[31] = 0xff
	return t
}

// equal reports whether two tokens say the same; locations of times may differ.
func equal(a, b httpkey.Token) bool {
	return a.ID == b.ID && a.Digest == b.Digest && a.Hint == b.Hint && a.Kind == b.Kind &&
		a.Label == b.Label && a.Description == b.Description && a.User == b.User && a.Workspace == b.Workspace &&
		slices.Equal(a.Scopes, b.Scopes) && a.Limit == b.Limit && a.IsActive == b.IsActive &&
		a.ExpiredAt.Equal(b.ExpiredAt) && a.LastUsed.Equal(b.LastUsed) && a.CreatedAt.Equal(b.CreatedAt) &&
		a.RotatedFrom == b.RotatedFrom
}

func create(ctx context.Context, s httpkey.TokenStore, tokens ...httpkey.Token) error {
	for _, t := range tokens {
		if err := s.Create(ctx, t); err != nil {
			return fmt.Errorf("Create(%s): %w", t.ID, err)
		}
	}
	return nil
}

// holds checks that every view of the store has want.
func holds(ctx context.Context, s httpkey.TokenStore, want httpkey.Token) error {
	got, err := s.Get(ctx, want.ID)
	if err != nil {
		return fmt.Errorf("Get(%s): %w", want.ID, err)
	}
	if !equal(got, want) {
		return fmt.Errorf("Get(%s) returned\n%+v, want\n%+v", want.ID, got, want)
	}
	if got, err = s.Lookup(ctx, want.Digest); err != nil {
		return fmt.Errorf("Lookup of the digest of %s: %w", want.ID, err)
	}
	if !equal(got, want) {
		return fmt.Errorf("Lookup of the digest of %s returned\n%+v, want\n%+v", want.ID, got, want)
	}
	page, err := s.List(ctx, httpkey.Filter{User: want.User})
	if err != nil {
		return fmt.Errorf("List of user %s: %w", want.User, err)
	}
	if len(page) != 1 || !equal(page[0], want) {
		return fmt.Errorf("List of user %s returned\n%+v, want only\n%+v", want.User, page, want)
	}
	return nil
}

func notFound(method string, err error) error {
	if !errors.Is(err, httpkey.ErrNotFound) {
		return fmt.Errorf("%s returned the error %v, want ErrNotFound", method, err)
	}
	return nil
}

func checkRoundTrip(ctx context.Context, open func() httpkey.TokenStore) error {
	writer, reader := open(), open()
	bare := httpkey.Token{ID: "bare", Kind: httpkey.ServiceToken, User: "bare", CreatedAt: epoch}
	for _, want := range []httpkey.Token{token(1), token(2), bare} {
		if err := create(ctx, writer, want); err != nil {
			return err
		}
		if err := holds(ctx, reader, want); err != nil {
			return err
		}
	}
	return nil
}

func checkTimes(ctx context.Context, open func() httpkey.TokenStore) error {
	s := open()
	for i, at := range []time.Time{
		epoch,
		epoch.Add(time.Microsecond),
		epoch.Add(-time.Microsecond),
		epoch.In(time.FixedZone("", -11*3600-1800)),
		time.Date(1969, 12, 31, 23, 59, 59, 999_999_000, time.UTC),
		time.Date(2262, 4, 12, 0, 0, 0, 1000, time.UTC), // beyond what Unix nanoseconds can count
		{},
	} {
		want := token(i)
		want.ExpiredAt, want.LastUsed = at, at
		if !at.IsZero() {
			want.CreatedAt = at
		}
		if err := create(ctx, s, want); err != nil {
			return err
		}
		if err := holds(ctx, s, want); err != nil {
			return err
		}
	}
	return nil
}

func checkText(ctx context.Context, open func() httpkey.TokenStore) error {
	s := open()
	for i, text := range []string{
		"", " ", " a ", "0", "null", "a,b", `'";--\`, "<script>&amp;", "tab\tline\nend", "ünï©ödé",
		"\u202eright to left", "👩‍👩‍👧‍👦", strings.Repeat("🔑", 255),
	} {
		want := token(i)
		want.Label, want.Description = text, strings.Repeat(text, 4096/max(1, utf8.RuneCountInString(text)))
		if err := create(ctx, s, want); err != nil {
			return err
		}
		if err := holds(ctx, s, want); err != nil {
			return err
		}
	}
	return nil
}

func checkNotFound(ctx context.Context, open func() httpkey.TokenStore) error {
	s := open()
	if err := create(ctx, s, token(1)); err != nil {
		return err
	}
	absent := token(2)
	_, err := s.Lookup(ctx, absent.Digest)
	if err := notFound("Lookup", err); err != nil {
		return err
	}
	_, err = s.Lookup(ctx, httpkey.Digest{})
	if err := notFound("Lookup of the zero digest", err); err != nil {
		return err
	}
	_, err = s.Get(ctx, absent.ID)
	if err := notFound("Get", err); err != nil {
		return err
	}
	if err := notFound("Update", s.Update(ctx, absent)); err != nil {
		return err
	}
	_, err = s.Get(ctx, absent.ID)
	return notFound("Get after an Update of nothing", err)
}

func checkConflict(ctx context.Context, open func() httpkey.TokenStore) error {
	s, other := open(), open()
	first := token(1)
	if err := create(ctx, s, first); err != nil {
		return err
	}
	sameID, sameDigest := token(2), token(3)
	sameID.ID, sameDigest.Digest = first.ID, first.Digest
	for what, t := range map[string]httpkey.Token{"ID": sameID, "digest": sameDigest, "ID and digest": first} {
		if err := other.Create(ctx, t); !errors.Is(err, httpkey.ErrConflict) {
			return fmt.Errorf("Create with an existing %s returned the error %v, want ErrConflict", what, err)
		}
		if err := holds(ctx, s, first); err != nil {
			return fmt.Errorf("after a Create with an existing %s: %w", what, err)
		}
	}
	_, err := s.Lookup(ctx, sameID.Digest)
	if err := notFound("Lookup of the digest that a refused Create brought", err); err != nil {
		return err
	}
	_, err = s.Get(ctx, sameDigest.ID)
	return notFound("Get of the ID that a refused Create brought", err)
}

func checkConflictRace(ctx context.Context, open func() httpkey.TokenStore) error {
	const racers = 16
	for what, vary := range map[string]func(t *httpkey.Token, n int){
		"ID":     func(t *httpkey.Token, n int) { t.Digest = token(1000 + n).Digest },
		"digest": func(t *httpkey.Token, n int) { t.ID = token(2000 + n).ID; t.Digest = token(3000).Digest },
	} {
		errs := make([]error, racers)
		var wg sync.WaitGroup
		for n := range racers {
			s := open()
			wg.Go(func() {
				t := token(1)
				vary(&t, n)
				errs[n] = s.Create(ctx, t)
			})
		}
		wg.Wait()
		won := 0
		for _, err := range errs {
			switch {
			case err == nil:
				won++
			case !errors.Is(err, httpkey.ErrConflict):
				return fmt.Errorf("a Create that raced for one %s returned the error %w, want ErrConflict", what, err)
			}
		}
		if won != 1 {
			return fmt.Errorf("%d of %d Creates that raced for one %s succeeded, want 1", won, racers, what)
		}
	}
	return nil
}

func checkExactDigests(ctx context.Context, open func() httpkey.TokenStore) error {
	s := open()
	stored := token(1)
	for i := range stored.Digest {
		stored.Digest[i] = 'a'
	}
	stored.Digest[7] = 0 // where a C string would end
	stored.Digest[31] = ' '
	if err := create(ctx, s, stored); err != nil {
		return err
	}
	change := func(i int, b byte) httpkey.Digest {
		d := stored.Digest
		d[i] = b
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
	return holds(ctx, s, stored)
}

func checkExactStrings(ctx context.Context, open func() httpkey.TokenStore) error {
	s := open()
	names := []string{"key", "Key", "KEY", "kéy", "ke\u0301y", "key ", " key", "key\t", "0", "00", "ß", "ss",
		strings.Repeat("k", 254), strings.Repeat("k", 255)}
	for i, name := range names {
		t := token(i)
		t.ID, t.User, t.Workspace, t.RotatedFrom = name, name, name, name
		if err := create(ctx, s, t); err != nil {
			return fmt.Errorf("beside similar names: %w", err)
		}
	}
	for i, name := range names {
		got, err := s.Get(ctx, name)
		if err != nil || got.Label != token(i).Label {
			return fmt.Errorf("Get(%q) returned %q and %v, want the token of just that ID", name, got.ID, err)
		}
		for _, f := range []httpkey.Filter{{User: name}, {Workspace: name}, {RotatedFrom: name}} {
			page, err := s.List(ctx, f)
			if err != nil {
				return fmt.Errorf("List(%+v): %w", f, err)
			}
			if len(page) != 1 || page[0].ID != name {
				return fmt.Errorf("List(%+v) returned %d tokens, want the one", f, len(page))
			}
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

func checkCopies(ctx context.Context, open func() httpkey.TokenStore) error {
	s := open()
	want := token(1)
	given := token(1)
	if err := create(ctx, s, given); err != nil {
		return err
	}
	spoil := func(t httpkey.Token) {
		for i := range t.Scopes {
			t.Scopes[i] = "spoiled"
		}
	}
	spoil(given)
	if err := holds(ctx, s, want); err != nil {
		return fmt.Errorf("after the scopes given to Create were changed: %w", err)
	}
	for what, get := range map[string]func() (httpkey.Token, error){
		"Lookup": func() (httpkey.Token, error) { return s.Lookup(ctx, want.Digest) },
		"Get":    func() (httpkey.Token, error) { return s.Get(ctx, want.ID) },
		"List": func() (httpkey.Token, error) {
			page, err := s.List(ctx, httpkey.Filter{})
			if err != nil || len(page) == 0 {
				return httpkey.Token{}, errors.Join(err, errors.New("no token"))
			}
			return page[0], nil
		},
	} {
		got, err := get()
		if err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		spoil(got)
		if err := holds(ctx, s, want); err != nil {
			return fmt.Errorf("after the scopes that %s returned were changed: %w", what, err)
		}
	}
	given = token(1)
	if err := s.Update(ctx, given); err != nil {
		return fmt.Errorf("Update: %w", err)
	}
	spoil(given)
	if err := holds(ctx, s, want); err != nil {
		return fmt.Errorf("after the scopes given to Update were changed: %w", err)
	}
	return nil
}

// ids lists what f selects, page by page.
func ids(ctx context.Context, s httpkey.TokenStore, f httpkey.Filter) ([]string, error) {
	var all []string
	for {
		page, err := s.List(ctx, f)
		if err != nil {
			return nil, fmt.Errorf("List(%+v): %w", f, err)
		}
		for _, t := range page {
			all = append(all, t.ID)
		}
		if len(page) < f.PageSize() || len(all) > 10_000 {
			return all, nil
		}
		f.After = page[len(page)-1].Cursor()
	}
}

func checkListOrder(ctx context.Context, open func() httpkey.TokenStore) error {
	s := open()
	// Created in an order that is neither by time nor by ID; c and a in the same microsecond.
	for n, t := range []struct {
		id    string
		after time.Duration
	}{{"b", 2}, {"d", 0}, {"c", 1}, {"a", 1}, {"e", 3}} {
		made := token(n)
		made.ID, made.CreatedAt = t.id, epoch.Add(t.after*time.Microsecond)
		if err := create(ctx, s, made); err != nil {
			return err
		}
	}
	want := []string{"e", "b", "c", "a", "d"}
	for _, size := range []int{0, 1, 2, 3} {
		got, err := ids(ctx, open(), httpkey.Filter{Limit: size})
		if err != nil {
			return err
		}
		if !slices.Equal(got, want) {
			return fmt.Errorf("List with Limit %d returned %v, want %v", size, got, want)
		}
	}
	return nil
}

func checkListFilter(ctx context.Context, open func() httpkey.TokenStore) error {
	s := open()
	var all []httpkey.Token
	for n := range 24 {
		t := token(n)
		t.User, t.Workspace = fmt.Sprint("u", n%2), fmt.Sprint("w", n%3)
		t.Kind = []httpkey.Kind{httpkey.APIKey, httpkey.ServiceToken}[n/2%2]
		t.RotatedFrom = fmt.Sprint("r", n%4)
		all = append(all, t)
	}
	if err := create(ctx, s, all...); err != nil {
		return err
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

func checkListPages(ctx context.Context, open func() httpkey.TokenStore) error {
	s, other := open(), open()
	var want []string
	for n := range 20 {
		if err := create(ctx, s, token(n)); err != nil {
			return err
		}
		want = append([]string{token(n).ID}, want...)
	}
	var got []string
	f := httpkey.Filter{Limit: 3}
	for newer := 100; ; newer++ {
		page, err := s.List(ctx, f)
		if err != nil {
			return fmt.Errorf("List: %w", err)
		}
		for _, t := range page {
			got = append(got, t.ID)
		}
		if len(page) < 3 || len(got) > 100 {
			break
		}
		last := page[len(page)-1]
		f.After = last.Cursor()
		if err := other.Delete(ctx, last.ID); err != nil {
			return fmt.Errorf("Delete: %w", err)
		}
		if err := create(ctx, other, token(newer), token(newer+100)); err != nil {
			return err
		}
	}
	if !slices.Equal(got, want) {
		return fmt.Errorf("the pages held %v, want %v", got, want)
	}
	return nil
}

func checkListPageSize(ctx context.Context, open func() httpkey.TokenStore) error {
	s := open()
	for n := range 1003 {
		if err := create(ctx, s, token(n)); err != nil {
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

func checkUpdate(ctx context.Context, open func() httpkey.TokenStore) error {
	s, other := open(), open()
	old, bystander := token(1), token(7)
	if err := create(ctx, s, old, bystander); err != nil {
		return err
	}
	used := old.LastUsed.Add(time.Hour)
	if err := other.Touch(ctx, map[string]time.Time{old.ID: used}); err != nil {
		return fmt.Errorf("Touch: %w", err)
	}
	changed := token(2) // every field another one
	changed.ID, changed.Kind, changed.IsActive = old.ID, httpkey.ServiceToken, false
	changed.CreatedAt = bystander.CreatedAt.Add(time.Second) // and so another place in the list
	if err := s.Update(ctx, changed); err != nil {
		return fmt.Errorf("Update: %w", err)
	}
	want := changed
	want.Digest, want.LastUsed = old.Digest, used
	if err := holds(ctx, other, want); err != nil {
		return err
	}
	_, err := s.Lookup(ctx, changed.Digest)
	if err := notFound("Lookup of the digest that Update was given", err); err != nil {
		return err
	}
	order, err := ids(ctx, s, httpkey.Filter{})
	if err != nil {
		return err
	}
	if !slices.Equal(order, []string{old.ID, bystander.ID}) {
		return fmt.Errorf("List returned %v after an Update made %s the newest", order, old.ID)
	}
	cleared := httpkey.Token{ID: old.ID, Kind: httpkey.APIKey, User: "u", CreatedAt: epoch}
	if err := s.Update(ctx, cleared); err != nil {
		return fmt.Errorf("Update: %w", err)
	}
	cleared.Digest, cleared.LastUsed = old.Digest, used
	if err := holds(ctx, other, cleared); err != nil {
		return fmt.Errorf("after an Update that cleared what can be cleared: %w", err)
	}
	return holds(ctx, s, bystander)
}

func checkDelete(ctx context.Context, open func() httpkey.TokenStore) error {
	s, other := open(), open()
	gone, stays := token(1), token(2)
	if err := create(ctx, s, gone, stays); err != nil {
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
	if err := notFound("Update of a deleted token", other.Update(ctx, gone)); err != nil {
		return err
	}
	left, err := ids(ctx, other, httpkey.Filter{})
	if err != nil {
		return err
	}
	if !slices.Equal(left, []string{stays.ID}) {
		return fmt.Errorf("List returned %v after a Delete, want only %s", left, stays.ID)
	}
	if err := create(ctx, other, gone); err != nil {
		return fmt.Errorf("once more after the Delete: %w", err)
	}
	return errors.Join(holds(ctx, s, gone), holds(ctx, s, stays))
}

func checkTouch(ctx context.Context, open func() httpkey.TokenStore) error {
	s, other := open(), open()
	const tokens = 1000 // as many as a Guard passes at once
	used := make(map[string]time.Time)
	want := make([]httpkey.Token, tokens)
	for n := range tokens {
		want[n] = token(n)
		if n%2 == 0 {
			want[n].LastUsed = time.Time{}
		}
		if err := create(ctx, s, want[n]); err != nil {
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
		if err := holds(ctx, other, want[n]); err != nil {
			return err
		}
	}
	return nil
}

func checkTouchBackwards(ctx context.Context, open func() httpkey.TokenStore) error {
	s := open()
	want := token(1)
	if err := create(ctx, s, want); err != nil {
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
		if err := holds(ctx, s, want); err != nil {
			return fmt.Errorf("after a Touch %v from the last: %w", step, err)
		}
	}
	return nil
}

func checkTouchUnknown(ctx context.Context, open func() httpkey.TokenStore) error {
	s := open()
	want := token(1)
	if err := create(ctx, s, want); err != nil {
		return err
	}
	want.LastUsed = want.LastUsed.Add(time.Hour)
	used := map[string]time.Time{want.ID: want.LastUsed, "unknown": want.LastUsed, "": want.LastUsed}
	if err := s.Touch(ctx, used); err != nil {
		return fmt.Errorf("Touch with unknown IDs: %w", err)
	}
	if err := holds(ctx, s, want); err != nil {
		return err
	}
	_, err := s.Get(ctx, "unknown")
	return notFound("Get of an ID that only a Touch named", err)
}

func checkTouchConcurrent(ctx context.Context, open func() httpkey.TokenStore) error {
	const tokens, writers, rounds = 50, 8, 20
	s := open()
	for n := range tokens {
		if err := create(ctx, s, token(n)); err != nil {
			return err
		}
	}
	last := epoch.Add(1000 * time.Hour)
	errs := make([]error, writers)
	var wg sync.WaitGroup
	for w := range writers {
		s := open()
		wg.Go(func() {
			for round := range rounds {
				used := make(map[string]time.Time)
				for n := range tokens {
					if round == w || rand.IntN(2) == 0 {
						used[token(n).ID] = last.Add(-time.Duration(rand.IntN(1000)) * time.Second)
					}
				}
				if round == w { // somewhere in the middle, somebody brings the latest time
					used[token(w).ID] = last
				}
				errs[w] = errors.Join(errs[w], s.Touch(ctx, used))
			}
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("Touch: %w", err)
	}
	for w := range writers {
		got, err := s.Get(ctx, token(w).ID)
		if err != nil {
			return fmt.Errorf("Get: %w", err)
		}
		if !got.LastUsed.Equal(last) {
			return fmt.Errorf("LastUsed of %s is %v, the latest time was %v", got.ID, got.LastUsed, last)
		}
	}
	return nil
}

func checkConcurrent(ctx context.Context, open func() httpkey.TokenStore) error {
	const workers, rounds = 8, 25
	errs := make([]error, workers)
	var wg sync.WaitGroup
	for w := range workers {
		s := open()
		wg.Go(func() {
			for round := range rounds {
				t := token(w*rounds + round)
				errs[w] = errors.Join(errs[w],
					create(ctx, s, t),
					holds(ctx, s, t),
					s.Update(ctx, t),
					s.Touch(ctx, map[string]time.Time{t.ID: t.LastUsed.Add(time.Second)}))
				if round%2 == 0 {
					errs[w] = errors.Join(errs[w], s.Delete(ctx, t.ID))
				}
			}
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	left, err := ids(ctx, open(), httpkey.Filter{})
	if err == nil && len(left) != workers*(rounds/2) {
		err = fmt.Errorf("List returned %d tokens, want %d", len(left), workers*(rounds/2))
	}
	return err
}
