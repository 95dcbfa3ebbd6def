package console

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/httpkeytest"
	"github.com/httpkey/httpkey/memstore"
)

// The properties of a token in the Plane documentation, and ours.
var (
	documented = []string{
		"created_at", "description", "expired_at", "id", "is_active", "label", "last_used", "user", "workspace",
	}
	ours = []string{
		"created_by", "effective_limits", "hint", "kind", "networks", "rate_limits", "revoked_at", "revoked_by",
		"revoked_for", "rotated_from", "rotated_to", "scopes",
	}
)

func TestJSONHasTheDocumentedProperties(t *testing.T) {
	t.Parallel()
	s := newSite(t, Options{})
	created := s.want(201, s.api("ada", "POST", "/", `{"label":"laptop"}`))
	var object map[string]any
	decode(t, created, &object)
	id := object["id"].(string)
	if got := created.Header().Get("Location"); got != "./"+id+"/" {
		t.Errorf("Location is %q", got)
	}
	properties := slices.Sorted(slices.Values(slices.Concat(documented, ours)))
	withToken := slices.Sorted(slices.Values(append(slices.Clone(properties), "token")))
	assertKeys := func(what string, object map[string]any, want []string) {
		t.Helper()
		if got := slices.Sorted(maps.Keys(object)); !slices.Equal(got, want) {
			t.Errorf("%s has %v, want %v", what, got, want)
		}
	}
	assertKeys("the answer to create", object, withToken)

	var list map[string]any
	decode(t, s.api("ada", "GET", "/", ""), &list)
	assertKeys("the list", list, []string{
		"next_cursor", "next_page_results", "prev_cursor", "prev_page_results", "results", "total_results",
	})
	assertKeys("a token in the list", list["results"].([]any)[0].(map[string]any), properties)

	object = nil
	decode(t, s.api("ada", "PATCH", "/"+id+"/", `{"label":"x"}`), &object)
	assertKeys("the changed token", object, properties)
	object = nil
	decode(t, s.api("ada", "GET", "/"+id+"/", ""), &object)
	assertKeys("a token", object, slices.Sorted(slices.Values(append(slices.Clone(properties), "remaining"))))
	object = nil
	decode(t, s.api("ada", "POST", "/"+id+"/rotate/", `{"grace":0}`), &object)
	assertKeys("the answer to rotate", object, withToken)

	list = nil
	decode(t, s.api("eve", "GET", "/", ""), &list)
	if results, ok := list["results"].([]any); !ok || len(results) != 0 {
		t.Errorf("an empty list is %v, want []", list["results"])
	}
}

func TestCreate(t *testing.T) {
	t.Parallel()
	s := newSite(t, Options{})
	secret, token := s.created(s.api("manager", "POST", "/", `{"label":" bot ","description":"d","kind":"service_token",
		"workspace":"acme","scopes":["write"],"expired_at":"2099-01-02T03:04:05.123456789+01:00"}`))
	want := httpkey.Token{
		ID: token.ID, Hint: secret[len(secret)-4:], Kind: httpkey.ServiceToken, Label: "bot", Description: "d",
		CreatedBy: "mary", Workspace: "acme", Scopes: []string{"write"}, IsActive: true,
		ExpiredAt: time.Date(2099, 1, 2, 2, 4, 5, 123456000, time.UTC), CreatedAt: token.CreatedAt,
		Limits: []httpkey.Limit{}, Networks: []netip.Prefix{}, // as the wire has them
	}
	if !reflect.DeepEqual(token, want) {
		t.Errorf("created %+v, want %+v", token, want)
	}
	if verified, err := s.guard.Verify(t.Context(), secret); err != nil || verified.ID != token.ID {
		t.Errorf("the secret is of %q, %v", verified.ID, err)
	}
	_, token = s.created(s.api("ada", "POST", "/", `{"label":"plain","workspace":null,"expired_at":null}`))
	if token.Kind != httpkey.APIKey || token.User != "ada" || !token.ExpiredAt.IsZero() {
		t.Errorf("created %+v", token)
	}
}

// A create without an expiry gets the default of the page. Null is never, where that is allowed.
func TestDefaultExpiry(t *testing.T) {
	t.Parallel()
	const never = -1
	for _, tt := range []struct {
		name, body string
		opts       Options
		want       time.Duration // 0: it is refused
	}{
		{"left out", `{"label":"x"}`, Options{}, 90 * day},
		{"left out, with a policy", `{"label":"x"}`, Options{MaxLifetime: 30 * day}, 30 * day},
		{"left out, with a default", `{"label":"x"}`, Options{DefaultLifetime: 7 * day, MaxLifetime: 30 * day}, 7 * day},
		{"left out, with the default never", `{"label":"x"}`, Options{DefaultLifetime: never}, never},
		{"null", `{"label":"x","expired_at":null}`, Options{}, never},
		{"null, with a policy", `{"label":"x","expired_at":null}`, Options{MaxLifetime: 30 * day}, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := newSite(t, tt.opts)
				w := s.api("ada", "POST", "/", tt.body)
				if tt.want == 0 {
					if got := refusalIn(t, s.want(400, w)); !strings.HasPrefix(got, "expired_at required: ") {
						t.Errorf("answered %s", got)
					}
					return
				}
				want := time.Time{}
				if tt.want != never {
					want = time.Now().Add(tt.want).UTC()
				}
				if _, token := s.created(w); !token.ExpiredAt.Equal(want) || !s.get(token.ID).ExpiredAt.Equal(want) {
					t.Errorf("it expires at %v, want %v", token.ExpiredAt, want)
				}
			})
		})
	}
}

