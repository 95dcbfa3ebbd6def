package httpkey_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/httpkey/httpkey"
)

// randomToken returns a token with some of the fields of More.
func randomToken(random *rand.Rand) (t httpkey.Token) {
	at := func() time.Time { return time.UnixMicro(random.Int64N(4e15)).UTC() }
	text := func() string {
		return []string{"", "x", `"quoted" \ <b>&`, "é👩\u2028", strings.Repeat("y", 200), "\ufffd", "{}",
			"null"}[random.IntN(8)]
	}
	some := func(set func()) {
		if random.IntN(2) == 0 {
			set()
		}
	}
	some(func() {
		for range 1 + random.IntN(3) {
			t.Limits = append(t.Limits, httpkey.Limit{
				Name: text(), Rate: random.Int(), Burst: random.Int() - math.MaxInt/2, Period: time.Duration(random.Int64()),
				Calendar: "day", DryRun: random.IntN(2) == 0,
			})
		}
	})
	some(func() { t.Limits = append(t.Limits, httpkey.PerMinute(0)) })
	some(func() {
		t.Networks = []netip.Prefix{netip.MustParsePrefix("10.1.2.3/8"), netip.MustParsePrefix("2001:db8::/32"),
			netip.MustParsePrefix("::ffff:1.2.3.4/128")}
	})
	some(func() { t.Metadata = map[string]string{"a": text(), text(): "b", "limits": "no", "": ""} })
	some(func() { t.CreatedBy = text() })
	some(func() { t.RevokedAt = at() })
	some(func() { t.RevokedFor = text() })
	some(func() { t.RevokedBy = text() })
	some(func() { t.RotatedTo = text() })
	return t
}

// More and SetMore are inverse to each other, to the last bit.
func TestMoreRoundTrip(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	for range 3000 {
		want := randomToken(random)
		text := want.More()
		got := httpkey.Token{Limits: limits(httpkey.PerDay(1)), CreatedBy: "former", RotatedTo: "former"}
		if err := got.SetMore(text); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("%s became\n%+v, want\n%+v", text, got, want)
		}
		if again := got.More(); again != text {
			t.Fatalf("%s became\n%s", text, again)
		}
	}
	bare := httpkey.Token{ID: "t", Label: "l", Scopes: []string{"s"}, RotatedFrom: "r", Limits: limits(),
		Metadata: map[string]string{}}
	if text := bare.More(); text != "" {
		t.Errorf("a token without any of it has %s", text)
	}
}

