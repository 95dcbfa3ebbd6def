package main

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// redisMeasurement is the numbers of one round: all but rate are for each operation.
type redisMeasurement struct {
	rate           float64 // operations a second
	cpu            float64 // microseconds of this process, which the server is not part of
	allocs         float64
	tokens, limits float64 // calls
	wrong          float64 // share of operations that ended otherwise than they should
}

// inParallel does each of n operations once, from as many callers as are measured.
func inParallel(n int, do func(caller *client, i int)) {
	var next atomic.Int64
	fromCallers(func(caller *client, _ int) {
		for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
			do(caller, i)
		}
	})
}

// fromCallers runs all callers, and returns when they have ended. A server's requests have
// a context that can be canceled, which costs the code that derives from it.
func fromCallers(run func(caller *client, number int)) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var running sync.WaitGroup
	for number := range callers {
		running.Go(func() {
			ctx, cancel := context.WithCancel(ctx)
			defer cancel()
			caller := newClient()
			caller.request = caller.request.WithContext(ctx)
			run(caller, number)
		})
	}
	running.Wait()
}

// measure does operations for as long as d. They are numbered, by each caller from
// another start on, and report whether they ended as they should.
func (s *redisServer) measure(d time.Duration, do func(caller *client, i int) bool) (redisMeasurement, error) {
	runtime.GC()
	var (
		stats       runtime.MemStats
		done, wrong atomic.Int64
		over        atomic.Bool
	)
	runtime.ReadMemStats(&stats)
	scripts, err := s.scripts()
	if err != nil {
		return redisMeasurement{}, err
	}
	mallocs, counted := stats.Mallocs, s.calls.scripts.Load()
	tokens, limits := s.calls.tokens.Load(), s.calls.limits.Load()
	cpu, start := processCPU(), time.Now()
	time.AfterFunc(d, func() { over.Store(true) })
	fromCallers(func(caller *client, number int) {
		var n, w int64
		for i := number * (requests / callers); n == 0 || !over.Load(); i++ {
			if !do(caller, i) {
				w++
			}
			n++
		}
		done.Add(n)
		wrong.Add(w)
	})
	elapsed := time.Since(start)
	cpu = processCPU() - cpu
	runtime.ReadMemStats(&stats)
	n := float64(done.Load())
	m := redisMeasurement{
		rate:   n / elapsed.Seconds(),
		cpu:    float64(cpu) / float64(time.Microsecond) / n,
		allocs: float64(stats.Mallocs-mallocs) / n,
		tokens: float64(s.calls.tokens.Load()-tokens) / n,
		limits: float64(s.calls.limits.Load()-limits) / n,
		wrong:  float64(wrong.Load()) / n,
	}
	return m, s.agree(scripts, counted)
}

// agree reports that the server ran another number of scripts than its clients
// counted since: they would have tried again unseen. Scripts that write in the background
// may be under way.
func (s *redisServer) agree(scriptsBefore, countedBefore int64) error {
	scripts, err := s.scripts()
	if err != nil {
		return err
	}
	scripts -= scriptsBefore
	counted := s.calls.scripts.Load() - countedBefore
	if difference := max(scripts-counted, counted-scripts); difference > 4+scripts/100 {
		return fmt.Errorf("the server ran %d scripts, its clients count %d", scripts, counted)
	}
	return nil
}
