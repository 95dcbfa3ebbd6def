package main

import (
	"context"
	"math/rand/v2"
	"net/http"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/memstore"
)

// A scenario is a choice of keys that send requests, and the status that answers them.
type scenario struct {
	name  string
	limit limit
	want  int // status, once each key has sent one request
	draw  func(random *rand.Rand, keys int) func() uint32
}

var (
	// enough never denies. Its burst has the size of usual quotas: Remaining has at most
	// three digits.
	enough = limit{burst: 1000, hourly: 36_000_000_000}
	single = limit{burst: 1, hourly: 1}
)

var (
	uniform = scenario{"uniform", enough, http.StatusOK, drawUniform}
	zipf    = scenario{"zipf", enough, http.StatusOK, drawZipf}
	hot     = scenario{"one hot key", enough, http.StatusOK, drawFirst}
	denied  = scenario{"almost all denied", single, http.StatusTooManyRequests, drawUniform}

	scenarios = []scenario{uniform, zipf, hot, denied}
)

func drawUniform(random *rand.Rand, keys int) func() uint32 {
	return func() uint32 { return random.Uint32N(uint32(keys)) }
}

// drawZipf gives the first key an eighth of all requests, if there are 100,000.
func drawZipf(random *rand.Rand, keys int) func() uint32 {
	z := rand.NewZipf(random, 1.1, 1, uint64(keys-1))
	return func() uint32 { return uint32(z.Uint64()) }
}

func drawFirst(*rand.Rand, int) func() uint32 { return func() uint32 { return 0 } }

// requests is the length of the order in which keys send requests. Then it begins again.
const requests = 1 << 18

// load returns the requests of s: the same ones in each run.
func (s scenario) load(keys []string) load {
	next := s.draw(rand.New(rand.NewPCG(1, 2)), len(keys))
	order := make([]uint32, requests)
	for i := range order {
		order[i] = next()
	}
	return load{keys: keys, order: order, want: s.want}
}

// issue returns n new keys. Each is a valid key of httpkey. To the others it is a string.
func issue(n int) []string {
	guard := httpkey.New(memstore.New(), httpkey.Unlimited, nil)
	keys := make([]string, n)
	for i := range keys {
		keys[i] = must(guard.Issue(context.Background(), httpkey.Token{})).Secret.Reveal()
	}
	return keys
}
