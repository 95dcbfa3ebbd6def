package redisstore_test

import (
	"bufio"
	"context"
	"os"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/redisstore"
	"github.com/redis/go-redis/v9"
)

// first is a Redis that the first version of this package has filled.
type first struct {
	client *redis.Client
	store  *redisstore.Store
	keys   map[string]string // by the name of a token
	ids    map[string]string
}

var (
	keyLine = regexp.MustCompile(`^# (\w+): key (\S+), ID (\S+)$`)
	quoted  = regexp.MustCompile(`"(?:[^"\\]|\\.)*"`)
)

func loadFirst(t *testing.T) first {
	t.Helper()
	file, err := os.Open("testdata/first.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	f := first{client: newClient(t, newServer(t)), keys: make(map[string]string), ids: make(map[string]string)}
	f.store = redisstore.New(f.client, nil)
	for lines := bufio.NewScanner(file); lines.Scan(); {
		line := lines.Text()
		if key := keyLine.FindStringSubmatch(line); key != nil {
			f.keys[key[1]], f.ids[key[1]] = key[2], key[3]
		}
		if strings.HasPrefix(line, "#") {
			continue
		}
		command := []any{line[:4]}
		for _, text := range quoted.FindAllString(line, -1) {
			argument, err := strconv.Unquote(text)
			if err != nil {
				t.Fatal(line, err)
			}
			command = append(command, argument)
		}
		if err := f.client.Do(t.Context(), command...).Err(); err != nil {
			t.Fatal(line, err)
		}
	}
	return f
}

// Keys, limits and links of rotations work as they did.
func TestTokensOfTheFirstVersionWork(t *testing.T) {
	t.Parallel()
	f := loadFirst(t)
	guard := httpkey.New(f.store, redisstore.NewLimiter(f.client, nil), nil)
	t.Cleanup(func() { _ = guard.Close(context.Background()) })
	for name, want := range map[string]httpkey.Limit{
		"plain": httpkey.PerMinute(60), "full": {Rate: 5, Burst: 7, Period: 2 * time.Hour},
		"first": httpkey.PerMinute(3), "second": httpkey.PerMinute(3),
	} {
		admission, err := guard.Admit(t.Context(), f.keys[name], 1)
		if err != nil || admission.Token.ID != f.ids[name] || admission.Result.Limit != want.Resolve() {
			t.Errorf("%s: %+v, %v", name, admission, err)
		}
	}
	if admission, err := guard.Admit(t.Context(), f.keys["revoked"], 1); err == nil {
		t.Errorf("a revoked key is good: %+v", admission)
	}
	full, err := f.store.Get(t.Context(), f.ids["full"])
	want := httpkey.Token{
		ID: f.ids["full"], Digest: full.Digest, Hint: "Bwb2", Kind: httpkey.ServiceToken,
		Label: `full "<&>" ü`, Description: "two\nlines",
		User: "ann", Workspace: "w", Scopes: []string{"read", "write"}, IsActive: true, CreatedAt: full.CreatedAt,
		Limits:    []httpkey.Limit{{Rate: 5, Burst: 7, Period: 2 * time.Hour}},
		ExpiredAt: time.Date(2999, 1, 2, 3, 4, 5, 678901000, time.UTC),
		LastUsed:  time.Date(2026, 11, 1, 2, 3, 4, 567890000, time.UTC),
	}
	if err != nil || !reflect.DeepEqual(full, want) {
		t.Errorf("%+v (%v), want\n%+v", full, err, want)
	}
	for _, tt := range []struct {
		filter httpkey.Filter
		want   []string
	}{
		{httpkey.Filter{RotatedFrom: f.ids["first"]}, []string{"second"}},
		{httpkey.Filter{User: "bob"}, []string{"revoked", "second", "first"}},
		{httpkey.Filter{Workspace: "w"}, []string{"full"}},
		{httpkey.Filter{}, []string{"revoked", "second", "first", "full", "plain"}},
	} {
		page, err := f.store.List(t.Context(), tt.filter)
		var got, want []string
		for _, token := range page {
			got = append(got, token.ID)
		}
		for _, name := range tt.want {
			want = append(want, f.ids[name])
		}
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("List(%+v): %v (%v), want %v", tt.filter, got, err, want)
		}
	}
}

