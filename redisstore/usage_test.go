package redisstore_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/httpkey/httpkey/redisstore"
	"github.com/httpkey/httpkey/storetest"
	"github.com/httpkey/httpkey/usage"
	"github.com/redis/go-redis/v9"
)

func TestUsageConforms(t *testing.T) {
	t.Parallel()
	storetest.RunUsage(t, func(t *testing.T) func() usage.Store {
		server := newServer(t)
		return func() usage.Store { return redisstore.NewUsage(newClient(t, server), nil) }
	})
}

var (
	kept = usage.Keep{Hours: 31 * usage.Day, Days: 400 * usage.Day}
	once = usage.Counts{Passed: 1, Cost: 1}
)

// passed returns how many requests of a token passed in the last day.
func passed(t *testing.T, s usage.Store, id string) (n int64) {
	t.Helper()
	intervals, err := s.Of(t.Context(), id, time.Now().Add(-usage.Day), time.Now(), usage.Hour)
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range intervals {
		n += i.Passed
	}
	return n
}

// All keys expire: at the earliest when keep says, and hours at most a day later, days at most a
// month.
func TestUsageExpires(t *testing.T) {
	t.Parallel()
	server := newServer(t)
	s := redisstore.NewUsage(newClient(t, server), &redisstore.Options{Prefix: "acme:"})
	now := time.Now().UTC()
	client := usage.Client{UserAgent: "x", At: now}
	delta := usage.Delta{ID: "a}b", Hour: now.Truncate(usage.Hour), Counts: once, Client: client}
	if rest, err := s.Add(t.Context(), []usage.Delta{delta}, kept); err != nil || len(rest) > 0 {
		t.Fatal(rest, err)
	}
	keys := server.Keys()
	if len(keys) != 3 {
		t.Errorf("the keys are %q", keys)
	}
	for _, key := range keys {
		name, ok := strings.CutPrefix(key, "acme:usage:{a%7Db}:")
		least, most := kept.Hours, kept.Hours+usage.Day
		switch {
		case !ok:
			t.Errorf("a key is %q", key)
		case name == "client":
			most = least
		case name == now.Format("2006-01"):
			least, most = kept.Days, kept.Days+31*usage.Day
		case name != now.Format("2006-01-02"):
			t.Errorf("a key is %q", key)
		}
		if ttl := server.TTL(key); ttl < least-time.Minute || ttl > most+time.Minute {
			t.Errorf("%s expires in %v, want %v to %v", key, ttl, least, most)
		}
	}
}

// Add works on a server that has lost the script, and returns what it could not add.
func TestUsageAfterFailures(t *testing.T) {
	t.Parallel()
	server := newServer(t)
	client := newClient(t, server)
	s := redisstore.NewUsage(client, nil)
	hour := time.Now().UTC().Truncate(usage.Hour)
	deltas := []usage.Delta{
		{ID: "one", Hour: hour, Counts: once}, {ID: "two", Hour: hour, Counts: once}, {ID: "one", Hour: hour, Counts: once},
	}
	for i := range 3 {
		if rest, err := s.Add(t.Context(), deltas, kept); err != nil || len(rest) > 0 {
			t.Fatalf("Add returned %v, %v", rest, err)
		}
		if one, two := passed(t, s, "one"), passed(t, s, "two"); one != int64(2*i+2) || two != int64(i+1) {
			t.Errorf("after Add %d there are %d and %d", i, one, two)
		}
		if err := client.ScriptFlush(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
	}
	if err := client.Set(t.Context(), "httpkey:usage:{two}:"+hour.Format("2006-01-02"), "no hash", 0).Err(); err != nil {
		t.Fatal(err)
	}
	rest, err := s.Add(t.Context(), deltas, kept)
	if err == nil || len(rest) != 1 || rest[0].ID != "two" || passed(t, s, "one") != 8 {
		t.Errorf("with a damaged key, Add returned %v, %v, and there are %d", rest, err, passed(t, s, "one"))
	}
	if _, err := s.Of(t.Context(), "two", hour, hour.Add(1), usage.Hour); err == nil {
		t.Error("a damaged key has counts")
	}
	server.Close()
	rest, err = s.Add(t.Context(), deltas, kept)
	slices.SortFunc(rest, func(a, b usage.Delta) int { return strings.Compare(a.ID, b.ID) })
	if err == nil || len(rest) != 3 || rest[0].ID != "one" || rest[2].ID != "two" {
		t.Errorf("without a server, Add returned %v, %v", rest, err)
	}
	_, err = s.Of(t.Context(), "one", hour, hour.Add(1), usage.Hour)
	if err == nil || errors.Is(err, usage.ErrInvalidRange) {
		t.Errorf("without a server, Of returned %v", err)
	}
	if _, err := s.LastClient(t.Context(), "one"); err == nil {
		t.Error("without a server, there is a last client")
	}
}

func TestNewUsagePanics(t *testing.T) {
	t.Parallel()
	ring := redis.NewRing(&redis.RingOptions{})
	defer func() { _ = ring.Close() }()
	for name, open := range map[string]func(){
		"no client":   func() { redisstore.NewUsage(nil, nil) },
		"a Ring":      func() { redisstore.NewUsage(ring, nil) },
		"bad options": func() { redisstore.NewUsage(newClient(t, newServer(t)), &redisstore.Options{Prefix: "{"}) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: NewUsage did not panic", name)
				}
			}()
			open()
		}()
	}
	printed := fmt.Sprintf("%+v", redisstore.NewUsage(newClient(t, newServer(t)), nil))
	if printed != "redisstore.Usage" {
		t.Errorf("printed %s", printed)
	}
}
