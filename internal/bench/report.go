package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
)

// report writes tables in Markdown.
type report struct{ io.Writer }

// machine tells the computer and the versions of which the numbers are.
func (w report) machine(o options) {
	fmt.Fprintf(w, "%s, %d cores, %s, %s/%s; %d keys; medians of %d rounds of %v.\n",
		cpuModel(), runtime.NumCPU(), runtime.Version(), runtime.GOOS, runtime.GOARCH, o.keys, o.rounds, o.time)
	if runtime.NumCPU() < 2 {
		fmt.Fprintf(w, "With one core, the numbers for 2 CPUs mean nothing.\n")
	}
	fmt.Fprintf(w, "\n| module | version |\n|---|---|\n")
	versions := versions()
	for _, c := range contestants {
		if c.module != "" {
			fmt.Fprintf(w, "| %s | %s |\n", c.module, versions[c.module])
		}
	}
}

// scenario compares all with the first.
func (w report) scenario(s scenario, by loop, rows []row) {
	fmt.Fprintf(w, "\n### %s, %s\n\n", s.name, by)
	fmt.Fprintf(w, "| | does | ns, 1 CPU | wall ns, 2 CPUs | allocs | httpkey / it, 1 CPU | 2 CPUs |\n")
	fmt.Fprintf(w, "|---|---|--:|--:|--:|--:|--:|\n")
	us := &rows[0]
	for i := range rows {
		r := &rows[i]
		fmt.Fprintf(w, "| %s | %s | %.0f | %.0f | %.1f | %.2f | %.2f |\n",
			r.name, r.does, r.ns(), r.ns2(), r.allocs(), us.over(r, oneCPU), us.over(r, twoCPUs))
	}
	for i := range rows {
		if share := rows[i].wrong(); share > 0 && rows[i].does != nothing {
			fmt.Fprintf(w, "\n%s answered up to %.3g %% of the requests otherwise than %d.\n",
				rows[i].name, 100*share, s.want)
		}
	}
}

// foreign compares a store and a limiter that are wrapped with httpkey, the first.
func (w report) foreign(rows []row) {
	fmt.Fprintf(w, "\n### foreign types: uniform\n\n")
	fmt.Fprintf(w, "| | ns, 1 CPU | / httpkey | wall ns, 2 CPUs | / httpkey | allocs |\n|---|--:|--:|--:|--:|--:|\n")
	us := &rows[0]
	for i := range rows {
		r := &rows[i]
		fmt.Fprintf(w, "| %s | %.0f | %.2f | %.0f | %.2f | %.1f |\n",
			r.name, r.ns(), r.over(us, oneCPU), r.ns2(), r.over(us, twoCPUs), r.allocs())
	}
}

// growth compares each size with the smallest.
func (w report) growth(sizes []size) {
	fmt.Fprintf(w, "\n### growth of httpkey: uniform, fresh\n\n")
	fmt.Fprintf(w, "| tokens | ns, 1 CPU | / smallest | wall ns, 2 CPUs "+
		"| bytes a token beyond its strings | bytes a live bucket | a full collection, ms | its longest pause, µs |\n")
	fmt.Fprintf(w, "|--:|--:|--:|--:|--:|--:|--:|--:|\n")
	for i := range sizes {
		s := &sizes[i]
		fmt.Fprintf(w, "| %d | %.0f | %.2f | %.0f | %.0f | %.0f | %.1f | %.0f |\n",
			s.tokens, s.ns(), s.ns()/sizes[0].ns(), s.ns2(), s.token, s.bucket,
			1000*s.collection().Seconds(), 1e6*s.pause().Seconds())
	}
}

// processes compares all with the first, the bare handler.
func (w report) processes(keys int, processes []*process, duration string) {
	fmt.Fprintf(w, "\n### whole processes, keys: %d\n\n", keys)
	fmt.Fprintf(w, "%s, %d cores, %s; wrk -t1 -c32 -d%s over loopback, medians of %d rounds.\n\n",
		cpuModel(), runtime.NumCPU(), runtime.Version(), duration, len(processes[0].rates))
	fmt.Fprintf(w, "| | requests/s | / bare handler |\n|---|--:|--:|\n")
	least := processes[0].rates
	for _, p := range processes {
		ratios := slices.Clone(p.rates)
		for i := range ratios {
			ratios[i] /= least[i]
		}
		fmt.Fprintf(w, "| %s | %.0f | %.3f |\n", p.name, median(p.rates), median(ratios))
	}
}

// cpuModel returns the processor's name, where Linux tells it.
func cpuModel() string {
	info, _ := os.ReadFile("/proc/cpuinfo")
	for line := range bytes.Lines(info) {
		if name, value, _ := bytes.Cut(line, []byte(":")); string(bytes.TrimSpace(name)) == "model name" {
			return string(bytes.TrimSpace(value))
		}
	}
	return "an unknown CPU"
}

// versions returns the version of each module in this program.
func versions() map[string]string {
	versions := make(map[string]string)
	info, _ := debug.ReadBuildInfo()
	for _, module := range info.Deps {
		versions[module.Path] = module.Version
		if module.Replace != nil {
			versions[module.Path] = "this checkout"
		}
	}
	return versions
}