// A property of a later version survives every change, and none of ours gets lost in it.
func TestMoreKeepsWhatItDoesNotKnow(t *testing.T) {
	t.Parallel()
	for _, unknown := range []string{
		`{"future":{"a":[1,2.50,null,"é"]},"zz":12345678901234567890}`,
		`{"Limits":["another"],"LIMITS":5,"Created_By":true}`, // names differ in any byte
		`{"":0}`,
	} {
		var token httpkey.Token
		if err := token.SetMore(unknown); err != nil {
			t.Fatal(err)
		}
		if token.Limits != nil || token.CreatedBy != "" || !reflect.DeepEqual(parsed(t, token.More()), parsed(t, unknown)) {
			t.Errorf("%s became %s", unknown, token.More())
		}
		token.ID, token.Kind, token.IsActive = "t", httpkey.APIKey, true
		changed, err := token.Apply(func(next *httpkey.Token) error {
			*next = httpkey.Token{Kind: httpkey.APIKey, IsActive: true, CreatedBy: "me", Limits: limits(httpkey.PerDay(5))}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		got := parsed(t, changed.More()).(map[string]any)
		for name, value := range parsed(t, unknown).(map[string]any) {
			if !reflect.DeepEqual(got[name], value) {
				t.Errorf("%s: after a change, %s is %v", unknown, name, got[name])
			}
		}
		if got["created_by"] != "me" || got["limits"] == nil {
			t.Errorf("%s: after a change, there is %v", unknown, got)
		}
		cleared, err := changed.Apply(func(next *httpkey.Token) error {
			next.Limits, next.CreatedBy = nil, ""
			return nil
		})
		if err != nil || !reflect.DeepEqual(parsed(t, cleared.More()), parsed(t, unknown)) {
			t.Errorf("%s: cleared to %s (%v)", unknown, cleared.More(), err)
		}
	}
}

// An error changes nothing.
func TestSetMoreOfNonsense(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"x", "[]", "5", `"text"`, `{"limits":5}`, `{"networks":["here"]}`,
		`{"revoked_at":"soon"}`, `{"metadata":{"a":1}}`, `{"payer":[]}`, `{"a":1}{`} {
		token := httpkey.Token{ID: "t", CreatedBy: "me", Limits: limits(httpkey.PerDay(5))}
		before := token.More()
		if err := token.SetMore(text); err == nil || !strings.HasPrefix(err.Error(), "httpkey: ") {
			t.Errorf("%s: SetMore returned %v", text, err)
		}
		if token.More() != before {
			t.Errorf("%s: the token has %s", text, token.More())
		}
	}
}

// Reading a text of any store is stable: the second text is the first.
func FuzzMore(f *testing.F) {
	random := rand.New(rand.NewPCG(3, 4))
	for range 30 {
		f.Add(randomToken(random).More())
	}
	for _, seed := range []string{"", "{}", "null", `{"future":1}`, `{"limits":null,"future":{"limits":1}}`,
		`{"payer":"p","planned_expiry":"0001-01-01T00:00:00Z"}`, `{"a":1,"a":2}`, "{\"\xff\":\"\xff\"}"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var first, second httpkey.Token
		if first.SetMore(text) != nil {
			return
		}
		written := first.More()
		if written != "" && !json.Valid([]byte(written)) {
			t.Fatalf("%q became %q, which is no JSON", text, written)
		}
		if err := second.SetMore(written); err != nil {
			t.Fatalf("%q became %q: %v", text, written, err)
		}
		if again := second.More(); again != written || first.Payer() != second.Payer() {
			t.Fatalf("%q became %q and %q", text, written, again)
		}
	})
}

