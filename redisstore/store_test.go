package redisstore_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/redisstore"
	"github.com/redis/go-redis/v9"
)

func token(n byte) httpkey.Token {
	return httpkey.Token{
		ID: fmt.Sprintf("token-%d", n), Digest: httpkey.Digest{'d', 'i', 'g', n}, Kind: httpkey.APIKey,
		User: "ann", Workspace: "w",
		RotatedFrom: "old", IsActive: true, CreatedAt: time.Date(2026, 1, 2, 3, 4, int(n), 0, time.UTC),
	}
}

// relabel is a change.
func relabel(t *httpkey.Token) error {
	t.Label += "'"
	return nil
}

// to returns the change to another token.
func to(other httpkey.Token) func(*httpkey.Token) error {
	return func(t *httpkey.Token) error {
		*t = other
		return nil
	}
}

// update returns the error of an Update.
func update(store *redisstore.Store, id string) error {
	_, err := store.Update(context.Background(), id, relabel)
	return err
}

// trips counts the round trips to the server, without those that open a connection: newer clients show these to hooks.
type trips struct{ times atomic.Int64 }

func (c *trips) count(cmd redis.Cmder) {
	if cmd.Name() != "hello" && cmd.Name() != "client" {
		c.times.Add(1)
	}
}

func (c *trips) DialHook(next redis.DialHook) redis.DialHook { return next }
func (c *trips) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		c.count(cmd)
		return next(ctx, cmd)
	}
}
func (c *trips) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		c.count(cmds[0])
		return next(ctx, cmds)
	}
}

func TestRoundTrips(t *testing.T) {
	t.Parallel()
	client := newClient(t, newServer(t))
	store := redisstore.New(client, nil)
	limiter, window := redisstore.NewLimiter(client, nil), redisstore.NewWindow(client, nil)
	want := token(1)
	ctx := t.Context()
	used := make(map[string]time.Time)
	for i := range 1000 {
		used[fmt.Sprint(i)] = time.Now()
	}
	minute := httpkey.PerMinute(3)
	three := []httpkey.Limit{httpkey.PerSecond(5), httpkey.PerHour(9), httpkey.PerDay(20)}
	refund := &httpkey.Charge{Bucket: "payer", Limits: []httpkey.Limit{minute}, Cost: -1, Forced: true}
	calls := []struct {
		name string
		call func() error
		want int64
	}{
		{"Create", func() error { _, err := store.Create(ctx, want); return err }, 1},
		{"Lookup", func() error { _, err := store.Lookup(ctx, want.Digest); return err }, 1},
		{"Get", func() error { _, err := store.Get(ctx, want.ID); return err }, 1},
		{"List", func() error { _, err := store.List(ctx, httpkey.Filter{User: want.User}); return err }, 1},
		{"Update", func() error { _, err := store.Update(ctx, want.ID, relabel); return err }, 2},
		{"Touch", func() error { return store.Touch(ctx, used) }, 1},
		{"Delete", func() error { return store.Delete(ctx, want.ID) }, 2},
		{"Limiter", func() error { _, err := limiter.Allow(ctx, of("payer", 3, minute)); return err }, 1},
		{"Limiter that denies", func() error { _, err := limiter.Allow(ctx, of("payer", 1, minute)); return err }, 1},
		{"Limiter that refunds", func() error { _, err := limiter.Allow(ctx, refund); return err }, 1},
		{"Limiter of three limits", func() error { _, err := limiter.Allow(ctx, of("payer", 1, three...)); return err }, 1},
		{"Limiter that denies again", func() error { _, err := limiter.Allow(ctx, of("payer", 3, minute)); return err }, 1},
		{"Limiter that has denied", func() error { _, err := limiter.Allow(ctx, of("payer", 3, minute)); return err }, 0},
		{"Window", func() error { _, err := window.Allow(ctx, of("payer", 3, minute)); return err }, 1},
		{"Window that denies", func() error { _, err := window.Allow(ctx, of("payer", 1, minute)); return err }, 1},
		{"Window that has denied", func() error { _, err := window.Allow(ctx, of("payer", 1, minute)); return err }, 0},
	}
	// Once beforehand, so that the server knows the scripts.
	warm := []func() error{}
	for _, c := range calls {
		warm = append(warm, c.call)
	}
	for _, call := range warm {
		if err := call(); err != nil {
			t.Fatal(err)
		}
	}
	if err := client.FlushDB(ctx).Err(); err != nil {
		t.Fatal(err)
	}
	limiter, window = redisstore.NewLimiter(client, nil), redisstore.NewWindow(client, nil)
	count := &trips{}
	client.AddHook(count)
	for _, c := range calls {
		before := count.times.Load()
		if err := c.call(); err != nil {
			t.Fatal(c.name, err)
		}
		if got := count.times.Load() - before; got != c.want {
			t.Errorf("%s: %d round trips, want %d", c.name, got, c.want)
		}
	}
}

