package ram

import (
	"slices"
	"sync"
	"testing"
	"time"
)

// Uses that are noted while the token changes again and again are not lost, and the latest
// stays.
func TestUsesSurviveReplacement(t *testing.T) {
	t.Parallel()
	for range 50 {
		e := entryOf([32]byte{1})
		var wg sync.WaitGroup
		for user := range 4 {
			wg.Go(func() {
				for n := range 100 {
					e.Touch(int64(1 + n*4 + user))
				}
			})
		}
		for n := range 100 {
			e.Replace(&Body[string]{ExpiredAt: int64(n), State: Active})
		}
		wg.Wait()
		if got := e.LastUsed(); got != 400 {
			t.Fatalf("LastUsed is %d, the latest use was at 400", got)
		}
	}
}

func TestTouch(t *testing.T) {
	t.Parallel()
	e := entryOf([32]byte{})
	for _, step := range []struct {
		touch func(int64)
		at    int64
		want  int64
	}{
		{e.Touch, -5, -5}, // before 1970, and after never
		{e.Touch, 10_000, 10_000},
		{e.Touch, 9_999, 10_000},
		{e.TouchCoarsely, 10_999, 10_000}, // less than a millisecond later
		{e.TouchCoarsely, 11_000, 11_000},
		{e.TouchCoarsely, 5_000, 11_000},
		{e.Touch, 11_001, 11_001},
	} {
		if step.touch(step.at); e.LastUsed() != step.want {
			t.Errorf("after a use at %d, LastUsed is %d, want %d", step.at, e.LastUsed(), step.want)
		}
	}
}

// An entry has a digest if all bytes are the same.
func TestHas(t *testing.T) {
	t.Parallel()
	e := entryOf([32]byte{0: 1, 31: 2})
	d := e.Digest()
	if !e.Has(&d) {
		t.Error("it has not its own digest")
	}
	for i := range d {
		other := d
		if other[i] ^= 1; e.Has(&other) {
			t.Errorf("it has a digest that differs in byte %d", i)
		}
	}
}

// A token has expired from its expiry on.
func TestExpired(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		expiredAt, at int64
		want          bool
	}{{Null, 1 << 62, false}, {100, 99, false}, {100, 100, true}, {100, 101, true}, {-1, 0, true}} {
		e := New([32]byte{}, Null, "payer", &Body[string]{ExpiredAt: tt.expiredAt})
		if e.Expired(tt.at) != tt.want {
			t.Errorf("an expiry at %d has passed at %d: %v", tt.expiredAt, tt.at, !tt.want)
		}
	}
}

// A time comes back to the microsecond, and a zero time as one.
func TestTimes(t *testing.T) {
	t.Parallel()
	last := time.Date(9999, 12, 31, 23, 59, 59, 999_999_000, time.UTC)
	for _, at := range []time.Time{{}, time.UnixMicro(0), time.UnixMicro(-1), last} {
		if got := Time(Micros(at)); !got.Equal(at) {
			t.Errorf("%v became %v", at, got)
		}
	}
}

// A store and a limiter are found by themselves, and not by a type that embeds one.
func TestHolders(t *testing.T) {
	t.Parallel()
	type store struct{ Holder[string] }
	type limiter struct{ LimiterHolder }
	s, l := new(store), new(limiter)
	s.Holder = Hold[string](s, struct{ Source[string] }{})
	l.LimiterHolder = HoldLimiter(l, struct{ Limiter }{})
	if SourceOf[string](s) == nil || LimiterOf(l) == nil {
		t.Error("they are not found")
	}
	if SourceOf[string](struct{ *store }{s}) != nil || LimiterOf(struct{ *limiter }{l}) != nil {
		t.Error("what a type embeds is taken for it")
	}
	if SourceOf[string](nil) != nil || LimiterOf(t) != nil {
		t.Error("something is found in nothing")
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