// A revocation records who revoked the token and why. What has been revoked keeps its reason.
func TestRevocationByTheAPI(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ body, reason, label string }{
		{`{"is_active":false}`, "", "x"},
		{`{"is_active":false,"revoked_for":" leaked "}`, "leaked", "x"},
		{`{"is_active":false,"revoked_for":""}`, "", "x"},
		{`{"revoked_for":"leaked","label":"y","is_active":false}`, "leaked", "y"},
	} {
		t.Run(tt.body, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, Options{})
			s.issue(httpkey.Token{ID: "id", Label: "x", User: "ada"})
			var answered httpkey.Token
			decode(t, s.want(200, s.api("ada", "PATCH", "/id/", tt.body)), &answered)
			got := s.get("id")
			if got.IsActive || got.RevokedFor != tt.reason || got.RevokedBy != "ada" || got.Label != tt.label {
				t.Errorf("the store has %+v", got)
			}
			if answered.IsActive || answered.RevokedFor != tt.reason || answered.RevokedBy != "ada" {
				t.Errorf("answered %+v", answered)
			}
			s.want(200, s.api("ada", "PATCH", "/id/", `{"is_active":false,"revoked_for":"another reason"}`))
			if again := s.get("id"); !reflect.DeepEqual(again, got) {
				t.Errorf("a second revocation made it %+v", again)
			}
		})
	}
}

