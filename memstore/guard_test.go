package memstore_test

import (
	"context"
	"fmt"
	"net/http"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/httpkeytest"
	"github.com/httpkey/httpkey/internal/model"
	"github.com/httpkey/httpkey/memstore"
)

var ok = http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})

// remaining sends a request and returns its X-RateLimit-Remaining.
func remaining(t *testing.T, guard *httpkey.Guard, key string) int {
	t.Helper()
	w := httpkeytest.Get(guard.Handler(ok), key)
	left, err := strconv.Atoi(w.Header().Get("X-RateLimit-Remaining"))
	if err != nil {
		t.Fatalf("status %d: %v", w.Code, w.Header())
	}
	return left
}

// A Reset finds a bucket that lies beside its token.
func TestResetOfABucketBesideItsToken(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		limiter, limit := memstore.NewLimiter(), httpkey.PerMinute(12)
		guard := httpkey.New(memstore.New(), limiter, &httpkey.Options{
			Limits: map[httpkey.Kind][]httpkey.Limit{httpkey.APIKey: {limit}},
		})
		one, other := httpkeytest.Issue(t, guard, httpkey.Token{}), httpkeytest.Issue(t, guard, httpkey.Token{})
		for want := 11; want > 0; want-- {
			if got := remaining(t, guard, one.Secret.Reveal()); got != want {
				t.Fatalf("%d remain, want %d", got, want)
			}
			remaining(t, guard, other.Secret.Reveal())
		}
		c := httpkey.Charge{Bucket: one.Token.Payer(), Limits: []httpkey.Limit{limit}}
		for range 2 {
			if err := limiter.Reset(t.Context(), &c); err != nil {
				t.Fatal(err)
			}
			if got := remaining(t, guard, one.Secret.Reveal()); got != 11 {
				t.Errorf("after a Reset, %d remain, want 11", got)
			}
		}
		if got := remaining(t, guard, other.Secret.Reveal()); got != 0 {
			t.Errorf("of another token, %d remain, want 0", got)
		}
	})
}

// Resets, requests in place and charges by name may coincide. Each reset makes room for a Burst.
func TestResetsBesideRequests(t *testing.T) {
	t.Parallel()
	const resets, burst = 20, 12
	limiter := memstore.NewLimiter()
	limit := httpkey.Limit{Rate: burst, Burst: burst, Period: burst * 100 * time.Hour}
	guard := httpkey.New(memstore.New(), limiter, &httpkey.Options{
		Limits: map[httpkey.Kind][]httpkey.Limit{httpkey.APIKey: {limit}},
	})
	created := httpkeytest.Issue(t, guard, httpkey.Token{})
	payer := created.Token.Payer()
	var admitted atomic.Int64
	var wg sync.WaitGroup
	for caller := range 4 {
		wg.Go(func() {
			for range 100 {
				if caller == 0 && take(t, limiter, payer, limit, 1).Allowed ||
					caller > 0 && httpkeytest.Get(guard.Handler(ok), created.Secret.Reveal()).Code == http.StatusOK {
					admitted.Add(1)
				}
			}
		})
	}
	wg.Go(func() {
		for range resets {
			if err := limiter.Reset(t.Context(), &httpkey.Charge{Bucket: payer, Limits: []httpkey.Limit{limit}}); err != nil {
				t.Error(err)
			}
			runtime.Gosched()
		}
	})
	wg.Wait()
	if n := admitted.Load(); n < burst || n > (resets+1)*burst {
		t.Errorf("beside %d resets, %d were admitted, want from %d to %d", resets, n, burst, (resets+1)*burst)
	}
	before := take(t, limiter, payer, limit, 0).Remaining
	if got := remaining(t, guard, created.Secret.Reveal()); got != max(0, before-1) {
		t.Errorf("in the end %d remain in place, and %d by name", got, before)
	}
}

