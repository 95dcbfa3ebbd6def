// Command bench measures httpkey and its peers side by side and prints tables in
// Markdown.
//
//	go run .                the whole of it, in about six minutes
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
		smoke      = flag.Bool("quick", false, "a smoke test: the numbers mean nothing")
		svg        = flag.String("svg", "", "draw a chart into this `file`")
		whole      = flag.Bool("http", false, "measure whole processes with wrk")
		redis      = flag.Bool("redis", false, "measure with keys and limits in a redis-server, which is started for it")
		serving    = flag.String("serve", "", "be the server of this `contestant`; -http starts such processes")
		servingKey = flag.String("key", "", "the one valid key of -serve")
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
	case *serving != "":
		err = serve(*serving, *servingKey)
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

// run measures all that can be measured within one process.
func run(out io.Writer, o options) error {
	keys := issue(o.keys)
	for _, c := range slices.Concat(contestants, foreign, []contestant{floor}) {
		if err := c.check(keys[:100]); err != nil {
			return err
		}
	}
	report := report{out}
	report.machine(o)

	uniformRows := compare(uniform, contestants, keys, o)
	report.scenario(uniform, uniformRows)
	report.scenario(zipf, compare(zipf, contestants, keys, o))
	hotRows := compare(hot, append(contestants, floor), keys, o)
	report.scenario(hot, hotRows[:len(contestants)])
	report.scenario(denied, compare(denied, contestants[:len(contestants)-1], keys, o))
	report.floor(hotRows, compare(hotAmongFew, []contestant{ours, bare, floor}, keys[:len(keys)/100], o))
	report.scaling(uniformRows, hotRows)
	report.foreign(compare(uniform, append([]contestant{ours}, foreign...), keys, o))
	report.growth(grow(o))
	if o.svg == "" {
		return nil
	}
	return os.WriteFile(o.svg, chart(uniformRows), 0o644)
}
