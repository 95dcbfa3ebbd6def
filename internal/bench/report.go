package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"
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
func (w report) scenario(s scenario, rows []row) {
	fmt.Fprintf(w, "\n### %s\n\n", s.name)
	fmt.Fprintf(w, "| | does | ns, 1 CPU | wall ns, 2 CPUs | allocs | httpkey / it, 1 CPU | 2 CPUs |\n")
	fmt.Fprintf(w, "|---|---|--:|--:|--:|--:|--:|\n")
	us := &rows[0]
	for i := range rows {
		r := &rows[i]
		fmt.Fprintf(w, "| %s | %s | %.0f | %.0f | %.1f | %.2f | %.2f |\n",
			r.name, r.does, r.ns(), r.ns2(), r.allocs(), us.ns()/r.ns(), us.ns2()/r.ns2())
	}
	for i := range rows {
		if share := rows[i].wrong(); share > 0 {
			fmt.Fprintf(w, "\n%s answered up to %.3g %% of the requests otherwise than %d.\n",
				rows[i].name, 100*share, s.want)
		}
	}
}

// floor compares httpkey, warm, with the work that no contestant can avoid: with one key,
// of many and of few. The bare handler is the cost of the measuring, and is in all numbers.
func (w report) floor(ofMany, ofFew []row) {
	fmt.Fprintf(w, "\n### floor: one hot key, 1 CPU\n\n")
	fmt.Fprintf(w, "| keys | httpkey, ns | floor, ns | bare handler, ns | httpkey / floor |\n|---|--:|--:|--:|--:|\n")
	for i, rows := range [][]row{ofMany, ofFew} {
		us, least, harness := find(rows, ours.name), find(rows, floor.name), find(rows, bare.name)
		fmt.Fprintf(w, "| %s | %.0f | %.0f | %.0f | %.2f |\n",
			[]string{"all", "a hundredth"}[i], us.ns(), least.ns(), harness.ns(), us.ns()/least.ns())
	}
}

// scaling tells the worth of a second CPU: 0.5 is all, 1 is nothing.
func (w report) scaling(uniform, hot []row) {
	fmt.Fprintf(w, "\n### wall ns on 2 CPUs / ns on 1\n\n| | uniform | one hot key |\n|---|--:|--:|\n")
	for i := range uniform {
		fmt.Fprintf(w, "| %s | %.2f | %.2f |\n", uniform[i].name, uniform[i].scaling(), hot[i].scaling())
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
			r.name, r.ns(), r.ns()/us.ns(), r.ns2(), r.ns2()/us.ns2(), r.allocs())
	}
}

// growth compares each size with the smallest.
func (w report) growth(sizes []size) {
	fmt.Fprintf(w, "\n### growth of httpkey: uniform\n\n")
	fmt.Fprintf(w, "| tokens | ns, 1 CPU | / smallest | wall ns, 2 CPUs "+
		"| bytes a token beyond its strings | bytes a live bucket |\n")
	fmt.Fprintf(w, "|--:|--:|--:|--:|--:|--:|\n")
	for i := range sizes {
		s := &sizes[i]
		fmt.Fprintf(w, "| %d | %.0f | %.2f | %.0f | %.0f | %.0f |\n",
			s.tokens, s.ns(), s.ns()/sizes[0].ns(), s.ns2(), s.token, s.bucket)
	}
}

// processes compares all with the first, the bare handler.
func (w report) processes(processes []*process, duration string) {
	fmt.Fprintf(w, "### whole processes\n\n%s, %d cores, %s; wrk -t1 -c32 -d%s over loopback, medians of %d rounds.\n\n",
		cpuModel(), runtime.NumCPU(), runtime.Version(), duration, len(processes[0].rates))
	fmt.Fprintf(w, "| | requests/s | / bare handler |\n|---|--:|--:|\n")
	same := func(rate float64) float64 { return rate }
	least := median(processes[0].rates, same)
	for _, p := range processes {
		rate := median(p.rates, same)
		fmt.Fprintf(w, "| %s | %.0f | %.2f |\n", p.name, rate, rate/least)
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
