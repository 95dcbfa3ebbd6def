package ram_test

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/httpkeytest"
	"github.com/httpkey/httpkey/internal/charge"
	"github.com/httpkey/httpkey/internal/clock"
	"github.com/httpkey/httpkey/internal/model"
	"github.com/httpkey/httpkey/internal/ram"
	"github.com/httpkey/httpkey/memstore"
)

// digestOf returns one of many digests. Some differ only in their last bytes, so that the
// index cannot tell them apart.
func digestOf(n int) (d [32]byte) {
	random := rand.New(rand.NewPCG(uint64(n/4), 1))
	for i := range 4 {
		binary.LittleEndian.PutUint64(d[8*i:], random.Uint64())
	}
	d[31] = byte(n)
	return d
}

func now() clock.Instant {
	return clock.Instant{Elapsed: clock.Elapsed(), UnixNano: time.Now().UnixNano()}
}

// limits of several windows. The first two share one window, and so their buckets.
var limits = []httpkey.Limit{
	{Rate: 3, Burst: 3, Period: time.Second}, {Rate: 2, Burst: 2, Period: time.Second},
	{Rate: 7, Burst: 20, Period: 10 * time.Second}, {Rate: 41, Burst: 41, Period: time.Minute},
	{Rate: 10, Burst: 10, Period: time.Hour},
}

// world is a Table and two limiters beside their models, which are plain maps.
type world struct {
	*testing.T
	choose   func(n int) int // returns a number below n
	digests  [][32]byte
	table    *ram.Table[string]
	limiters [2]*memstore.Limiter
	bindings [2][]*ram.Binding[string] // by limit

	tokens  map[int]*token // by the index of the digest
	present []int          // indexes of digests
	numbers map[uint32]int
	models  [2]*model.Limiter
	late    []lateView
}

type token struct {
	number   uint32
	payer    string
	id       string
	others   ram.Others
	fields   *ram.Fields[string]
	lastUsed int64
	stamp    ram.Stamp
}

// lateView is the token of a caller that takes its time.
type lateView struct {
	of    int
	payer string
	view  ram.View[string]
}

func newWorld(t *testing.T, tokens int, choose func(n int) int) *world {
	w := &world{
		T: t, choose: choose, table: new(ram.Table[string]), digests: make([][32]byte, tokens),
		tokens: make(map[int]*token), numbers: make(map[uint32]int),
	}
	for n := range w.digests {
		w.digests[n] = digestOf(n)
	}
	for of := range w.limiters {
		w.limiters[of], w.models[of] = memstore.NewLimiter(), model.New(false)
		buckets, _ := ram.BucketsOf(w.limiters[of])
		for _, limit := range limits {
			w.bindings[of] = append(w.bindings[of], ram.Bind(w.table, buckets, charge.ItemOf(limit, time.Time{}).Term))
		}
	}
	return w
}

// step changes or uses something. It lets the tokens become as many as target, and no more.
func (w *world) step(target int) {
	isGrowing := len(w.tokens) < target
	switch choice := w.choose(100); {
	case choice < 20 && isGrowing, choice < 3 && len(w.tokens) < len(w.digests):
		w.add(w.absent())
	case choice < 20 && len(w.present) > 0:
		w.remove(w.choose(len(w.present)))
	case choice < 30 && len(w.present) > 0:
		w.replace(w.pick())
	case choice < 35:
		w.look(w.choose(len(w.digests)))
	case choice < 40 && len(w.late) > 0:
		w.takeLate(w.late[w.choose(len(w.late))])
	case choice < 70 && len(w.present) > 0:
		of := w.pick()
		w.take(of, w.view(of), w.tokens[of].payer)
	case choice < 90:
		w.allow()
	}
	switch w.choose(100) {
	case 0:
		w.elapse(3 * time.Hour)
	case 1, 2, 3, 4, 5:
		w.elapse(time.Minute)
	default:
		w.elapse(50 * time.Millisecond)
	}
}

// elapse lets whole microseconds pass, because the model counts these.
func (w *world) elapse(most time.Duration) {
	httpkeytest.Elapse(time.Duration(w.choose(int(most/time.Microsecond))) * time.Microsecond)
}

// absent returns the index of a digest without a token.
func (w *world) absent() int {
	of := w.choose(len(w.digests))
	for w.tokens[of] != nil {
		of = (of + 1) % len(w.digests)
	}
	return of
}

