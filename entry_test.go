package httpkey_test

import (
	"context"
	"net/http"
	"reflect"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/memstore"
)

func TestEntryKeepsEveryField(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 2, 3, 4, 5, 6, 789_012_000, time.UTC)
	full := httpkey.Token{
		ID: "id", Digest: httpkey.Digest{1, 2}, Hint: "hint", Kind: httpkey.ServiceToken, Label: "label",
		Description: "description", User: "user", Workspace: "workspace", Scopes: []string{"a", "b"},
		Limit: httpkey.Limit{Rate: 1, Burst: 2, Period: time.Second}, IsActive: true,
		ExpiredAt: at, LastUsed: at.Add(time.Second), CreatedAt: at.Add(time.Hour), RotatedFrom: "rotated",
	}
	for i := range reflect.TypeFor[httpkey.Token]().NumField() {
		sparse := full // a field that is empty must not shift the others
		reflect.ValueOf(&sparse).Elem().Field(i).SetZero()
		for _, want := range []httpkey.Token{full, sparse, {}} {
			if got := httpkey.NewEntry(want).Token(); !reflect.DeepEqual(got, want) {
				t.Errorf("%+v became\n%+v", want, got)
			}
		}
	}
	entry := httpkey.NewEntry(full)
	if entry.ID() != full.ID || entry.Digest() != full.Digest || entry.Cursor() != full.Cursor() {
		t.Errorf("%s, %v", entry.ID(), entry.Cursor())
	}
	full.Scopes[0] = "mine"
	entry.Token().Scopes[1] = "mine"
	if scopes := entry.Token().Scopes; scopes[0] != "a" || scopes[1] != "b" {
		t.Errorf("an Entry shares its scopes: %v", scopes)
	}
}

// Uses that are noted while a token is updated again and again are not lost, in
// whichever of its entries they are noted.
func TestUsesSurviveReplacement(t *testing.T) {
	t.Parallel()
	for range 50 {
		var current atomic.Pointer[httpkey.Entry]
		current.Store(httpkey.NewEntry(httpkey.Token{ID: "t"}))
		var wg sync.WaitGroup
		for user := range 4 {
			wg.Go(func() {
				for n := range 100 {
					current.Load().Touch(time.UnixMicro(int64(1 + n*4 + user)))
				}
			})
		}
		for range 100 {
			next := new(httpkey.Entry)
			current.Load().Replace(next, httpkey.Token{ID: "t", LastUsed: time.UnixMicro(1e9)})
			current.Store(next)
		}
		wg.Wait()
		if got := current.Load().Token().LastUsed.UnixMicro(); got != 400 {
			t.Fatalf("LastUsed is %d, the latest use was at 400", got)
		}
	}
}

// A use that is noted in a token that was replaced since is noted in the one that counts.
func TestUseOfAReplacedEntry(t *testing.T) {
	t.Parallel()
	var entries [3]httpkey.Entry
	entries[0].Init(httpkey.Token{ID: "t"})
	entries[0].Replace(&entries[1], httpkey.Token{ID: "t"})
	entries[1].Replace(&entries[2], httpkey.Token{ID: "t"})
	for n := range entries {
		at := time.UnixMicro(int64(1 + n)).UTC()
		entries[n].Touch(at)
		for m := range entries {
			if got := entries[m].Token().LastUsed; !got.Equal(at) {
				t.Errorf("entry %d, after a use that was noted in %d: %v, want %v", m, n, got, at)
			}
		}
	}
}

// embedding has a Lookup of its own, and the Find of the store that it embeds.
type embedding struct {
	*memstore.Store
	lookups atomic.Int64
}

func (e *embedding) Lookup(ctx context.Context, d httpkey.Digest) (httpkey.Token, error) {
	e.lookups.Add(1)
	return e.Store.Lookup(ctx, d)
}

// embeddingLimiter has an Allow of its own, and the AllowSlot of the limiter that it embeds.
type embeddingLimiter struct {
	*memstore.Limiter
	calls atomic.Int64
}

func (e *embeddingLimiter) Allow(ctx context.Context, key string, limit httpkey.Limit, n int) (httpkey.Result, error) {
	e.calls.Add(1)
	return e.Limiter.Allow(ctx, key, limit, n)
}

// A store or limiter that wraps another by embedding it is asked itself.
func TestEmbeddingIsNotBypassed(t *testing.T) {
	t.Parallel()
	store, limiter := &embedding{Store: memstore.New()}, &embeddingLimiter{Limiter: memstore.NewLimiter()}
	guard := httpkey.New(store, limiter, nil)
	key, _ := issue(t, guard, httpkey.Token{})
	if w := get(guard.Handler(ok), key); w.Code != http.StatusOK {
		t.Fatalf("status %d", w.Code)
	}
	if lookups, calls := store.lookups.Load(), limiter.calls.Load(); lookups != 1 || calls != 1 {
		t.Errorf("%d lookups and %d calls of Allow, want 1 each", lookups, calls)
	}
}

// Two Guards with limits of their own, over one store and one limiter, and one
// with another limiter, take from the buckets that are theirs, though all of them
// find the token in the same Entry.
func TestGuardsDoNotShareWhatIsNotShared(t *testing.T) {
	t.Parallel()
	store, limiter := memstore.New(), memstore.NewLimiter()
	guards := []*httpkey.Guard{
		httpkey.New(store, limiter, &httpkey.Options{APIKeyLimit: httpkey.PerHour(10)}),
		httpkey.New(store, limiter, &httpkey.Options{APIKeyLimit: httpkey.PerHour(20)}),
		httpkey.New(store, memstore.NewLimiter(), &httpkey.Options{APIKeyLimit: httpkey.PerHour(10)}),
		httpkey.New(store, memstore.NewWindow(), &httpkey.Options{APIKeyLimit: httpkey.PerHour(10)}),
		httpkey.New(store, limiter, &httpkey.Options{APIKeyLimit: httpkey.PerHour(10), Bucket: httpkey.PerUser}),
	}
	key, token := issue(t, guards[0], httpkey.Token{User: "u"})
	for n := range 10 {
		for i, guard := range guards {
			want := []int{9, 19, 9, 9, 9}[i] - n
			if got := get(guard.Handler(ok), key).Header().Get("X-RateLimit-Remaining"); got != strconv.Itoa(want) {
				t.Fatalf("request %d, guard %d: %s remain, want %d", n+1, i, got, want)
			}
		}
	}
	// Who asks the limiter by name sees the same bucket.
	if r, err := limiter.Allow(t.Context(), token.ID, httpkey.PerHour(10), 0); err != nil || r.Remaining != 0 {
		t.Errorf("%+v, %v", r, err)
	}
}

// An update changes what the next request is let in with, and not the one before.
func TestARequestKeepsItsToken(t *testing.T) {
	t.Parallel()
	store := memstore.New()
	guard := httpkey.New(store, memstore.NewLimiter(), nil)
	key, token := issue(t, guard, httpkey.Token{Label: "before", Scopes: []string{"a"}})
	var labels []string
	handler := guard.Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		token.Label, token.Scopes = "after", nil
		if err := store.Update(r.Context(), token); err != nil {
			t.Error(err)
		}
		in, _ := httpkey.FromContext(r.Context())
		labels = append(labels, in.Label)
	}))
	get(handler, key)
	get(handler, key)
	if len(labels) != 2 || labels[0] != "before" || labels[1] != "after" {
		t.Errorf("the requests saw %v", labels)
	}
}
