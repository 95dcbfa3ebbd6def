package storetest

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/usage"
)

// wrongUsage is a good store whose methods can be replaced one by one.
type wrongUsage struct {
	usage.Store
	add  func(deltas []usage.Delta, keep usage.Keep) ([]usage.Delta, error)
	of   func(id string, from, to time.Time, step time.Duration) ([]usage.Interval, error)
	last func(id string) (usage.Client, error)
}

func (w *wrongUsage) Add(ctx context.Context, deltas []usage.Delta, keep usage.Keep) ([]usage.Delta, error) {
	if w.add != nil {
		return w.add(deltas, keep)
	}
	return w.Store.Add(ctx, deltas, keep)
}

func (w *wrongUsage) Of(
	ctx context.Context, id string, from, to time.Time, step time.Duration,
) ([]usage.Interval, error) {
	if w.of != nil {
		return w.of(id, from, to, step)
	}
	return w.Store.Of(ctx, id, from, to, step)
}

func (w *wrongUsage) LastClient(ctx context.Context, id string) (usage.Client, error) {
	if w.last != nil {
		return w.last(id)
	}
	return w.Store.LastClient(ctx, id)
}

// Each store here breaks one rule. The suite must find it out by that rule.
func TestWrongUsageIsFoundOut(t *testing.T) {
	t.Parallel()
	// changed is a store that adds other deltas than it gets.
	changed := func(change func(*usage.Delta)) func(*wrongUsage) {
		return func(w *wrongUsage) {
			w.add = func(deltas []usage.Delta, keep usage.Keep) ([]usage.Delta, error) {
				deltas = slices.Clone(deltas)
				for i := range deltas {
					change(&deltas[i])
				}
				return w.Store.Add(ctx, deltas, keep)
			}
		}
	}
	// answered is a store that returns other intervals than it has.
	answered := func(change func([]usage.Interval) []usage.Interval) func(*wrongUsage) {
		return func(w *wrongUsage) {
			w.of = func(id string, from, to time.Time, step time.Duration) ([]usage.Interval, error) {
				intervals, err := w.Store.Of(ctx, id, from, to, step)
				return change(intervals), err
			}
		}
	}
	for _, wrong := range []struct {
		name, rule string
		spoil      func(*wrongUsage)
	}{
		{"it forgets the cost", "Adds", changed(func(d *usage.Delta) { d.Cost = d.Passed })},
		{"it adds nothing negative", "Adds", changed(func(d *usage.Delta) { d.Passed = max(d.Passed, 0) })},
		{"it counts with 32 bits", "Adds", changed(func(d *usage.Delta) { d.Passed %= 1 << 32 })},
		{"it forgets reasons", "Adds", changed(func(d *usage.Delta) { d.Reasons = nil })},
		{"it returns what is zero", "Adds", answered(func(all []usage.Interval) []usage.Interval {
			if all == nil {
				all = []usage.Interval{{}}
			}
			return all
		})},
		{"its days are those of a zone", "Days", changed(func(d *usage.Delta) { d.Hour = d.Hour.Add(2 * usage.Hour) })},
		{"it returns the newest first", "Range", answered(func(all []usage.Interval) []usage.Interval {
			slices.Reverse(all)
			return all
		})},
		{"it ends too late", "Range", func(w *wrongUsage) {
			w.of = func(id string, from, to time.Time, step time.Duration) ([]usage.Interval, error) {
				return w.Store.Of(ctx, id, from, to.Add(1), step)
			}
		}},
		{"it begins too late", "Range", func(w *wrongUsage) {
			w.of = func(id string, from, to time.Time, step time.Duration) ([]usage.Interval, error) {
				return w.Store.Of(ctx, id, from.Add(usage.Hour-1), to, step)
			}
		}},
		{"it takes any step", "InvalidRange", func(w *wrongUsage) {
			w.of = func(id string, from, to time.Time, step time.Duration) ([]usage.Interval, error) {
				intervals, err := w.Store.Of(ctx, id, from, to, step)
				if errors.Is(err, usage.ErrInvalidRange) {
					err = nil
				}
				return intervals, err
			}
		}},
		{"it folds case", "ExactIDs", changed(func(d *usage.Delta) { d.ID = strings.ToLower(d.ID) })},
		{"it shortens IDs", "ExactIDs", changed(func(d *usage.Delta) { d.ID = d.ID[:min(len(d.ID), 254)] })},
		{"it sets instead of adding", "AddsTogether", func(w *wrongUsage) {
			w.add = func(deltas []usage.Delta, keep usage.Keep) ([]usage.Delta, error) {
				for _, d := range deltas {
					intervals, err := w.Of(ctx, d.ID, d.Hour, d.Hour.Add(1), usage.Hour)
					if err != nil {
						return deltas, err
					}
					if len(intervals) > 0 && d.Throttled > 0 { // as of a read in another transaction
						d.Throttled--
					}
					if rest, err := w.Store.Add(ctx, []usage.Delta{d}, keep); err != nil {
						return rest, err
					}
				}
				return nil, nil
			}
		}},
		{"it takes a thousand", "ManyTokens", func(w *wrongUsage) {
			w.add = func(deltas []usage.Delta, keep usage.Keep) ([]usage.Delta, error) {
				return w.Store.Add(ctx, deltas[:min(len(deltas), 1000)], keep)
			}
		}},
		{"it keeps the last of an hour", "ManyTokens", func(w *wrongUsage) {
			w.add = func(deltas []usage.Delta, keep usage.Keep) ([]usage.Delta, error) {
				one := make(map[string]usage.Delta)
				for _, d := range deltas {
					one[d.ID+d.Hour.String()] = d
				}
				return w.Store.Add(ctx, slices.Collect(maps.Values(one)), keep)
			}
		}},
		{"it keeps all", "Keep", func(w *wrongUsage) {
			w.add = func(deltas []usage.Delta, _ usage.Keep) ([]usage.Delta, error) {
				return w.Store.Add(ctx, deltas, keepLong)
			}
		}},
		{"it keeps days as long as hours", "Keep", func(w *wrongUsage) {
			w.add = func(deltas []usage.Delta, keep usage.Keep) ([]usage.Delta, error) {
				return w.Store.Add(ctx, deltas, usage.Keep{Hours: keep.Hours, Days: keep.Hours})
			}
		}},
		{"the last one to write is the last client", "Clients", func(w *wrongUsage) {
			clients := make(map[string]usage.Client)
			w.add = func(deltas []usage.Delta, keep usage.Keep) ([]usage.Delta, error) {
				for _, d := range deltas {
					if !d.Client.At.IsZero() {
						clients[d.ID] = d.Client
					}
				}
				return w.Store.Add(ctx, deltas, keep)
			}
			w.last = func(id string) (usage.Client, error) { return clients[id], nil }
		}},
		{"no client is an error", "Clients", func(w *wrongUsage) {
			w.last = func(string) (usage.Client, error) { return usage.Client{}, httpkey.ErrNotFound }
		}},
		{"it rounds to the second", "Clients",
			changed(func(d *usage.Delta) { d.Client.At = d.Client.At.Truncate(time.Second) })},
		{"it keeps the reasons", "Borrows", func(w *wrongUsage) {
			var kept map[httpkey.Reason]int64
			w.add = func(deltas []usage.Delta, keep usage.Keep) ([]usage.Delta, error) {
				kept = deltas[0].Reasons
				return w.Store.Add(ctx, deltas, keep)
			}
			w.of = func(id string, from, to time.Time, step time.Duration) ([]usage.Interval, error) {
				intervals, err := w.Store.Of(ctx, id, from, to, step)
				for i := range intervals {
					if kept[httpkey.ReasonScope] == 99 {
						intervals[i].Reasons = kept
					}
				}
				return intervals, err
			}
		}},
		{"it clears the deltas", "Borrows", func(w *wrongUsage) {
			w.add = func(deltas []usage.Delta, keep usage.Keep) ([]usage.Delta, error) {
				defer clear(deltas)
				return w.Store.Add(ctx, deltas, keep)
			}
		}},
		{"it loses what it cannot add", "Canceled", func(w *wrongUsage) {
			w.add = func([]usage.Delta, usage.Keep) ([]usage.Delta, error) { return nil, context.Canceled }
		}},
		{"it adds and says that it did not", "Canceled", func(w *wrongUsage) {
			w.add = func(deltas []usage.Delta, keep usage.Keep) ([]usage.Delta, error) {
				_, _ = w.Store.Add(ctx, deltas, keep)
				return deltas, context.Canceled
			}
		}},
		{"it counts each delta twice", "Model", func(w *wrongUsage) {
			w.add = func(deltas []usage.Delta, keep usage.Keep) ([]usage.Delta, error) {
				return w.Store.Add(ctx, append(deltas, deltas...), keep)
			}
		}},
	} {
		t.Run(wrong.name, func(t *testing.T) {
			t.Parallel()
			i := slices.IndexFunc(usageRules, func(r usageRule) bool { return r.name == wrong.rule })
			if i < 0 {
				t.Fatalf("there is no rule %s", wrong.rule)
			}
			w := &wrongUsage{Store: usage.NewMemory()}
			wrong.spoil(w)
			b := usageBench{func() usage.Store { return w }, time.Now().UTC()}
			if err := usageRules[i].check(t.Context(), b); err == nil || errors.Is(err, errUnchecked) {
				t.Errorf("the rule %s did not find it out (%v)", wrong.rule, err)
			}
		})
	}
}