// pick returns the index of a token, and of one of a few half of the time.
func (w *world) pick() int {
	among := len(w.present)
	if w.choose(2) == 0 {
		among = min(among, 8)
	}
	return w.present[w.choose(among)]
}

// fill gives a token fields. Two tokens have one payer, except for a few that pay as others.
func (w *world) fill(of int, k *token) {
	k.payer, k.id = fmt.Sprint("token:", of/2), fmt.Sprint(of)
	if w.choose(20) == 0 {
		k.payer = fmt.Sprint("token:", w.choose(4))
	}
	k.others = ram.Others{"", strings.Repeat("x", []int{0, 5, 200, 5000}[w.choose(4)]), fmt.Sprint(w.choose(1000))}
	k.fields = &ram.Fields[string]{
		ExpiredAt: ram.Null, CreatedAt: int64(w.choose(1000)), Text: ram.NewText(k.payer, k.id, k.others),
		State: ram.StateOf(w.choose(2) == 0, w.choose(2) == 0, w.choose(2) == 0),
	}
	if w.choose(8) == 0 {
		k.fields.Full, k.fields.ExpiredAt = &k.others[1], int64(w.choose(1000))
	}
	k.stamp = ram.Stamp{ReadAt: int64(w.choose(1000)), Mark: uint64(w.choose(1000))}
}

func (w *world) add(of int) {
	k := &token{lastUsed: int64(w.choose(1000))}
	w.fill(of, k)
	k.number = w.table.Add(&w.digests[of], k.lastUsed, k.fields, k.stamp)
	if other, isUsed := w.numbers[k.number]; isUsed {
		w.Fatalf("tokens %d and %d have one number", of, other)
	}
	w.tokens[of], w.numbers[k.number], w.present = k, of, append(w.present, of)
}

func (w *world) remove(i int) {
	of := w.present[i]
	w.present[i] = w.present[len(w.present)-1]
	w.present = w.present[:len(w.present)-1]
	w.table.Remove(w.tokens[of].number)
	delete(w.numbers, w.tokens[of].number)
	delete(w.tokens, of)
}

func (w *world) replace(of int) {
	k, used := w.tokens[of], ram.Micros(time.Now())-int64(w.choose(1e6))
	w.fill(of, k)
	k.lastUsed = max(k.lastUsed, used)
	w.table.Replace(k.number, used, k.fields, k.stamp)
}

// view returns a token, and compares it with what it must be.
func (w *world) view(of int) ram.View[string] {
	w.Helper()
	v, stamp := w.table.View(&w.digests[of])
	k := w.tokens[of]
	if number, found := w.table.Find(&w.digests[of]); found != (k != nil) || found && number != k.number {
		w.Fatalf("token %d is found at %d: %v, want %+v", of, number, found, k)
	}
	if v.Exists() != (k != nil) {
		w.Fatalf("token %d is %+v, want %+v", of, v, k)
	}
	if k == nil {
		return v
	}
	f := k.fields
	if v.Digest != w.digests[of] || v.Number != k.number || v.State != f.State || v.LastUsed != k.lastUsed ||
		v.ExpiredAt != f.ExpiredAt || v.CreatedAt != f.CreatedAt || v.Full != f.Full || stamp != k.stamp ||
		v.Text().Payer() != k.payer || v.Text().ID() != k.id || v.Text().Others() != k.others {
		w.Fatalf("token %d is %+v (%+v, %.50q), want %+v", of, v, stamp, v.Text(), k)
	}
	return v
}

// look reads a token, and keeps it for a late caller.
func (w *world) look(of int) {
	v := w.view(of)
	if !v.Exists() {
		return
	}
	if len(w.late) == 8 {
		w.late = w.late[1:]
	}
	w.late = append(w.late, lateView{of, w.tokens[of].payer, v})
}

// takeLate takes for a caller that read the token long ago. If the token pays as another one by
// now, either may pay.
func (w *world) takeLate(l lateView) {
	if k := w.tokens[l.of]; k == nil || k.number != l.view.Number || k.payer == l.payer {
		w.take(l.of, l.view, l.payer)
	}
}

