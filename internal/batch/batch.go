// Package batch makes one call of the questions that coincide, so that callers share round trips.
package batch

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/httpkey/httpkey/internal/failover"
)

const (
	// mostQuestions is the maximum number of questions of a call. It bounds the time for which one
	// call keeps a server from others.
	mostQuestions = 128
	// mostCalls is the maximum number of calls of a lane in progress. While a server answers one,
	// the process prepares the other.
	mostCalls = 2
	// patience is the default of Patience. A question waits for no stalled call, since one lost
	// connection must not stop a lane.
	patience = 10 * time.Millisecond
	// mostStalled is the maximum number of calls in progress if calls stall.
	mostStalled = 16
	// longest is the maximum time of a shared call, if one of its callers has no deadline.
	longest = 10 * time.Second
)

// Gatherer gathers questions Q, which have answers A. A lane L has few calls in progress. A
// question that comes then waits for the end of one, and goes together with the next call. No
// other question waits.
//
// While questions wait, each call runs in a goroutine, which ends when none waits.
type Gatherer[L comparable, Q, A any] struct {
	// Ask asks the questions of a lane in one call. It returns as many answers, or an error. Ctx is
	// that of the caller if the question is alone.
	Ask func(ctx context.Context, lane L, questions []Q) ([]A, error)
	// Payer returns the payer of a question. If there are too many questions for one call, payers
	// take turns.
	Payer func(Q) string
	// Patience is the age of the latest call after which the calls count as stalled. 0: 10 ms.
	Patience time.Duration

	mu    sync.Mutex
	lanes map[L]*lane[Q, A] // with calls in progress
}

type lane[Q, A any] struct {
	calls   int             // in progress
	began   time.Time       // when the latest of them began
	waiting []*caller[Q, A] // the oldest first
}

func (g *Gatherer[L, Q, A]) isStalled(l *lane[Q, A]) bool {
	return time.Since(l.began) > cmp.Or(g.Patience, patience)
}

// caller waits for the answer to its question.
type caller[Q, A any] struct {
	ctx      context.Context // whose values the shared call may have
	deadline time.Time       // that of ctx, or forever
	question Q
	reports  bool          // whether the failure of the call is a failure of this caller
	done     chan struct{} // closed once the fields below are set

	answer A
	err    error
}

// Do returns the answer to question q.
//
// If ctx ends while the question waits, or while a shared call asks it, Do returns the error of
// ctx. The call continues for the others. If a shared call fails, one caller returns its error.
// All other errors of a shared call wrap [failover.ErrNotAsked], because one failed call is one
// failure.
func (g *Gatherer[L, Q, A]) Do(ctx context.Context, l L, q Q) (answer A, err error) {
	me := g.enter(ctx, l, q)
	if me == nil {
		defer g.leave(l)
		answers, err := g.Ask(ctx, l, []Q{q})
		if err != nil {
			return answer, err
		}
		return answers[0], nil
	}
	select {
	case <-me.done:
		return me.answer, me.err
	case <-ctx.Done():
	}
	reports := g.quit(l, me)
	select {
	case <-me.done: // the answer may have a charge, which no other caller gets
		return me.answer, me.err
	default:
	}
	if reports {
		return answer, ctx.Err()
	}
	return answer, fmt.Errorf("%w: %w", failover.ErrNotAsked, ctx.Err())
}

// Load returns the number of calls of a lane in progress, and of questions that wait for one.
func (g *Gatherer[L, Q, A]) Load(l L) (calls, waiting int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if lane := g.lanes[l]; lane != nil {
		return lane.calls, len(lane.waiting)
	}
	return 0, 0
}

// enter returns nil if the question goes alone and now. Otherwise it returns the waiting caller.
func (g *Gatherer[L, Q, A]) enter(ctx context.Context, l L, q Q) *caller[Q, A] {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.lanes == nil {
		g.lanes = make(map[L]*lane[Q, A])
	}
	to := g.lanes[l]
	if to == nil {
		to = new(lane[Q, A])
		g.lanes[l] = to
	}
	if to.calls < mostCalls || to.calls < mostStalled && g.isStalled(to) {
		to.calls++
		to.began = time.Now()
		return nil
	}
	deadline, ok := ctx.Deadline()
	if !ok {
		deadline = forever
	}
	me := &caller[Q, A]{ctx: ctx, deadline: deadline, question: q, done: make(chan struct{})}
	to.waiting = append(to.waiting, me)
	return me
}

