package redisstore_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/internal/failover"
	"github.com/httpkey/httpkey/internal/gcra"
	"github.com/httpkey/httpkey/redisstore"
	"github.com/redis/go-redis/v9"
)

// gate holds the calls of a client until it is opened, and counts them.
type gate struct {
	trips
	opened chan struct{}
	before func(redis.Cmder) error // called before each script, if it is set
	after  func(redis.Cmder) error // called after each script, if it is set
}

func newGate(client *redis.Client) *gate {
	g := &gate{opened: make(chan struct{})}
	client.AddHook(g)
	return g
}

func (g *gate) open() { close(g.opened) }

func (g *gate) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	next = g.trips.ProcessHook(next)
	return func(ctx context.Context, cmd redis.Cmder) error {
		if cmd.Name() != "evalsha" && cmd.Name() != "eval" {
			return next(ctx, cmd)
		}
		select {
		case <-g.opened:
		case <-ctx.Done():
			cmd.SetErr(ctx.Err())
			return ctx.Err()
		}
		if g.before != nil {
			if err := g.before(cmd); err != nil {
				cmd.SetErr(err)
				return err
			}
		}
		err := next(ctx, cmd)
		if g.after != nil && err == nil {
			if broken := g.after(cmd); broken != nil {
				cmd.SetErr(broken)
				return broken
			}
		}
		return err
	}
}

func (g *gate) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	next = g.trips.ProcessPipelineHook(next)
	return func(ctx context.Context, cmds []redis.Cmder) error {
		for _, cmd := range cmds {
			if g.before != nil && g.before(cmd) != nil {
				panic("a server would refuse a script of the pipeline")
			}
		}
		return next(ctx, cmds)
	}
}

// waitFor returns when a condition holds.
func waitFor(t *testing.T, condition func() bool) {
	t.Helper()
	for patience := time.Now().Add(10 * time.Second); !condition(); runtime.Gosched() {
		if time.Now().After(patience) {
			t.Fatal("the condition does not come true")
		}
	}
}

// answer is what a caller gets.
type answer struct {
	result httpkey.Result
	err    error
}

// crowd is callers of a limiter that wait for a call to the server.
type crowd struct {
	t       *testing.T
	limiter httpkey.Limiter
	client  *redis.Client
	gate    *gate
	callers sync.WaitGroup
	size    int
	first   *answer // of the first caller that waits
}

func newCrowd(t *testing.T, limiter httpkey.Limiter, client *redis.Client, g *gate) *crowd {
	t.Helper()
	redisstore.Patient(limiter)
	c := &crowd{t: t, limiter: limiter, client: client, gate: g}
	for waiting := 0; waiting == 0; _, waiting = redisstore.Load(limiter, client) { // the first calls go at once
		c.first = c.ask(t.Context(), of(fmt.Sprint("first ", c.size), 1, large))
	}
	return c
}

// ask makes a caller wait behind the others.
func (c *crowd) ask(ctx context.Context, charge *httpkey.Charge) *answer {
	c.t.Helper()
	a := new(answer)
	c.callers.Go(func() { a.result, a.err = c.limiter.Allow(ctx, charge) })
	c.size++
	waitFor(c.t, func() bool {
		calls, waiting := redisstore.Load(c.limiter, c.client)
		return calls+waiting == c.size
	})
	return a
}

// answered lets the calls go, and returns when all callers have their answers.
func (c *crowd) answered() {
	c.gate.open()
	c.callers.Wait()
}

// eachCrowd runs a test with a limiter of each sort.
func eachCrowd(t *testing.T, test func(*testing.T, *crowd, *miniredis.Miniredis)) {
	t.Helper()
	t.Parallel()
	for _, name := range []string{"Limiter", "Window"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := newServer(t)
			server.SetTime(start)
			client := newClient(t, server)
			test(t, newCrowd(t, limiters[name](client, nil), client, newGate(client)), server)
		})
	}
}

