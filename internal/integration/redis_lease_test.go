package integration

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/httpkey/httpkey/redisstore"
	"github.com/redis/go-redis/v9"
)

// leasing is the member's limiter in the environment of a process that takes ahead.
const leasing = "Leasing"

// calls counts the commands of a client.
type calls struct{ atomic.Int64 }

func (*calls) DialHook(next redis.DialHook) redis.DialHook { return next }
func (c *calls) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		c.Add(1)
		return next(ctx, cmd)
	}
}
func (*calls) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

// TestRedisFleetLeasingMember is a process of the fleet that takes ahead.
func TestRedisFleetLeasingMember(t *testing.T) {
	member := strings.Fields(os.Getenv(fleetMember))
	if len(member) != 2 || member[0] != leasing {
		t.Skip("it is started by TestRedisFleetWithLeases")
	}
	client := redis.NewClient(&redis.Options{Addr: member[1], MaxRetries: -1, ContextTimeoutEnabled: true})
	defer func() { _ = client.Close() }()
	var asked calls
	client.AddHook(&asked)
	limiter := redisstore.NewLimiter(client, &redisstore.Options{Lease: 50 * time.Millisecond})
	var admitted []admission
	for end := time.Now().Add(fleetDuration); time.Now().Before(end); {
		a := admission{Asked: time.Now()}
		r, err := limiter.Allow(context.Background(), of("fleet", 1, fleetLimit))
		if err != nil {
			t.Fatal(err)
		}
		if a.Answered = time.Now(); r.Allowed {
			admitted = append(admitted, a)
		}
		time.Sleep(time.Millisecond) // or denials from memory would take all of the CPU
	}
	text, err := json.Marshal(admitted)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(os.Stderr, "asked Redis %d times for %d\n", asked.Load(), len(admitted))
	fmt.Printf("\n%s\n", text)
}

// Eight processes that take permits ahead are admitted as often as one that does not.
func TestRedisFleetWithLeases(t *testing.T) {
	t.Parallel()
	server := startRedis(t)
	admitted := runFleet(t, leasing+" "+server.address())
	span := admitted[len(admitted)-1].Answered.Sub(admitted[0].Asked)
	most := float64(fleetLimit.Burst) + float64(fleetLimit.Rate)*span.Seconds() + 1
	t.Logf("%d were let in within %v, at most %v were due", len(admitted), span, most)
	if got := float64(len(admitted)); got > most || got < most*0.9 {
		t.Errorf("let in %v times within %v, at most %v were due", got, span, most)
	}
}
