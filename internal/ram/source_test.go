package ram

import (
	"slices"
	"testing"

	"github.com/httpkey/httpkey/internal/gcra"
)

// A store and a limiter are found by themselves, and not by a type that embeds one.
func TestHolders(t *testing.T) {
	t.Parallel()
	type store struct{ Holder[string] }
	type limiter struct{ LimiterHolder }
	s, l, strict, buckets := new(store), new(limiter), new(limiter), NewBuckets[gcra.Bucket]()
	s.Holder = Hold[string](s, struct{ Source[string] }{})
	l.LimiterHolder, strict.LimiterHolder = HoldLimiter(l, buckets), HoldLimiter(strict, nil)
	if SourceOf[string](s) == nil {
		t.Error("the store is not found")
	}
	if SourceOf[string](struct{ *store }{s}) != nil || SourceOf[int](s) != nil || SourceOf[string](nil) != nil {
		t.Error("a store is found in what is none")
	}
	for _, tt := range []struct {
		name     string
		limiter  any
		buckets  *Buckets[gcra.Bucket]
		inMemory bool
	}{
		{"a limiter", l, buckets, true}, {"one whose buckets stay with it", strict, nil, true},
		{"a type that embeds one", struct{ *limiter }{l}, nil, false},
		{"no limiter", t, nil, false}, {"nothing", nil, nil, false},
	} {
		if b, inMemory := BucketsOf(tt.limiter); b != tt.buckets || inMemory != tt.inMemory {
			t.Errorf("%s has %p, and is in memory: %v", tt.name, b, inMemory)
		}
	}
}

// heldDigests is a source that holds some digests.
type heldDigests struct {
	Source[string]
	held map[[32]byte]bool
}

func (h heldDigests) Holds(d [32]byte) bool { return h.held[d] }

// The digesters whose digests a source holds come first. Otherwise the order stays.
func TestHeldFirst(t *testing.T) {
	t.Parallel()
	digester := func(n byte) func(string) [32]byte {
		return func(key string) [32]byte { return [32]byte{n, key[0]} }
	}
	digesters := []func(string) [32]byte{digester(0), digester(1), digester(2), digester(3)}
	source := heldDigests{held: map[[32]byte]bool{{3, 'k'}: true, {1, 'k'}: true, {0, 'x'}: true}}
	order := func(s Source[string], digesters []func(string) [32]byte) (order []byte) {
		for _, digest := range HeldFirst(s, digesters, "k") {
			order = append(order, digest("k")[0])
		}
		return order
	}
	if got := order(source, digesters); !slices.Equal(got, []byte{1, 3, 0, 2}) {
		t.Errorf("the order is %v", got)
	}
	if got := order(nil, digesters); !slices.Equal(got, []byte{0, 1, 2, 3}) {
		t.Errorf("without a source the order is %v", got)
	}
	if got := order(source, digesters[:1]); !slices.Equal(got, []byte{0}) {
		t.Errorf("of one digester it is %v", got)
	}
}