// A Delete leaves nothing of a token, whatever it was updated to before.
func TestDeleteLeavesNothing(t *testing.T) {
	t.Parallel()
	server := newServer(t)
	store := redisstore.New(newClient(t, server), &redisstore.Options{Prefix: "app:"})
	old := token(1)
	changed := old
	changed.User, changed.Workspace, changed.Kind, changed.RotatedFrom = "bob", "", httpkey.ServiceToken, "older"
	changed.CreatedAt = old.CreatedAt.Add(time.Hour)
	_, create := store.Create(t.Context(), old)
	_, update := store.Update(t.Context(), old.ID, to(changed))
	if err := errors.Join(create, update); err != nil {
		t.Fatal(err)
	}
	for _, f := range []httpkey.Filter{{User: "ann"}, {Workspace: "w"}, {Kind: httpkey.APIKey}, {RotatedFrom: "old"}} {
		if page, err := store.List(t.Context(), f); err != nil || len(page) > 0 {
			t.Errorf("List(%+v) after the Update: %v, %v", f, page, err)
		}
	}
	for _, key := range server.Keys() {
		if !strings.HasPrefix(key, "app:{tokens}:") {
			t.Errorf("the key %q has not the prefix and the tag", key)
		}
	}
	if err := store.Delete(t.Context(), old.ID); err != nil {
		t.Fatal(err)
	}
	if keys := server.Keys(); len(keys) > 0 {
		t.Errorf("there are still %q", keys)
	}
}

func TestListPagesThroughWhatDoesNotMatch(t *testing.T) {
	t.Parallel()
	store := redisstore.New(newClient(t, newServer(t)), nil)
	var want []string
	for n := range byte(250) {
		next := token(n)
		if n%100 == 7 {
			next.Kind = httpkey.ServiceToken
			want = append([]string{next.ID}, want...)
		}
		if _, err := store.Create(t.Context(), next); err != nil {
			t.Fatal(err)
		}
	}
	f := httpkey.Filter{User: "ann", Kind: httpkey.ServiceToken, Limit: 2}
	var got []string
	for {
		page, err := store.List(t.Context(), f)
		if err != nil {
			t.Fatal(err)
		}
		for _, next := range page {
			got = append(got, next.ID)
		}
		if len(page) < 2 {
			break
		}
		f.After = page[1].Cursor()
	}
	if !slices.Equal(got, want) {
		t.Errorf("the pages held %v, want %v", got, want)
	}
}

func TestCursorIsAPlace(t *testing.T) {
	t.Parallel()
	store, at := redisstore.New(newClient(t, newServer(t)), nil), time.Now().Truncate(time.Microsecond)
	for i, created := range []time.Time{{}, {}, {}, at, at.Add(time.Microsecond)} {
		next := token(byte(i))
		next.ID, next.CreatedAt = fmt.Sprint(i), created
		if _, err := store.Create(t.Context(), next); err != nil {
			t.Fatal(err)
		}
	}
	for cursor, want := range map[httpkey.Cursor]string{
		{}: "4", {CreatedAt: at.Add(time.Microsecond), ID: "4"}: "3", {CreatedAt: at}: "2", {ID: "2"}: "1", {ID: "1"}: "0",
		{CreatedAt: time.Date(12345, 1, 1, 0, 0, 0, 0, time.UTC)}:           "4",
		{CreatedAt: time.Date(-12345, 1, 1, 0, 0, 0, 0, time.UTC), ID: "1"}: "0",
	} {
		page, err := store.List(t.Context(), httpkey.Filter{After: cursor, Limit: 1})
		if err != nil || len(page) != 1 || page[0].ID != want {
			t.Errorf("after %v comes %v (%v), want %s", cursor, page, err, want)
		}
	}
}

