package storetest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/usage"
)

// UsageFactory makes a new and empty backend for one rule, and returns the function that opens a
// handle on it. All handles of one backend must show the same counts.
type UsageFactory func(t *testing.T) (open func() usage.Store)

// RunUsage checks every rule of [usage.Store], each on a backend of its own.
func RunUsage(t *testing.T, factory UsageFactory) {
	t.Helper()
	for _, rule := range usageRules {
		t.Run(rule.name, func(t *testing.T) {
			report(t, rule.rule, rule.check(t.Context(), usageBench{factory(t), time.Now().UTC()}))
		})
	}
}

// usageBench holds the store for a rule, and the moment at which the rule begins.
type usageBench struct {
	open func() usage.Store
	now  time.Time
}

type usageRule struct {
	name  string
	check func(context.Context, usageBench) error
	rule  string
}

var usageRules = []usageRule{
	{"Adds", checkUsageAdds,
		"Add adds to what is there, each kind of count by itself, and also what is negative"},
	{"Days", checkUsageDays,
		"a day begins at 00:00 UTC, and is the sum of its hours"},
	{"Range", checkUsageRange,
		"Of returns the intervals that begin before to and end after from, oldest first, and none without counts"},
	{"InvalidRange", checkUsageInvalidRange,
		"Of returns an error that wraps ErrInvalidRange for another step than Hour and Day, and for more than 1,000 " +
			"intervals"},
	{"ExactIDs", checkUsageExactIDs,
		"tokens whose IDs differ in any byte have counts of their own"},
	{"AddsTogether", checkUsageAddsTogether,
		"Adds of any number of callers and handles at once add up"},
	{"ManyTokens", checkUsageManyTokens,
		"an Add takes many tokens, several hours of one, and the same hour twice"},
	{"Keep", checkUsageKeep,
		"counts older than keep says are removed, hours within another day, days within another month, and no others"},
	{"Clients", checkUsageClients,
		"LastClient returns the latest client of a token, whatever the order of the Adds, and the zero Client if none " +
			"is known"},
	{"Borrows", checkUsageBorrows,
		"Add keeps nothing of deltas and changes none, and a caller may change what Of returns"},
	{"Canceled", checkUsageCanceled,
		"an Add whose context has ended adds a delta, or returns it in rest with an error"},
	{"Model", checkUsageModel,
		"after any Adds, each interval has the sum of what was added"},
}

var keepLong = usage.Keep{Hours: 31 * usage.Day, Days: 400 * usage.Day}

// addUsage adds deltas that must all be taken.
func addUsage(ctx context.Context, s usage.Store, deltas ...usage.Delta) error {
	rest, err := s.Add(ctx, deltas, keepLong)
	if err != nil || len(rest) > 0 {
		return fmt.Errorf("Add returned %d of %d deltas, and the error %w", len(rest), len(deltas), err)
	}
	return nil
}

// wantUsage compares the intervals of a token with those wanted.
func wantUsage(
	ctx context.Context, s usage.Store, id string, from, to time.Time, step time.Duration, want ...usage.Interval,
) error {
	got, err := s.Of(ctx, id, from, to, step)
	if err != nil {
		return fmt.Errorf("Of(%q): %w", id, err)
	}
	if !slices.EqualFunc(got, want, sameInterval) {
		return fmt.Errorf("Of(%q) from %v to %v by %v returned %+v, want %+v", id, from, to, step, got, want)
	}
	return nil
}

func sameInterval(a, b usage.Interval) bool {
	return a.Start.Equal(b.Start) && a.Start.Location() == time.UTC && maps.Equal(a.Reasons, b.Reasons) &&
		a.Passed == b.Passed && a.Throttled == b.Throttled && a.Refused == b.Refused && a.DryRun == b.DryRun &&
		a.Cost == b.Cost
}

// refusals returns the counts of requests that were refused for a reason.
func refusals(reason httpkey.Reason, n int64) usage.Counts {
	return usage.Counts{Refused: n, Reasons: map[httpkey.Reason]int64{reason: n}}
}