func TestRequestsThatAreRefused(t *testing.T) {
	t.Parallel()
	s := newSite(t, Options{MaxLifetime: 90 * day})
	s.issue(httpkey.Token{ID: "mine", Label: "mine", User: "ada", Scopes: []string{"read"}})
	s.issue(httpkey.Token{ID: "beyond", Label: "mine", User: "ada", Scopes: []string{"admin"}})
	const soon = `"expired_at":"%s"`
	tomorrow := fmt.Sprintf(soon, time.Now().Add(day).Format(time.RFC3339))
	for _, tt := range []struct {
		method, path, body string
		status             int
		want               string // in the body
	}{
		{"POST", "/", `{` + tomorrow + `}`, 400, `label blank: This field may not be blank.`},
		{"POST", "/", `{"label":" ",` + tomorrow + `}`, 400, `label blank: This field may not be blank.`},
		{"POST", "/", `{"label":null,` + tomorrow + `}`, 400, `label null: This field may not be null.`},
		{"POST", "/", `{"label":7,` + tomorrow + `}`, 400, `label wrong_type: Not a valid string.`},
		{"POST", "/", `{"label":"` + strings.Repeat("é", 256) + `",` + tomorrow + `}`, 400,
			`label too_long: Ensure this field has no more than 255 characters.`},
		{"POST", "/", `{"label":"a\u0000",` + tomorrow + `}`, 400,
			`label control_character: Control characters are not allowed.`},
		{"POST", "/", `{"label":"x","description":"` + strings.Repeat("x", 4097) + `",` + tomorrow + `}`, 400,
			`description too_long: Ensure this field has no more than 4096 characters.`},
		{"POST", "/", `{"label":"x","colour":"red",` + tomorrow + `}`, 400, `colour unknown: Unknown field.`},
		{"POST", "/", `{"label":"x","Label":"y",` + tomorrow + `}`, 400, `Label unknown: Unknown field.`},
		{"POST", "/", `{"label":"x","user":"eve","rate_limits":null,` + tomorrow + `}`, 400,
			`rate_limits read_only: This field cannot be set.; user read_only: This field cannot be set.`},
		{"POST", "/", `{"label":"x","id":"1","is_active":true,"token":"t",` + tomorrow + `}`, 400,
			`token read_only: This field cannot be set.`},
		{"POST", "/", `{"label":"x","kind":"master",` + tomorrow + `}`, 400,
			`kind no_choice: "master" is not a valid choice.`},
		{"POST", "/", `{"label":"x","scopes":["` + strings.Join(manyScopes(101), `","`) + `"],` + tomorrow + `}`, 400,
			`scopes too_many: Ensure this field has no more than 100 elements.`},
		{"POST", "/", `{"label":"x","scopes":"read",` + tomorrow + `}`, 400, `scopes wrong_type: Not a list of strings.`},
		{"POST", "/", `{"label":"x","kind":"service_token",` + tomorrow + `}`, 403,
			`forbidden: You may not create service tokens.`},
		{"POST", "/", `{"label":"x","workspace":"acme",` + tomorrow + `}`, 403,
			`forbidden: You may not create tokens in this workspace.`},
		{"POST", "/", `{"label":"x","scopes":["read","admin"],` + tomorrow + `}`, 403,
			`forbidden: You may not create tokens with scopes that you do not have.`},
		{"POST", "/", `{"label":"x","expired_at":null}`, 400,
			`expired_at required: A token may not live for ever. Give a time no later than `},
		{"POST", "/", `{"label":"x","expired_at":"2001-01-01T00:00:00Z"}`, 400,
			`expired_at past: The expiry must be in the future.`},
		{"POST", "/", `{"label":"x","expired_at":"0001-01-01T00:00:00Z"}`, 400,
			`expired_at past: The expiry must be in the future.`},
		{"POST", "/", `{"label":"x","expired_at":"0001-01-01T00:00:00+01:00"}`, 400,
			`expired_at past: The expiry must be in the future.`},
		{"POST", "/", `{"label":"x","expired_at":"0001-01-01T00:00:00.000000999Z"}`, 400,
			`expired_at past: The expiry must be in the future.`},
		{"POST", "/", `{"label":"x","expired_at":"2099-01-01T00:00:00Z"}`, 400,
			`expired_at too_late: The expiry must be no later than `},
		{"POST", "/", `{"label":"x","expired_at":"tomorrow"}`, 400, `expired_at wrong_type: Datetime has wrong format.`},
		{"POST", "/", `{"label":"x","expired_at":"9999-12-31T23:59:59-10:00"}`, 400,
			`expired_at wrong_type: Datetime has wrong format.`},
		{"POST", "/", `{"label":"x","expired_at":1893456000}`, 400, `expired_at wrong_type: Datetime has wrong format.`},
		{"POST", "/", `[]`, 400, `malformed: The request body is not a JSON object.`},
		{"POST", "/", `null`, 400, `malformed: The request body is not a JSON object.`},
		{"POST", "/", ``, 400, `malformed: The request body is not a JSON object.`},
		{"POST", "/", `{"label":"x"} {}`, 400, `malformed: The request body is not a JSON object.`},
		{"POST", "/", `{"label":"` + strings.Repeat("x", 64<<10) + `"}`, 413,
			`too_large: The request body is larger than 65536 bytes.`},
		{"PATCH", "/mine/", `{"label":"` + strings.Repeat("x", 64<<10) + `"}`, 413, `larger than 65536 bytes`},
		{"PATCH", "/mine/", `{"kind":"service_token"}`, 400, `kind read_only: This field cannot be set.`},
		{"PATCH", "/mine/", `{"rate_limits":[{"rate":9000,"burst":9000,"period":1}]}`, 400,
			`rate_limits read_only: This field cannot be set.`},
		{"PATCH", "/mine/", `{"networks":["0.0.0.0/0"]}`, 400, `networks read_only: This field cannot be set.`},
		{"PATCH", "/mine/", `{"created_by":"eve","revoked_at":null}`, 400,
			`created_by read_only: This field cannot be set.; revoked_at read_only: This field cannot be set.`},
		{"PATCH", "/mine/", `{"rotated_to":"beyond"}`, 400, `rotated_to read_only: This field cannot be set.`},
		{"PATCH", "/mine/", `{"revoked_for":"x"}`, 400, `revoked_for without_revocation: This field needs is_active false.`},
		{"PATCH", "/mine/", `{"revoked_for":"x","is_active":true}`, 400, `revoked_for without_revocation: `},
		{"PATCH", "/mine/", `{"revoked_for":null,"label":"y"}`, 400, `revoked_for without_revocation: `},
		{"PATCH", "/mine/", `{"revoked_for":null,"is_active":false}`, 400, `revoked_for null: This field may not be null.`},
		{"PATCH", "/mine/", `{"revoked_for":"` + strings.Repeat("é", 256) + `","is_active":false}`, 400,
			`revoked_for too_long: Ensure this field has no more than 255 characters.`},
		{"POST", "/", `{"label":"x","revoked_for":"x"}`, 400, `revoked_for read_only: This field cannot be set.`},
		{"PATCH", "/mine/", `{"revoked_by":"eve"}`, 400, `revoked_by read_only: This field cannot be set.`},
		{"PATCH", "/mine/", `{"metadata":{"plan":"gold"}}`, 400, `metadata unknown: Unknown field.`},
		{"PATCH", "/mine/", `{"scopes":["read","admin"]}`, 400, `scopes read_only: This field cannot be set.`},
		{"PATCH", "/mine/", `{"user":"eve","workspace":"acme"}`, 400,
			`user read_only: This field cannot be set.; workspace read_only: This field cannot be set.`},
		{"PATCH", "/mine/", `{"last_used":null,"created_at":null,"hint":"x","rotated_from":"x"}`, 400,
			`last_used read_only: This field cannot be set.`},
		{"PATCH", "/mine/", `{"colour":"red"}`, 400, `colour unknown: Unknown field.`},
		{"PATCH", "/mine/", `{"is_active":"no"}`, 400, `is_active wrong_type: Must be a valid boolean.`},
		{"PATCH", "/mine/", `{"is_active":null}`, 400, `is_active null: This field may not be null.`},
		{"PATCH", "/mine/", `{"label":""}`, 400, `label blank: This field may not be blank.`},
		{"PATCH", "/mine/", `{"expired_at":"2001-01-01T00:00:00Z"}`, 400,
			`expired_at past: The expiry must be in the future.`},
		{"PATCH", "/mine/", `{"expired_at":"0001-01-01T00:00:00Z"}`, 400,
			`expired_at past: The expiry must be in the future.`},
		{"PATCH", "/mine/", `{"expired_at":"0000-12-31T00:00:00Z"}`, 400,
			`expired_at past: The expiry must be in the future.`},
		{"PATCH", "/mine/", `{"expired_at":"2099-01-01T00:00:00Z"}`, 400,
			`expired_at too_late: The expiry must be no later than `},
		{"POST", "/mine/rotate/", `{}`, 400, `grace required: This field is required.`},
		{"POST", "/mine/rotate/", `{"grace":-1}`, 400, `grace out_of_range: Ensure this value is from 0 to 604800 seconds.`},
		{"POST", "/mine/rotate/", `{"grace":604801}`, 400,
			`grace out_of_range: Ensure this value is from 0 to 604800 seconds.`},
		{"POST", "/mine/rotate/", `{"grace":1.5}`, 400, `grace wrong_type: A valid integer is required.`},
		{"POST", "/mine/rotate/", `{"grace":9223372036854775807}`, 400, `grace out_of_range: Ensure`},
		{"POST", "/mine/rotate/", `{"grace":1e300}`, 400, `grace wrong_type: A valid integer`},
		{"POST", "/mine/rotate/", `{"grace":1,"label":"x"}`, 400, `label unknown: Unknown field.`},
		{"POST", "/beyond/rotate/", `{"grace":1}`, 403,
			`forbidden: You may not rotate a token with scopes that you do not have.`},
		{"GET", "/?order_by=hint", ``, 400, `order_by no_choice: "hint" is not a valid choice.`},
		{"GET", "/?status=x&kind=y", ``, 400,
			`kind no_choice: "y" is not a valid choice.; status no_choice: "x" is not a valid choice.`},
		{"GET", "/?statuss=works&status=ended&status=works", ``, 400,
			`status repeated: This parameter may not be repeated.; statuss unknown: Unknown parameter.`},
		{"GET", "/?search=%zz", ``, 400, `malformed: The query cannot be read.`},
		{"GET", "/?search=x;status=works", ``, 400, `malformed: The query cannot be read.`},
		{"GET", "/mine/?search=x", ``, 400, `search unknown: Unknown parameter.`},
		{"GET", "/openapi.json?search=x", ``, 400, `search unknown: Unknown parameter.`},
		{"POST", "/?label=x", `{"label":"x"}`, 400, `label unknown: Unknown parameter.`},
		{"POST", "/?status=works", `{"label":"x"}`, 400, `status unknown: Unknown parameter.`},
		{"PATCH", "/mine/?expired_at=null", `{"label":"y"}`, 400, `expired_at unknown: Unknown parameter.`},
		{"DELETE", "/mine/?force=1", ``, 400, `force unknown: Unknown parameter.`},
		{"POST", "/mine/rotate/?grace=0", `{"grace":60}`, 400, `grace unknown: Unknown parameter.`},
		{"GET", "/?per_page=0", ``, 400, `per_page out_of_range: A whole number from 1 to 100 is required.`},
		{"GET", "/?cursor=!", ``, 400, `cursor invalid_cursor: Invalid cursor.`},
		{"GET", "/?cursor=e30", ``, 400, `cursor invalid_cursor: Invalid cursor.`},
	} {
		before, _ := s.store.List(t.Context(), httpkey.Filter{})
		w := s.api("ada", tt.method, tt.path, tt.body)
		if w.Code != tt.status || !strings.Contains(refusalIn(t, w), tt.want) ||
			w.Header().Get("Content-Type") != "application/json" {
			t.Errorf("%s %s %.90s: %d %s, want %d and %s", tt.method, tt.path, tt.body, w.Code, w.Body, tt.status, tt.want)
		}
		if after, _ := s.store.List(t.Context(), httpkey.Filter{}); !reflect.DeepEqual(after, before) {
			t.Errorf("%s %s %.90s changed a token", tt.method, tt.path, tt.body)
		}
	}
	for _, e := range s.told() {
		if e.Refusal != "forbidden" || e.Err != nil {
			t.Errorf("the audit has %+v", e)
		}
	}
	cursor := placeAfter(&httpkey.Token{ID: "x"}, "label").String()
	if w := s.api("ada", "GET", "/?cursor="+cursor, ""); w.Code != 400 {
		t.Errorf("the cursor of another order: %d", w.Code)
	}
}

