package sqlstore

import (
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/httpkey/httpkey"
)

// A token comes back from its row as it was, and a zero field is NULL.
func TestRowIsTheToken(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	text := func() string { return []string{"", " ", "a", "ünï🔑"}[random.IntN(4)] }
	at := func() time.Time {
		micros := []int64{0, -1, random.Int64N(1 << 57)}
		if n := random.IntN(4); n < 3 {
			return time.UnixMicro(micros[n]).UTC()
		}
		return time.Time{}
	}
	for range 10_000 {
		token := httpkey.Token{
			ID: text(), Hint: text(), Kind: httpkey.Kind(text()), Label: text(), Description: text(),
			User: text(), Workspace: text(),
			IsActive: random.IntN(2) == 0, ExpiredAt: at(), LastUsed: at(), CreatedAt: at(), RotatedFrom: text(),
			CreatedBy: text(), RevokedAt: at(), RevokedFor: text(), RevokedBy: text(), RotatedTo: text(),
		}
		for range random.IntN(3) {
			limit := httpkey.Limit{Name: text(), Rate: random.IntN(2), Period: time.Duration(random.IntN(2))}
			token.Limits = append(token.Limits, limit)
		}
		for range random.IntN(3) {
			token.Scopes = append(token.Scopes, text())
		}
		token.Digest[random.IntN(32)] = byte(random.IntN(256))
		row, err := rowOf(&token)
		if err != nil {
			t.Fatal(err)
		}
		got, err := row.token()
		if err != nil || !reflect.DeepEqual(got, token) {
			t.Fatalf("%+v\ncame back as %+v (%v)", token, got, err)
		}
		if row.expiredAt.Valid == token.ExpiredAt.IsZero() || row.workspace.Valid == (token.Workspace == "") ||
			row.more.Valid == (token.More() == "") {
			t.Fatalf("%+v is stored as %+v", token, row)
		}
	}
}

// Properties that a later version puts into more stay, byte by byte.
func TestRowKeepsUnknownProperties(t *testing.T) {
	t.Parallel()
	const more = `{"created_by":"bob","later":{"b":1,"a":[2.50,"\u00e9"]}}`
	r := row{scopes: "[]", digest: make([]byte, 32), more: nullable(more)}
	token, err := r.token()
	if err != nil {
		t.Fatal(err)
	}
	again, err := rowOf(&token)
	if err != nil || again.more.V != more {
		t.Errorf("%s came back as %s (%v)", more, again.more.V, err)
	}
}

// The columns that are named, written and read are the same ones, in the same order.
func TestColumnsMatch(t *testing.T) {
	t.Parallel()
	var r row
	n := len(strings.Split(columns, ","))
	if len(r.values()) != n || len(r.places()) != n || strings.Count(placeholders, "?") != n {
		t.Errorf("%d columns, %d values, %d places, %d placeholders",
			n, len(r.values()), len(r.places()), strings.Count(placeholders, "?"))
	}
	if n := len(strings.Split(changing, ",")); len(r.changing()) != n || strings.Count(assignments, "?") != n {
		t.Errorf("%d changing columns, %d values, %d assignments", n, len(r.changing()), strings.Count(assignments, "?"))
	}
	for i, value := range r.values() {
		if place := reflect.TypeOf(r.places()[i]).Elem(); place != reflect.TypeOf(value) {
			t.Errorf("column %d is written as %T and read as %v", i, value, place)
		}
	}
}

// A row that this package has not written is an error, not another token.
func TestRowsThatAreWrong(t *testing.T) {
	t.Parallel()
	for what, r := range map[string]row{
		"no digest":        {scopes: "[]"},
		"a short digest":   {scopes: "[]", digest: make([]byte, 31)},
		"a long digest":    {scopes: "[]", digest: make([]byte, 33)},
		"scopes not JSON":  {scopes: "a:read", digest: make([]byte, 32)},
		"scopes no array":  {scopes: `{"a":1}`, digest: make([]byte, 32)},
		"scopes not texts": {scopes: "[1]", digest: make([]byte, 32)},
		"more not JSON":    {scopes: "[]", digest: make([]byte, 32), more: nullable("limits")},
		"more no object":   {scopes: "[]", digest: make([]byte, 32), more: nullable("[1]")},
	} {
		if token, err := r.token(); err == nil {
			t.Errorf("%s: %+v", what, token)
		}
	}
}
