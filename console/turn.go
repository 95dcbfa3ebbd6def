package console

import (
	"context"
	"hash/maphash"
	"time"
)

// changeTimeout is how long a change may wait for its turn, and then take.
const changeTimeout = 5 * time.Second

// turns let the changes of a token be made one after the other, in this process:
// else two rotations at once would both see that it has no successor, and both
// make one. Tokens share a turn by the hash of their ID; no change takes two.
//
// A turn is held over calls of the store, as no lock on the path of an API request
// is. These are changes that people make, a few a minute, and nobody waits for
// longer than changeTimeout. A store has no conditional write, so that
// between processes the same is left to chance.
type turns struct {
	seed  maphash.Seed
	taken [64]chan struct{}
}

func newTurns() *turns {
	t := &turns{seed: maphash.MakeSeed()}
	for i := range t.taken {
		t.taken[i] = make(chan struct{}, 1)
	}
	return t
}

// take waits for the turn of the token of this ID. release gives it back.
func (t *turns) take(ctx context.Context, id string) (release func(), err error) {
	turn := t.taken[maphash.String(t.seed, id)%uint64(len(t.taken))]
	select {
	case turn <- struct{}{}:
		return func() { <-turn }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// begin waits for the turn of the token of this ID, and returns the context in
// which it is to be changed. done must be called after that. e is what is told
// where the turn does not come. Who hangs up while they wait has changed nothing; what
// has begun goes on to its end, so that no rotation is left half done.
func (c *console) begin(ctx context.Context, id string, e Event) (change context.Context, done func(), err error) {
	waiting, cancel := context.WithTimeout(ctx, changeTimeout)
	defer cancel()
	release, err := c.turns.take(waiting, id)
	if err != nil {
		e.Err = err
		return nil, nil, c.failed(ctx, e)
	}
	change, cancel = context.WithTimeout(context.WithoutCancel(ctx), changeTimeout)
	return change, func() { cancel(); release() }, nil
}
