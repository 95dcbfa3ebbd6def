package batch

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/httpkey/httpkey/internal/failover"
)

// server answers each question with its own text, as long as a call takes.
type server struct {
	*Gatherer[string, string, string]
	takes time.Duration
	err   error

	mu    sync.Mutex
	calls [][]string // the questions of each call
	ended []error    // of the contexts of the calls
	most  int        // of calls in progress
	now   int
}

func newServer(takes time.Duration) *server {
	s := &server{takes: takes}
	s.Gatherer = &Gatherer[string, string, string]{Ask: s.ask, Payer: payer}
	return s
}

// payer is the beginning of a question.
func payer(question string) string {
	name, _, _ := strings.Cut(question, "/")
	return name
}

func (s *server) ask(ctx context.Context, _ string, questions []string) ([]string, error) {
	s.mu.Lock()
	s.calls = append(s.calls, questions)
	s.now++
	s.most = max(s.most, s.now)
	s.mu.Unlock()
	select {
	case <-ctx.Done():
	case <-time.After(s.takes):
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now--
	s.ended = append(s.ended, ctx.Err())
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return questions, s.err
}

func (s *server) waiting() int {
	_, waiting := s.Load("lane")
	return waiting
}

// fill occupies all places for calls of a lane, until the server answers.
func (s *server) fill(t *testing.T, group *sync.WaitGroup) {
	for range mostCalls {
		group.Go(func() { s.must(t, "first") })
	}
	synctest.Wait()
}

// must asks a question that has its own answer.
func (s *server) must(t *testing.T, question string) {
	if answer, err := s.Do(t.Context(), "lane", question); answer != question || err != nil {
		t.Errorf("%s: answered %q, %v", question, answer, err)
	}
}

// A question goes at once. Those that come while calls are in progress go together, and each
// caller gets its own answer.
func TestQuestionsThatCoincideShareACall(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, begun := newServer(time.Second), time.Now()
		s.must(t, "alone")
		if took := time.Since(begun); took != time.Second {
			t.Errorf("one question took %v", took)
		}
		var group sync.WaitGroup
		s.fill(t, &group)
		for i := range 60 {
			group.Go(func() { s.must(t, fmt.Sprint(i, "/")) })
		}
		group.Wait()
		took := time.Since(begun)
		if took != 3*time.Second || len(s.calls) != 2+mostCalls || len(s.calls[1+mostCalls]) != 60 {
			t.Errorf("after %v there were the calls %v", took, s.calls)
		}
		synctest.Wait()
		if len(s.lanes) > 0 {
			t.Errorf("%d lanes stay", len(s.lanes))
		}
	})
}

// A lane has few calls in progress and few questions in a call, however many wait.
func TestCallsAreBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newServer(time.Second)
		var group sync.WaitGroup
		for i := range 1000 {
			group.Go(func() { s.must(t, fmt.Sprint(i, "/")) })
		}
		group.Wait()
		total := 0
		for _, questions := range s.calls {
			total += len(questions)
			if len(questions) > mostQuestions {
				t.Errorf("a call has %d questions", len(questions))
			}
		}
		if s.most != mostCalls || total != 1000 {
			t.Errorf("there were %d questions, and %d calls at once", total, s.most)
		}
	})
}

// Another server's lane does not wait.
func TestLanesDoNotWaitForEachOther(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newServer(time.Second)
		var group sync.WaitGroup
		s.fill(t, &group)
		begun := time.Now()
		if _, err := s.Do(t.Context(), "another", "question"); err != nil || time.Since(begun) != time.Second {
			t.Errorf("it took %v, %v", time.Since(begun), err)
		}
		group.Wait()
	})
}

// A payer with many questions delays another one by one call at most.
func TestPayersTakeTurns(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newServer(time.Second)
		var group sync.WaitGroup
		s.fill(t, &group)
		for i := range 10 * mostQuestions {
			group.Go(func() { s.must(t, fmt.Sprint("hot/", i)) })
		}
		synctest.Wait()
		begun := time.Now()
		for i := range 3 {
			group.Go(func() {
				s.must(t, fmt.Sprint("other", i, "/"))
				if took := time.Since(begun); took != 2*time.Second { // the call in progress, and its own
					t.Errorf("another payer waited for %v", took)
				}
			})
		}
		group.Wait()
	})
}

