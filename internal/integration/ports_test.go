package integration

import (
	"fmt"
	"math/rand/v2"
	"net"
	"testing"
)

// freePort returns a port of 127.0.0.1 on which nobody listens, below those that
// systems give to outgoing connections.
func freePort(t testing.TB) int {
	t.Helper()
	for range 100 {
		port := 12_000 + rand.IntN(18_000)
		listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			_ = listener.Close()
			return port
		}
	}
	t.Fatal("no free port on 127.0.0.1")
	return 0
}