// Apply holds a change to the rules, for every store.
func TestApply(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		now := time.Now().UTC()
		hour := func(n int) time.Time { return now.Add(time.Duration(n) * time.Hour) }
		active := httpkey.Token{
			ID: "t", Digest: httpkey.Digest{1}, Kind: httpkey.APIKey, Label: "ci", IsActive: true, LastUsed: hour(-1),
			CreatedAt: hour(-2), Scopes: []string{"a"},
		}
		with := func(change func(*httpkey.Token)) httpkey.Token {
			token := active.Clone()
			change(&token)
			return token
		}
		revoked := with(func(t *httpkey.Token) {
			t.IsActive, t.RevokedAt, t.RevokedFor, t.RevokedBy = false, hour(-1), "leaked", "admin"
		})
		unnoted := with(func(t *httpkey.Token) { t.IsActive = false }) // by a version that did not note it
		expiring := with(func(t *httpkey.Token) { t.ExpiredAt = hour(1) })
		expired := with(func(t *httpkey.Token) { t.ExpiredAt = now })
		odd := with(func(t *httpkey.Token) { t.Kind, t.Label = "", strings.Repeat("x", 300) })
		refusal := errors.New("no")
		for _, tt := range []struct {
			name   string
			token  httpkey.Token
			change func(*httpkey.Token) error
			want   func(*httpkey.Token) // nil: nothing but the change
			err    error
		}{
			{"nothing", active, func(*httpkey.Token) error { return nil }, func(*httpkey.Token) {}, nil},
			{"label", active, set(func(t *httpkey.Token) { t.Label = "laptop" }), nil, nil},
			{"an error", active, func(*httpkey.Token) error { return refusal }, nil, refusal},
			{"what stays", active, set(func(t *httpkey.Token) {
				t.ID, t.Digest, t.LastUsed, t.Label = "u", httpkey.Digest{2},
					now, "laptop"
			}),
				func(t *httpkey.Token) { t.Label = "laptop" }, nil},
			{"no label that is too long", active, set(func(t *httpkey.Token) { t.Label = strings.Repeat("x", 256) }), nil,
				httpkey.ErrInvalidToken},
			{"no other kind", active, set(func(t *httpkey.Token) { t.Kind = "robot" }), nil, httpkey.ErrInvalidToken},
			{"to the microsecond, in UTC", active,
				set(func(t *httpkey.Token) { t.ExpiredAt = hour(1).Add(1500).In(time.FixedZone("", 3600)) }),
				func(t *httpkey.Token) { t.ExpiredAt = hour(1).Add(1000) }, nil},
			{"revoke", active, set(func(t *httpkey.Token) { t.IsActive, t.RevokedFor, t.RevokedBy = false, "leaked", "ann" }),
				func(t *httpkey.Token) {
					t.IsActive, t.RevokedAt, t.RevokedFor, t.RevokedBy = false, now, "leaked", "ann"
				}, nil},
			{"revoke as of another time", active, set(func(t *httpkey.Token) { t.IsActive, t.RevokedAt = false, hour(-1) }),
				nil, nil},
			{"no time of revocation while active", active, set(func(t *httpkey.Token) { t.RevokedAt = now }), nil,
				httpkey.ErrInvalidToken},
			{"no revival", revoked, set(func(t *httpkey.Token) { t.IsActive = true }), nil, httpkey.ErrInactive},
			{"no revival of one unnoted", unnoted, set(func(t *httpkey.Token) { t.IsActive = true }), nil, httpkey.ErrInactive},
			{"no other revocation", revoked, set(func(t *httpkey.Token) {
				t.RevokedAt, t.RevokedFor, t.RevokedBy, t.Label = time.Time{}, "", "eve", "laptop"
			}),
				func(t *httpkey.Token) { t.Label = "laptop" }, nil},
			{"no stale write", revoked, set(func(t *httpkey.Token) { *t = active }), nil, httpkey.ErrInactive},
			{"later expiry", expiring, set(func(t *httpkey.Token) { t.ExpiredAt = hour(5) }), nil, nil},
			{"no expiry", expiring, set(func(t *httpkey.Token) { t.ExpiredAt = time.Time{} }), nil, nil},
			{"sooner expiry", expiring, set(func(t *httpkey.Token) { t.ExpiredAt = now }), nil, nil},
			{"expiry where there was none", active, set(func(t *httpkey.Token) { t.ExpiredAt = now }), nil, nil},
			{"no later expiry of what has expired", expired, set(func(t *httpkey.Token) { t.ExpiredAt = hour(1) }), nil,
				httpkey.ErrInactive},
			{"no later expiry of what has expired, still past", expired,
				set(func(t *httpkey.Token) { t.ExpiredAt = now.Add(time.Microsecond) }), nil, httpkey.ErrInactive},
			{"no end of the expiry of what has expired", expired, set(func(t *httpkey.Token) { t.ExpiredAt = time.Time{} }),
				nil, httpkey.ErrInactive},
			{"no expiry that rounds to none of what has expired", expired,
				set(func(t *httpkey.Token) { t.ExpiredAt = time.Time{}.Add(1) }),
				func(t *httpkey.Token) { t.ExpiredAt = time.Time{}.Add(time.Microsecond) }, nil},
			{"sooner expiry of what has expired", expired, set(func(t *httpkey.Token) { t.ExpiredAt = hour(-1) }), nil, nil},
			{"label of what has expired", expired, set(func(t *httpkey.Token) { t.Label = "laptop" }), nil, nil},
			{"revocation of what has expired", expired, set(func(t *httpkey.Token) { t.IsActive, t.RevokedAt = false, now }),
				nil, nil},
			{"revocation of what no Guard has made", odd, set(func(t *httpkey.Token) { t.IsActive, t.RevokedAt = false, now }),
				nil, nil},
		} {
			before := tt.token.Clone()
			got, err := tt.token.Apply(tt.change)
			if !errors.Is(err, tt.err) || (err != nil) != (tt.err != nil) {
				t.Errorf("%s: Apply returned %v, want %v", tt.name, err, tt.err)
			}
			if !reflect.DeepEqual(tt.token, before) {
				t.Errorf("%s: Apply changed the token itself", tt.name)
			}
			want := tt.token.Clone()
			switch {
			case tt.err != nil:
				want = httpkey.Token{}
			case tt.want != nil:
				tt.want(&want)
			default:
				_ = tt.change(&want)
			}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("%s: Apply returned\n%#v, want\n%#v", tt.name, got, want)
			}
		}
	})
}