// An Update writes the record anew, after which it has no "limit" any more, and changes what it is asked to.
func TestUpdatesUpgradeRecords(t *testing.T) {
	t.Parallel()
	f := loadFirst(t)
	for name, id := range f.ids {
		before, err := f.store.Get(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		after, err := f.store.Update(t.Context(), id, func(t *httpkey.Token) error {
			t.Metadata = map[string]string{"plan": "gold"}
			return nil
		})
		before.Metadata = map[string]string{"plan": "gold"}
		found, getErr := f.store.Lookup(t.Context(), before.Digest)
		if err != nil || getErr != nil || !reflect.DeepEqual(after, before) || !reflect.DeepEqual(found, before) {
			t.Errorf("%s: returned %+v (%v)\nstored %+v (%v)\nwant %+v", name, after, err, found, getErr, before)
		}
		record, err := f.client.HGet(t.Context(), "httpkey:{tokens}:tokens", id).Result()
		if err != nil || strings.Contains(record, `"limit":`) || !strings.Contains(record, `"more":`) {
			t.Errorf("%s: the record is %s (%v)", name, record, err)
		}
	}
	if err := f.store.Delete(t.Context(), f.ids["second"]); err != nil {
		t.Fatal(err)
	}
	if page, err := f.store.List(t.Context(), httpkey.Filter{RotatedFrom: f.ids["first"]}); err != nil || len(page) > 0 {
		t.Errorf("after a Delete there are still %v (%v)", page, err)
	}
}

// A token of the first version is rotated, and both links are there.
func TestTokensOfTheFirstVersionAreRotated(t *testing.T) {
	t.Parallel()
	f := loadFirst(t)
	guard := httpkey.New(f.store, redisstore.NewLimiter(f.client, nil), nil)
	t.Cleanup(func() { _ = guard.Close(context.Background()) })
	third, err := guard.Rotate(t.Context(), f.ids["second"], time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	second, err := f.store.Get(t.Context(), f.ids["second"])
	if err != nil || second.RotatedTo != third.Token.ID || third.Token.RotatedFrom != second.ID ||
		!reflect.DeepEqual(third.Token.Limits, []httpkey.Limit{httpkey.PerMinute(3)}) {
		t.Errorf("%+v (%v)\nand then\n%+v", second, err, third.Token)
	}
}

// A property that a later version adds to a token survives an Update.
func TestUnknownPropertiesSurvive(t *testing.T) {
	t.Parallel()
	client := newClient(t, newServer(t))
	store := redisstore.New(client, nil)
	var later httpkey.Token
	if err := later.SetMore(`{"created_by":"eve","later":{"a":[1,"<é>"]},"zone":"\u003cx\u003e"}`); err != nil {
		t.Fatal(err)
	}
	more := later.More()
	later.ID, later.Digest, later.Kind, later.IsActive = "later", httpkey.Digest{1}, httpkey.APIKey, true
	created, err := store.Create(t.Context(), later)
	if err != nil || created.More() != more {
		t.Errorf("created with %s (%v), want %s", created.More(), err, more)
	}
	updated, err := store.Update(t.Context(), later.ID, func(t *httpkey.Token) error {
		*t = httpkey.Token{Kind: t.Kind, IsActive: true, CreatedBy: "mallory"}
		return nil
	})
	if err != nil || !strings.Contains(updated.More(), `"later":{"a":[1,"`) || updated.CreatedBy != "mallory" {
		t.Errorf("updated to %s (%v)", updated.More(), err)
	}
	if found, err := store.Lookup(t.Context(), later.Digest); err != nil || found.More() != updated.More() {
		t.Errorf("found %s (%v), want %s", found.More(), err, updated.More())
	}
}