// Charges that coincide share a call, whatever their payers, limits and costs. Those of one
// bucket are decided in their order.
func TestChargesThatCoincideShareACall(t *testing.T) {
	eachCrowd(t, func(t *testing.T, c *crowd, _ *miniredis.Miniredis) {
		var answers []*answer
		var want []bool
		ask := func(charge *httpkey.Charge, passes bool) {
			answers, want = append(answers, c.ask(t.Context(), charge)), append(want, passes)
		}
		ask(of("a", 2, small), true)
		ask(of("a", 2, small), false)
		ask(of("a", 1, small), true)
		ask(of("a", 1, small), false)
		ask(of("b", 3, small, large), true)
		ask(of("b", 1, large), true)
		ask(of("b", 1, quota, small), false)
		ask(forced("b", -2, small), true)
		ask(of("b", 2, small, quota), true)
		ask(of("b", 0, small), true)
		ask(forced("c", 5, small), true)
		ask(of("c", 1, small), false)
		ask(of("d", 1, httpkey.PerMinute(3000)), true)
		before := c.gate.times.Load()
		c.answered()
		for i, a := range answers {
			if a.err != nil || a.result.Allowed != want[i] {
				t.Errorf("charge %d: %+v, %v", i, a.result, a.err)
			}
		}
		if r := answers[9].result; r.Remaining != 0 {
			t.Errorf("a look without a cost: %+v", r)
		}
		// Two calls in progress, the shared one, and each script once as its text.
		if calls := c.gate.times.Load() - before; calls > 6 {
			t.Errorf("there were %d calls", calls)
		}
	})
}

// A damaged bucket is an error of its own caller. The others get their answers.
func TestDamageInACrowdConcernsOneCaller(t *testing.T) {
	for name, damage := range map[string]func(*miniredis.Miniredis, string){
		"text":   func(s *miniredis.Miniredis, key string) { s.Del(key); _ = s.Set(key, "garbage") },
		"a hash": func(s *miniredis.Miniredis, key string) { s.Del(key); s.HSet(key, "field", "value") },
		"a list": func(s *miniredis.Miniredis, key string) { s.Del(key); _, _ = s.Push(key, "0", "x", "1") },
	} {
		t.Run(name, func(t *testing.T) {
			eachCrowd(t, func(t *testing.T, c *crowd, server *miniredis.Miniredis) {
				key := "rate:httpkey:{damaged}::60000000"
				if _, ok := c.limiter.(*redisstore.Window); ok {
					key = "httpkey:window:{damaged}::60000000"
				}
				damage(server, key)
				before := []*answer{c.ask(t.Context(), of("before", 1, small)), c.ask(t.Context(), of("both", 1, large))}
				damaged := []*answer{
					c.ask(t.Context(), of("damaged", 1, small)), c.ask(t.Context(), of("damaged", 1, large, small)),
				}
				after := []*answer{
					c.ask(t.Context(), of("damaged", 1, large)), c.ask(t.Context(), of("after", 1, small)),
					c.ask(t.Context(), of("both", 1, large)),
				}
				c.answered()
				for i, a := range damaged {
					if !errors.Is(a.err, gcra.ErrDamaged) || errors.Is(a.err, failover.ErrNotAsked) {
						t.Errorf("damaged %d: %+v, %v", i, a.result, a.err)
					}
				}
				for i, a := range append(before, after...) {
					if a.err != nil || !a.result.Allowed {
						t.Errorf("healthy %d: %+v, %v", i, a.result, a.err)
					}
				}
				if r := after[0].result; r.Remaining != 99 {
					t.Errorf("the charge that was refused has taken: %+v", r)
				}
				if r := after[2].result; r.Remaining != 98 {
					t.Errorf("a healthy bucket was not charged once for each caller: %+v", r)
				}
			})
		})
	}
}