func set(change func(*httpkey.Token)) func(*httpkey.Token) error {
	return func(t *httpkey.Token) error {
		change(t)
		return nil
	}
}

// The result of Apply shares no memory with the token before or the change.
func TestApplySharesNoMemory(t *testing.T) {
	t.Parallel()
	given := httpkey.Token{
		Scopes: []string{"a"}, Limits: limits(httpkey.PerDay(1)), Metadata: map[string]string{"a": "b"},
		Networks: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")},
	}
	token := httpkey.Token{ID: "t", Kind: httpkey.APIKey, IsActive: true, Scopes: []string{"before"}}
	var seen *httpkey.Token
	got, err := token.Apply(func(t *httpkey.Token) error {
		t.Scopes[0] = "changed in place"
		t.Scopes, t.Limits, t.Metadata, t.Networks = given.Scopes, given.Limits, given.Metadata, given.Networks
		seen = t
		return nil
	})
	if err != nil || token.Scopes[0] != "before" {
		t.Fatalf("the token became %+v (%v)", token, err)
	}
	given.Scopes[0], given.Limits[0].Rate, given.Metadata["a"], given.Networks[0] = "x", 9, "x", netip.Prefix{}
	seen.Label = "changed later"
	if got.Scopes[0] != "a" || got.Limits[0].Rate != 1 || got.Metadata["a"] != "b" || !got.Networks[0].IsValid() ||
		got.Label != "" {
		t.Errorf("the result became %+v", got)
	}
}

func TestCloneSharesNoMemory(t *testing.T) {
	t.Parallel()
	token := httpkey.Token{
		ID: "t", Scopes: []string{"a"}, Limits: limits(httpkey.PerDay(1)), Metadata: map[string]string{"a": "b"},
		Networks: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")},
	}
	clone := token.Clone()
	if !reflect.DeepEqual(clone, token) || !reflect.DeepEqual(httpkey.Token{}.Clone(), httpkey.Token{}) {
		t.Errorf("cloned to %+v", clone)
	}
	// Every field that can share memory does not: also one that is added later.
	of, its := reflect.ValueOf(token), reflect.ValueOf(clone)
	for i := range of.NumField() {
		name := of.Type().Field(i).Name
		switch of.Field(i).Kind() {
		case reflect.Slice, reflect.Map:
			if of.Field(i).Len() == 0 {
				t.Errorf("%s is not tested", name)
			} else if of.Field(i).Pointer() == its.Field(i).Pointer() {
				t.Errorf("%s is shared", name)
			}
		case reflect.Pointer, reflect.Interface, reflect.Func, reflect.Chan:
			t.Errorf("%s is a %s", name, of.Field(i).Kind())
		}
	}
}

func TestPayer(t *testing.T) {
	t.Parallel()
	var rotated httpkey.Token
	if err := rotated.SetMore(`{"payer":"first"}`); err != nil {
		t.Fatal(err)
	}
	rotated.ID = "third"
	for want, token := range map[string]httpkey.Token{"token:t": {ID: "t"}, "token:first": rotated, "token:": {}} {
		if got := token.Payer(); got != want {
			t.Errorf("the payer is %q, want %q", got, want)
		}
	}
	if text := fmt.Sprintf("%+v", rotated); !strings.Contains(text, "third") {
		t.Errorf("printed as %s", text)
	}
}