func checkUsageAdds(ctx context.Context, b usageBench) error {
	s, hour := b.open(), b.now.Truncate(usage.Hour)
	id, sum := "token", usage.Counts{}
	for i, c := range []usage.Counts{
		{Passed: 3, Cost: 3}, {Throttled: 2}, refusals(httpkey.ReasonScope, 4), {DryRun: 1}, {Passed: 1, Cost: 50},
		{Passed: 2}, refusals(httpkey.ReasonExpired, 1), refusals(httpkey.ReasonScope, 1), {Passed: -1}, {Cost: -60},
		{Passed: 1 << 40, Throttled: 1 << 40, DryRun: 1 << 40, Cost: 1 << 50},
		{Passed: -5 - 1<<40, Throttled: -2 - 1<<40, DryRun: -1 - 1<<40, Cost: 7 - 1<<50},
		{Refused: -6, Reasons: map[httpkey.Reason]int64{httpkey.ReasonScope: -5, httpkey.ReasonExpired: -1}},
	} {
		sum.Add(c)
		if err := addUsage(ctx, s, usage.Delta{ID: id, Hour: hour, Counts: c}); err != nil {
			return err
		}
		want := []usage.Interval{{Start: hour, Counts: sum}}
		if sum.IsZero() {
			want = nil
		}
		if err := wantUsage(ctx, b.open(), id, hour, hour.Add(usage.Hour), usage.Hour, want...); err != nil {
			return fmt.Errorf("after Add %d: %w", i, err)
		}
	}
	return nil
}

func checkUsageDays(ctx context.Context, b usageBench) error {
	s, day := b.open(), b.now.Truncate(usage.Day)
	before := day.Add(-usage.Day)
	for i, hour := range []time.Time{
		before, before.Add(usage.Hour), before.Add(23 * usage.Hour), day,
		day.Add(-usage.Hour).In(time.FixedZone("east", 5*3600)), // the last one again, in a zone where it is the next day
	} {
		delta := usage.Delta{ID: "token", Hour: hour, Counts: usage.Counts{Passed: int64(i + 1), Cost: 10}}
		if err := addUsage(ctx, s, delta); err != nil {
			return err
		}
	}
	return errors.Join(
		wantUsage(ctx, s, "token", before, day.Add(usage.Day), usage.Day,
			usage.Interval{Start: before, Counts: usage.Counts{Passed: 11, Cost: 40}},
			usage.Interval{Start: day, Counts: usage.Counts{Passed: 4, Cost: 10}}),
		wantUsage(ctx, s, "token", day.Add(-usage.Hour), day, usage.Hour,
			usage.Interval{Start: day.Add(-usage.Hour), Counts: usage.Counts{Passed: 8, Cost: 20}}),
	)
}

func checkUsageRange(ctx context.Context, b usageBench) error {
	s, first := b.open(), b.now.Truncate(usage.Hour).Add(-9*usage.Hour)
	var all []usage.Interval
	for _, i := range []int{6, 0, 4, 2} {
		start, counts := first.Add(time.Duration(i)*usage.Hour), usage.Counts{Throttled: int64(i + 1)}
		if err := addUsage(ctx, s, usage.Delta{ID: "token", Hour: start, Counts: counts}); err != nil {
			return err
		}
		all = append(all, usage.Interval{Start: start, Counts: counts})
	}
	slices.SortFunc(all, func(a, b usage.Interval) int { return a.Start.Compare(b.Start) })
	at := func(hours float64) time.Time { return first.Add(time.Duration(hours * float64(usage.Hour))) }
	east := time.FixedZone("east", 5*3600+1800)
	for _, tt := range []struct {
		from, to time.Time
		want     []usage.Interval
	}{
		{at(0), at(7), all},
		{at(-5), at(9), all},
		{at(0.5), at(6.01), all},
		{at(0.5).In(east), at(6.01).In(east), all},
		{at(1), at(6), all[1:3]},
		{at(2.99), at(4), all[1:2]},
		{at(3), at(4), nil},
		{at(4), at(4), nil},
		{at(4.5), at(4.5), nil},
		{at(6), at(2), nil},
	} {
		if err := wantUsage(ctx, s, "token", tt.from, tt.to, usage.Hour, tt.want...); err != nil {
			return err
		}
	}
	return wantUsage(ctx, s, "another", at(0), at(7), usage.Hour)
}

