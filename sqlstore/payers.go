package sqlstore

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/httpkey/httpkey/internal/failover"
)

// maxAsking is the maximum number of questions of one payer that a Limiter asks at once.
const maxAsking = 4

// payers lets the questions of a payer wait in memory. In the database they would wait for
// each other's row locks, and hold connections that the questions of other payers need.
type payers struct {
	mu      sync.Mutex
	waiting map[string]*queue // of the payers with questions
}

type queue struct {
	callers int           // that ask or wait
	asking  chan struct{} // holds a value for each question that is asked
}

func newPayers() *payers { return &payers{waiting: make(map[string]*queue)} }

// enter waits until the caller may ask. The caller calls leave afterwards. A caller that
// has waited for half of its time must not ask, because a canceled call costs a connection.
func (p *payers) enter(ctx context.Context, payer string) (leave func(), err error) {
	began, q := time.Now(), p.join(payer)
	select {
	case q.asking <- struct{}{}:
	case <-ctx.Done():
		p.part(payer, q)
		return nil, fmt.Errorf("%w: %w", failover.ErrNotAsked, ctx.Err())
	}
	leave = func() {
		<-q.asking
		p.part(payer, q)
	}
	if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) < time.Since(began) {
		leave()
		return nil, fmt.Errorf("%w: other calls for the payer took half of the time", failover.ErrNotAsked)
	}
	return leave, nil
}

func (p *payers) join(payer string) *queue {
	p.mu.Lock()
	defer p.mu.Unlock()
	q := p.waiting[payer]
	if q == nil {
		q = &queue{asking: make(chan struct{}, maxAsking)}
		p.waiting[payer] = q
	}
	q.callers++
	return q
}

func (p *payers) part(payer string, q *queue) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if q.callers--; q.callers == 0 {
		delete(p.waiting, payer)
	}
}