func manyScopes(n int) []string {
	var scopes []string
	for i := range n {
		scopes = append(scopes, fmt.Sprint("scope", i))
	}
	return scopes
}

// A property that no token can have is the sender's fault: the audit does not hear of it.
func TestPropertiesThatNoTokenCanHave(t *testing.T) {
	t.Parallel()
	s := newSite(t, Options{})
	_, token := s.created(s.api("ada", "POST", "/",
		`{"label":"x","scopes":["write",`+strings.Repeat(`"read",`, 100)+`"write"]}`))
	if !slices.Equal(token.Scopes, []string{"write", "read"}) {
		t.Errorf("the scopes are %q", token.Scopes)
	}
	s.want(400, s.api("odd", "POST", "/", `{"label":"x","scopes":["no scope"]}`))
	s.want(400, s.submit("ada", "/", newForm("kind", "master")))
	w := s.want(400, s.submit("ada", "/", newForm("label", "\xff")))
	if !strings.Contains(w.Body.String(), "Not a valid string.") {
		t.Errorf("of text that is not UTF-8 the page says %s", w.Body)
	}
	if told := s.told(); len(told) != 1 {
		t.Errorf("told %v", told)
	}
}

// A change is not refused for a field that it does not change.
func TestTokenWithoutALabelCanBeChanged(t *testing.T) {
	t.Parallel()
	s := newSite(t, Options{})
	s.issue(httpkey.Token{ID: "id", User: "ada"})
	s.want(200, s.api("ada", "PATCH", "/id/", `{"description":"y"}`))
	if got := s.get("id"); got.Description != "y" {
		t.Errorf("the store has %+v", got)
	}
}

