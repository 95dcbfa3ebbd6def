package memstore

import (
	"context"
	"slices"
	"sync"

	"github.com/httpkey/httpkey"
)

// Changes implements [httpkey.ChangeFeed]. A method that changes a token calls changed before it
// returns, so changed must not change the tokens of s. Changes returns only the error of ctx.
func (s *Store) Changes(ctx context.Context, ready func(), changed func(httpkey.Digest)) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	f := &follower{changed}
	s.feed.join(f, ready)
	defer s.feed.leave(f)
	<-ctx.Done()
	return ctx.Err()
}

// feed holds the followers of a Store.
type feed struct {
	mu        sync.Mutex // held while the functions of followers run
	followers []*follower
}

type follower struct{ changed func(httpkey.Digest) }

func (f *feed) join(one *follower, ready func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	ready()
	f.followers = append(f.followers, one)
}

func (f *feed) leave(one *follower) {
	f.mu.Lock()
	defer f.mu.Unlock()
	i := slices.Index(f.followers, one)
	f.followers = slices.Delete(f.followers, i, i+1)
}

// tell reports a change that is stored. The caller does not hold the lock of the Store, so that
// a follower can read it.
func (f *feed) tell(d [32]byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, one := range f.followers {
		one.changed(d)
	}
}
