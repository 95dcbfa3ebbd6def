package integration

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/redis/go-redis/v9"
)

const (
	fleetSize     = 8
	fleetDuration = 10 * time.Second
)

var fleetLimit = httpkey.Limit{Rate: 200, Burst: 200, Period: time.Second}

// fleetMember is the environment variable that configures a process of the fleet.
const fleetMember = "HTTPKEY_FLEET_MEMBER"

// admission is the time from which to which one was asked for.
type admission struct{ Asked, Answered time.Time }

// TestRedisFleetMember is a process of the fleet: it asks as fast as it can, and writes what was let in.
func TestRedisFleetMember(t *testing.T) {
	member := strings.Fields(os.Getenv(fleetMember)) // the limiter, and the server's address
	if len(member) != 2 || member[0] == leasing {
		t.Skip("it is started by TestRedisFleet")
	}
	client := redis.NewClient(&redis.Options{Addr: member[1], MaxRetries: -1, ContextTimeoutEnabled: true})
	defer func() { _ = client.Close() }()
	for _, l := range redisLimiters {
		if l.name != member[0] {
			continue
		}
		limiter := l.new(client, nil)
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
		}
		text, err := json.Marshal(admitted)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Printf("\n%s\n", text)
	}
}

// Eight processes share one key: together they are admitted as often as one would be.
func TestRedisFleet(t *testing.T) {
	t.Parallel()
	for i, l := range redisLimiters {
		t.Run(l.name, func(t *testing.T) {
			t.Parallel()
			server := startRedis(t)
			start := time.Now()
			admitted := runFleet(t, l.name+" "+server.address())
			took := admitted[len(admitted)-1].Answered.Sub(start)
			t.Logf("%d processes were let in %d times in %v", fleetSize, len(admitted), took.Round(time.Millisecond))
			// A strict window lets in Rate at once, and then what leaves.
			span := admitted[len(admitted)-1].Answered.Sub(admitted[0].Asked)
			most := float64(fleetLimit.Burst) + float64(fleetLimit.Rate)*span.Seconds() + 1
			if got := float64(len(admitted)); got > most || got < float64(fleetLimit.Rate)*fleetDuration.Seconds()/2 {
				t.Errorf("let in %v times within %v, at most %v were due", got, span, most)
			}
			if i == 1 {
				checkWindows(t, admitted)
			}
		})
	}
}

// checkWindows checks that any Rate+1 admissions took longer than Period, by clocks that
// stopped before and after them.
func checkWindows(t *testing.T, admitted []admission) {
	for first := range len(admitted) - fleetLimit.Rate {
		among := admitted[first : first+fleetLimit.Rate+1]
		last := slices.MaxFunc(among, func(a, b admission) int { return a.Answered.Compare(b.Answered) })
		if stretch := last.Answered.Sub(among[0].Asked); stretch < fleetLimit.Period {
			t.Fatalf("let in %d times within %v", len(among), stretch)
		}
	}
}

// runFleet runs the processes and returns what they were let in, in the order of the asking.
func runFleet(t *testing.T, member string) []admission {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var commands [fleetSize]*exec.Cmd
	var outputs [fleetSize]*bufio.Scanner
	for i := range commands {
		commands[i] = exec.CommandContext(t.Context(), program, "-test.run=^TestRedisFleet.*Member$")
		commands[i].Env = append(os.Environ(), fleetMember+"="+member)
		commands[i].Stderr = os.Stderr
		output, err := commands[i].StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		outputs[i] = bufio.NewScanner(output)
		outputs[i].Buffer(nil, 1<<24)
		if err := commands[i].Start(); err != nil {
			t.Fatal(err)
		}
	}
	var all []admission
	for i := range commands {
		for outputs[i].Scan() {
			if line := outputs[i].Bytes(); len(line) > 0 && line[0] == '[' {
				var admitted []admission
				if err := json.Unmarshal(line, &admitted); err != nil {
					t.Error(err)
				}
				all = append(all, admitted...)
			}
		}
		if err := commands[i].Wait(); err != nil {
			t.Error(err)
		}
	}
	if len(all) == 0 {
		t.Fatal("nothing was let in")
	}
	slices.SortFunc(all, func(a, b admission) int { return a.Asked.Compare(b.Asked) })
	return all
}