// leave ends the call of one question. The next call continues in a goroutine.
func (g *Gatherer[L, Q, A]) leave(l L) {
	if together := g.next(l); together != nil {
		go g.serve(l, together)
	}
}

// next returns the callers of the next call. If none waits, it frees the place of a call.
func (g *Gatherer[L, Q, A]) next(l L) []*caller[Q, A] {
	g.mu.Lock()
	defer g.mu.Unlock()
	from := g.lanes[l]
	if len(from.waiting) == 0 {
		if from.calls--; from.calls == 0 {
			delete(g.lanes, l)
		}
		return nil
	}
	together, others := g.takeTurns(from.waiting)
	from.waiting = others
	latest(together).reports = true
	from.began = time.Now()
	return together
}

// takeTurns returns the callers of the next call and the others, the oldest first. If there are too
// many, one of each payer comes first, then a second one of each. The newest of a payer comes
// first, because under overload the oldest have no time left for an answer.
func (g *Gatherer[L, Q, A]) takeTurns(waiting []*caller[Q, A]) (together, others []*caller[Q, A]) {
	if len(waiting) <= mostQuestions {
		return waiting, nil
	}
	newest := slices.Clone(waiting)
	slices.Reverse(newest)
	before, turn := make(map[string]int), make(map[*caller[Q, A]]int, len(newest))
	for _, c := range newest {
		payer := g.Payer(c.question)
		turn[c] = before[payer]
		before[payer]++
	}
	slices.SortStableFunc(newest, func(a, b *caller[Q, A]) int { return cmp.Compare(turn[a], turn[b]) })
	others = slices.Clone(newest[mostQuestions:])
	slices.Reverse(others)
	return newest[:mostQuestions], others
}

// latest returns the caller with the most time left.
func latest[Q, A any](callers []*caller[Q, A]) *caller[Q, A] {
	return slices.MaxFunc(callers, func(a, b *caller[Q, A]) int { return a.deadline.Compare(b.deadline) })
}

// forever is later than any deadline.
var forever = time.Unix(1<<40, 0)

// serve makes calls until no caller waits.
func (g *Gatherer[L, Q, A]) serve(l L, together []*caller[Q, A]) {
	for together != nil {
		g.call(l, together)
		runtime.Gosched() // the callers with an answer may have a next question
		together = g.next(l)
	}
}

var errPanicked = errors.New("the call ended in a panic")

// call asks the questions of callers, and answers each caller.
func (g *Gatherer[L, Q, A]) call(l L, callers []*caller[Q, A]) {
	last := latest(callers)
	deadline := last.deadline
	if deadline.Equal(forever) {
		deadline = time.Now().Add(longest)
	}
	ctx, cancel := context.WithDeadline(context.WithoutCancel(last.ctx), deadline)
	defer cancel()
	questions := make([]Q, len(callers))
	for i, c := range callers {
		questions[i] = c.question
	}
	answers, err := g.try(ctx, l, questions)
	for i, c := range callers {
		switch {
		case err == nil:
			c.answer = answers[i]
		case c.reports:
			c.err = err
		default:
			c.err = fmt.Errorf("%w: %w", failover.ErrNotAsked, err)
		}
		close(c.done)
	}
}

// try is Ask, with an error for a panic, which would end the program in this goroutine.
func (g *Gatherer[L, Q, A]) try(ctx context.Context, l L, questions []Q) (answers []A, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: %v", errPanicked, p)
		}
	}()
	return g.Ask(ctx, l, questions)
}

// quit removes a caller that waits. It reports whether the caller reports a failure of its call.
func (g *Gatherer[L, Q, A]) quit(l L, me *caller[Q, A]) (reports bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if from := g.lanes[l]; from != nil {
		if i := slices.Index(from.waiting, me); i >= 0 {
			from.waiting = slices.Delete(from.waiting, i, i+1)
		}
	}
	return me.reports
}
