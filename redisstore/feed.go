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

// silence is the time without a message after which the feed pings the server, and the time
// that the server has to answer.
const silence = 3 * time.Second

// Changes implements [httpkey.ChangeFeed] by a subscription. The script that makes a change
// also publishes it, on the same server. A broken connection ends the feed at once, and a
// silent one within six seconds. On a server that is cut off from its Sentinels the feed
// continues, but reports no changes of the new master.
//
// Changes holds one connection outside of the client's pool.
func (s *Store) Changes(ctx context.Context, ready func(), changed func(httpkey.Digest)) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	subscription := s.rdb.Subscribe(ctx, s.keys.changes)
	// Receive ignores its context, so the end of ctx closes the subscription.
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

// receive returns at the first error, because the subscription would reconnect silently after
// it.
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
			if len(event.Payload) != len(httpkey.Digest{}) { // no change of this package
				return fmt.Errorf("a message has %d bytes, and a digest has %d", len(event.Payload), len(httpkey.Digest{}))
			}
			changed(httpkey.Digest([]byte(event.Payload)))
		}
	}
}
