package main

import (
	"net/http"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// load is the requests of a scenario.
type load struct {
	keys  []string
	order []uint32 // of the keys
	want  int      // status
}

// measurement is the numbers of one contestant under a load.
type measurement struct {
	NS     float64 // of wall time, per request
	Allocs float64 // per request
	Wrong  float64 // share of requests with another status than they should have
}

// warm sends one request of each key, since no contestant is measured while it fills
// its maps. It leaves nothing to a key that had room for one.
func (l load) warm(h http.Handler) {
	c := newClient()
	for i := range l.keys {
		c.send(h, l.keys[i:i+1])
	}
}

// measure sends requests for as long as d, on this many CPUs from as many goroutines.
func (l *sendable) measure(h http.Handler, cpus int, d time.Duration) measurement {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(cpus))
	runtime.GC()
	var (
		before, after runtime.MemStats
		sent, wrong   atomic.Int64
		senders       sync.WaitGroup
	)
	runtime.ReadMemStats(&before)
	start := time.Now()
	for i := range cpus {
		senders.Go(func() {
			s, w := l.sendUntil(start.Add(d), h, i*requests/cpus)
			sent.Add(s)
			wrong.Add(w)
		})
	}
	senders.Wait()
	elapsed := time.Since(start)
	runtime.ReadMemStats(&after)
	n := float64(sent.Load())
	return measurement{
		NS:     float64(elapsed) / n,
		Allocs: float64(after.Mallocs-before.Mallocs) / n,
		Wrong:  float64(wrong.Load()) / n,
	}
}

// sendUntil sends requests in their order, from the given one on.
func (l *sendable) sendUntil(end time.Time, h http.Handler, from int) (sent, wrong int64) {
	const batch = 256 // between two looks at the clock
	s := l.sender(from)
	for time.Now().Before(end) {
		for range batch {
			s.next(&s.client)
			h.ServeHTTP(&s.response, s.request)
			if s.response.status != l.want {
				wrong++
			}
		}
		sent += batch
	}
	return sent, wrong
}

// remoteAddr is the client's address.
const remoteAddr = "192.0.2.1:1234"

// client sends one request after the other, all with the same [http.Request] and
// [http.ResponseWriter]: making them is not measured.
type client struct {
	request  *http.Request
	response response
}

func newClient() *client {
	request := must(http.NewRequest(http.MethodGet, "/", http.NoBody))
	request.RemoteAddr = remoteAddr
	return &client{request: request, response: response{header: make(http.Header)}}
}

// send returns the status of h's response to a request with this header line.
func (c *client) send(h http.Handler, line []string) int {
	clear(c.response.header) // net/http gives every response an empty one
	c.response.status = 0
	c.request.Header[keyHeader] = line
	h.ServeHTTP(&c.response, c.request)
	return c.response.status
}

// response is as little of a ResponseWriter as a handler can have.
type response struct {
	header http.Header
	status int
}

func (r *response) Header() http.Header { return r.header }

func (r *response) WriteHeader(status int) {
	if r.status == 0 {
		r.status = status
	}
}

func (r *response) Write(body []byte) (int, error) {
	r.WriteHeader(http.StatusOK)
	return len(body), nil
}
