package httpkey_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/httpkey/httpkey"
)

func TestTokenJSON(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 1, 2, 3, 4, 5, 678_901_000, time.UTC)
	for _, tt := range []struct {
		name  string
		token httpkey.Token
		want  string
	}{
		{"bare", httpkey.Token{ID: "t-1", Kind: httpkey.APIKey, CreatedAt: at},
			`{"id":"t-1","label":"","description":"","user":"","workspace":null,"is_active":false,` +
				`"expired_at":null,"last_used":null,"created_at":"2026-01-02T03:04:05.678901Z","kind":"api_key",` +
				`"scopes":[],"rate_limits":[],"networks":[],"hint":"","created_by":null,"revoked_at":null,"revoked_for":null,` +
				`"revoked_by":null,"rotated_from":null,"rotated_to":null}`},
		{"full", httpkey.Token{
			ID: "t-1", Digest: httpkey.Digest{7}, Hint: "a1B2", Kind: httpkey.ServiceToken, Label: "<ci>", Description: "d",
			User:      "u-1",
			Workspace: "w-1", Scopes: []string{"a", "b"}, Limits: limits(httpkey.Limit{Rate: 5,
				Period: 90 * time.Second}), IsActive: true,
			ExpiredAt: at.Add(time.Hour), LastUsed: at, CreatedAt: at, RotatedFrom: "t-0", RotatedTo: "t-2",
			Networks: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, Metadata: map[string]string{"stripe": "cus_1"},
			CreatedBy: "u-0", RevokedAt: at, RevokedFor: "leaked", RevokedBy: "u-9"},
			`{"id":"t-1","label":"\u003cci\u003e","description":"d","user":"u-1","workspace":"w-1","is_active":true,` +
				`"expired_at":"2026-01-02T04:04:05.678901Z","last_used":"2026-01-02T03:04:05.678901Z",` +
				`"created_at":"2026-01-02T03:04:05.678901Z",` +
				`"kind":"service_token","scopes":["a","b"],"rate_limits":[{"rate":5,"burst":5,"period":90}],` +
				`"networks":["10.0.0.0/8"],` +
				`"hint":"a1B2","created_by":"u-0","revoked_at":"2026-01-02T03:04:05.678901Z","revoked_for":"leaked",` +
				`"revoked_by":"u-9","rotated_from":"t-0","rotated_to":"t-2"}`},
	} {
		got, err := json.Marshal(tt.token)
		if err != nil || !reflect.DeepEqual(parsed(t, string(got)), parsed(t, tt.want)) {
			t.Errorf("%s: %v\n%s, want\n%s", tt.name, err, got, tt.want)
		}
	}
}

func parsed(t *testing.T, text string) (value any) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), &value); err != nil {
		t.Fatal(err)
	}
	return value
}

