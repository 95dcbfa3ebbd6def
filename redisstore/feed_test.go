package redisstore

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/httpkey/httpkey"
	"github.com/redis/go-redis/v9"
)

// A subscription that the client has made anew may have missed changes, and ends the feed.
func TestFeedEndsWithItsSubscription(t *testing.T) {
	t.Parallel()
	client := redis.NewClient(&redis.Options{Addr: miniredis.RunT(t).Addr()})
	t.Cleanup(func() { _ = client.Close() })
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	subscription := client.Subscribe(ctx, "changes")
	context.AfterFunc(ctx, func() { _ = subscription.Close() })
	again := func() {
		if err := subscription.Subscribe(ctx, "changes"); err != nil {
			t.Error(err)
		}
	}
	err := receive(ctx, subscription, again, func(httpkey.Digest) {})
	if err == nil || !strings.Contains(err.Error(), "made anew") {
		t.Errorf("the feed ended with %v", err)
	}
}
