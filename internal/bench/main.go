// Command bench measures httpkey and its peers side by side and prints tables in
// Markdown.
//
//	go run .                the whole of it, in about eight minutes
//	go run . -quick         every part of it for a moment, as a smoke test
//	go run . -svg bars.svg  draws a chart of the first table as well
//	go run . -http          whole processes under wrk instead
//	go run . -redis         keys and limits in a redis-server instead, in about two minutes
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"time"
)

// options tell how much to measure.
type options struct {
	rounds int
	time   time.Duration // of a measurement
	keys   int
	growth []int // numbers of tokens
	quick  bool
	svg    string
}

var (
	full = options{
		rounds: 5, time: 500 * time.Millisecond, keys: 100_000,
		growth: []int{1_000, 10_000, 100_000, 1_000_000},
	}
	quick = options{
		rounds: 1, time: 5 * time.Millisecond, keys: 1_000,
		growth: []int{1_000, 10_000}, quick: true,
	}
)

func main() {
	var (
		rounds = flag.Int("rounds", 0, "measure each contestant this often and take the medians "+
			"(0: 5 times, 3 with -http and -redis, 1 with -quick)")
		smoke    = flag.Bool("quick", false, "a smoke test: the numbers mean nothing")
		svg      = flag.String("svg", "", "draw a chart into this `file`")
		whole    = flag.Bool("http", false, "measure whole processes with wrk")
		redis    = flag.Bool("redis", false, "measure with keys and limits in a redis-server, which is started for it")
		measured = flag.String("measure", "", "be the process of this `contestant`, which is measured in it")
		served   = flag.String("serve", "", "be the server of this `contestant`; -http starts such processes")
		keyFile  = flag.String("keys", "", "the `file` of the valid keys of -serve, one in a line")
	)
	flag.Parse()
	if *rounds < 0 || flag.NArg() > 0 {
		flag.Usage()
		os.Exit(2)
	}
	o := full
	switch {
	case *smoke:
		o = quick
	case *whole:
		o.rounds = 3
	case *redis:
		o.rounds, o.time = 3, time.Second // that of writing LastUsed
	}
	if *rounds > 0 {
		o.rounds = *rounds
	}
	o.svg = *svg
	var err error
	switch {
	case *measured != "":
		err = measureJobs(*measured, os.Stdin, os.Stdout)
	case *served != "":
		err = serve(*served, *keyFile)
	case *whole:
		err = compareProcesses(os.Stdout, o)
	case *redis:
		err = compareRedis(os.Stdout, o)
	default:
		err = run(os.Stdout, o)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// run measures what needs no server. Each contestant has a process of its own.
func run(out io.Writer, o options) error {
	keys := issue(100)
	for _, c := range slices.Concat(contestants, foreign) {
		if err := c.check(keys); err != nil {
			return err
		}
	}
	report := report{out}
	report.machine(o)

	var charted []row
	for _, c := range []struct {
		scenario
		loop loop
	}{
		{uniform, fresh}, {uniform, parsed}, {zipf, fresh}, {hot, fresh}, {denied, fresh},
	} {
		rows, err := compare(c.scenario, c.loop, contestants, o)
		if err != nil {
			return err
		}
		report.scenario(c.scenario, c.loop, rows)
		if charted == nil {
			charted = rows
		}
	}
	rows, err := compare(uniform, fresh, slices.Concat([]contestant{ours}, foreign, []contestant{bare}), o)
	if err != nil {
		return err
	}
	report.foreign(rows)
	sizes, err := grow(o)
	if err != nil {
		return err
	}
	report.growth(sizes)
	if o.svg == "" {
		return nil
	}
	return os.WriteFile(o.svg, chart(charted), 0o644)
}
