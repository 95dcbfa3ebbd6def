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
	"github.com/httpkey/httpkey/internal/gcra"
	"github.com/httpkey/httpkey/internal/model"
	"github.com/httpkey/httpkey/internal/ram"
	"github.com/httpkey/httpkey/memstore"
)

type slot = ram.Slot[gcra.Bucket]

// find returns the entry of a digest, as a Guard does.
func find(store *memstore.Store, d httpkey.Digest) *ram.Entry[httpkey.Token] {
	e, _ := ram.SourceOf[httpkey.Token](store).Find(d)
	return e
}

// takeIn takes from the bucket that is remembered in a slot, as a Guard does.
func takeIn(limiter httpkey.Limiter, s *slot, payer string, limit httpkey.Limit, n int) httpkey.Result {
	item := charge.ItemOf(limit, time.Now())
	limits := ram.Limit{Term: item.Term, Terms: item.Terms}
	return item.Result(ram.LimiterOf(limiter).TakeIn(s, payer, limits, int64(n), clock.Elapsed()))
}

// The bucket beside a token is as good as any other: whichever of several
// limiters takes it, for whichever limit, over updates of the token and long
// pauses, each limiter answers like a model of its own, by name too.
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
			e := find(store, httpkey.Digest{byte(id)})
			limit := limits[random.IntN(len(limits))]
			payer := e.Payer()
			if random.IntN(3) == 0 {
				payer = "shared" // as the tokens of a user may share one
			}
			n := random.IntN(limit.Burst + 1)
			c := &httpkey.Charge{Bucket: payer, Limits: []httpkey.Limit{limit}, Cost: n}
			got := takeIn(limiters[of], e.Slot(), payer, limit, n)
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
			case 1, 2, 3, 4, 5:
				if _, err := store.Update(t.Context(), fmt.Sprint(id), func(*httpkey.Token) error { return nil }); err != nil {
					t.Fatal(err)
				}
			default:
				elapse(time.Duration(random.Int64N(int64(50 * time.Millisecond))))
			}
		}
	})
}

// A slot that remembers the bucket of another payer, or of another limit, is no obstacle.
func TestForeignSlots(t *testing.T) {
	t.Parallel()
	for name, newLimiter := range newLimiters {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				limiter, want := newLimiter(), model.New(name == "Window")
				random := rand.New(rand.NewPCG(25, 26))
				var slots [3]slot
				for step := range 20_000 {
					limit := []httpkey.Limit{httpkey.PerMinute(60), httpkey.PerMinute(41), httpkey.PerHour(100)}[random.IntN(3)]
					c := &httpkey.Charge{Bucket: fmt.Sprint(random.IntN(5)), Limits: []httpkey.Limit{limit}, Cost: random.IntN(3)}
					got := takeIn(limiter, &slots[random.IntN(len(slots))], c.Bucket, limit, c.Cost)
					if want := want.Allow(c, time.Now()); !same(got, want) {
						t.Fatalf("step %d: %+v: %+v, the model says %+v", step, c, got, want)
					}
					elapse(time.Duration(random.Int64N(int64(time.Second))))
				}
			})
		})
	}
}
