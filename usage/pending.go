package usage

import (
	"hash/maphash"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/httpkey/httpkey"
)

const (
	shardCount = 32
	// mostPending is the number of tokens that a Recorder counts at a time.
	mostPending = 1 << 17
	// mostUnsent is the number of hours of tokens that the store has not taken yet.
	mostUnsent = 1 << 17
)

// pending has the counts since the last write.
type pending struct {
	seed   maphash.Seed
	shards [shardCount]shard
	lost   atomic.Int64 // requests that found no room since the last report
}

type shard struct {
	mu     sync.Mutex
	counts map[string]*count // by token ID
}

// count has the counts of a token, and its last client as it came.
type count struct {
	Counts
	client Client
}

func newPending() pending { return pending{seed: maphash.MakeSeed()} }

// note counts an event. The zero Client is none.
func (p *pending) note(e *httpkey.Event, client Client) {
	s := p.shard(e.Token.ID)
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.counts[e.Token.ID]
	if c == nil {
		if c = s.enter(e.Token.ID); c == nil {
			p.lost.Add(1)
			return
		}
	}
	c.note(e)
	if !client.At.IsZero() {
		c.saw(client)
	}
}

func (p *pending) shard(id string) *shard { return &p.shards[maphash.String(p.seed, id)%shardCount] }

// enter returns new counts of a token, or nil if there is no room.
func (s *shard) enter(id string) *count {
	if len(s.counts) >= mostPending/shardCount {
		return nil
	}
	if s.counts == nil {
		s.counts = make(map[string]*count)
	}
	c := new(count)
	s.counts[strings.Clone(id)] = c // id may be a part of a longer text
	return c
}

// note counts a request once: if it was admitted before it is refused, it no longer counts as
// passed. The limits that it met later are not those of the token, so their cost does not count.
func (c *count) note(e *httpkey.Event) {
	switch e.Type {
	case httpkey.EventAdmitted:
		if !e.Again {
			c.Passed++
			c.Cost += int64(e.Cost)
		}
	case httpkey.EventCharged:
		if !e.Again {
			c.Cost += int64(e.Cost)
		}
	case httpkey.EventDryRun:
		c.DryRun++
	case httpkey.EventRefused:
		if e.Again {
			c.Passed--
		}
		c.refuse(e.Reason)
	}
}

func (c *count) refuse(reason httpkey.Reason) {
	if reason == httpkey.ReasonThrottled {
		c.Throttled++
		return
	}
	c.Refused++
	if c.Reasons == nil {
		c.Reasons = make(map[httpkey.Reason]int64)
	}
	c.Reasons[reason]++
}

// isUse reports whether e is about a request that used its token.
func isUse(e *httpkey.Event) bool {
	return e.Type == httpkey.EventAdmitted || e.Reason == httpkey.ReasonThrottled
}

// mostUserAgent bounds the bytes of Client.UserAgent.
const mostUserAgent = 256

// saw notes a client. It copies a User-Agent that differs from the last one.
func (c *count) saw(client Client) {
	agent := client.UserAgent[:min(len(client.UserAgent), mostUserAgent)]
	if agent != c.client.UserAgent {
		c.client.UserAgent = strings.Clone(agent)
	}
	c.client.Addr, c.client.At = client.Addr, client.At
}

// delta returns a copy of c for a token, without its hour.
func (c *count) delta(id string) Delta {
	d := Delta{ID: id, Counts: c.Counts, Client: c.client}
	d.Reasons = maps.Clone(c.Reasons)
	if !d.Client.At.IsZero() {
		d.Client.Addr = d.Client.Addr.Unmap().WithZone("")
		d.Client.UserAgent = printable(d.Client.UserAgent)
		d.Client.At = d.Client.At.UTC().Truncate(time.Microsecond)
	}
	return d
}

// printable returns a text that is safe to show: valid UTF-8 without control characters and
// without those that hide or turn text.
func printable(text string) string {
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, text))
}

// of returns the counts of a token.
func (p *pending) of(id string) (Delta, bool) {
	s := p.shard(id)
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.counts[id]
	if c == nil {
		return Delta{}, false
	}
	return c.delta(id), true
}

func (p *pending) isEmpty() bool {
	for i := range p.shards {
		s := &p.shards[i]
		s.mu.Lock()
		n := len(s.counts)
		s.mu.Unlock()
		if n > 0 {
			return false
		}
	}
	return true
}

// take removes the counts of a shard and returns them.
func (s *shard) take() map[string]*count {
	s.mu.Lock()
	defer s.mu.Unlock()
	counts := s.counts
	s.counts = nil
	return counts
}

// place is a token in an hour.
type place struct {
	id   string
	hour int64 // Unix seconds
}

// backlog has what the store has not taken yet.
type backlog struct{ deltas map[place]Delta }

func newBacklog() backlog { return backlog{make(map[place]Delta)} }

// take adds all pending counts as those of an hour.
func (b *backlog) take(p *pending, hour time.Time) {
	for i := range p.shards {
		for id, c := range p.shards[i].take() {
			d := c.delta(id)
			d.Hour = hour
			if !b.add(d) {
				p.lost.Add(d.Requests())
			}
		}
	}
}

// add reports whether there is room for a delta.
func (b *backlog) add(d Delta) bool {
	at := place{d.ID, d.Hour.Unix()}
	known, ok := b.deltas[at]
	if !ok && len(b.deltas) >= mostUnsent {
		return false
	}
	if !ok {
		b.deltas[at] = d
		return true
	}
	known.Add(d.Counts)
	if d.Client.At.After(known.Client.At) {
		known.Client = d.Client
	}
	b.deltas[at] = known
	return true
}

// drain removes all deltas and returns them.
func (b *backlog) drain() []Delta {
	deltas := slices.Collect(maps.Values(b.deltas))
	clear(b.deltas)
	return deltas
}

// of returns the deltas of a token.
func (b *backlog) of(id string) (deltas []Delta) {
	for at, d := range b.deltas {
		if at.id == id {
			deltas = append(deltas, d)
		}
	}
	return deltas
}