func TestContentTypes(t *testing.T) {
	t.Parallel()
	s := newSite(t, Options{})
	for _, tt := range []struct {
		accept, contentType string
		status              int
	}{
		{"", "application/json", 201},
		{"", "application/json; charset=utf-8", 201},
		{"", "", 415},
		{"", "text/plain", 415},
		{"", "application/x-www-form-urlencoded", 415},
		{browserAccept, "application/x-www-form-urlencoded; charset=UTF-8", 201},
		{browserAccept, "multipart/form-data; boundary=x", 415},
		{browserAccept, "text/plain", 415},
		{browserAccept, "application/json", 415},
	} {
		body := `{"label":"x"}`
		if tt.accept != "" {
			body = newForm()
		}
		w := s.send("ada", "POST", "/", body, "Accept", tt.accept, "Content-Type", tt.contentType)
		if w.Code != tt.status || tt.status == 415 &&
			!strings.Contains(w.Body.String(), "The Content-Type must be application/") {
			t.Errorf("%q: %d %.300s", tt.contentType, w.Code, w.Body)
		}
	}
	for range 2 {
		if w := s.submit("ada", "/", newForm("label", strings.Repeat("x", 64<<10))); w.Code != 413 {
			t.Errorf("a huge form: %d", w.Code)
		}
	}
}

func TestUpdate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, Options{MaxLifetime: 90 * day})
		secret, before := s.issue(httpkey.Token{
			ID: "id", Label: "a", User: "ada", Workspace: "acme", Scopes: []string{"read"},
			Limits: []httpkey.Limit{httpkey.PerHour(7)}, ExpiredAt: time.Now().Add(10 * day),
		})
		httpkeytest.Elapse(5 * day)
		if _, err := s.guard.Verify(t.Context(), secret); err != nil {
			t.Fatal(err)
		}

		// MaxLifetime counts from the creation, not from now.
		last := before.CreatedAt.Add(90 * day)
		s.want(400, s.api("root", "PATCH", "/id/", `{"expired_at":"`+last.Add(time.Second).Format(time.RFC3339)+`"}`))
		w := s.want(200, s.api("root", "PATCH", "/id/",
			`{"label":" b ","description":"c","is_active":true,"expired_at":"`+last.Format(time.RFC3339Nano)+`"}`))

		want := before
		want.Label, want.Description, want.ExpiredAt, want.LastUsed = "b", "c", last, time.Now().UTC()
		if got := s.get("id"); !reflect.DeepEqual(got, want) {
			t.Errorf("the store has %+v, want %+v", got, want)
		}
		var answered httpkey.Token
		decode(t, w, &answered)
		want.Digest, want.Networks, want.Limits[0].Burst = httpkey.Digest{}, []netip.Prefix{}, 7 // as the wire has it
		if !reflect.DeepEqual(answered, want) {
			t.Errorf("answered %+v, want %+v", answered, want)
		}

		s.want(200, s.api("root", "PATCH", "/id/", `{}`))
		s.want(200, s.api("root", "PATCH", "/id/", `{"label":"b"}`))
		if told := s.told(); len(told) != 1 || told[0].Action != ActionUpdate {
			t.Errorf("told %v, want one update", told)
		}
		var revoked httpkey.Token
		decode(t, s.want(200, s.api("root", "PATCH", "/id/", `{"is_active":false,"label":"c"}`)), &revoked)
		got := s.get("id")
		if got.IsActive || got.Label != "c" || !got.RevokedAt.Equal(time.Now()) {
			t.Errorf("the store has %+v", got)
		}
		told := s.told()
		if last := told[len(told)-1]; last.Action != ActionRevoke || !last.Token.RevokedAt.Equal(got.RevokedAt) ||
			revoked.IsActive || !revoked.RevokedAt.Equal(got.RevokedAt) {
			t.Errorf("told %+v, answered %+v", last, revoked)
		}
		if _, err := s.guard.Verify(t.Context(), secret); !errors.Is(err, httpkey.ErrInvalidKey) {
			t.Errorf("the revoked key: %v", err)
		}
	})
}

// meanwhile is a limiter that lets others do something in the time that it takes.
func meanwhile(others func()) httpkey.Limiter {
	limiter := httpkeytest.NewLimiter(httpkey.Unlimited)
	limiter.Before(func(context.Context, string) error { others(); return nil })
	return limiter
}

// A change does not undo a revocation that comes while it is made.
func TestChangesDoNotUndoARevocation(t *testing.T) {
	t.Parallel()
	var s *site
	s = newSite(t, Options{MaxLifetime: day, Limiter: meanwhile(func() {
		if err := s.guard.Revoke(s.Context(), "id", ""); err != nil {
			s.Error(err)
		}
	})})
	s.issue(httpkey.Token{ID: "id", Label: "x", User: "ada"})
	var answered httpkey.Token
	decode(t, s.want(200, s.api("ada", "PATCH", "/id/", `{"label":"x"}`)), &answered) // which changes nothing
	if answered.IsActive {
		t.Errorf("answered is the token as it was before: %+v", answered)
	}
	s.want(200, s.api("ada", "PATCH", "/id/", `{"label":"y"}`))
	if got := s.get("id"); got.IsActive || got.Label != "y" {
		t.Errorf("after a change the store has %+v", got)
	}
	if err := s.store.Delete(t.Context(), "id"); err != nil {
		t.Fatal(err)
	}
	s.issue(httpkey.Token{ID: "id", Label: "x", User: "ada"})
	s.want(409, s.api("ada", "POST", "/id/rotate/", `{"grace":60}`))
	if got := s.get("id"); got.IsActive {
		t.Errorf("after a rotation the store has %+v", got)
	}
}