// A client of an API reads the JSON of the API.
func TestTokenJSONRoundTrip(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 1, 2, 3, 4, 5, 678_901_000, time.UTC)
	want := httpkey.Created{Secret: "s", Token: httpkey.Token{
		ID: "t-1", Hint: "a1B2", Kind: httpkey.ServiceToken, Label: "ci", Description: "d", User: "u-1",
		Workspace: "w-1", Scopes: []string{"a", "b"}, Limits: limits(httpkey.Limit{Rate: 5, Burst: 7,
			Period: 1500 * time.Microsecond}), IsActive: true,
		ExpiredAt: at.Add(time.Hour), LastUsed: at, CreatedAt: at, RotatedFrom: "t-0", RotatedTo: "t-2",
		Networks:  []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8::/32")},
		CreatedBy: "u-0", RevokedAt: at, RevokedFor: "leaked", RevokedBy: "u-9"}}
	text, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	var created httpkey.Created
	if err := json.Unmarshal(text, &created); err != nil || !reflect.DeepEqual(created, want) {
		t.Errorf("read %#v (%v), want %#v", created, err, want)
	}
	var token httpkey.Token
	if err := json.Unmarshal(text, &token); err != nil || !reflect.DeepEqual(token, want.Token) {
		t.Errorf("read %#v (%v), want %#v", token, err, want.Token)
	}
	bare := httpkey.Token{ID: "t-1", Kind: httpkey.APIKey, CreatedAt: at, Scopes: []string{}, Limits: []httpkey.Limit{},
		Networks: []netip.Prefix{}}
	if text, err = json.Marshal(bare); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &token); err != nil || !reflect.DeepEqual(token, bare) {
		t.Errorf("read %#v (%v), want %#v", token, err, bare)
	}
	for _, bad := range []string{`{"id": 5}`, `{"rate_limits": "60/min"}`, `[]`} {
		if err := json.Unmarshal([]byte(bad), &token); err == nil || !strings.HasPrefix(err.Error(), "httpkey: ") {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

func TestTokenTimesHaveFourDigitYears(t *testing.T) {
	t.Parallel()
	late := time.Date(9999, 12, 31, 23, 30, 0, 0, time.FixedZone("", -3600)) // year 10000 in UTC
	for _, at := range []time.Time{time.Date(0, 12, 31, 0, 0, 0, 0, time.UTC), late} {
		for field, bad := range map[string]httpkey.Token{
			"ExpiredAt": {ExpiredAt: at}, "LastUsed": {LastUsed: at}, "CreatedAt": {CreatedAt: at}, "RevokedAt": {RevokedAt: at},
		} {
			bad.ID, bad.Kind = "t", httpkey.APIKey
			if err := bad.Validate(); err == nil || !strings.Contains(err.Error(), field) {
				t.Errorf("%s in %v: %v", field, at, err)
			}
		}
	}
}

// The properties of the Plane documentation, and ours.
func TestTokenJSONHasTheDocumentedProperties(t *testing.T) {
	t.Parallel()
	text, err := json.Marshal(httpkey.Created{Secret: "s"})
	if err != nil {
		t.Fatal(err)
	}
	var object map[string]any
	if err := json.Unmarshal(text, &object); err != nil {
		t.Fatal(err)
	}
	want := strings.Fields("id token label description user workspace is_active expired_at last_used created_at " +
		"kind scopes rate_limits networks hint created_by revoked_at revoked_by revoked_for rotated_from rotated_to")
	for _, property := range want {
		if _, ok := object[property]; !ok {
			t.Errorf("%s is missing", property)
		}
		delete(object, property)
	}
	for property := range object {
		t.Errorf("unexpected property %s", property)
	}
}

func TestCursorOrder(t *testing.T) {
	t.Parallel()
	at := time.Now()
	want := []httpkey.Cursor{{at.Add(1), "a"}, {at, "b"}, {at, "a"}, {at, ""}, {at.Add(-1), "z"}}
	got := slices.Clone(want)
	slices.Reverse(got)
	slices.SortFunc(got, httpkey.Cursor.Compare)
	if !slices.Equal(got, want) {
		t.Errorf("sorted %v, want %v", got, want)
	}
}

// Later IDs sort after earlier ones, to the millisecond.
func TestIDsSortByTime(t *testing.T) {
	t.Parallel()
	guard := newGuard(nil)
	_, first := issue(t, guard, httpkey.Token{})
	for {
		_, next := issue(t, guard, httpkey.Token{})
		if next.CreatedAt.Sub(first.CreatedAt) < 2*time.Millisecond {
			continue
		}
		if next.ID <= first.ID {
			t.Errorf("%s, issued %v after %s, sorts before it", next.ID, next.CreatedAt.Sub(first.CreatedAt), first.ID)
		}
		return
	}
}

// A digest comes back from its hexadecimal digits, in either case.
func TestParseDigest(t *testing.T) {
	t.Parallel()
	want := httpkey.Digest(sha256.Sum256([]byte("key")))
	if text := want.Hex(); text != fmt.Sprintf("%x", want[:]) {
		t.Errorf("Hex is %s", text)
	}
	for _, text := range []string{want.Hex(), strings.ToUpper(want.Hex())} {
		if got, err := httpkey.ParseDigest(text); err != nil || got != want {
			t.Errorf("%s became %x, %v", text, got[:], err)
		}
	}
	if got, err := httpkey.ParseDigest(strings.Repeat("0", 64)); err != nil || got != (httpkey.Digest{}) {
		t.Errorf("the zero digest became %x, %v", got[:], err)
	}
}

// A text that is no digest is an error, and the error does not show it.
func TestParseDigestOfOtherTexts(t *testing.T) {
	t.Parallel()
	good := httpkey.Digest(sha256.Sum256([]byte("key"))).Hex()
	for what, text := range map[string]string{
		"empty":           "",
		"one digit less":  good[1:],
		"two digits less": good[2:],
		"two digits more": good + "00",
		"SHA-1":           good[:40],
		"SHA-512":         good + good,
		"a blank":         " " + good[1:],
		"a line":          good[1:] + "\n",
		"0x":              "0x" + good[2:],
		"another letter":  good[:31] + "g" + good[32:],
		"Base64":          base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{0xfb}, 48)),
		"not ASCII":       good[:62] + "é",
		"a NUL":           good[:63] + "\x00",
	} {
		got, err := httpkey.ParseDigest(text)
		if !errors.Is(err, httpkey.ErrInvalidToken) || got != (httpkey.Digest{}) {
			t.Errorf("%s became %x, %v", what, got[:], err)
			continue
		}
		for i := range len(text) - 8 {
			if strings.Contains(err.Error(), text[i:i+8]) {
				t.Errorf("%s: the error shows the text: %v", what, err)
				break
			}
		}
	}
}