// A caller that leaves gets its own error, whatever the others get. Its charge is dropped if the
// call has not begun.
func TestCallersLeaveACrowd(t *testing.T) {
	eachCrowd(t, func(t *testing.T, c *crowd, _ *miniredis.Miniredis) {
		ctx, cancel := context.WithCancel(t.Context())
		stays := c.ask(t.Context(), of("payer", 1, large))
		leaves := make(chan error, 1)
		c.callers.Go(func() {
			_, err := c.limiter.Allow(ctx, of("payer", 1, large))
			leaves <- err
		})
		waitFor(t, func() bool { calls, waiting := redisstore.Load(c.limiter, c.client); return calls+waiting == c.size+1 })
		cancel()
		if err := <-leaves; !errors.Is(err, context.Canceled) || !errors.Is(err, failover.ErrNotAsked) {
			t.Errorf("the caller that left got %v", err)
		}
		last := c.ask(t.Context(), of("payer", 1, large))
		c.answered()
		for _, a := range []*answer{stays, last} {
			if a.err != nil || !a.result.Allowed {
				t.Errorf("a caller that stayed: %+v, %v", a.result, a.err)
			}
		}
		if last.result.Remaining != 98 {
			t.Errorf("after two charges: %+v", last.result)
		}
	})
}

// A reply that is none fails a shared call. One caller reports that, and no charge is repeated.
func TestABrokenReplyIsOneFailure(t *testing.T) {
	eachCrowd(t, func(t *testing.T, c *crowd, server *miniredis.Miniredis) {
		broken := errors.New("the connection broke")
		c.gate.after = func(cmd redis.Cmder) error {
			if len(cmd.Args()) > 3 && cmd.Args()[2].(int) > 1 {
				return broken
			}
			return nil
		}
		var answers []*answer
		for range 5 {
			answers = append(answers, c.ask(t.Context(), of("payer", 1, large)))
		}
		c.answered()
		failures := 0
		for _, a := range append(answers, c.first) {
			if !errors.Is(a.err, broken) {
				t.Errorf("%+v, %v", a.result, a.err)
			}
			if !errors.Is(a.err, failover.ErrNotAsked) {
				failures++
			}
		}
		if failures != 1 {
			t.Errorf("%d callers report a failure, want 1", failures)
		}
		if r := allow(t, c.limiter, of("payer", 0, large)); r.Remaining != 95 {
			t.Errorf("after five charges: %+v", r)
		}
	})
}

// A server that has forgotten the script decides on each charge once.
func TestAForgottenScriptChargesOnce(t *testing.T) {
	eachCrowd(t, func(t *testing.T, c *crowd, server *miniredis.Miniredis) {
		other := newClient(t, server)
		c.gate.before = func(cmd redis.Cmder) error {
			if cmd.Name() == "evalsha" {
				return other.ScriptFlush(context.Background()).Err()
			}
			return nil
		}
		var answers []*answer
		for range 10 {
			answers = append(answers, c.ask(t.Context(), of("payer", 1, large)))
		}
		c.answered()
		for i, a := range answers {
			if a.err != nil || a.result.Remaining != 99-i {
				t.Errorf("charge %d: %+v, %v", i, a.result, a.err)
			}
		}
	})
}

// A server of a Cluster refuses keys of several slots, in words of its own. Each charge is then
// decided once, and later charges go in one pipeline.
func TestServersWithSlots(t *testing.T) {
	for _, refusal := range []string{
		"CROSSSLOT Keys in request don't hash to the same slot",
		"ERR eval/evalsha command keys must be in same slot",
	} {
		t.Run(refusal, func(t *testing.T) {
			eachCrowd(t, func(t *testing.T, c *crowd, _ *miniredis.Miniredis) {
				c.gate.before = func(cmd redis.Cmder) error {
					if hasSeveralSlots(cmd) {
						return refused(refusal)
					}
					return nil
				}
				for round := range 2 {
					var answers []*answer
					for i := range 6 {
						answers = append(answers, c.ask(t.Context(), of(fmt.Sprint("payer ", i%3), 1, large)))
					}
					c.answered()
					for i, a := range answers {
						if a.err != nil || !a.result.Allowed {
							t.Errorf("charge %d: %+v, %v", i, a.result, a.err)
						}
					}
					if r := allow(t, c.limiter, of("payer 0", 0, large)); r.Remaining != 98-2*round {
						t.Errorf("in round %d: %+v", round, r)
					}
					c.gate.opened = make(chan struct{})
					c = newCrowd(t, c.limiter, c.client, c.gate)
				}
				c.answered()
			})
		})
	}
}