// An ended token stays ended.
func TestNothingIsBroughtBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, Options{})
		s.issue(httpkey.Token{ID: "revoked", Label: "x", User: "ada"})
		s.issue(httpkey.Token{ID: "expired", Label: "x", User: "ada", ExpiredAt: time.Now().Add(time.Hour)})
		s.issue(httpkey.Token{ID: "rotated", Label: "x", User: "ada"})
		if err := s.guard.Revoke(t.Context(), "revoked", ""); err != nil {
			t.Fatal(err)
		}
		httpkeytest.Elapse(time.Hour)
		s.want(201, s.api("ada", "POST", "/rotated/rotate/", `{"grace":3600}`))
		grace := s.get("rotated").ExpiredAt
		later := `{"expired_at":"` + time.Now().Add(2*time.Hour).Format(time.RFC3339) + `"}`
		sooner := `{"expired_at":"` + time.Now().Add(time.Minute).Format(time.RFC3339) + `"}`

		for _, tt := range []struct {
			path, body string
			status     int
		}{
			{"revoked", `{"is_active":true}`, 409},
			{"revoked", later, 409},
			{"revoked", `{"is_active":false}`, 200},
			{"revoked", `{"label":"still called something"}`, 200},
			{"expired", later, 409},
			{"expired", `{"expired_at":null}`, 409},
			{"expired", `{"is_active":false}`, 200},
			{"rotated", later, 409},
			{"rotated", `{"expired_at":null}`, 409},
			{"rotated", `{"label":"old one"}`, 200},
		} {
			if w := s.api("ada", "PATCH", "/"+tt.path+"/", tt.body); w.Code != tt.status {
				t.Errorf("%s %s: %d %s, want %d", tt.path, tt.body, w.Code, w.Body, tt.status)
			}
		}
		if got := s.get("rotated"); !got.ExpiredAt.Equal(grace) {
			t.Errorf("the rotated key lives until %v", got.ExpiredAt)
		}
		s.want(200, s.api("ada", "PATCH", "/rotated/", sooner))
		for _, id := range []string{"revoked", "expired", "rotated"} {
			if w := s.api("ada", "POST", "/"+id+"/rotate/", `{"grace":0}`); w.Code != 409 {
				t.Errorf("%s can be rotated: %d", id, w.Code)
			}
		}
	})
}

// The owner of a token may rotate it in a workspace where they may not create one. That gives them
// nothing back that the workspace has revoked.
func TestRotatedTokenDoesNotOutliveTheRevocationOfItsSuccessor(t *testing.T) {
	t.Parallel()
	for _, grace := range []string{"0", "3600"} {
		s := newSite(t, Options{})
		s.issue(httpkey.Token{ID: "id", Label: "x", User: "ada", Workspace: "acme"})
		_, successor := s.created(s.want(201, s.api("ada", "POST", "/id/rotate/", `{"grace":`+grace+`}`)))
		s.want(200, s.api("manager", "PATCH", "/"+successor.ID+"/", `{"is_active":false}`))
		s.want(204, s.api("ada", "DELETE", "/"+successor.ID+"/", ""))
		s.want(403, s.api("ada", "POST", "/id/rotate/", `{"grace":0}`))
		s.want(403, s.page("ada", "/id/rotate/"))
		s.says(s.page("ada", "/id/").Body.String(), "not: Rotate")
		s.want(403, s.submit("ada", "/id/rotate/", "grace=0"))
		s.want(201, s.api("root", "POST", "/id/rotate/", `{"grace":0}`)) // who may create one like it
	}
}

func TestRotate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, Options{})
		old, before := s.issue(httpkey.Token{
			ID: "id", Label: "x", User: "ada", Scopes: []string{"read"}, ExpiredAt: time.Now().Add(30 * day),
		})
		secret, successor := s.created(s.api("ada", "POST", "/id/rotate/", `{"grace":5}`))
		if successor.RotatedFrom != "id" || !successor.ExpiredAt.Equal(before.ExpiredAt) ||
			!slices.Equal(successor.Scopes, before.Scopes) {
			t.Errorf("the successor is %+v", successor)
		}
		for step, want := range []map[string]bool{{old: true, secret: true}, {old: false, secret: true}} {
			for key, valid := range want {
				if _, err := s.guard.Verify(t.Context(), key); (err == nil) != valid {
					t.Errorf("step %d: valid is %v, want %v", step, err == nil, valid)
				}
			}
			httpkeytest.Elapse(5 * time.Second)
		}
	})
}

// A token from before there was a policy gets a successor that keeps to it.
func TestRotationBringsIntoPolicy(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		expiry, want time.Duration // from the rotation on
		rotated      bool          // before, by the program, and the successor is deleted
	}{
		"never expires":         {0, 90 * day, false},
		"expires too late":      {365 * day, 90 * day, false},
		"is within":             {10 * day, 10 * day, false},
		"never, but was cut":    {0, 90 * day, true},
		"is within, but is cut": {10 * day, 10 * day, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := newSite(t, Options{MaxLifetime: 90 * day})
				old := httpkey.Token{ID: "id", Label: "x", User: "ada"}
				if tt.expiry > 0 {
					old.ExpiredAt = time.Now().Add(day + tt.expiry)
				}
				s.issue(old)
				httpkeytest.Elapse(day)
				if tt.rotated {
					first, err := s.guard.Rotate(t.Context(), "id", day)
					if err != nil {
						t.Fatal(err)
					}
					s.want(204, s.api("ada", "DELETE", "/"+first.Token.ID+"/", ""))
				}
				_, successor := s.created(s.api("ada", "POST", "/id/rotate/", `{"grace":0}`))
				if want := time.Now().Add(tt.want); !successor.ExpiredAt.Equal(want) || !s.get(successor.ID).ExpiredAt.Equal(want) {
					t.Errorf("the successor expires %v, want %v", successor.ExpiredAt, want)
				}
				told := s.told()
				if last := told[len(told)-1]; last.Action != ActionRotate || last.Err != nil ||
					!last.Token.ExpiredAt.Equal(successor.ExpiredAt) {
					t.Errorf("told last %+v", last)
				}
			})
		})
	}
}

