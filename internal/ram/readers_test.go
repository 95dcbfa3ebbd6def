package ram

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/httpkey/httpkey/internal/gcra"
)

// versionOf returns a version of the token with a digest. Everything in it follows from both.
func versionOf(d [32]byte, version int) (f *Fields[string], stamp Stamp) {
	mark := binary.LittleEndian.Uint64(d[:])*31 + uint64(version)
	name := fmt.Sprint(mark)
	f = fieldsOf("token:"+name, name, strings.Repeat(name, version%20))
	f.ExpiredAt, f.CreatedAt = int64(mark), int64(version)
	if version%4 == 0 {
		f.Full = &name
	}
	return f, Stamp{ReadAt: int64(mark), Mark: mark}
}

// check reports whether a View is one version of the token with a digest.
func check(t *testing.T, d [32]byte, v *View[string], stamp Stamp) {
	t.Helper()
	want, wantStamp := versionOf(d, int(v.CreatedAt))
	if v.Digest != d || v.State != want.State || v.ExpiredAt != want.ExpiredAt || stamp != wantStamp ||
		v.Text() != want.Text || (v.Full == nil) != (want.Full == nil) || v.Full != nil && *v.Full != *want.Full {
		t.Errorf("of token %x, version %d, found %+v, %+v, %.99q", d[:2], v.CreatedAt, v, stamp, v.Text())
	}
}

// Readers see one version of the token that they look for, or none, and always find the tokens
// that stay. Meanwhile a writer gives records to other tokens, replaces tokens, compacts their
// text and drops segments.
//
// The test fails if a reader does not compare the digest again under the mutex of the record:
// it then sees another token. It also fails if compact does not lock the records.
func TestReadersSeeWholeTokens(t *testing.T) {
	t.Parallel()
	const staying, tokens, readers = 20, 200, 4
	var digests [tokens][32]byte
	for i := range digests {
		digests[i] = digestOf(i)
	}
	table, buckets := new(Table[string]), NewBuckets[gcra.Bucket]()
	beside := Bind(table, buckets, term)
	var numbers [tokens]uint32
	add := func(i, version int) {
		f, stamp := versionOf(digests[i], version)
		numbers[i] = table.Add(&digests[i], Null, f, stamp)
	}
	for i := range staying {
		add(i, 1)
	}
	var (
		isDone  atomic.Bool
		found   atomic.Int64
		present sync.WaitGroup
	)
	for reader := range readers {
		present.Go(func() {
			random := rand.New(rand.NewPCG(51, uint64(reader)))
			for !isDone.Load() && !t.Failed() {
				i := random.IntN(tokens)
				if random.IntN(2) == 0 {
					i = random.IntN(staying + 4) // the first of the others come and go most often
				}
				v, stamp := table.View(&digests[i])
				if _, ok := table.Find(&digests[i]); i < staying && (!v.Exists() || !ok) {
					t.Errorf("token %d, which stays, is not found", i)
				}
				if v.Exists() {
					check(t, digests[i], &v, stamp)
					beside.Take(&v, perHour, 1, now())
					table.Touch(&v, 1)
					found.Add(1)
				}
			}
		})
	}
	random := rand.New(rand.NewPCG(52, 53))
	isPresent := [tokens]bool{}
	for version := 0; version < 50_000 || found.Load() < 10_000 && !t.Failed(); version++ {
		i := random.IntN(tokens)
		switch isAll := version%5000 < 1000; { // the last of them only at times, so that segments are dropped
		case i < staying:
			f, stamp := versionOf(digests[i], version)
			table.Replace(numbers[i], Null, f, stamp)
			continue
		case !isAll && i > staying+4 && !isPresent[i]:
			i = staying + i%4
		}
		if isPresent[i] = !isPresent[i]; isPresent[i] {
			add(i, version)
		} else {
			table.Remove(numbers[i])
		}
	}
	isDone.Store(true)
	present.Wait()
}

// A bucket admits exactly what its limit has room for, and loses no charge, however often it
// moves: between two tokens of one payer, which come and go, and its limiter, which is called by
// name. The bucket of another limit wants the same place.
func TestMovingBucketsAdmitExactly(t *testing.T) {
	t.Parallel()
	minute, longer := Term{Window: time.Minute.Microseconds()}, Term{Window: 2 * time.Minute.Microseconds()}
	scarce := gcra.Terms{Rate: 60, Burst: 60, Period: minute.Window}
	plenty := gcra.Terms{Rate: 1e6, Burst: 1e6, Period: longer.Window}
	synctest.Test(t, func(t *testing.T) {
		const callers = 6
		table, buckets, digests := new(Table[string]), NewBuckets[gcra.Bucket](), [2][32]byte{digestOf(1), digestOf(2)}
		ofScarce, ofPlenty := Bind(table, buckets, minute), Bind(table, buckets, longer)
		left := func(terms gcra.Terms, term Term) int64 {
			return byName(buckets, "token:1", terms, term, 0, false).Remaining
		}
		random := rand.New(rand.NewPCG(54, 55))
		for round := range 100 {
			var (
				fromScarce, fromPlenty atomic.Int64
				isDone                 atomic.Bool
				writer, wg             sync.WaitGroup
			)
			hadScarce, hadPlenty := left(scarce, minute), left(plenty, longer)
			writer.Go(func() {
				numbers, isPresent := [2]uint32{}, [2]bool{}
				random := rand.New(rand.NewPCG(56, uint64(round)))
				for !isDone.Load() || isPresent[0] || isPresent[1] {
					i := random.IntN(2)
					if isPresent[i] {
						table.Remove(numbers[i])
					} else {
						numbers[i] = table.Add(&digests[i], Null, fieldsOf("token:1", fmt.Sprint(i)), Stamp{})
					}
					isPresent[i] = !isPresent[i]
				}
			})
			for caller := range callers {
				wg.Go(func() {
					random := rand.New(rand.NewPCG(uint64(round), uint64(caller)))
					for range 100 {
						beside, terms, term, admitted := ofScarce, scarce, minute, &fromScarce
						if random.IntN(3) == 0 {
							beside, terms, term, admitted = ofPlenty, plenty, longer, &fromPlenty
						}
						var r gcra.Result
						if v, _ := table.View(&digests[random.IntN(2)]); v.Exists() {
							r = beside.Take(&v, terms, 1, now())
						} else {
							r = byName(buckets, "token:1", terms, term, 1, false)
						}
						if r.Allowed {
							admitted.Add(1)
						}
					}
				})
			}
			wg.Wait()
			isDone.Store(true)
			writer.Wait()
			if got := fromScarce.Load(); got != hadScarce {
				t.Fatalf("round %d: %d were admitted, there was room for %d", round, got, hadScarce)
			}
			if taken := hadPlenty - left(plenty, longer); taken != fromPlenty.Load() {
				t.Fatalf("round %d: %d were admitted, and %d charged", round, fromPlenty.Load(), taken)
			}
			time.Sleep(time.Duration(random.Int64N(int64(3 * time.Minute)))) // in the bubble's time; generations turn
		}
	})
}