// A caller that leaves gets the error of its own context, and the others get their answers.
func TestCancellationsAreTheCallersOwn(t *testing.T) {
	t.Parallel()
	for name, leaves := range map[string]time.Duration{
		"while it waits":     time.Second / 2,
		"while it is asked":  3 * time.Second / 2,
		"just as it is done": 2 * time.Second,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := newServer(time.Second)
				var group sync.WaitGroup
				s.fill(t, &group)
				for i := range 10 {
					group.Go(func() { s.must(t, fmt.Sprint("stays/", i)) })
				}
				mine := errors.New("mine")
				ctx, cancel := context.WithCancelCause(t.Context())
				begun := time.Now()
				time.AfterFunc(leaves, func() { cancel(mine) })
				group.Go(func() {
					_, err := s.Do(ctx, "lane", "leaves/")
					isDone := err == nil && leaves == 2*time.Second
					if took := time.Since(begun); took != leaves || !isDone && !errors.Is(err, context.Canceled) {
						t.Errorf("after %v: %v", took, err)
					}
				})
				group.Wait()
				asked := len(s.calls[mostCalls]) == 11
				if asked != (leaves > time.Second) {
					t.Errorf("the call asked %v", s.calls[mostCalls])
				}
				for _, err := range s.ended {
					if err != nil {
						t.Errorf("a call ended with %v", err)
					}
				}
			})
		})
	}
}

// A shared call ends with the latest deadline of its callers. One failed call is one failure.
func TestAFailedCallIsOneFailure(t *testing.T) {
	t.Parallel()
	const long = 300 * time.Millisecond
	for name, tt := range map[string]struct {
		takes time.Duration
		err   error
	}{
		"an error":              {time.Millisecond, errors.New("down")},
		"a server that stalled": {time.Hour, context.DeadlineExceeded},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := newServer(tt.takes)
				s.err = tt.err
				var group sync.WaitGroup
				ask := func(timeout time.Duration) error {
					ctx, cancel := context.WithTimeout(t.Context(), timeout)
					defer cancel()
					begun := time.Now()
					_, err := s.Do(ctx, "lane", "question")
					if took := time.Since(begun); took != min(timeout, 2*tt.takes) && took != min(timeout, tt.takes) {
						t.Errorf("with a deadline of %v it took %v", timeout, took)
					}
					if !errors.Is(err, tt.err) {
						t.Errorf("the error is %v, want %v", err, tt.err)
					}
					return err
				}
				for range mostCalls {
					group.Go(func() { _ = ask(100 * time.Millisecond) })
				}
				synctest.Wait()
				var mu sync.Mutex
				failures := 0
				for i := range 20 {
					group.Go(func() {
						if err := ask(long - time.Duration(i)*time.Millisecond); !errors.Is(err, failover.ErrNotAsked) {
							mu.Lock()
							defer mu.Unlock()
							failures++
						}
					})
				}
				group.Wait()
				synctest.Wait()
				if failures != 1 || len(s.calls) != mostCalls+1 || s.waiting() > 0 {
					t.Errorf("%d callers report a failure; the calls are %v", failures, s.calls)
				}
			})
		})
	}
}

// Callers without a deadline do not hold the lane for ever.
func TestSharedCallsEnd(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newServer(time.Hour)
		var group sync.WaitGroup
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		for range mostCalls {
			group.Go(func() { _, _ = s.Do(ctx, "lane", "first") })
		}
		synctest.Wait()
		begun := time.Now()
		_, err := s.Do(t.Context(), "lane", "question")
		if took := time.Since(begun); took != time.Second+longest || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("after %v: %v", took, err)
		}
		group.Wait()
	})
}