// A damaged record is an error, and tells no digest.
func TestDamagedTokensAreErrors(t *testing.T) {
	t.Parallel()
	want := token(1)
	for name, damage := range map[string]func(*miniredis.Miniredis){
		"no JSON":   func(s *miniredis.Miniredis) { s.HSet("httpkey:{tokens}:tokens", want.ID, "damaged") },
		"no digest": func(s *miniredis.Miniredis) { s.HSet("httpkey:{tokens}:tokens", want.ID, `{"id":"token-1"}`) },
		"a short digest": func(s *miniredis.Miniredis) {
			s.HSet("httpkey:{tokens}:tokens", want.ID, `{"digest":"`+strings.Repeat("AAAA", 10)+`"}`)
		},
		"hexadecimal digits": func(s *miniredis.Miniredis) {
			s.HSet("httpkey:{tokens}:tokens", want.ID, `{"digest":"`+want.Digest.Hex()+`"}`)
		},
		"a long digest": func(s *miniredis.Miniredis) {
			s.HSet("httpkey:{tokens}:tokens", want.ID, `{"digest":"`+strings.Repeat("AAAA", 11)+`"}`)
		},
		"no last use": func(s *miniredis.Miniredis) { s.HSet("httpkey:{tokens}:used", want.ID, "damaged") },
		"another type": func(s *miniredis.Miniredis) {
			s.Del("httpkey:{tokens}:tokens")
			_ = s.Set("httpkey:{tokens}:tokens", "")
		},
		"a type of used": func(s *miniredis.Miniredis) {
			s.Del("httpkey:{tokens}:used")
			_ = s.Set("httpkey:{tokens}:used",
				"")
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := newServer(t)
			store := redisstore.New(newClient(t, server), nil)
			if _, err := store.Create(t.Context(), want); err != nil {
				t.Fatal(err)
			}
			damage(server)
			_, lookup := store.Lookup(t.Context(), want.Digest)
			_, get := store.Get(t.Context(), want.ID)
			_, list := store.List(t.Context(), httpkey.Filter{})
			for what, err := range map[string]error{
				"Lookup": lookup, "Get": get, "List": list, "Update": update(store, want.ID), "Delete": store.Delete(t.Context(),
					want.ID),
			} {
				if err == nil || errors.Is(err, httpkey.ErrNotFound) {
					t.Errorf("%s: the error %v", what, err)
				} else if text := err.Error(); !strings.HasPrefix(text, "httpkey: ") || strings.Contains(text, "dig\x01") {
					t.Errorf("%s: the error %q", what, text)
				}
			}
		})
	}
}

// oddReplies is a server, or a proxy, that answers scripts in its own way.
type oddReplies struct{ value any }

func (oddReplies) DialHook(next redis.DialHook) redis.DialHook { return next }
func (o oddReplies) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if script, ok := cmd.(*redis.Cmd); ok {
			script.SetVal(o.value)
			return nil
		}
		return next(ctx, cmd)
	}
}
func (oddReplies) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

// A reply that no script gives does not say that there is no token.
func TestOddRepliesAreNotAbsence(t *testing.T) {
	t.Parallel()
	for _, reply := range []any{
		"OK", []any{}, []any{"{}"}, []any{nil}, []any{nil, nil, nil}, []any{int64(1), nil}, []any{[]any{}, nil},
	} {
		client := newClient(t, newServer(t))
		client.AddHook(oddReplies{reply})
		store := redisstore.New(client, nil)
		_, lookup := store.Lookup(t.Context(), token(1).Digest)
		_, get := store.Get(t.Context(), token(1).ID)
		_, list := store.List(t.Context(), httpkey.Filter{})
		for what, err := range map[string]error{
			"Lookup": lookup, "Get": get, "List": list,
			"Update": update(store, token(1).ID), "Delete": store.Delete(t.Context(), token(1).ID),
		} {
			if err == nil || errors.Is(err, httpkey.ErrNotFound) || !strings.HasPrefix(err.Error(), "httpkey: ") {
				t.Errorf("%s, answered %#v: the error %v", what, reply, err)
			}
		}
	}
}

// A digest that leads to a token of another digest leads to none.
func TestDigestIsComparedAgain(t *testing.T) {
	t.Parallel()
	server := newServer(t)
	store := redisstore.New(newClient(t, server), nil)
	if _, err := store.Create(t.Context(), token(1)); err != nil {
		t.Fatal(err)
	}
	other := token(2).Digest
	server.HSet("httpkey:{tokens}:digests", string(other[:]), token(1).ID)
	if found, err := store.Lookup(t.Context(), other); !errors.Is(err, httpkey.ErrNotFound) {
		t.Errorf("%+v, %v", found, err)
	}
}

// A digest that leads to no token, as a write that was cut short left it, is free.
func TestDigestOfNoTokenIsFree(t *testing.T) {
	t.Parallel()
	server := newServer(t)
	store, want := redisstore.New(newClient(t, server), nil), token(1)
	server.HSet("httpkey:{tokens}:digests", string(want.Digest[:]), "gone")
	if _, err := store.Create(t.Context(), want); err != nil {
		t.Fatal(err)
	}
	if found, err := store.Lookup(t.Context(), want.Digest); err != nil || found.ID != want.ID {
		t.Errorf("%+v, %v", found, err)
	}
}