// Requests, which take in place, and callers that name the payer share one bucket.
func TestRequestsAndNamesShareABucket(t *testing.T) {
	t.Parallel()
	for name, newLimiter := range newLimiters {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				limiter, limit := newLimiter(), httpkey.PerMinute(12)
				guard := httpkey.New(memstore.New(), limiter, &httpkey.Options{
					Limits: map[httpkey.Kind][]httpkey.Limit{httpkey.APIKey: {limit}},
				})
				created := httpkeytest.Issue(t, guard, httpkey.Token{})
				payer := created.Token.Payer()
				for want := 11; want >= 3; want -= 3 {
					if got := remaining(t, guard, created.Secret.Reveal()); got != want {
						t.Fatalf("after a request, %d remain, want %d", got, want)
					}
					if r := take(t, limiter, payer, limit, 0); r.Remaining != want {
						t.Fatalf("by name, %d remain, want %d", r.Remaining, want)
					}
					if r := take(t, limiter, payer, limit, 1); r.Remaining != want-1 {
						t.Fatalf("by name, %d remain, want %d", r.Remaining, want-1)
					}
					if _, err := limiter.Allow(t.Context(), &httpkey.Charge{
						Bucket: payer, Limits: []httpkey.Limit{limit}, Cost: 1, Forced: true,
					}); err != nil {
						t.Fatal(err)
					}
				}
				httpkeytest.Elapse(time.Hour)
				if got := remaining(t, guard, created.Secret.Reveal()); got != 11 {
					t.Errorf("after an hour, %d remain, want 11", got)
				}
				if r := take(t, limiter, payer, limit, 0); r.Remaining != 11 {
					t.Errorf("by name, %d remain, want 11", r.Remaining)
				}
			})
		})
	}
}

// A key that is rotated again and again pays from one bucket.
func TestRotationsShareABucket(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		guard, key := httpkeytest.New(t, nil)
		id := mustVerify(t, guard, key).ID
		for want := 59; want >= 30; want-- {
			if got := remaining(t, guard, key); got != want {
				t.Fatalf("%d remain, want %d", got, want)
			}
			created, err := guard.Rotate(t.Context(), id, time.Hour)
			if err != nil {
				t.Fatal(err)
			}
			key, id = created.Secret.Reveal(), created.Token.ID
		}
	})
}

func mustVerify(t *testing.T, guard *httpkey.Guard, key string) httpkey.Token {
	t.Helper()
	token, err := guard.Verify(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// embedding has a Lookup of its own, and all else of the store that it embeds.
type embedding struct {
	*memstore.Store
	lookups atomic.Int64
}

func (e *embedding) Lookup(ctx context.Context, d httpkey.Digest) (httpkey.Token, error) {
	e.lookups.Add(1)
	return e.Store.Lookup(ctx, d)
}

// embeddingLimiter has an Allow of its own, and all else of the limiter that it embeds.
type embeddingLimiter struct {
	*memstore.Limiter
	calls atomic.Int64
}

func (e *embeddingLimiter) Allow(ctx context.Context, c *httpkey.Charge) (httpkey.Result, error) {
	e.calls.Add(1)
	return e.Limiter.Allow(ctx, c)
}

// A store or limiter that wraps another by embedding it is asked itself.
func TestEmbeddingIsNotBypassed(t *testing.T) {
	t.Parallel()
	store, limiter := &embedding{Store: memstore.New()}, &embeddingLimiter{Limiter: memstore.NewLimiter()}
	guard := httpkey.New(store, limiter, nil)
	key := httpkeytest.Issue(t, guard, httpkey.Token{}).Secret.Reveal()
	if w := httpkeytest.Get(guard.Handler(ok), key); w.Code != http.StatusOK {
		t.Fatalf("status %d", w.Code)
	}
	if lookups, calls := store.lookups.Load(), limiter.calls.Load(); lookups != 1 || calls != 1 {
		t.Errorf("%d lookups and %d calls of Allow, want 1 each", lookups, calls)
	}
}

// Guards over one store take from the buckets that are theirs, though all find the token in one
// place: with another limiter, window or payer each has a bucket of its own. With another rate
// of one window, they share one.
func TestGuardsShareWhatIsShared(t *testing.T) {
	t.Parallel()
	store, limiter := memstore.New(), memstore.NewLimiter()
	type edit = func(*http.Request, *httpkey.Token, *httpkey.Charge)
	guard := func(l httpkey.Limiter, limit httpkey.Limit, charge edit) *httpkey.Guard {
		return httpkey.New(store, l, &httpkey.Options{
			Limits: map[httpkey.Kind][]httpkey.Limit{httpkey.APIKey: {limit}}, Charge: charge,
		})
	}
	guards := []*httpkey.Guard{
		guard(limiter, httpkey.PerHour(10), nil),
		guard(limiter, httpkey.Limit{Name: "other", Rate: 10, Period: time.Hour}, nil),
		guard(memstore.NewLimiter(), httpkey.PerHour(10), nil),
		guard(memstore.NewWindow(), httpkey.PerHour(10), nil),
		guard(limiter, httpkey.PerHour(10), func(_ *http.Request, t *httpkey.Token, c *httpkey.Charge) {
			c.Bucket = "user:" + t.User
		}),
		guard(limiter, httpkey.Limit{Rate: 10, Period: 3 * time.Hour}, nil),
	}
	created := httpkeytest.Issue(t, guards[0], httpkey.Token{User: "u"})
	key := created.Secret.Reveal()
	for n := range 10 {
		for i, guard := range guards {
			if got := remaining(t, guard, key); got != 9-n {
				t.Fatalf("request %d, guard %d: %d remain, want %d", n+1, i, got, 9-n)
			}
		}
	}
	double := guard(limiter, httpkey.PerHour(20), nil)
	if got := remaining(t, double, key); got != 0 {
		t.Errorf("under twice the rate, %d remain of the used up bucket, want 0", got)
	}
	if r := take(t, limiter, created.Token.Payer(), httpkey.PerHour(10), 0); r.Remaining != 0 {
		t.Errorf("by name, the bucket shows %+v", r)
	}
}

// A use shows in Get at once, also where the token is updated at the same moment.
func TestUsesShowAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := memstore.New()
		guard := httpkey.New(store, httpkey.Unlimited, nil)
		created := httpkeytest.Issue(t, guard, httpkey.Token{})
		id := created.Token.ID
		handler := guard.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
			if got, err := store.Get(t.Context(), id); err != nil || !got.LastUsed.Equal(time.Now()) {
				t.Errorf("within the request at %v, LastUsed is %v (%v)", time.Now(), got.LastUsed, err)
			}
		}))
		for n := range 50 {
			httpkeytest.Elapse(time.Second)
			_, err := store.Update(t.Context(), id, func(next *httpkey.Token) error {
				next.Label = strconv.Itoa(n)
				next.Metadata = map[string]string{"n": next.Label}
				httpkeytest.Get(guard.Handler(ok), created.Secret.Reveal()) // between the read and the write of Update
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			got, err := store.Get(t.Context(), id)
			if err != nil || !got.LastUsed.Equal(time.Now()) || got.Label != strconv.Itoa(n) {
				t.Fatalf("after a use at %v within an Update: %v, %q (%v)", time.Now(), got.LastUsed, got.Label, err)
			}
			httpkeytest.Elapse(time.Second)
			httpkeytest.Get(handler, created.Secret.Reveal())
		}
	})
}