// A successor that could not be brought into the policy lives as long as the key that it
// replaces. Its key is shown, and the audit hears of it.
func TestRotationOutOfPolicyIsToldOf(t *testing.T) {
	t.Parallel()
	cause, updates := errors.New("down"), 0
	store := httpkeytest.NewStore(memstore.New())
	s := newSiteOn(t, store, Options{MaxLifetime: 90 * day})
	s.issue(httpkey.Token{ID: "id", Label: "x", User: "ada"})
	store.Before(func(_ context.Context, method string) error {
		if method != "Update" {
			return nil
		}
		if updates++; updates == 2 {
			return cause
		}
		return nil
	})
	secret, successor := s.created(s.api("ada", "POST", "/id/rotate/", `{"grace":0}`))
	if _, err := s.guard.Verify(t.Context(), secret); err != nil || !successor.ExpiredAt.IsZero() {
		t.Errorf("the new key: %v, until %v", err, successor.ExpiredAt)
	}
	if told := s.told(); len(told) != 1 || !errors.Is(told[0].Err, cause) || told[0].Token.ID != successor.ID {
		t.Errorf("told %+v", told)
	}
}

// A rotation that fails shows no key and leaves no successor. Repeated, it leads to a good key.
func TestFailedRotationCanBeRepeated(t *testing.T) {
	t.Parallel()
	cause := errors.New("secret detail of the store")
	for name, fail := range map[string]func(*httpkeytest.Store){
		"before the successor is stored": func(store *httpkeytest.Store) {
			store.Before(httpkeytest.Fail(cause, "Create"))
		},
		"before the old key is ended": func(store *httpkeytest.Store) {
			store.Before(httpkeytest.Fail(cause, "Update"))
		},
		"after the old key is ended": func(store *httpkeytest.Store) {
			store.After(func(_ context.Context, method string) error {
				if method != "Update" {
					return nil
				}
				store.Before(httpkeytest.Fail(cause, "Get"))
				return cause
			})
		},
	} {
		for way, rotate := range map[string]func(*site) *httptest.ResponseRecorder{
			"api":  func(s *site) *httptest.ResponseRecorder { return s.api("ada", "POST", "/id/rotate/", `{"grace":0}`) },
			"page": func(s *site) *httptest.ResponseRecorder { return s.submit("ada", "/id/rotate/", "grace=0") },
		} {
			t.Run(name+"/"+way, func(t *testing.T) {
				t.Parallel()
				store := httpkeytest.NewStore(memstore.New())
				s := newSiteOn(t, store, Options{})
				s.issue(httpkey.Token{ID: "id", Label: "x", User: "ada"})
				successors := func() int {
					all, _ := store.List(t.Context(), httpkey.Filter{RotatedFrom: "id"})
					return len(all)
				}

				fail(store)
				body := s.want(503, rotate(s)).Body.String()
				if shownSecret.MatchString(body) || strings.Contains(body, `"token"`) || strings.Contains(body, cause.Error()) {
					t.Errorf("answered %s", body)
				}
				if told := s.told(); len(told) != 1 || told[0].Action != ActionRotate || !errors.Is(told[0].Err, cause) {
					t.Errorf("told %+v", told)
				}
				if n := successors(); n != 0 {
					t.Errorf("there are %d successors", n)
				}

				store.Before(nil)
				store.After(nil)
				s.want(201, rotate(s))
				if n := successors(); n != 1 {
					t.Errorf("after the repetition there are %d successors", n)
				}
				s.want(409, rotate(s))
			})
		}
	}
}

// The audit hears why a store fails. The client hears only that it does.
func TestStoreIsDown(t *testing.T) {
	t.Parallel()
	cause := errors.New("secret detail of the store")
	store := httpkeytest.NewStore(memstore.New())
	store.Before(httpkeytest.Fail(cause, "Update", "List"))
	s := newSiteOn(t, store, Options{})
	s.issue(httpkey.Token{ID: "id", Label: "treasure", User: "ada"})
	for i, w := range []*httptest.ResponseRecorder{
		s.api("ada", "GET", "/", ""),
		s.api("ada", "PATCH", "/id/", `{"label":"x"}`),
		s.api("ada", "PATCH", "/id/", `{"is_active":false}`),
		s.page("ada", "/"),
		s.submit("ada", "/id/revoke/", "name=treasure"),
	} {
		if w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") != "1" ||
			strings.Contains(fmt.Sprint(w.Header(), w.Body), cause.Error()) {
			t.Errorf("answer %d: %d %v %s", i, w.Code, w.Header(), w.Body)
		}
		if told := s.told(); len(told) < i+1 || !errors.Is(told[len(told)-1].Err, cause) {
			t.Errorf("answer %d: told %v", i, told)
		}
	}
	const refusal = `{"detail":"API tokens are temporarily unavailable. Try again.","code":"unavailable"}`
	if w := s.api("ada", "GET", "/", ""); w.Body.String() != refusal {
		t.Errorf("answered %s", w.Body)
	}
}

