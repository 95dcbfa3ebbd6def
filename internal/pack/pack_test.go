package pack_test

import (
	"net/netip"
	"reflect"
	"slices"
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
	t.RevokedAt, t.RevokedFor, t.RevokedBy, t.RotatedTo = at.Add(2*time.Hour), "leaked", "admin", "next"
	return t
}

// store returns the View of a token in a Table.
func store(t httpkey.Token) pack.View {
	table, d := new(ram.Table[httpkey.Token]), [32]byte(t.Digest)
	return table.At(table.Add(&d, ram.Micros(t.LastUsed), pack.Fields(t), ram.Stamp{}))
}

// A token keeps every field, whichever are empty.
func TestTokensKeepEveryField(t *testing.T) {
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
	for _, scopes := range [][]string{{"a b"}, {""}, {"", "a"}, {" "}, {"a", ""}, {"a\tb", "\u00a0"}} { // from no Guard
		odd := plain()
		odd.Scopes = scopes
		tokens = append(tokens, odd)
	}
	later, rotated := plain(), plain()
	if err := later.SetMore(`{"payer":"first","later":[1.0]}`); err != nil {
		t.Fatal(err)
	}
	if err := rotated.SetMore(`{"payer":"first"}`); err != nil {
		t.Fatal(err)
	}
	for _, want := range append(tokens, later, rotated) {
		v := store(want)
		if got := pack.Token(v); !reflect.DeepEqual(got, want) {
			t.Errorf("%+v became\n%+v", want, got)
		}
		if v.Text().ID() != want.ID || v.Digest != want.Digest || pack.Cursor(v) != want.Cursor() ||
			pack.RotatedFrom(v) != want.RotatedFrom || v.Text().Payer() != want.Payer() {
			t.Errorf("of %+v: %+v, %s, %s", want, pack.Cursor(v), pack.RotatedFrom(v), v.Text().Payer())
		}
		isSpecial := len(want.Limits) > 0 || len(want.Networks) > 0
		if v.State != ram.StateOf(want.IsActive, want.Kind == httpkey.ServiceToken, isSpecial) ||
			v.ExpiredAt != ram.Micros(want.ExpiredAt) || isSpecial && v.Full == nil {
			t.Errorf("a Guard sees %+v as %+v", want, v)
		}
	}
}

// A token whose further fields cannot be written as JSON still has its networks and limits: without
// them it would let in what they keep out.
func TestOddTokensKeepTheirNetworks(t *testing.T) {
	t.Parallel()
	want := full()
	want.RevokedAt = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC) // a table's "never"
	v := store(want)
	got := pack.Token(v)
	if !reflect.DeepEqual(got, want) || v.Full == nil || !slices.Equal(v.Full.Networks, want.Networks) {
		t.Errorf("%+v became\n%+v", want, got)
	}
}

// A caller's token shares no memory with the one in memory.
func TestTokensShareNothing(t *testing.T) {
	t.Parallel()
	for _, want := range []func() httpkey.Token{plain, full} {
		given := want()
		v := store(given)
		for _, token := range []httpkey.Token{given, pack.Token(v)} {
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
			if got := pack.Token(v); !reflect.DeepEqual(got, want()) {
				t.Errorf("a caller made the token %+v", got)
			}
		}
	}
}

// The Cursor of a token in a list is that of its place, whatever a caller created it with.
// Otherwise the next page would begin with the same token again.
func TestCursorsAreThoseOfTokens(t *testing.T) {
	t.Parallel()
	for _, token := range []httpkey.Token{plain(), full()} {
		token.CreatedAt = at.Add(999 * time.Nanosecond)
		v := store(token)
		if got := pack.Token(v); pack.Cursor(v) != got.Cursor() {
			t.Errorf("the token is at %+v, and its place is %+v", got.Cursor(), pack.Cursor(v))
		}
	}
}
