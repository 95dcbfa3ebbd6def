package integration

import (
	"bytes"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// proxy stands between a client and a server, and spoils what goes through it.
type proxy struct {
	t        testing.TB
	listener *net.TCPListener
	target   string
	served   sync.WaitGroup

	delay  atomic.Int64 // of each reply
	lag    atomic.Int64 // of each request
	close  atomic.Bool  // instead of the reply to a script, the connection is closed
	reset  atomic.Bool  // or reset
	cuts   atomic.Bool  // instead of any reply, it is closed
	cutIn  atomic.Int64 // how many replies until one is cut; 0: none is
	silent atomic.Bool  // nothing is passed on
	jammed sync.Mutex   // held while the proxy accepts no connection

	passed  atomic.Int64 // replies, or they would be but for the above
	opened  atomic.Int64 // connections
	passing atomic.Int64 // goroutines
	mu      sync.Mutex
	conns   map[net.Conn]bool
	ended   bool
}

func startProxy(t testing.TB, target string) *proxy {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{t: t, listener: listener.(*net.TCPListener), target: target, conns: make(map[net.Conn]bool)}
	p.served.Go(p.serve)
	t.Cleanup(func() {
		_ = listener.Close()
		p.mu.Lock()
		p.ended = true
		p.mu.Unlock()
		p.cut()
		p.served.Wait()
	})
	return p
}

func (p *proxy) address() string { return p.listener.Addr().String() }

func (p *proxy) serve() {
	for {
		near, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.jammed.Lock()   // to wait for the end of it
		p.jammed.Unlock() //nolint:staticcheck // it guards nothing
		if far, err := net.Dial("tcp", p.target); err != nil {
			_ = near.Close()
		} else if p.keep(near, far) {
			p.opened.Add(1)
			var script atomic.Bool // whether the last call was a script
			p.served.Go(func() {
				p.pass(near, far, func(request []byte) bool {
					pause(&p.lag)
					script.Store(bytes.Contains(bytes.ToLower(request), []byte("evalsha")))
					return true
				})
			})
			p.served.Go(func() { p.pass(far, near, func([]byte) bool { return p.replies(script.Load()) }) })
		}
	}
}

// keep notes connections for cut.
func (p *proxy) keep(conns ...net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range conns {
		if p.ended {
			_ = c.Close()
			continue
		}
		p.conns[c] = true
	}
	return !p.ended
}

// pass copies from one side to the other what may go through.
func (p *proxy) pass(from, to net.Conn, mayPass func([]byte) bool) {
	p.passing.Add(1)
	defer p.passing.Add(-1)
	defer p.drop(from, to)
	buffer := make([]byte, 1<<16)
	for {
		n, err := from.Read(buffer)
		if err != nil {
			return
		}
		if p.silent.Load() {
			continue
		}
		if !mayPass(buffer[:n]) {
			if p.reset.Load() {
				_ = to.(*net.TCPConn).SetLinger(0) // so that closing is a reset
			}
			return
		}
		if _, err := to.Write(buffer[:n]); err != nil {
			return
		}
	}
}

// replies waits for as long as a reply is delayed, and reports whether it goes through.
func (p *proxy) replies(toScript bool) bool {
	p.passed.Add(1)
	pause(&p.delay)
	return !p.cuts.Load() && p.cutIn.Add(-1) != 0 && (!toScript || !p.close.Load() && !p.reset.Load())
}

// pause waits as long as is set.
func pause(delay *atomic.Int64) {
	if delay := time.Duration(delay.Load()); delay > 0 {
		<-time.After(delay)
	}
}

func (p *proxy) drop(conns ...net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range conns {
		delete(p.conns, c)
		_ = c.Close()
	}
}

// cut closes every connection.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		_ = c.Close()
	}
}

// jam cuts all and lets no new connection be made, until what it returns is called: the
// kernel's queue of those that wait to be accepted is full, so that it answers no other.
func (p *proxy) jam() (free func()) {
	p.t.Helper()
	p.queue(0)
	p.jammed.Lock()
	p.cut()
	var waiting []net.Conn
	for range 10 { // one is accepted, one or two wait
		conn, err := net.DialTimeout("tcp", p.address(), 50*time.Millisecond)
		if err != nil {
			return func() {
				for _, c := range waiting {
					_ = c.Close()
				}
				p.queue(syscall.SOMAXCONN)
				p.jammed.Unlock()
			}
		}
		waiting = append(waiting, conn)
	}
	p.t.Fatal("the queue of connections does not get full")
	return nil
}

// queue sets the length of the listener's queue of connections.
func (p *proxy) queue(length int) {
	p.t.Helper()
	raw, err := p.listener.SyscallConn()
	if err == nil {
		var listenErr error
		err = raw.Control(func(fd uintptr) { listenErr = syscall.Listen(int(fd), length) })
		if err == nil {
			err = listenErr
		}
	}
	if err != nil {
		p.t.Fatal(fmt.Errorf("set the length of the queue: %w", err))
	}
}
