package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"slices"
	"time"
)

// job is an order to measure one round. It goes to the process of a contestant as JSON.
type job struct {
	Scenario string // by its name
	Loop     loop
	Keys     int
	Time     time.Duration // of each of the two measurements
	Quick    bool
}

// result is the answer to a job.
type result struct {
	OneCPU, TwoCPUs measurement

	Collection time.Duration // a full one on 1 CPU
	Pause      time.Duration // the longest of it
}

// measureJobs answers the jobs that come from the process that started this one. It ends
// with them.
func measureJobs(name string, jobs io.Reader, results io.Writer) error {
	c, err := contestantOf(name)
	if err != nil {
		return err
	}
	var (
		in, out = json.NewDecoder(jobs), json.NewEncoder(results)
		of      job // that warmed has
		warmed  *warmed
	)
	for {
		var j job
		if err := in.Decode(&j); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if warmed == nil || j != of {
			if warmed != nil {
				warmed.end()
			}
			if warmed, err = c.warm(j); err != nil {
				return err
			}
			of = j
		}
		if err := out.Encode(warmed.run(j)); err != nil {
			return err
		}
	}
}

// contestantOf returns the contestant of a name.
func contestantOf(name string) (contestant, error) {
	all := slices.Concat(contestants, foreign, []contestant{staticHeaders})
	i := slices.IndexFunc(all, func(c contestant) bool { return c.name == name })
	if i < 0 {
		return contestant{}, fmt.Errorf("there is no contestant %q", name)
	}
	return all[i], nil
}

// warmed is a contestant that has seen a request of each key.
type warmed struct {
	contestant
	load    *sendable
	handler http.Handler
	end     func()
}

func (c contestant) warm(j job) (*warmed, error) {
	i := slices.IndexFunc(scenarios, func(s scenario) bool { return s.name == j.Scenario })
	if i < 0 {
		return nil, fmt.Errorf("there is no scenario %q", j.Scenario)
	}
	s, keys := scenarios[i], issue(j.Keys)
	load := s.load(keys)
	h, end := c.build(ok, keys, s.limit)
	load.warm(h)
	return &warmed{c, load.sendable(j.Loop), h, end}, nil
}

func (w *warmed) run(j job) (r result) {
	d := j.Time
	if !j.Quick {
		d = max(d, w.interval)
	}
	r.OneCPU, r.TwoCPUs = w.load.measure(w.handler, 1, d), w.load.measure(w.handler, 2, d)
	r.Collection, r.Pause = collect()
	return r
}

// collect measures a full garbage collection on 1 CPU, the quickest of three.
func collect() (whole, pause time.Duration) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	for range 3 {
		start := time.Now()
		runtime.GC()
		took := time.Since(start)
		var stats debug.GCStats
		debug.ReadGCStats(&stats)
		if whole == 0 || took < whole {
			whole, pause = took, stats.Pause[0]
		}
	}
	return whole, pause
}

// child is this program again, as the process of a contestant.
type child struct {
	name    string
	command *exec.Cmd
	stdin   io.WriteCloser
	stdout  *bufio.Reader
}

// startChild starts this program with arguments.
func startChild(name string, args ...string) (*child, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	c := &child{name: name, command: exec.Command(program, args...)}
	c.command.Stderr = os.Stderr
	if c.stdin, err = c.command.StdinPipe(); err != nil {
		return nil, err
	}
	stdout, err := c.command.StdoutPipe()
	if err != nil {
		return nil, err
	}
	c.stdout = bufio.NewReader(stdout)
	return c, c.command.Start()
}

// end ends the process, which ends with its standard input.
func (c *child) end() {
	_ = c.stdin.Close()
	_ = c.command.Wait()
}

// do has the process do a job.
func (c *child) do(j job) (r result, err error) {
	if err = json.NewEncoder(c.stdin).Encode(j); err == nil {
		var line []byte
		if line, err = c.stdout.ReadBytes('\n'); err == nil {
			err = json.Unmarshal(line, &r)
		}
	}
	if err != nil {
		err = fmt.Errorf("the process of %s: %w", c.name, err)
	}
	return r, err
}
