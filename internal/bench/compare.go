package main

import (
	"fmt"
	"os"
	"slices"
)

// row is the measurements of one contestant, one per round.
type row struct {
	contestant
	rounds []result
	loop   []result // those of the bare handler in the same rounds
}

// compare measures contestants side by side, each in a process of its own. A round has each
// of them once, so that other work of the machine hits all of them. The last one is the bare
// handler: what it takes is the cost of the loop, which the numbers of all are without.
func compare(s scenario, by loop, contestants []contestant, o options) ([]row, error) {
	rows, children := make([]row, len(contestants)), make([]*child, len(contestants))
	for i, c := range contestants {
		var err error
		rows[i].contestant = c
		if children[i], err = startChild(c.name, "-measure", c.name); err != nil {
			return nil, err
		}
		defer children[i].end()
	}
	j := job{Scenario: s.name, Loop: by, Keys: o.keys, Time: o.time, Quick: o.quick}
	for round := range o.rounds {
		fmt.Fprintf(os.Stderr, "%s, %s, round %d of %d\n", s.name, by, round+1, o.rounds)
		for i := range rows {
			// Each round begins with another, since a contestant may feel the one before it.
			i = (i + round) % len(rows)
			r, err := children[i].do(j)
			if err != nil {
				return nil, err
			}
			rows[i].rounds = append(rows[i].rounds, r)
		}
	}
	for i := range rows {
		rows[i].loop = rows[len(rows)-1].rounds
	}
	return rows, nil
}

// ns returns the time of a request on 1 CPU, without that of the loop.
func (r *row) ns() float64 { return median(r.net(oneCPU)) }

// ns2 is ns on 2 CPUs.
func (r *row) ns2() float64 { return median(r.net(twoCPUs)) }

func oneCPU(r result) measurement  { return r.OneCPU }
func twoCPUs(r result) measurement { return r.TwoCPUs }

func (r *row) net(on func(result) measurement) []float64 {
	net := make([]float64, len(r.rounds))
	for i := range net {
		net[i] = on(r.rounds[i]).NS
		if r.name != bare.name {
			net[i] -= on(r.loop[i]).NS
		}
	}
	return net
}

// over returns the median of what r takes of another's time in the same round.
func (r *row) over(other *row, on func(result) measurement) float64 {
	ratios, others := r.net(on), other.net(on)
	for i := range ratios {
		ratios[i] /= others[i]
	}
	return median(ratios)
}

func (r *row) allocs() float64 {
	allocs := make([]float64, len(r.rounds))
	for i := range allocs {
		allocs[i] = r.rounds[i].OneCPU.Allocs
		if r.name != bare.name {
			allocs[i] -= r.loop[i].OneCPU.Allocs
		}
	}
	return median(allocs)
}

// wrong is the largest share of requests that a round answered wrongly.
func (r *row) wrong() (share float64) {
	for _, round := range r.rounds {
		share = max(share, round.OneCPU.Wrong, round.TwoCPUs.Wrong)
	}
	return share
}

func median(values []float64) float64 {
	values = slices.Sorted(slices.Values(values))
	middle := len(values) / 2
	if len(values)%2 == 0 {
		return (values[middle-1] + values[middle]) / 2
	}
	return values[middle]
}