// A server of a Cluster lacks the script for the first charges only. Each later call is one round
// trip.
func TestServersWithSlotsKeepTheScript(t *testing.T) {
	t.Parallel()
	for name, newLimiter := range limiters {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client := newClient(t, newServer(t))
			limiter := redisstore.Crowd(newLimiter(client, nil), true)
			allow(t, limiter, of("payer", 1, large))
			later := new(trips)
			client.AddHook(later)
			allow(t, limiter, of("payer", 1, large))
			if n := later.times.Load(); n != 1 {
				t.Errorf("the second charge took %d round trips", n)
			}
		})
	}
}

// refused is an error of a server.
type refused string

func (r refused) Error() string { return string(r) }
func (refused) RedisError()     {}

// hasSeveralSlots reports whether a script has keys of several hash tags. Newer clients show
// hooks also the commands of a new connection, which are no scripts.
func hasSeveralSlots(script redis.Cmder) bool {
	if !strings.HasPrefix(script.Name(), "eval") {
		return false
	}
	args, tags := script.Args(), make(map[string]bool)
	for _, key := range args[3 : 3+args[2].(int)] {
		_, tag, _ := strings.Cut(key.(string), "{")
		tag, _, _ = strings.Cut(tag, "}")
		tags[tag] = true
	}
	return len(tags) > 1
}

// Lookups that coincide share a call. A damaged record is an error of its own caller.
func TestLookupsThatCoincideShareACall(t *testing.T) {
	t.Parallel()
	for name, fails := range map[string]bool{"answered": false, "failed": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const tokens = 20
			server := newServer(t)
			client := newClient(t, server)
			store := redisstore.New(client, nil)
			for i := range tokens {
				if _, err := store.Create(t.Context(), token(byte(i))); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := store.Lookup(t.Context(), token(0).Digest); err != nil { // so that the server has the script
				t.Fatal(err)
			}
			server.HSet("httpkey:{tokens}:tokens", token(1).ID, "damaged")
			redisstore.PatientLookups(store)
			g := newGate(client)
			broken := errors.New("the connection broke")
			g.after = func(cmd redis.Cmder) error {
				if fails && len(cmd.Args()) > 7 {
					return broken
				}
				return nil
			}
			var callers sync.WaitGroup
			found, errs := make([]httpkey.Token, 2*tokens), make([]error, 2*tokens)
			for i := range found {
				callers.Go(func() { found[i], errs[i] = store.Lookup(t.Context(), token(byte(i)).Digest) })
				waitFor(t, func() bool { calls, waiting := redisstore.LoadOfLookups(store); return calls+waiting == i+1 })
			}
			g.open()
			callers.Wait()
			failures := 0
			for i, err := range errs {
				switch {
				case errors.Is(err, broken):
					failures++
				case i == 1 && (err == nil || errors.Is(err, httpkey.ErrNotFound)):
					t.Errorf("a damaged record: %v", err)
				case i != 1 && i < tokens && (err != nil || found[i].ID != token(byte(i)).ID):
					t.Errorf("token %d: %+v, %v", i, found[i], err)
				case i >= tokens && !errors.Is(err, httpkey.ErrNotFound):
					t.Errorf("a token that is not there: %+v, %v", found[i], err)
				}
			}
			calls := g.times.Load()
			if !fails && (calls > 3 || failures > 0) || fails && (failures > 1 || calls < 2*tokens-1) {
				t.Errorf("%d calls and %d failures", calls, failures)
			}
		})
	}
}
