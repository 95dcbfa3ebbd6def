package main

import (
	"context"
	"net"
	"strings"
	"sync/atomic"

	"github.com/redis/go-redis/v9"
)

// redisCalls is a hook that counts the calls of clients, in a pipeline or not.
type redisCalls struct {
	tokens  atomic.Int64 // for tokens and their uses
	limits  atomic.Int64 // for limits
	scripts atomic.Int64 // for both
}

// count takes in one command. The hash tag is that of redisstore.Store.
func (c *redisCalls) count(command redis.Cmder) {
	args, first := command.Args(), 1 // where the first key is
	if command.Name() == "evalsha" {
		c.scripts.Add(1)
		first = 3
	}
	key := ""
	if len(args) > first {
		key, _ = args[first].(string)
	}
	if strings.HasPrefix(key, byHand) || strings.Contains(key, "{tokens}") {
		c.tokens.Add(1)
	} else {
		c.limits.Add(1)
	}
}

// DialHook implements [redis.Hook].
func (*redisCalls) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		return next(ctx, network, address)
	}
}

// ProcessHook implements [redis.Hook].
func (c *redisCalls) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, command redis.Cmder) error {
		c.count(command)
		return next(ctx, command)
	}
}

// ProcessPipelineHook implements [redis.Hook].
func (c *redisCalls) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, commands []redis.Cmder) error {
		for _, command := range commands {
			c.count(command)
		}
		return next(ctx, commands)
	}
}
