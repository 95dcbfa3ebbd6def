package redisstore

import (
	"context"
	"sync/atomic"

	"github.com/redis/go-redis/v9"
)

// servers finds the server of a key. Only the clients of go-redis are known.
type servers struct {
	find      func(ctx context.Context, key string) (*redis.Client, error) // nil: the client is unknown
	haveSlots atomic.Bool                                                  // a script needs all its keys in one slot
	cluster   *redis.ClusterClient                                         // or nil
}

func (s *servers) init(rdb redis.Scripter) {
	switch rdb := rdb.(type) {
	case *redis.Client:
		s.find = func(context.Context, string) (*redis.Client, error) { return rdb, nil }
	case *redis.ClusterClient:
		s.find, s.cluster = rdb.MasterForKey, rdb
		s.haveSlots.Store(true)
	case *redis.Ring:
		ring, ok := any(rdb).(interface { // not in all versions of go-redis
			GetShardClientForKey(key string) (*redis.Client, error)
		})
		if ok {
			s.find = func(_ context.Context, key string) (*redis.Client, error) { return ring.GetShardClientForKey(key) }
		}
	}
}

// of returns the server of a key, or nil. Then only rdb can say why.
func (s *servers) of(ctx context.Context, key string) *redis.Client {
	if s.find == nil {
		return nil
	}
	server, err := s.find(ctx, key)
	if err != nil {
		return nil
	}
	return server
}

// reload makes a ClusterClient look for a new master after a failure, as its own calls do.
func (s *servers) reload(ctx context.Context) {
	if s.cluster != nil {
		s.cluster.ReloadState(ctx)
	}
}