// take takes beside a token, and compares the answer with that of the model.
func (w *world) take(of int, v ram.View[string], payer string) {
	w.Helper()
	with, i := w.choose(2), w.choose(len(limits))
	item := charge.ItemOf(limits[i], time.Time{})
	n := w.choose(item.Limit.Burst + 1)
	got := item.Result(w.bindings[with][i].Take(&v, item.Terms, int64(n), now()))
	c := &httpkey.Charge{Bucket: payer, Limits: limits[i : i+1], Cost: n}
	if want := w.models[with].Allow(c, time.Now()); !same(got, want) {
		w.Fatalf("beside token %d, limiter %d, %+v: %+v, the model says %+v", of, with, c, got, want)
	}
	if k := w.tokens[of]; k != nil && k.number == v.Number && n != 0 {
		k.lastUsed = max(k.lastUsed, time.Now().UnixMicro())
	}
}

// allow calls a limiter by name, under one or two limits, and compares its answer with that of
// the model. The charge is forced at times, and then a refund at times.
func (w *world) allow() {
	w.Helper()
	i := w.choose(len(limits))
	c := &httpkey.Charge{Bucket: fmt.Sprint("token:", w.choose(len(w.digests))/2), Limits: limits[i : i+1]}
	if len(w.present) > 0 && w.choose(4) > 0 {
		c.Bucket = w.tokens[w.pick()].payer
	}
	if 2 <= i && i < len(limits)-1 && w.choose(2) == 0 {
		c.Limits = limits[i : i+2]
	}
	c.Cost = w.choose(c.Limits[0].Burst + 1)
	if c.Forced = w.choose(10) == 0; c.Forced {
		c.Cost = w.choose(4*c.Limits[0].Burst) - c.Limits[0].Burst
	}
	w.compare(w.choose(2), c)
}

func (w *world) compare(with int, c *httpkey.Charge) {
	w.Helper()
	got, err := w.limiters[with].Allow(w.Context(), c)
	if want := w.models[with].Allow(c, time.Now()); err != nil || !same(got, want) {
		w.Fatalf("limiter %d, %+v: %+v (%v), the model says %+v", with, c, got, err, want)
	}
}

// end compares all tokens, removes them, and compares what every payer owes then.
func (w *world) end() {
	w.Helper()
	for of := range w.digests {
		w.view(of)
	}
	for len(w.present) > 0 {
		w.remove(w.choose(len(w.present)))
	}
	for of := range w.digests {
		w.view(of)
	}
	for with := range w.limiters {
		for payer := range len(w.digests) / 2 {
			for i := range limits {
				w.compare(with, &httpkey.Charge{Bucket: fmt.Sprint("token:", payer), Limits: limits[i : i+1]})
			}
		}
	}
}

// same reports whether two results say the same.
func same(a, b httpkey.Result) bool {
	return a.Allowed == b.Allowed && a.Limit == b.Limit && a.Remaining == b.Remaining &&
		a.ResetAfter == b.ResetAfter && a.RetryAfter == b.RetryAfter && slices.EqualFunc(a.Each, b.Each, same)
}

// Tokens and buckets are what maps and models say: while tokens come, change and go, up to many
// segments and down to none, and while their buckets come to them and leave them.
func TestTableAgreesWithMaps(t *testing.T) {
	t.Parallel()
	for _, tokens := range []int{6, 60, 3000} {
		t.Run(fmt.Sprint(tokens), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				random := rand.New(rand.NewPCG(41, uint64(tokens)))
				w := newWorld(t, tokens, random.IntN)
				const phases = 12
				for phase := range phases {
					target := []int{0, tokens, tokens / 10}[phase%3]
					for range model.Steps(1_000_000) / 3 / phases {
						w.step(target)
					}
				}
				w.end()
			})
		})
	}
}

// FuzzTable lets bytes decide what happens to a few tokens.
func FuzzTable(f *testing.F) {
	f.Add([]byte("a few tokens come, change, pay and go, and some of them come again"))
	random := rand.New(rand.NewPCG(1, 2))
	for size := 100; size < 10_000; size *= 4 {
		seed := make([]byte, size)
		for i := range seed {
			seed[i] = byte(random.Uint32())
		}
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, choices []byte) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, 100, func(n int) (chosen int) {
				for bound := 1; bound < n && len(choices) > 0; bound <<= 8 {
					chosen = chosen<<8 | int(choices[0])
					choices = choices[1:]
				}
				return chosen % n
			})
			for len(choices) > 0 {
				w.step(80)
			}
			w.end()
		})
	})
}