// Callers that wait for a server that does not answer leave the queue.
func TestTheQueueIsBoundedByItsCallers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newServer(time.Hour)
		var (
			group    sync.WaitGroup
			failures atomic.Int64
		)
		s.fill(t, &group)
		for range 10 {
			for range 100 {
				group.Go(func() {
					ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
					defer cancel()
					_, err := s.Do(ctx, "lane", "question")
					if !errors.Is(err, context.DeadlineExceeded) {
						t.Error(err)
					}
					if !errors.Is(err, failover.ErrNotAsked) {
						failures.Add(1)
					}
				})
			}
			synctest.Wait()
			if n := s.waiting(); n > 100 {
				t.Errorf("%d questions wait", n)
			}
			time.Sleep(100 * time.Millisecond) // in the bubble's time
			synctest.Wait()
		}
		n, failed := s.waiting(), int(failures.Load())
		if n != 0 || s.most > mostStalled || len(s.calls) != mostCalls+failed {
			t.Errorf("%d questions wait, there were %d calls, %d at once, and %d failures", n, len(s.calls), s.most, failed)
		}
		group.Wait()
	})
}

// Calls that stall hold up no later question, and no question that waits when a later one comes.
func TestStalledCallsHoldUpNoOthers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newServer(time.Hour)
		var group sync.WaitGroup
		s.fill(t, &group)
		s.takes = time.Millisecond // from now on
		begun := time.Now()
		for range 3 { // within the patience for the first calls
			group.Go(func() {
				s.must(t, "waits")
				if took := time.Since(begun); took != patience+3*time.Millisecond { // with the next call after the late one
					t.Errorf("a question that waits was answered after %v", took)
				}
			})
		}
		time.Sleep(patience + time.Millisecond) // in the bubble's time
		asked := time.Now()
		if s.must(t, "late"); time.Since(asked) != time.Millisecond {
			t.Errorf("a late question was answered after %v", time.Since(asked))
		}
		synctest.Wait()
		time.Sleep(time.Second) // in the bubble's time
		if calls, waiting := s.Load("lane"); calls != mostCalls || waiting != 0 {
			t.Errorf("%d calls are in progress, and %d questions wait", calls, waiting)
		}
		group.Wait()
	})
}

// Under overload, the newest questions of a payer get answers, as they have time left.
func TestNewestQuestionsComeFirst(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newServer(time.Second)
		var group sync.WaitGroup
		s.fill(t, &group)
		for i := range 2 * mostCalls * mostQuestions {
			group.Go(func() { s.must(t, fmt.Sprint("payer/", i)) })
			synctest.Wait()
		}
		group.Wait()
		const last = 2*mostCalls*mostQuestions - 1
		shared := slices.Concat(s.calls[mostCalls : 2*mostCalls]...)
		if !slices.Contains(shared, fmt.Sprint("payer/", last)) {
			t.Errorf("the newest question is not in the first shared calls: %v", shared)
		}
		if latest := s.calls[len(s.calls)-1]; !slices.Contains(latest, "payer/0") {
			t.Errorf("the oldest question is not in the last call: %v", latest)
		}
	})
}

// A panic in a shared call is an error of its callers: in its goroutine it would end the program.
func TestPanicsAreErrors(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newServer(time.Second)
		s.Ask = func(ctx context.Context, lane string, questions []string) ([]string, error) {
			answers, err := s.ask(ctx, lane, questions)
			if questions[0] != "first" {
				panic("mine")
			}
			return answers, err
		}
		var group sync.WaitGroup
		s.fill(t, &group)
		for range 2 {
			group.Go(func() {
				_, err := s.Do(t.Context(), "lane", "question")
				if !errors.Is(err, errPanicked) || !strings.Contains(err.Error(), "mine") {
					t.Errorf("the error is %v", err)
				}
			})
		}
		group.Wait()
		s.must(t, "first") // the lane goes on
		func() {
			defer func() {
				if recover() == nil {
					t.Error("a panic in the call of one caller is gone")
				}
			}()
			_, _ = s.Do(t.Context(), "lane", "alone")
		}()
		s.must(t, "first")
	})
}
