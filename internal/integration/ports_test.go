package integration

import (
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
)

// givenPorts has the ports that freePort has returned. A server may listen on one only much later.
var givenPorts sync.Map

// freePort returns a port of 127.0.0.1 on which nobody listens, below those that
// systems give to outgoing connections.
func freePort(t testing.TB) int {
	t.Helper()
	for range 100 {
		port := 12_000 + rand.IntN(18_000)
		if _, given := givenPorts.LoadOrStore(port, true); given {
			continue
		}
		listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			_ = listener.Close()
			return port
		}
	}
	t.Fatal("no free port on 127.0.0.1")
	return 0
}