func checkUsageInvalidRange(ctx context.Context, b usageBench) error {
	s := b.open()
	for _, tt := range []struct {
		from time.Time
		step time.Duration
	}{
		{b.now.Add(-usage.Day), time.Minute}, {b.now.Add(-usage.Day), 0}, {b.now.Add(-usage.Day), 7 * usage.Day},
		{b.now.Add(-1001 * usage.Hour), usage.Hour}, {b.now.Add(-1001 * usage.Day), usage.Day}, {time.Time{}, usage.Day},
	} {
		if _, err := s.Of(ctx, "token", tt.from, b.now, tt.step); !errors.Is(err, usage.ErrInvalidRange) {
			return fmt.Errorf("Of from %v by %v returned the error %w", tt.from, tt.step, err)
		}
	}
	return nil
}

func checkUsageExactIDs(ctx context.Context, b usageBench) error {
	s, hour := b.open(), b.now.Truncate(usage.Hour)
	ids := []string{
		"a", "A", "a ", " a", "a:b", "a:", "{a}", "{b}", "{a}b", "a%7D", "a%", "a}", "á", "a\u0301", "日本", "0", "00", "-1",
		"a'b", `a\`, "a?b", "a*", "~a", strings.Repeat("x", 254), strings.Repeat("x", 255),
	}
	var deltas []usage.Delta
	for i, id := range ids {
		counts, client := usage.Counts{Passed: int64(i + 1), Cost: int64(i + 1)}, usage.Client{UserAgent: id, At: hour}
		deltas = append(deltas, usage.Delta{ID: id, Hour: hour, Counts: counts, Client: client})
	}
	if err := addUsage(ctx, s, deltas...); err != nil {
		return err
	}
	for i, id := range ids {
		want := usage.Interval{Start: hour, Counts: deltas[i].Counts}
		if err := wantUsage(ctx, s, id, hour, hour.Add(1), usage.Hour, want); err != nil {
			return err
		}
		if last, err := s.LastClient(ctx, id); err != nil || last.UserAgent != id {
			return fmt.Errorf("LastClient(%q) returned %+v, %w", id, last, err)
		}
	}
	return nil
}

func checkUsageAddsTogether(ctx context.Context, b usageBench) error {
	const callers, adds = 8, 20
	hour := b.now.Truncate(usage.Hour)
	errs := make(chan error, callers)
	for i := range callers {
		s := b.open()
		go func() {
			var err error
			for j := 0; j < adds && err == nil; j++ {
				deltas := []usage.Delta{
					{ID: "one", Hour: hour, Counts: usage.Counts{Passed: 1, Cost: 2}},
					{ID: fmt.Sprint("own", i), Hour: hour, Counts: usage.Counts{Throttled: 1}},
					{ID: "two", Hour: hour, Counts: refusals(httpkey.ReasonKind, 1)},
				}
				if i%2 == 1 {
					slices.Reverse(deltas)
				}
				err = addUsage(ctx, s, deltas...)
			}
			errs <- err
		}()
	}
	for range callers {
		if err := <-errs; err != nil {
			return err
		}
	}
	s, end, n := b.open(), hour.Add(usage.Hour), int64(callers*adds)
	one := usage.Interval{Start: hour, Counts: usage.Counts{Passed: n, Cost: 2 * n}}
	two := usage.Interval{Start: hour, Counts: refusals(httpkey.ReasonKind, n)}
	err := errors.Join(
		wantUsage(ctx, s, "one", hour, end, usage.Hour, one), wantUsage(ctx, s, "two", hour, end, usage.Hour, two),
	)
	for i := range callers {
		want := usage.Interval{Start: hour, Counts: usage.Counts{Throttled: adds}}
		err = errors.Join(err, wantUsage(ctx, s, fmt.Sprint("own", i), hour, end, usage.Hour, want))
	}
	return err
}

func checkUsageManyTokens(ctx context.Context, b usageBench) error {
	const tokens = 2500
	s, hour := b.open(), b.now.Truncate(usage.Hour)
	before := hour.Add(-usage.Hour)
	var deltas []usage.Delta
	for i := range tokens {
		id := fmt.Sprint("token", i)
		deltas = append(deltas,
			usage.Delta{ID: id, Hour: hour, Counts: usage.Counts{Passed: int64(i + 1), Cost: int64(i + 1)}},
			usage.Delta{ID: id, Hour: before, Counts: usage.Counts{Passed: 1, Cost: 1}})
	}
	deltas = append(deltas, deltas[0], deltas[0])
	if err := addUsage(ctx, s, deltas...); err != nil {
		return err
	}
	for _, i := range []int{0, 1, 999, 1000, tokens - 1} {
		n := int64(i + 1)
		if i == 0 {
			n = 3
		}
		err := wantUsage(ctx, s, fmt.Sprint("token", i), before, hour.Add(1), usage.Hour,
			usage.Interval{Start: before, Counts: usage.Counts{Passed: 1, Cost: 1}},
			usage.Interval{Start: hour, Counts: usage.Counts{Passed: n, Cost: n}})
		if err != nil {
			return err
		}
	}
	return nil
}

func checkUsageKeep(ctx context.Context, b usageBench) error {
	s, hour := b.open(), b.now.Truncate(usage.Hour)
	keep := usage.Keep{Hours: 50 * usage.Hour, Days: 10 * usage.Day}
	kept, old, ancient := hour.Add(-48*usage.Hour), hour.Add(-100*usage.Hour), hour.Add(-50*usage.Day)
	one := usage.Counts{Passed: 1, Cost: 1}
	for _, deltas := range [][]usage.Delta{
		{{ID: "token", Hour: kept, Counts: one}, {ID: "token", Hour: old, Counts: one},
			{ID: "token", Hour: ancient, Counts: one},
			{ID: "gone", Hour: old, Counts: one, Client: usage.Client{UserAgent: "old", At: old}},
			{ID: "token", Hour: kept, Client: usage.Client{UserAgent: "kept", At: kept}}},
		nil, // these remove what the first one may have left
		{{ID: "other", Hour: hour, Counts: one}},
		{{ID: "other", Hour: hour, Counts: one}},
	} {
		if rest, err := s.Add(ctx, deltas, keep); err != nil || len(rest) > 0 {
			return fmt.Errorf("Add returned %v and error %w", rest, err)
		}
	}
	err := errors.Join(
		wantUsage(ctx, s, "token", hour.Add(-30*usage.Day), hour, usage.Hour, usage.Interval{Start: kept, Counts: one}),
		wantUsage(ctx, s, "token", ancient, hour, usage.Day,
			usage.Interval{Start: old.Truncate(usage.Day), Counts: one},
			usage.Interval{Start: kept.Truncate(usage.Day), Counts: one}),
	)
	for id, want := range map[string]string{"token": "kept", "gone": ""} {
		if last, unknown := s.LastClient(ctx, id); unknown != nil || last.UserAgent != want {
			err = errors.Join(err, fmt.Errorf("LastClient(%q) returned %+v, %v, want %q", id, last, unknown, want))
		}
	}
	return err
}

func checkUsageClients(ctx context.Context, b usageBench) error {
	s, at := b.open(), b.now.Truncate(time.Second).Add(-time.Minute)
	client := func(addr, agent string, seconds int) usage.Client {
		c := usage.Client{UserAgent: agent, At: at.Add(time.Duration(seconds)*time.Second + 123456*time.Microsecond)}
		if addr != "" {
			c.Addr = netip.MustParseAddr(addr)
		}
		return c
	}
	var want usage.Client
	for _, c := range []usage.Client{
		{}, client("203.0.113.7", "curl/8.5.0", 3), {}, client("203.0.113.8", "earlier", 1),
		client("2001:db8::1", "日本 'or 1=1", 4), client("", "", 5), client("192.0.2.1", strings.Repeat("é", 128), 6),
	} {
		if c.At.After(want.At) {
			want = c
		}
		delta := usage.Delta{ID: "token", Hour: at.Truncate(usage.Hour), Counts: usage.Counts{Passed: 1, Cost: 1}, Client: c}
		if err := addUsage(ctx, s, delta); err != nil {
			return err
		}
		last, err := b.open().LastClient(ctx, "token")
		if err != nil || last.Addr != want.Addr || last.UserAgent != want.UserAgent || !last.At.Equal(want.At) {
			return fmt.Errorf("LastClient returned %+v, %w, want %+v", last, err, want)
		}
	}
	if last, err := s.LastClient(ctx, "unknown"); err != nil || last != (usage.Client{}) {
		return fmt.Errorf("LastClient of an unknown token returned %+v, %w", last, err)
	}
	return nil
}

func checkUsageBorrows(ctx context.Context, b usageBench) error {
	s, hour := b.open(), b.now.Truncate(usage.Hour)
	given := []usage.Delta{{ID: "token", Hour: hour, Counts: refusals(httpkey.ReasonScope, 2)}}
	given[0].Passed = 1
	same := []usage.Delta{{ID: "token", Hour: hour, Counts: refusals(httpkey.ReasonScope, 2)}}
	same[0].Passed = 1
	for range 2 {
		if err := addUsage(ctx, s, given...); err != nil {
			return err
		}
		if !reflect.DeepEqual(given, same) {
			return fmt.Errorf("Add changed the deltas to %+v", given)
		}
	}
	want := refusals(httpkey.ReasonScope, 4)
	want.Passed = 2
	given[0].Reasons[httpkey.ReasonScope] = 99
	got, err := s.Of(ctx, "token", hour, hour.Add(usage.Hour), usage.Hour)
	if err != nil || len(got) != 1 {
		return fmt.Errorf("Of returned %+v, %w", got, err)
	}
	got[0].Reasons = nil
	got[0].Passed = 99
	return wantUsage(ctx, s, "token", hour, hour.Add(usage.Hour), usage.Hour, usage.Interval{Start: hour, Counts: want})
}

func checkUsageCanceled(ctx context.Context, b usageBench) error {
	s, hour := b.open(), b.now.Truncate(usage.Hour)
	ended, cancel := context.WithCancel(ctx)
	cancel()
	var sum usage.Counts
	for range 3 {
		delta := usage.Delta{ID: "token", Hour: hour, Counts: usage.Counts{Passed: 1, Cost: 1}}
		rest, err := s.Add(ended, []usage.Delta{delta}, keepLong)
		switch {
		case len(rest) == 0:
			sum.Add(delta.Counts)
		case err == nil || len(rest) > 1 || rest[0].ID != delta.ID || rest[0].Passed != 1:
			return fmt.Errorf("Add returned %+v and the error %w", rest, err)
		}
	}
	want := []usage.Interval{{Start: hour, Counts: sum}}
	if sum.IsZero() {
		want = nil
	}
	return wantUsage(ctx, s, "token", hour, hour.Add(usage.Hour), usage.Hour, want...)
}

func checkUsageModel(ctx context.Context, b usageBench) error {
	random := rand.New(rand.NewPCG(1, 2))
	hour := b.now.Truncate(usage.Hour)
	type place struct {
		id    string
		start time.Time
		step  time.Duration
	}
	model := make(map[place]usage.Counts)
	reasons := []httpkey.Reason{httpkey.ReasonScope, httpkey.ReasonExpired, httpkey.ReasonLimit, httpkey.ReasonLimiter}
	ids := []string{"ada", "bob", "eve"}
	first := hour.Add(-40 * usage.Hour)
	handles := []usage.Store{b.open(), b.open()}
	var wg sync.WaitGroup
	errs := make([]error, len(handles))
	for i, s := range handles {
		var batches [][]usage.Delta
		for range 25 {
			var deltas []usage.Delta
			for range random.IntN(6) {
				c := refusals(reasons[random.IntN(len(reasons))], random.Int64N(3)+1)
				c.Passed, c.Throttled, c.DryRun = random.Int64N(9), random.Int64N(3), random.Int64N(2)
				c.Cost = c.Passed + random.Int64N(3)*random.Int64N(100)
				at := first.Add(time.Duration(random.IntN(41)) * usage.Hour)
				d := usage.Delta{ID: ids[random.IntN(len(ids))], Hour: at, Counts: c}
				deltas = append(deltas, d)
				for _, step := range []time.Duration{usage.Hour, usage.Day} {
					at := place{d.ID, d.Hour.Truncate(step), step}
					sum := model[at]
					sum.Add(c)
					model[at] = sum
				}
			}
			batches = append(batches, deltas)
		}
		wg.Go(func() {
			for _, deltas := range batches {
				errs[i] = errors.Join(errs[i], addUsage(ctx, s, deltas...))
			}
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	for _, id := range ids {
		for _, step := range []time.Duration{usage.Hour, usage.Day} {
			var want []usage.Interval
			for at, counts := range model {
				if at.id == id && at.step == step {
					want = append(want, usage.Interval{Start: at.start, Counts: counts})
				}
			}
			slices.SortFunc(want, func(a, b usage.Interval) int { return a.Start.Compare(b.Start) })
			if err := wantUsage(ctx, handles[0], id, first, hour.Add(usage.Hour), step, want...); err != nil {
				return err
			}
		}
	}
	return nil
}