func TestChangesAreLimited(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		for name, limiter := range map[string]httpkey.Limiter{
			"own": nil, "given": memstore.NewLimiter(), "that fails": httpkey.FailClosed,
		} {
			s := newSite(t, Options{Limit: httpkey.PerMinute(5), Limiter: limiter})
			s.issue(httpkey.Token{ID: "a", Label: "treasure", User: "ada"})
			s.issue(httpkey.Token{ID: "b", Label: "treasure", User: "ada"})
			s.want(201, s.api("ada", "POST", "/", `{"label":"x"}`))
			s.want(201, s.api("ada", "POST", "/a/rotate/", `{"grace":60}`))
			s.want(200, s.api("ada", "PATCH", "/a/", `{"label":"y"}`))
			s.want(200, s.api("ada", "PATCH", "/a/", `{"label":"z"}`))
			s.want(204, s.api("ada", "DELETE", "/a/", ""))
			for _, w := range []*httptest.ResponseRecorder{
				s.api("ada", "POST", "/", `{"label":"x"}`),
				s.api("ada", "POST", "/b/rotate/", `{"grace":60}`),
				s.api("ada", "PATCH", "/b/", `{"label":"y","is_active":false}`),
				s.api("ada", "DELETE", "/b/", ""),
				s.submit("ada", "/", newForm()),
				s.submit("ada", "/b/rotate/", "grace=0"),
				s.submit("ada", "/b/delete/", "name=treasure"),
			} {
				if w.Code != http.StatusTooManyRequests || w.Header().Get("Retry-After") != "12" {
					t.Errorf("limiter %s: %d, Retry-After %q", name, w.Code, w.Header().Get("Retry-After"))
				}
			}
			const refusal = `{"detail":"Request was throttled. Expected available in 12 seconds.","code":"throttled"}`
			if w := s.api("ada", "POST", "/", `{"label":"x"}`); w.Body.String() != refusal {
				t.Errorf("limiter %s: %s", name, w.Body)
			}
			body := s.submit("ada", "/", newForm("label", "typed with care")).Body.String()
			if !strings.Contains(body, `value="typed with care"`) {
				t.Errorf("limiter %s: the form is lost", name)
			}
			if got := s.get("b"); !got.IsActive {
				t.Errorf("limiter %s: a request over the limit changed something", name)
			}
			s.want(200, s.api("ada", "GET", "/", ""))
			s.want(201, s.api("eve", "POST", "/", `{"label":"x"}`))
			httpkeytest.Elapse(12 * time.Second)
			s.want(201, s.api("ada", "POST", "/", `{"label":"x"}`))
		}
	})
}

// chargeFunc is a limiter that admits all requests and shows each charge.
type chargeFunc func(*httpkey.Charge)

func (f chargeFunc) Allow(_ context.Context, c *httpkey.Charge) (httpkey.Result, error) {
	f(c)
	return httpkey.Result{Allowed: true}, nil
}

func TestLimiterIsAskedForTheUser(t *testing.T) {
	t.Parallel()
	var got []httpkey.Charge
	s := newSite(t, Options{
		Limiter: chargeFunc(func(c *httpkey.Charge) { got = append(got, *c) }),
		Limit:   httpkey.PerHour(7),
	})
	s.want(201, s.api("manager", "POST", "/", `{"label":"x","workspace":"acme"}`))
	want := []httpkey.Charge{{Bucket: "console:mary", Limits: []httpkey.Limit{httpkey.PerHour(7)}, Cost: 1}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("the limiter was asked %+v, want %+v", got, want)
	}
}

func TestAudit(t *testing.T) {
	t.Parallel()
	s := newSite(t, Options{})
	_, token := s.created(s.api("manager", "POST", "/", `{"label":"x","workspace":"acme","kind":"service_token"}`))
	path := "/" + token.ID + "/"
	s.want(200, s.api("manager", "GET", path, ""))
	s.want(200, s.api("manager", "PATCH", path, `{"label":"y"}`))
	_, successor := s.created(s.api("root", "POST", path+"rotate/", `{"grace":60}`))
	s.want(303, s.submit("root", path+"revoke/", "name=y"))
	s.want(303, s.submit("root", path+"delete/", "name=y"))
	var got []string
	for _, e := range s.told() {
		got = append(got, fmt.Sprintf("%s %s %s %v", e.Principal.User, e.Action, e.Token.ID, e.Err))
		if e.Token.Digest != (httpkey.Digest{}) {
			t.Errorf("%s has a digest", e.Action)
		}
	}
	want := []string{
		"mary create " + token.ID + " <nil>",
		"mary update " + token.ID + " <nil>",
		"ada rotate " + successor.ID + " <nil>",
		"ada revoke " + token.ID + " <nil>",
		"ada delete " + token.ID + " <nil>",
	}
	if !slices.Equal(got, want) {
		t.Errorf("told\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// refusalIn returns a refusal as text: its code and its sentence, or those of each field.
func refusalIn(t testing.TB, w *httptest.ResponseRecorder) string {
	t.Helper()
	var refused refusal
	decode(t, w, &refused)
	if refused.Code != "invalid" {
		return refused.Code + ": " + refused.Detail
	}
	var texts []string
	for _, field := range slices.Sorted(maps.Keys(refused.Errors)) {
		for _, problem := range refused.Errors[field] {
			texts = append(texts, field+" "+problem.Code+": "+problem.Text)
		}
	}
	return strings.Join(texts, "; ")
}
