package memstore_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/internal/charge"
	"github.com/httpkey/httpkey/internal/clock"
	"github.com/httpkey/httpkey/internal/model"
	"github.com/httpkey/httpkey/internal/ram"
	"github.com/httpkey/httpkey/memstore"
)

// find returns the token with a digest, as a Guard does.
func find(store *memstore.Store, d httpkey.Digest) *ram.View[httpkey.Token] {
	v, _ := ram.SourceOf[httpkey.Token](store).Find(d, clock.Elapsed())
	return &v
}

// takeIn takes from the bucket beside a token, as a Guard does.
func takeIn(
	store *memstore.Store, limiter httpkey.Limiter, v *ram.View[httpkey.Token], limit httpkey.Limit, n int,
) httpkey.Result {
	item := charge.ItemOf(limit, time.Now())
	buckets, _ := ram.BucketsOf(limiter)
	binding := ram.Bind(ram.SourceOf[httpkey.Token](store).Table(), buckets, item.Term)
	var c clock.Clock
	return item.Result(binding.Take(v, item.Terms, int64(n), c.Now()))
}

// The bucket beside a token is as good as any other: whichever of several
// limiters takes it, for whichever limit, over updates of the token, its deletion and return, and
// long pauses, each limiter answers like a model of its own, by name too.
func TestBucketsBesideTokens(t *testing.T) {
	t.Parallel()
	limits := []httpkey.Limit{
		{Rate: 3, Burst: 3, Period: time.Second}, {Rate: 2, Burst: 2, Period: time.Second},
		{Rate: 7, Burst: 20, Period: 10 * time.Second}, {Rate: 10, Burst: 10, Period: time.Hour},
	}
	synctest.Test(t, func(t *testing.T) {
		store := memstore.New()
		for n := range 10 {
			create(t, store, httpkey.Token{ID: fmt.Sprint(n), Kind: httpkey.APIKey, Digest: httpkey.Digest{byte(n)}})
		}
		limiters := []*memstore.Limiter{memstore.NewLimiter(), memstore.NewLimiter()}
		models := []*model.Limiter{model.New(false), model.New(false)}
		random := rand.New(rand.NewPCG(23, 24))
		for step := range 30_000 {
			id, of := random.IntN(10), random.IntN(len(limiters))
			v := find(store, httpkey.Digest{byte(id)})
			limit := limits[random.IntN(len(limits))]
			n := random.IntN(limit.Burst + 1)
			c := &httpkey.Charge{Bucket: v.Text().Payer(), Limits: []httpkey.Limit{limit}, Cost: n}
			got := takeIn(store, limiters[of], v, limit, n)
			want := models[of].Allow(c, time.Now())
			if random.IntN(5) == 0 && same(got, want) {
				if c.Cost = 0; random.IntN(4) == 0 {
					c.Cost, c.Forced = 3, true
				}
				want = models[of].Allow(c, time.Now())
				got, _ = limiters[of].Allow(t.Context(), c)
			}
			if !same(got, want) {
				t.Fatalf("step %d: %+v: %+v, the model says %+v", step, c, got, want)
			}
			switch random.IntN(100) {
			case 0:
				elapse(time.Duration(random.Int64N(int64(3 * time.Hour))))
			case 1, 2:
				if err := store.Delete(t.Context(), fmt.Sprint(id)); err != nil {
					t.Fatal(err)
				}
				create(t, store, httpkey.Token{ID: fmt.Sprint(id), Kind: httpkey.APIKey, Digest: httpkey.Digest{byte(id)}})
			case 3, 4, 5:
				if _, err := store.Update(t.Context(), fmt.Sprint(id), func(*httpkey.Token) error { return nil }); err != nil {
					t.Fatal(err)
				}
			default:
				elapse(time.Duration(random.Int64N(int64(50 * time.Millisecond))))
			}
		}
	})
}
