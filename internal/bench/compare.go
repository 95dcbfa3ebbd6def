package main

import (
	"fmt"
	"os"
	"slices"
)

// row is the measurements of one contestant, one per round.
type row struct {
	contestant
	oneCPU, twoCPUs []measurement
}

// compare measures contestants side by side. A round has each of them once, so that other
// work of the machine hits all of them. Only one of them is in memory at a time, so that
// the garbage collector walks no other's maps.
func compare(s scenario, contestants []contestant, keys []string, o options) []row {
	rows := make([]row, len(contestants))
	for i, c := range contestants {
		rows[i].contestant = c
	}
	load := s.load(keys)
	for round := range o.rounds {
		fmt.Fprintf(os.Stderr, "%s, round %d of %d\n", s.name, round+1, o.rounds)
		for i := range rows {
			// Each round begins with another, since a contestant may feel the one before it.
			rows[(i+round)%len(rows)].run(load, s.limit, o)
		}
	}
	return rows
}

// run adds a round.
func (r *row) run(l load, limit limit, o options) {
	h, end := r.build(ok, l.keys, limit)
	defer end()
	l.warm(h)
	d := o.time
	if !o.quick {
		d = max(d, r.interval)
	}
	r.oneCPU = append(r.oneCPU, l.measure(h, 1, d))
	r.twoCPUs = append(r.twoCPUs, l.measure(h, 2, d))
}

func (r *row) ns() float64  { return median(r.oneCPU, func(m measurement) float64 { return m.ns }) }
func (r *row) ns2() float64 { return median(r.twoCPUs, func(m measurement) float64 { return m.ns }) }
func (r *row) allocs() float64 {
	return median(r.oneCPU, func(m measurement) float64 { return m.allocs })
}
func (r *row) scaling() float64 { return r.ns2() / r.ns() }

// wrong is the largest share of requests that a round answered wrongly.
func (r *row) wrong() float64 {
	var share float64
	for _, m := range slices.Concat(r.oneCPU, r.twoCPUs) {
		share = max(share, m.wrong)
	}
	return share
}

func find(rows []row, name string) *row {
	return &rows[slices.IndexFunc(rows, func(r row) bool { return r.name == name })]
}

func median[T any](of []T, value func(T) float64) float64 {
	values := make([]float64, len(of))
	for i, v := range of {
		values[i] = value(v)
	}
	slices.Sort(values)
	middle := len(values) / 2
	if len(values)%2 == 0 {
		return (values[middle-1] + values[middle]) / 2
	}
	return values[middle]
}
