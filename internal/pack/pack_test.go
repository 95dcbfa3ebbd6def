package pack_test

import (
	"net/netip"
	"reflect"
	"testing"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/internal/pack"
	"github.com/httpkey/httpkey/internal/ram"
)

var at = time.Date(2026, 2, 3, 4, 5, 6, 789_012_000, time.UTC)

// plain returns a token that fits into one text, and full returns one that does not.
func plain() httpkey.Token {
	return httpkey.Token{
		ID: "id", Digest: httpkey.Digest{1, 2}, Hint: "hint", Kind: httpkey.ServiceToken, Label: "label",
		Description: "description", User: "user", Workspace: "workspace", Scopes: []string{"a", "b"}, IsActive: true,
		ExpiredAt: at, LastUsed: at.Add(time.Second), CreatedAt: at.Add(time.Hour), RotatedFrom: "rotated",
	}
}

func full() httpkey.Token {
	t := plain()
	t.Limits = []httpkey.Limit{{Name: "a", Rate: 1, Burst: 2, Period: time.Second}, httpkey.PerDay(5)}
	t.Networks = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	t.Metadata, t.CreatedBy = map[string]string{"plan": "pro"}, "admin"
	t.RevokedAt, t.RevokedFor, t.RotatedTo = at.Add(2*time.Hour), "leaked", "next"
	return t
}

// An entry and a copy keep every field, whichever are empty.
func TestEntriesKeepEveryField(t *testing.T) {
	t.Parallel()
	tokens := []httpkey.Token{plain(), full(), {}}
	for _, whole := range []httpkey.Token{plain(), full()} {
		for i := range reflect.TypeFor[httpkey.Token]().NumField() {
			if !reflect.TypeFor[httpkey.Token]().Field(i).IsExported() {
				continue
			}
			sparse := whole // a field that is empty must not shift the others
			reflect.ValueOf(&sparse).Elem().Field(i).SetZero()
			tokens = append(tokens, sparse)
		}
	}
	for _, scopes := range [][]string{{"a b"}, {""}, {"", "a"}, {" "}} { // which no Guard issues
		odd := plain()
		odd.Scopes = scopes
		tokens = append(tokens, odd)
	}
	later := plain()
	if err := later.SetMore(`{"payer":"first","later":[1.0]}`); err != nil {
		t.Fatal(err)
	}
	tokens = append(tokens, later)
	for _, want := range tokens {
		if got := pack.Token(pack.Entry(want)); !reflect.DeepEqual(got, want) {
			t.Errorf("%+v became\n%+v", want, got)
		}
		if got := pack.Token(pack.Copy(want)); !reflect.DeepEqual(got, want) {
			t.Errorf("%+v became, as a copy,\n%+v", want, got)
		}
		e := pack.Entry(want)
		if pack.ID(e) != want.ID || e.Digest() != want.Digest || pack.Cursor(e) != want.Cursor() ||
			pack.RotatedFrom(e) != want.RotatedFrom || e.Payer() != want.Payer() || e.IsCopy() || !pack.Copy(want).IsCopy() {
			t.Errorf("of %+v: %s, %+v, %s, %s", want, pack.ID(e), pack.Cursor(e), pack.RotatedFrom(e), e.Payer())
		}
	}
}

// A token whose further fields cannot be written as JSON still has its networks and limits: an
// entry without them would let in what they keep out.
func TestEntriesKeepNetworksOfOddTokens(t *testing.T) {
	t.Parallel()
	want := full()
	want.RevokedAt = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC) // a table's "never"
	for _, e := range []*ram.Entry[httpkey.Token]{pack.Entry(want), pack.Copy(want)} {
		if got := pack.Token(e); !reflect.DeepEqual(got, want) || e.Body().Full == nil {
			t.Errorf("%+v became\n%+v", want, got)
		}
	}
}

// A token shares no memory with its entry.
func TestEntriesShareNothing(t *testing.T) {
	t.Parallel()
	for _, want := range []func() httpkey.Token{plain, full} {
		given := want()
		e := pack.Entry(given)
		for _, token := range []httpkey.Token{given, pack.Token(e)} {
			token.Scopes[0] = "mine"
			for i := range token.Limits {
				token.Limits[i].Rate = 99
			}
			for i := range token.Networks {
				token.Networks[i] = netip.Prefix{}
			}
			if token.Metadata != nil {
				token.Metadata["plan"] = "mine"
			}
			if got := pack.Token(e); !reflect.DeepEqual(got, want()) {
				t.Errorf("a caller made its entry %+v", got)
			}
		}
	}
}
