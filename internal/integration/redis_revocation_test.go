package integration

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/httpkey/httpkey"
	"github.com/httpkey/httpkey/cachestore"
	"github.com/httpkey/httpkey/redisstore"
)

// revoker is the environment variable with the server's address for the process that revokes.
const revoker = "HTTPKEY_REVOKER"

// TestRedisRevoker is the other process: it revokes each ID that it reads.
func TestRedisRevoker(t *testing.T) {
	address := os.Getenv(revoker)
	if address == "" {
		t.Skip("it is started by TestRedisRevocationElsewhere")
	}
	s := newSite(t, address, redisLimiters[0].new, cachestore.Options{})
	for ids := bufio.NewScanner(os.Stdin); ids.Scan(); {
		if err := s.Revoke(t.Context(), ids.Text(), "lost"); err != nil {
			t.Fatal(err)
		}
	}
}

// A process refuses a key with the first request after it revoked it.
func TestRedisRevocationHere(t *testing.T) {
	t.Parallel()
	s := newSite(t, startRedis(t).address(), redisLimiters[0].new, cachestore.Options{})
	for _, h := range s.issue(t, 200, slowly) {
		s.expect(t, h.key, http.StatusOK)
		if err := s.Revoke(t.Context(), h.id, "lost"); err != nil {
			t.Fatal(err)
		}
		s.expect(t, h.key, http.StatusUnauthorized)
	}
}

// A process refuses a key within moments after another revoked it.
func TestRedisRevocationElsewhere(t *testing.T) {
	server := startRedis(t)
	s := newSite(t, server.address(), redisLimiters[0].new, cachestore.Options{})
	s.follow(t)
	revoke := startRevoker(t, server.address())
	var took timings
	for _, h := range s.issue(t, 200, slowly) {
		s.expect(t, h.key, http.StatusOK)
		start := time.Now()
		if _, err := fmt.Fprintln(revoke, h.id); err != nil {
			t.Fatal(err)
		}
		for s.get(h.key) != http.StatusUnauthorized {
			if time.Since(start) > 5*time.Second {
				t.Fatal("a key is good 5 s after another process was told to revoke it")
			}
			time.Sleep(100 * time.Microsecond) // eventually polls too seldom for this measurement
		}
		took.add(time.Since(start))
	}
	t.Logf("quote | from the order to revoke to the first 401: %v", &took)
}

func startRevoker(t *testing.T, address string) io.Writer {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	command := exec.Command(program, "-test.run=^TestRedisRevoker$")
	command.Env = append(os.Environ(), revoker+"="+address)
	command.Stderr = os.Stderr
	input, err := command.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = input.Close()
		if err := command.Wait(); err != nil {
			t.Error(err)
		}
	})
	return input
}

// feedApart is a store whose feed comes by another way.
type feedApart struct {
	*redisstore.Store
	feed *redisstore.Store
	told chan httpkey.Digest
}

func (f feedApart) Changes(ctx context.Context, ready func(), changed func(httpkey.Digest)) error {
	return f.feed.Changes(ctx, ready, func(d httpkey.Digest) {
		changed(d)
		if f.told != nil {
			f.told <- d
		}
	})
}

// While the feed is cut, what is revoked elsewhere is good until the TTL and no longer,
// and when the feed is back, not that long.
func TestRedisRevocationWithoutFeed(t *testing.T) {
	t.Parallel()
	server := startRedis(t)
	p := startProxy(t, server.address())
	elsewhere := newSite(t, server.address(), redisLimiters[0].new, cachestore.Options{})
	open := func(ttl time.Duration) *site {
		s := newSiteOver(t, server.address(), redisLimiters[0].new, cachestore.Options{TTL: ttl},
			func(store *redisstore.Store) httpkey.TokenStore {
				return feedApart{Store: store, feed: redisstore.New(connect(t, p.address(), advisedDial), nil)}
			})
		s.follow(t)
		return s
	}
	const ttl = time.Second
	short, long := open(ttl), open(time.Hour)
	holders := elsewhere.issue(t, 20, slowly)
	free := p.jam()
	for _, s := range []*site{short, long} {
		eventually(t, 10*time.Second, func() error {
			if s.times(cachestore.EventFeedDown) == 0 {
				return fmt.Errorf("that the feed is down was not told")
			}
			return nil
		})
	}
	for _, h := range holders {
		short.expect(t, h.key, http.StatusOK)
		long.expect(t, h.key, http.StatusOK)
	}
	loaded := time.Now()
	for _, h := range holders {
		if err := elsewhere.Revoke(t.Context(), h.id, "lost"); err != nil {
			t.Fatal(err)
		}
	}
	for _, h := range holders {
		eventually(t, ttl-time.Since(loaded)+slow, func() error {
			if status := short.get(h.key); status != http.StatusUnauthorized {
				return fmt.Errorf("a key that was revoked is answered %d", status)
			}
			return nil
		})
		long.expect(t, h.key, http.StatusOK) // it cannot know
	}
	t.Logf("quote | feed cut, TTL %v: all are refused %v after they were loaded", ttl,
		time.Since(loaded).Round(time.Millisecond))
	free()
	took := eventually(t, 10*time.Second, func() error {
		if status := long.get(holders[0].key); status != http.StatusUnauthorized {
			return fmt.Errorf("with the feed back, a key that was revoked is answered %d", status)
		}
		return nil
	})
	for _, h := range holders {
		long.expect(t, h.key, http.StatusUnauthorized)
	}
	t.Logf("quote | feed back, TTL an hour: all are refused after %v", took.Round(time.Millisecond))
	if down, up := long.times(cachestore.EventFeedDown), long.times(cachestore.EventFeedUp); down != 1 || up != 1 {
		t.Errorf("that the feed was down was told %d times, and that it is up %d times", down, up)
	}
}

// A Lookup whose reply is under way while the key is revoked does not put it back.
func TestRedisRevocationOvertakesALookup(t *testing.T) {
	t.Parallel()
	server := startRedis(t)
	p := startProxy(t, server.address())
	elsewhere := newSite(t, server.address(), redisLimiters[0].new, cachestore.Options{})
	told := make(chan httpkey.Digest, 1000)
	s := newSiteOver(t, p.address(), redisLimiters[0].new, cachestore.Options{TTL: time.Hour},
		func(store *redisstore.Store) httpkey.TokenStore {
			return feedApart{Store: store, feed: redisstore.New(connect(t, server.address(), advisedDial), nil), told: told}
		})
	s.follow(t)
	overtaken := 0
	for range 20 {
		h := elsewhere.issue(t, 1, slowly)[0]
		s.get(madeUpKeySource()()) // so that a connection is there
		for len(told) > 0 {
			<-told
		}
		p.delay.Store(int64(80 * time.Millisecond))
		passed := p.passed.Load()
		answered := make(chan int, 1)
		go func() { answered <- s.get(h.key) }()
		eventually(t, 10*time.Second, func() error {
			if p.passed.Load() == passed {
				return fmt.Errorf("the server has not replied")
			}
			return nil
		})
		if err := elsewhere.Revoke(t.Context(), h.id, "lost"); err != nil {
			t.Fatal(err)
		}
		next(t, told)
		if len(answered) == 0 {
			overtaken++
		}
		next(t, answered) // any answer will do: the call came before
		p.delay.Store(0)
		s.expect(t, h.key, http.StatusUnauthorized)
	}
	t.Logf("%d Lookups were overtaken", overtaken)
	if overtaken == 0 {
		t.Error("no Lookup was overtaken")
	}
}
