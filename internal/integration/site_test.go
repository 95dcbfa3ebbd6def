package integration

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/cachestore"
	"github.com/httpkey/httpkey/httpkeytest"
	"github.com/httpkey/httpkey/redisstore"
)

// site is what one process of a fleet has: the middleware over a cache over a store.
type site struct {
	*httpkey.Guard
	cache   *cachestore.Store
	handler http.Handler
	patient http.Handler // the same, of an unhurried Guard that tells nothing

	mu   sync.Mutex
	told []httpkey.EventType // what changed for the store and the limiter
}

// unhurried is a budget for tests of answers. Tests of their time use the default.
const unhurried = 5 * time.Second

// newSite returns an unhurried site on the Redis, or proxy, at an address.
func newSite(t testing.TB, address string, newLimiter newLimiter, cached cachestore.Options) *site {
	t.Helper()
	return newSiteOver(t, address, newLimiter, cached, func(s *redisstore.Store) httpkey.TokenStore { return s })
}

// newSiteOver returns one, unhurried too, whose store is what wrap makes of it.
func newSiteOver(
	t testing.TB, address string, newLimiter newLimiter, cached cachestore.Options,
	wrap func(*redisstore.Store) httpkey.TokenStore,
) *site {
	t.Helper()
	client := connect(t, address, patientDial)
	return newSiteOn(t, wrap(redisstore.New(client, nil)), newLimiter(client, nil), cached, unhurried)
}

// newSiteOn returns a site with a store and a limiter, for which a request waits so long.
func newSiteOn(
	t testing.TB, store httpkey.TokenStore, limiter httpkey.Limiter, cached cachestore.Options,
	timeout time.Duration,
) *site {
	t.Helper()
	s := &site{}
	cached.Observers = []httpkey.Observer{s}
	s.cache = cachestore.New(store, &cached)
	s.Guard = httpkey.New(s.cache, limiter, &httpkey.Options{Observers: []httpkey.Observer{s}, Timeout: timeout})
	patient := httpkey.New(s.cache, limiter, &httpkey.Options{Timeout: unhurried})
	answer := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) })
	s.handler, s.patient = s.Handler(answer), patient.Handler(answer)
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel() // a broken server may have missed writes
		_, _ = s.Close(ctx), patient.Close(ctx)
	})
	return s
}

// follow runs the cache's feed until the end of the test.
func (s *site) follow(t testing.TB) {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = s.cache.Run(ctx) })
	t.Cleanup(func() {
		cancel()
		running.Wait()
	})
}

// Observe implements [httpkey.Observer].
func (s *site) Observe(_ context.Context, e *httpkey.Event) {
	switch e.Type {
	case httpkey.EventLimiterDown, httpkey.EventLimiterUp,
		cachestore.EventStoreDown, cachestore.EventStoreUp, cachestore.EventFeedDown, cachestore.EventFeedUp:
		s.mu.Lock()
		defer s.mu.Unlock()
		s.told = append(s.told, e.Type)
	}
}

// times returns how often an event was told.
func (s *site) times(e httpkey.EventType) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, told := range s.told {
		if told == e {
			n++
		}
	}
	return n
}

// get sends a request with a key and returns the status.
func (s *site) get(key string) int {
	return httpkeytest.Get(s.handler, key).Code
}

// of returns the charge of n from a payer.
func of(payer string, n int, limits ...httpkey.Limit) *httpkey.Charge {
	return &httpkey.Charge{Bucket: payer, Limits: limits, Cost: n}
}

// holder is a token and its key.
type holder struct{ id, key string }

// issue issues tokens and returns them.
func (s *site) issue(t testing.TB, count int, limit httpkey.Limit) []holder {
	t.Helper()
	holders := make([]holder, count)
	for i := range holders {
		token := httpkey.Token{Label: fmt.Sprint("client ", i), Limits: []httpkey.Limit{limit}}
		created := httpkeytest.Issue(t, s.Guard, token)
		holders[i] = holder{created.Token.ID, created.Secret.Reveal()}
	}
	return holders
}

// madeUpKeySource returns a function that makes up keys. They have the right shape and checksum, and
// no store has them. The function is safe for concurrent use.
func madeUpKeySource() func() string {
	elsewhere := httpkey.New(nowhere{}, httpkey.Unlimited, nil)
	return func() string {
		created, err := elsewhere.Issue(context.Background(), httpkey.Token{})
		if err != nil {
			panic(err)
		}
		return created.Secret.Reveal()
	}
}

// nowhere keeps nothing.
type nowhere struct{ httpkey.TokenStore }

func (nowhere) Create(_ context.Context, t httpkey.Token) (httpkey.Token, error) { return t, nil }
func (nowhere) Touch(context.Context, map[string]time.Time) error                { return nil }