// Of a token that is revoked, no request is let in once Revoke has returned, whichever of many
// requests are under way. A writer that knows only the old token does not bring it back.
func TestRevocationIsAtOnce(t *testing.T) {
	t.Parallel()
	const readers = 64
	rounds := model.Steps(1000)
	store := memstore.New()
	guard := httpkey.New(store, memstore.NewLimiter(), &httpkey.Options{
		Limits: map[httpkey.Kind][]httpkey.Limit{httpkey.APIKey: {httpkey.PerSecond(1_000_000)}},
	})
	handler, late := guard.Handler(ok), int64(0)
	for range rounds {
		created := httpkeytest.Issue(t, guard, httpkey.Token{})
		late += admittedAfterRevocation(t, guard, store, handler, created, readers)
	}
	if late > 0 {
		t.Errorf("%d requests were admitted after Revoke had returned", late)
	}
}

// admittedAfterRevocation returns the number of requests that were admitted too late.
func admittedAfterRevocation(
	t *testing.T, guard *httpkey.Guard, store *memstore.Store, handler http.Handler, created httpkey.Created, readers int,
) int64 {
	var (
		isRevoked atomic.Bool
		late      atomic.Int64
		begun, wg sync.WaitGroup
	)
	begun.Add(readers)
	for range readers {
		wg.Go(func() {
			for n := 0; ; n++ {
				isLast := isRevoked.Load()
				w := httpkeytest.Get(handler, created.Secret.Reveal())
				if n == 0 {
					begun.Done()
				}
				switch {
				case isLast && w.Code != http.StatusUnauthorized:
					late.Add(1)
				case !isLast && w.Code != http.StatusOK && w.Code != http.StatusUnauthorized:
					t.Errorf("status %d", w.Code)
				}
				if isLast {
					return
				}
				runtime.Gosched() // else the others wait for a whole time slice
			}
		})
	}
	wg.Go(func() {
		for isLast := false; !isLast; runtime.Gosched() {
			isLast = isRevoked.Load()
			_, _ = store.Update(context.Background(), created.Token.ID, func(t *httpkey.Token) error {
				*t = created.Token.Clone()
				return nil
			})
		}
	})
	begun.Wait()
	if err := guard.Revoke(t.Context(), created.Token.ID, fmt.Sprint("round of ", readers)); err != nil {
		t.Error(err)
	}
	isRevoked.Store(true)
	wg.Wait()
	return late.Load()
}
