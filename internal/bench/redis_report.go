package main

import (
	"fmt"
	"runtime"
	"slices"
	"time"
)

func (r *redisRow) median(value func(redisMeasurement) float64) float64 {
	values := make([]float64, len(r.rounds))
	for i, m := range r.rounds {
		values[i] = value(m)
	}
	return median(values)
}
func (r *redisRow) rate() float64 {
	return r.median(func(m redisMeasurement) float64 { return m.rate })
}
func (r *redisRow) cpu() float64 { return r.median(func(m redisMeasurement) float64 { return m.cpu }) }

// redis compares all with the first of their scenario, and with GET + Allow.
func (w report) redis(s *redisServer, o options, allowed, popularRows, denied []redisRow, revoked revocation) {
	fmt.Fprintf(w, "### Redis\n\n%s, %d cores, %s, Redis %s on the same machine; "+
		"%d callers, %d keys; medians of %d rounds of %v.\n\n",
		cpuModel(), runtime.NumCPU(), runtime.Version(), s.version, callers, o.keys, o.rounds, o.time)
	fmt.Fprintf(w, "| module | version |\n|---|---|\n")
	versions := versions()
	var told []string
	for i := range allowed {
		if module := allowed[i].module; module != "" && !slices.Contains(told, module) {
			fmt.Fprintf(w, "| %s | %s |\n", module, versions[module])
			told = append(told, module)
		}
	}
	fmt.Fprintf(w, "\n| | does | ops/s | / redis_rate | / GET + redis_rate | client CPU, µs/op | / redis_rate "+
		"| calls/op for tokens | for limits | allocs/op |\n")
	fmt.Fprintf(w, "|---|---|--:|--:|--:|--:|--:|--:|--:|--:|\n")
	for i := range allowed {
		w.redisRow(&allowed[i], room.name, &allowed[0], &allowed[1])
	}
	for i := range popularRows {
		w.redisRow(&popularRows[i], popular.name, &popularRows[0], nil)
	}
	for i := range denied {
		w.redisRow(&denied[i], overdone.name, &denied[0], nil)
	}
	w.redisRow(&redisRow{contestant{name: "Guard.Revoke, feed on", does: "revoke"}, revoked.rounds}, "", &allowed[0], nil)
	n := len(revoked.latencies)
	fmt.Fprintf(w, "\nFrom the call of Revoke until another Guard, with a cache of its own, refuses the key: "+
		"median %v, p99 %v, of %d.\n",
		revoked.latencies[n/2].Round(time.Microsecond), revoked.latencies[n*99/100].Round(time.Microsecond), n)
}

func (w report) redisRow(r *redisRow, scenario string, first, byHand *redisRow) {
	name := r.name
	if scenario != "" {
		name += ": " + scenario
	}
	third := ""
	if byHand != nil {
		third = fmt.Sprintf("%.2f", r.rate()/byHand.rate())
	}
	fmt.Fprintf(w, "| %s | %s | %.0f | %.2f | %s | %.2f | %.2f | %.3f | %.3f | %.1f |\n",
		name, r.does, r.rate(), r.rate()/first.rate(), third, r.cpu(), r.cpu()/first.cpu(),
		r.median(func(m redisMeasurement) float64 { return m.tokens }),
		r.median(func(m redisMeasurement) float64 { return m.limits }),
		r.median(func(m redisMeasurement) float64 { return m.allocs }))
}
