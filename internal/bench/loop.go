package main

import (
	"bufio"
	"io"
	"net/http"
)

// A loop sends requests to a handler. It has a cost of its own, which the bare handler shows.
type loop string

const (
	// fresh makes the string of each key just before its request, as a server does: the key
	// is in the cache of the CPU. The request and the header maps are always the same.
	fresh loop = "fresh"
	// parsed reads each request from its bytes by [http.ReadRequest] and gives it a new
	// response header, as a server does.
	parsed loop = "parsed"
)

// sender sends one request after the other.
type sender struct {
	client
	next func(c *client) // makes c.request and c.response those of the next request
}

// sender returns a sender of l's requests in their order, from the given one on.
func (l *sendable) sender(from int) *sender {
	s := &sender{client: *newClient()}
	if l.loop == parsed {
		wire := bufio.NewReader(&circle{bytes: l.bytes, at: from * l.size})
		s.next = func(c *client) {
			c.request = must(http.ReadRequest(wire))
			c.request.RemoteAddr = remoteAddr
			c.response = response{header: make(http.Header)}
		}
		return s
	}
	at, line := from*l.size, make([]string, 1)
	s.request.Header[keyHeader] = line
	s.next = func(c *client) {
		line[0] = string(l.bytes[at : at+l.size])
		if at += l.size; at == len(l.bytes) {
			at = 0
		}
		c.request.Header[keyHeader] = line
		clear(c.response.header)
		c.response.status = 0
	}
	return s
}

// sendable is the requests of a load in one piece of memory, in their order.
type sendable struct {
	loop  loop
	bytes []byte
	size  int // of one
	want  int // status
}

// sendable returns the requests of l. They are outside the heap, so that they do not change
// how often the garbage collector runs.
func (l load) sendable(by loop) *sendable {
	text := func(key string) string { return key }
	if by == parsed {
		text = func(key string) string {
			return "GET / HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n" + keyHeader + ": " + key + "\r\n\r\n"
		}
	}
	s := &sendable{loop: by, size: len(text(l.keys[0])), want: l.want}
	s.bytes = outsideTheHeap(len(l.order) * s.size)
	for n, i := range l.order {
		copy(s.bytes[n*s.size:], text(l.keys[i]))
	}
	return s
}

// circle reads the same bytes again and again.
type circle struct {
	bytes []byte
	at    int
}

func (c *circle) Read(p []byte) (int, error) {
	if c.at == len(c.bytes) {
		c.at = 0
	}
	n := copy(p, c.bytes[c.at:])
	c.at += n
	if n == 0 {
		return 0, io.ErrNoProgress
	}
	return n, nil
}