func TestInvalidTokensAreRefused(t *testing.T) {
	t.Parallel()
	store := redisstore.New(newClient(t, newServer(t)), nil)
	if _, err := store.Create(t.Context(), token(1)); err != nil {
		t.Fatal(err)
	}
	invalid := token(1)
	invalid.Label = "not UTF-8: \xff" // which JSON would change
	_, create := store.Create(t.Context(), invalid)
	_, update := store.Update(t.Context(), invalid.ID, to(invalid))
	for what, err := range map[string]error{"Create": create, "Update": update} {
		if !errors.Is(err, httpkey.ErrInvalidToken) {
			t.Errorf("%s: the error %v", what, err)
		}
	}
}

// A server that is not there is an error of every call, within the context's time.
func TestNoServer(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0") // which accepts, and says nothing
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	silent := redis.NewClient(&redis.Options{Addr: listener.Addr().String(), MaxRetries: -1, ContextTimeoutEnabled: true})
	t.Cleanup(func() { _ = silent.Close() })
	store := redisstore.New(silent, nil)
	for what, call := range map[string]func(context.Context) error{
		"Create": func(ctx context.Context) error { _, err := store.Create(ctx, token(1)); return err },
		"Lookup": func(ctx context.Context) error { _, err := store.Lookup(ctx, httpkey.Digest{}); return err },
		"Get":    func(ctx context.Context) error { _, err := store.Get(ctx, "id"); return err },
		"List":   func(ctx context.Context) error { _, err := store.List(ctx, httpkey.Filter{}); return err },
		"Update": func(ctx context.Context) error { _, err := store.Update(ctx, "id", relabel); return err },
		"Delete": func(ctx context.Context) error { return store.Delete(ctx, "id") },
		"Touch":  func(ctx context.Context) error { return store.Touch(ctx, map[string]time.Time{"id": time.Now()}) },
		"Limiter": func(ctx context.Context) error {
			_, err := redisstore.NewLimiter(silent, nil).Allow(ctx, of("payer", 1, httpkey.PerMinute(1)))
			return err
		},
		"Window": func(ctx context.Context) error {
			_, err := redisstore.NewWindow(silent, nil).Allow(ctx, of("payer", 1, httpkey.PerMinute(1)))
			return err
		},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			defer cancel()
			start := time.Now()
			err := call(ctx)
			if took := time.Since(start); err == nil || errors.Is(err, httpkey.ErrNotFound) || took > time.Second {
				t.Errorf("the error %v after %v", err, took)
			}
		})
	}
}

// The feed tells of each change by its digest, and ends with its context.
func TestChangesAreTold(t *testing.T) {
	t.Parallel()
	server := newServer(t)
	store, feed := redisstore.New(newClient(t, server), nil), redisstore.New(newClient(t, server), nil)
	ctx, cancel := context.WithCancel(t.Context())
	ready, ended := make(chan struct{}), make(chan error)
	changed := make(chan httpkey.Digest, 10)
	go func() {
		ended <- feed.Changes(ctx, func() { close(ready) }, func(d httpkey.Digest) { changed <- d })
	}()
	<-ready
	want := token(1)
	for what, change := range []func() error{
		func() error { _, err := store.Create(t.Context(), want); return err },
		func() error { return update(store, want.ID) },
		func() error { return store.Delete(t.Context(), want.ID) },
	} {
		if err := change(); err != nil {
			t.Fatal(what, err)
		}
		if got := <-changed; got != want.Digest {
			t.Errorf("change %d: another digest", what)
		}
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("the feed ended with %v", err)
	}
	if err := feed.Changes(ctx, func() { t.Error("ready after the end") }, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("a feed after the end: %v", err)
	}
}

// A message that is no digest does not say what to drop. So it ends the feed, and a cache drops
// everything.
func TestFeedEndsAtAnotherMessage(t *testing.T) {
	t.Parallel()
	for _, message := range []string{"", strings.Repeat("x", 31), strings.Repeat("x", 33), token(1).Digest.Hex()} {
		server := newServer(t)
		feed := redisstore.New(newClient(t, server), nil)
		publish := func() { server.Publish("httpkey:{tokens}:changes", message) }
		err := feed.Changes(t.Context(), publish, func(httpkey.Digest) { t.Error("a change was reported") })
		if err == nil || !strings.HasPrefix(err.Error(), "httpkey: ") ||
			!strings.Contains(err.Error(), fmt.Sprint(len(message), " bytes")) {
			t.Errorf("after a message of %d bytes, the feed ended with %v", len(message), err)
		}
	}
}

