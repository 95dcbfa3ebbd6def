package redisstore

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/redis/go-redis/v9"
)

// silence is how long a feed may be still before the server is asked whether it is
// there, and how long it has to answer.
const silence = 3 * time.Second

// Changes implements [httpkey.ChangeFeed] by a subscription. Each change is published
// by the script that makes it, on the server that makes it. A connection that breaks
// ends the feed at once, one that falls silent within six seconds. On a server cut off from
// its Sentinels the feed goes on, and tells nothing of what its successor does.
//
// It holds one connection that is not of the client's pool.
func (s *Store) Changes(ctx context.Context, ready func(), changed func(httpkey.Digest)) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	subscription := s.rdb.Subscribe(ctx, s.keys.changes)
	// Receiving does not heed the context.
	stop := context.AfterFunc(ctx, func() { _ = subscription.Close() })
	defer func() {
		if stop() {
			_ = subscription.Close()
		}
	}()
	err := receive(ctx, subscription, ready, changed)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return fmt.Errorf("httpkey: the feed of changes from Redis broke: %w", err)
}

// receive returns at the first error: after it, the subscription would connect anew
// and not say so.
func receive(ctx context.Context, subscription *redis.PubSub, ready func(), changed func(httpkey.Digest)) error {
	begun, asked := false, false
	for {
		event, err := subscription.ReceiveTimeout(ctx, silence)
		var network net.Error
		if errors.As(err, &network) && network.Timeout() && begun && !asked {
			if err := subscription.Ping(ctx); err != nil {
				return err
			}
			asked = true
			continue
		}
		if err != nil {
			return err
		}
		asked = false
		switch event := event.(type) {
		case *redis.Subscription:
			if begun {
				return errors.New("the subscription was made anew")
			}
			begun = true
			ready()
		case *redis.Message:
			var digest httpkey.Digest
			if copy(digest[:], event.Payload) == len(digest) {
				changed(digest)
			}
		}
	}
}
