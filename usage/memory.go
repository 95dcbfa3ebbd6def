package usage

import (
	"context"
	"errors"
	"sync"
	"time"
)

// mostInMemory bounds a Store in memory to some 250 MB.
const mostInMemory = 1 << 20

// NewMemory returns a Store in the memory of this process, for tests and for programs of one
// process that may forget. It keeps the counts of 1,048,576 hours and days of tokens together,
// which takes some 250 MB, and removes the oldest hours and days beyond that.
func NewMemory() Store {
	return &memory{
		most:      mostInMemory,
		intervals: map[time.Duration]map[int64]map[string]Counts{Hour: {}, Day: {}},
		clients:   make(map[string]Client),
	}
}

// memory has the intervals by their step, their beginning in Unix seconds, and the token.
type memory struct {
	most int // intervals

	mu        sync.Mutex
	intervals map[time.Duration]map[int64]map[string]Counts
	count     int // of intervals
	clients   map[string]Client
}

var errFull = errors.New("httpkey: usage in memory has no room for more tokens in an hour")

// Add implements [Store].
func (m *memory) Add(_ context.Context, deltas []Delta, keep Keep) (rest []Delta, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.prune(time.Now(), keep)
	for _, d := range deltas {
		if !m.makeRoom(d.Hour) {
			rest, err = append(rest, d), errFull
			continue
		}
		m.add(Hour, &d)
		m.add(Day, &d)
		if known, ok := m.clients[d.ID]; d.Client.At.After(known.At) && (ok || len(m.clients) < m.most) {
			m.clients[d.ID] = d.Client
		}
	}
	return rest, err
}

func (m *memory) add(step time.Duration, d *Delta) {
	start := d.Hour.UTC().Truncate(step).Unix()
	of := m.intervals[step][start]
	if of == nil {
		of = make(map[string]Counts)
		m.intervals[step][start] = of
	}
	counts, known := of[d.ID]
	counts.Add(d.Counts)
	of[d.ID] = counts
	if !known {
		m.count++
	}
}

// prune removes what is too old.
func (m *memory) prune(now time.Time, keep Keep) {
	for step, age := range map[time.Duration]time.Duration{Hour: keep.Hours, Day: keep.Days} {
		for start := range m.intervals[step] {
			if time.Unix(start, 0).Before(now.Add(-age)) {
				m.remove(step, start)
			}
		}
	}
	for id, client := range m.clients {
		if client.At.Before(now.Add(-keep.Hours)) {
			delete(m.clients, id)
		}
	}
}

func (m *memory) remove(step time.Duration, start int64) {
	m.count -= len(m.intervals[step][start])
	delete(m.intervals[step], start)
}

// makeRoom reports whether there is room for an hour and its day. It removes the oldest hours, and
// then the oldest days.
func (m *memory) makeRoom(hour time.Time) bool {
	for m.count+2 > m.most {
		step, start, ok := m.oldest(hour)
		if !ok {
			return false
		}
		m.remove(step, start)
	}
	return true
}

// oldest returns the oldest interval before an hour, or before its day if there is no hour.
func (m *memory) oldest(hour time.Time) (step time.Duration, start int64, ok bool) {
	for _, step = range []time.Duration{Hour, Day} {
		start = hour.UTC().Truncate(step).Unix()
		for s := range m.intervals[step] {
			if s < start {
				start, ok = s, true
			}
		}
		if ok {
			return step, start, true
		}
	}
	return 0, 0, false
}

// Of implements [Reader].
func (m *memory) Of(_ context.Context, id string, from, to time.Time, step time.Duration) ([]Interval, error) {
	starts, err := Starts(from, to, step)
	if err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	var intervals []Interval
	for _, start := range starts {
		if counts, ok := m.intervals[step][start.Unix()][id]; ok && !counts.IsZero() {
			intervals = append(intervals, Interval{start, counts})
		}
	}
	return intervals, nil
}

// LastClient implements [Reader].
func (m *memory) LastClient(_ context.Context, id string) (Client, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.clients[id], nil
}