func TestFeedEndsWithItsServer(t *testing.T) {
	t.Parallel()
	server := newServer(t)
	feed := redisstore.New(newClient(t, server), nil)
	err := feed.Changes(t.Context(), server.Close, func(httpkey.Digest) {})
	if err == nil || !strings.HasPrefix(err.Error(), "httpkey: ") {
		t.Errorf("the feed ended with %v", err)
	}
}

// Updates that race leave the token in the orders of one of them, and a Delete that
// races with them is not undone.
func TestRacingUpdatesLeaveNothingBehind(t *testing.T) {
	t.Parallel()
	server := newServer(t)
	first := token(1)
	if _, err := redisstore.New(newClient(t, server), nil).Create(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	for worker := range 4 {
		store := redisstore.New(newClient(t, server), nil)
		group.Go(func() {
			for round := range 50 {
				_, err := store.Update(t.Context(), first.ID, func(t *httpkey.Token) error {
					t.User = fmt.Sprint("user", worker, "of", round)
					t.CreatedAt = first.CreatedAt.Add(time.Duration(worker) * time.Hour)
					return nil
				})
				if worker == 0 && round == 40 {
					err = store.Delete(t.Context(), first.ID)
				}
				if err != nil && !errors.Is(err, httpkey.ErrNotFound) {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	if keys := server.Keys(); len(keys) > 0 {
		t.Errorf("after the Delete there are still %q", keys)
	}
}

// Of Updates at once, none is lost.
func TestRacingUpdatesAllCount(t *testing.T) {
	t.Parallel()
	server := newServer(t)
	if _, err := redisstore.New(newClient(t, server), nil).Create(t.Context(), token(1)); err != nil {
		t.Fatal(err)
	}
	const workers, rounds = 4, 25
	var group sync.WaitGroup
	for range workers {
		store := redisstore.New(newClient(t, server), nil)
		group.Go(func() {
			for range rounds {
				if err := update(store, token(1).ID); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	found, err := redisstore.New(newClient(t, server), nil).Get(t.Context(), token(1).ID)
	if err != nil || len(found.Label) != workers*rounds {
		t.Errorf("%d of %d Updates are left (%v)", len(found.Label), workers*rounds, err)
	}
}

// An Update that never wins ends with its context.
func TestUpdateEndsWithItsContext(t *testing.T) {
	t.Parallel()
	store := redisstore.New(newClient(t, newServer(t)), nil)
	if _, err := store.Create(t.Context(), token(1)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	calls := 0
	_, err := store.Update(ctx, token(1).ID, func(*httpkey.Token) error {
		if calls++; calls == 3 {
			cancel()
		}
		return update(store, token(1).ID) // which comes between
	})
	if !errors.Is(err, context.Canceled) || calls != 3 {
		t.Errorf("after %d calls: %v", calls, err)
	}
}

// Touch moves last uses forwards, and those of existing tokens only, whatever else is in the call.
func TestTouchMovesForwardsOnly(t *testing.T) {
	t.Parallel()
	const tokens = 1500 // more than one call takes
	server := newServer(t)
	store := redisstore.New(newClient(t, server), nil)
	now := time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)
	used, want := make(map[string]time.Time), make(map[string]time.Time)
	for i := range tokens {
		used[fmt.Sprint("missing ", i)] = now
	}
	for i := range 50 {
		stored := token(byte(i))
		stored.LastUsed = now
		if _, err := store.Create(t.Context(), stored); err != nil {
			t.Fatal(err)
		}
		used[stored.ID] = now.Add(time.Duration(i%3-1) * time.Microsecond)
		want[stored.ID] = now.Add(time.Duration(max(0, i%3-1)) * time.Microsecond)
	}
	server.HDel("httpkey:{tokens}:used", token(0).ID) // as after a write that was cut short
	want[token(0).ID] = used[token(0).ID]
	if err := store.Touch(t.Context(), used); err != nil {
		t.Fatal(err)
	}
	for id, want := range want {
		if got, err := store.Get(t.Context(), id); err != nil || !got.LastUsed.Equal(want) {
			t.Errorf("%s: %v (%v), want %v", id, got.LastUsed, err, want)
		}
	}
	if fields, err := server.HKeys("httpkey:{tokens}:used"); err != nil || len(fields) != len(want) {
		t.Errorf("there are %d last uses (%v), want %d", len(fields), err, len(want))
	}
}
