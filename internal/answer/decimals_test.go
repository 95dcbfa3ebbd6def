package answer

import (
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"runtime"
	"strconv"
	"sync"
	"testing"
)

// Numbers that lie close together, and numbers that take turns in a slot, each have their
// value, also for readers at the same time.
func TestDecimalsAreTheNumbers(t *testing.T) {
	t.Parallel()
	var d Decimals
	var readers sync.WaitGroup
	for seed := range uint64(4) {
		readers.Go(func() {
			random := rand.New(rand.NewPCG(seed, 1))
			for range 50_000 {
				n := random.Int64N(600) - 300
				switch random.IntN(4) {
				case 0:
					n += math.MaxInt64 - 300
				case 1:
					n += math.MinInt64 + 300
				case 2:
					n += random.Int64N(8) * pages * pageLength // one slot for all
				}
				if got := d.Header(n); len(got) != 1 || cap(got) != 1 || got[0] != strconv.FormatInt(n, 10) {
					t.Errorf("%d is %q", n, got)
					return
				}
			}
		})
	}
	readers.Wait()
}

// Days of seconds stay shared. A page that is out of use gives way.
func TestDecimalsAllocations(t *testing.T) {
	// Not parallel: AllocsPerRun counts those of the whole process.
	var d Decimals
	const start = 1_767_225_600
	seconds := func(from int64) func() {
		return func() {
			for n := from; n < from+36*60*60; n++ {
				d.Header(n)
			}
		}
	}
	seconds(start)()
	if got := testing.AllocsPerRun(1, seconds(start)); got != 0 {
		t.Errorf("36 hours that are known cost %v allocations", got)
	}
	later := start + 7*int64(pages*pageLength)
	first := testing.AllocsPerRun(1, func() { d.Header(later) })
	for range pageLength {
		d.Header(later)
	}
	if got := testing.AllocsPerRun(1, func() { d.Header(later) }); first == 0 || got != 0 {
		t.Errorf("a second of another day costs %v allocations, and after many misses %v", first, got)
	}
}

// The own value of a response stays as it is, whatever the garbage collector and other
// responses do.
func TestOwnValuesStay(t *testing.T) {
	t.Parallel()
	const most = 2*tooLong + 1 // so that some values fit, and some do not
	var q Quota
	responses := make([]http.Header, 25_000)
	for i := range responses {
		responses[i] = make(http.Header)
		q.Set(responses[i], 1, most-int64(i)*1e12, 2, new(Own))
	}
	runtime.GC()
	for i, h := range responses {
		if got, want := h.Get("X-RateLimit-Remaining"), strconv.FormatInt(most-int64(i)*1e12, 10); got != want {
			t.Errorf("response %d has %s, want %s", i, got, want)
		}
	}
}

// Throttled responses at the same time do not mix.
func TestThrottledAnswersAreApart(t *testing.T) {
	t.Parallel()
	var responses sync.WaitGroup
	for client := range int64(4) {
		responses.Go(func() {
			for seconds := 1 + client; seconds < 100_000; seconds += 97 {
				a := Throttled(seconds)
				runtime.Gosched()
				unit := "seconds"
				if seconds == 1 {
					unit = "second"
				}
				want := fmt.Sprintf("Request was throttled. Expected available in %d %s.", seconds, unit)
				var body struct{ Detail string }
				if err := json.Unmarshal(a.Body, &body); err != nil || body.Detail != want ||
					a.Length[0] != strconv.Itoa(len(a.Body)) {
					t.Errorf("it says %s with length %s: %v", a.Body, a.Length[0], err)
				}
				a.Release()
			}
		})
	}
	responses.Wait()
}
